"""The script: what happens at given moments, whatever the dice say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.decisions import Move, Route, Scale, SetPower
from simulator.engine.world import ScriptStep
from simulator.foundation.errors import DatahallError
from simulator.foundation.time_grid import Priority, snap

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class Script:
    """Plays the steps in the order of their moments; ties in the order they are written."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        steps = []
        for number, step in enumerate(engine.world.script):
            steps.append((snap(step.at_s), number, step))
            if step.kind in ("leaf-fault", "cooling-fault"):
                end_s = step.at_s + step.values["lasts_s"]
                over = ScriptStep(end_s, f"{step.kind}-over", step.values)
                steps.append((snap(end_s), number, over))
            if step.kind == "curtailment":
                engine.power.add_call(step)
        self._steps = sorted(steps, key=lambda entry: entry[:2])
        self._timer = engine.clock.timer(self._due, Priority.SIGNAL)
        self._later = engine.clock.timer(self._decide, Priority.CONTROL)
        self._decisions: list[ScriptStep] = []

    def begin(self) -> None:
        """Arm the first step."""
        if self._steps:
            self._timer.arm(self._steps[0][0])

    def _due(self) -> None:
        now_s = self.engine.clock.environment.now
        while self._steps and self._steps[0][0] <= now_s:
            _, _, step = self._steps.pop(0)
            if step.kind in ("set-power", "move", "route", "scale"):
                self._decisions.append(step)
                self._later.arm_by(now_s)
            else:
                self._happen(step)
        if self._steps:
            self._timer.arm(self._steps[0][0])

    def _happen(self, step: ScriptStep) -> None:
        engine, values = self.engine, step.values
        match step.kind:
            case "node-fault":
                engine.failures.fault(values["pool"], values["node"], values["lasts_s"])
            case "leaf-fault":
                engine.fabric.leaf_fault(values["site"], values["leaf"], broken=True)
            case "leaf-fault-over":
                engine.fabric.leaf_fault(values["site"], values["leaf"], broken=False)
            case "cooling-fault":
                engine.power.cooling(values["site"], values["capacity_fraction"])
            case "cooling-fault-over":
                engine.power.cooling(values["site"], 1.0)

    def _decide(self) -> None:
        engine = self.engine
        steps, self._decisions = self._decisions, []
        for step in steps:
            values = step.values
            match step.kind:
                case "set-power":
                    engine.decide(
                        SetPower(values["target"], values["clock_fraction"], values["watts"]),
                        by="script",
                    )
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
