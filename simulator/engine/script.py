"""The script: what happens at given moments, whatever the dice say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from simulator.decisions import Move, Route, Scale, SetPower
from simulator.engine.world import ScriptStep
from simulator.foundation.errors import DatahallError
from simulator.foundation.time_grid import Priority, snap

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: What happens later within its instant than signals do, as the same things do by chance.
_PRIORITIES: Final[dict[str, Priority]] = {
    "node-fault": Priority.FAILURE,
    "leaf-fault": Priority.FAILURE,
    "leaf-fault-over": Priority.REPAIR,
    "switch-fault": Priority.FAILURE,
    "switch-fault-over": Priority.REPAIR,
    "link-fault": Priority.FAILURE,
    "link-fault-over": Priority.REPAIR,
    "nic-fault": Priority.FAILURE,
    "nic-fault-over": Priority.REPAIR,
    "set-power": Priority.CONTROL,
    "move": Priority.CONTROL,
    "route": Priority.CONTROL,
    "scale": Priority.CONTROL,
}

#: What ends by itself after a while.
_PASSING: Final = ("leaf-fault", "switch-fault", "link-fault", "nic-fault", "cooling-fault")


class Script:
    """Plays the steps in the order of their moments; ties in the order they are written."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        steps = []
        for number, step in enumerate(engine.world.script):
            steps.append((snap(step.at_s), number, step))
            if step.kind in _PASSING:
                end_s = step.at_s + step.values["lasts_s"]
                over = ScriptStep(end_s, f"{step.kind}-over", step.values)
                steps.append((snap(end_s), number, over))
            if step.kind == "curtailment":
                engine.power.add_call(step)
        self._steps = sorted(steps, key=lambda entry: entry[:2])
        self._timer = engine.clock.timer(self._due, Priority.SIGNAL)
        self._lanes = {
            priority: _Lane(engine, self._happen, priority)
            for priority in (Priority.REPAIR, Priority.FAILURE, Priority.CONTROL)
        }

    def begin(self) -> None:
        """Arm the first step."""
        if self._steps:
            self._timer.arm(self._steps[0][0])

    def _due(self) -> None:
        now_s = self.engine.clock.environment.now
        while self._steps and self._steps[0][0] <= now_s:
            _, _, step = self._steps.pop(0)
            priority = _PRIORITIES.get(step.kind)
            if priority is None:
                self._happen(step)
            else:
                self._lanes[priority].put(step)
        if self._steps:
            self._timer.arm(self._steps[0][0])

    def _happen(self, step: ScriptStep) -> None:
        engine, values = self.engine, step.values
        match step.kind:
            case "node-fault":
                engine.failures.fault(values["pool"], values["node"], values["lasts_s"])
            case "leaf-fault" | "leaf-fault-over":
                engine.fabric.leaf_fault(values["site"], values["leaf"], broken=step.kind == "leaf-fault")
            case "switch-fault" | "switch-fault-over" | "link-fault" | "link-fault-over":
                engine.fabric.part_fault(
                    values["site"],
                    step.kind.split("-")[0],
                    values["part"],
                    values["left_fraction"],
                    broken=not step.kind.endswith("over"),
                )
            case "nic-fault" | "nic-fault-over":
                engine.fabric.nic_fault(
                    values["pool"], values["node"], values["ports"], broken=step.kind == "nic-fault"
                )
            case "cooling-fault":
                engine.power.set_cooling(values["site"], values["capacity_fraction"])
            case "cooling-fault-over":
                engine.power.set_cooling(values["site"], 1.0)
            case "set-power":
                decision = SetPower(values["target"], values["clock_fraction"], values["watts"])
                engine.decide(decision, by="script")
            case "move":
                engine.decide(Move(self._job(values["job"]), values["site"]), by="script")
            case "route":
                engine.decide(Route(values["service"], values["weights"]), by="script")
            case "scale":
                engine.decide(Scale(values["service"], "", values["replicas"]), by="script")

    def _job(self, job_id: str) -> int:
        try:
            return self.engine.board.job_id.index(job_id)
        except ValueError:
            raise DatahallError(
                f"the script names job {job_id!r} at {self.engine.clock.now_s} s; there is none"
            ) from None


class _Lane:
    """Steps of this instant that must wait for others: completions come before failures."""

    def __init__(self, engine: Engine, happen: Callable[[ScriptStep], None], priority: Priority) -> None:
        self._environment = engine.clock.environment
        self._happen = happen
        self._steps: list[ScriptStep] = []
        self._timer = engine.clock.timer(self._due, priority)

    def put(self, step: ScriptStep) -> None:
        """Let a step happen within this instant, in its turn."""
        self._steps.append(step)
        self._timer.arm_by(self._environment.now)

    def _due(self) -> None:
        steps, self._steps = self._steps, []
        for step in steps:
            self._happen(step)
