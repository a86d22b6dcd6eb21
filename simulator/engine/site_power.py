"""A site under called limits: its policy, its storage, and what may still start."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from simulator.cluster.allocation import Placement
from simulator.decisions import CallView, LoadView, PowerView, Remember, Wake
from simulator.engine.site_draw import SiteDraw
from simulator.facility.storage import BatteryState
from simulator.foundation.time_grid import TICK_S, Priority, snap_up
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class SitePower:
    """Calls, storage and the power policy of one site."""

    def __init__(self, engine: Engine, draw: SiteDraw) -> None:
        self.engine = engine
        self.draw = draw
        self.plan = draw.plan
        self.policy = self.plan.power_policy
        self.calls: list[CallView] = []
        self.battery: BatteryState | None = None
        self.dispatch = (array("d"), array("d"))
        self.jobs_ceiling_w: float | None = None
        self._memory: object = None
        self._wakes: list[float] = []
        clock = engine.clock
        self._ask = clock.timer(self._ask_policy, Priority.CONTROL)
        self._bound = clock.timer(self._at_bound, Priority.SIGNAL)
        self._edge = clock.timer(self._at_edge, Priority.SIGNAL)
        self._edges: list[tuple[float, str, float]] = []

    def begin(self) -> None:
        """Put storage at rest, ask the policy for the first time, and wait for the calls."""
        if self.plan.battery is not None:
            self.battery = self.plan.battery.at_start(0.0)
            self._note_dispatch()
        if self.calls and self.policy is None:
            self.engine.world.notes.append(
                f"{self.draw.name}: {len(self.calls)} curtailment calls and no power_policy: "
                "nobody acts on them, and the limit is only checked"
            )
        self._edges = sorted(
            edge
            for call in self.calls
            for edge in (
                (call.announced_s, "announced", call.limit_w),
                (call.start_s, "began", call.limit_w),
                (call.end_s, "ended", call.limit_w),
            )
        )
        if self._edges:
            self._edge.arm(self._edges[0][0])
        if self.policy is not None:
            self._ask.arm(0.0)

    def changed(self) -> None:
        """Ask the policy once the instant has settled, if a limit holds that power may break."""
        if self.policy is not None and self._watches():
            self._ask.arm_by(self.engine.clock.environment.now)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the called limit as steps; inf where none holds. [s], [W]"""
        edges = sorted({0.0} | {t for call in self.calls for t in (call.start_s, call.end_s)})
        values = [
            min((call.limit_w for call in self.calls if call.start_s <= t < call.end_s), default=math.inf)
            for t in edges
        ]
        return np.array(edges), np.array(values)

    # ------------------------------------------------------------------ the policy

    def _at_edge(self) -> None:
        """Note that a call is announced, begins or ends."""
        now_s = self.engine.clock.environment.now
        while self._edges and self._edges[0][0] <= now_s:
            _, what, limit_w = self._edges.pop(0)
            self.engine.recorder.events.add(
                now_s, "call", "curtailment", self.draw.name, what, 0.0, "", limit_w
            )
        if self._edges:
            self._edge.arm(self._edges[0][0])
        if self.policy is not None:
            self._ask.arm_by(now_s)

    def _ask_policy(self) -> None:
        # What was decided before acts before the policy looks again.
        self.engine.enactor.act()
        now_s = self.engine.clock.environment.now
        for decision in self.policy.decide(self._view()):
            if isinstance(decision, Remember):
                self._memory = decision.value
            elif isinstance(decision, Wake):
                self._wakes.append(snap_up(max(decision.at_s, now_s)))
            else:
                self.engine.decide(decision, by=type(self.policy).__name__)
        if self._watches():
            weather_s = self.draw.next_weather_s()
            if weather_s is not None:
                self._wakes.append(snap_up(weather_s))
        self._wakes = sorted(dict.fromkeys(wake for wake in self._wakes if wake > now_s))
        if self._wakes:
            self._ask.arm_by(self._wakes[0])

    def _watches(self) -> bool:
        """Whether power could break a limit: in a call, or while storage charges."""
        now_s = self.engine.clock.environment.now
        if any(call.start_s <= now_s < call.end_s for call in self.calls):
            return True
        return self.plan.facts.limit_w is not None and self.battery is not None and self.battery.power_w > 0.0

    def _limit_w(self) -> float | None:
        now_s = self.engine.clock.environment.now
        limits = [call.limit_w for call in self.calls if call.start_s <= now_s < call.end_s]
        if self.plan.facts.limit_w is not None:
            limits.append(self.plan.facts.limit_w)
        return min(limits, default=None)

    def _view(self) -> PowerView:
        engine, battery = self.engine, self.battery
        now_s = engine.clock.environment.now
        node_w = self.draw.most_w()
        draw = self.draw.facility(node_w, type(self.policy).__name__)
        return PowerView(
            site=self.draw.name,
            now_s=now_s,
            calls=tuple(c for c in self.calls if c.announced_s <= now_s < c.end_s),
            limit_w=self._limit_w(),
            facility_power_w=float(draw.meter_w),
            it_power_w=node_w + draw.network_w,
            facility_per_it=self.draw.meter_per_node_watt(node_w),
            storage_charge_j=battery.energy_out_j(now_s) if battery else 0.0,
            storage_capacity_j=battery.energy_out_when_full_j if battery else 0.0,
            storage_power_w=battery.battery.power_w if battery else 0.0,
            storage_dispatch_w=battery.power_w if battery else 0.0,
            loads=self._loads(),
            cap_delay_s=engine.world.cap_delay_s,
            checkpoint_s=self._checkpoint_s(),
            memory=self._memory,
        )

    def _loads(self) -> tuple[LoadView, ...]:
        board = self.engine.board
        loads: list[LoadView] = []
        replicas: dict[str, list[LoadView]] = {}
        for job, placement, pool in self.draw.holders():
            behaviour = board.behaviours[board.behaviour_of[job]]
            lowest = behaviour.lowest_clock_fraction
            clock = board.clock_fraction[job]
            replica = board.kind[job] == "replica"
            load = LoadView(
                key=f"job:{board.job_id[job]}",
                index=job,
                kind=board.kind[job],
                gpus=placement.gpus,
                power_w=self.draw.job_most_w(job, placement, pool, clock),
                power_at_lowest_clock_w=self.draw.job_most_w(job, placement, pool, min(lowest, clock)),
                lowest_clock_fraction=min(lowest, clock),
                priority=board.priority[job],
                clock_fraction=clock,
                power_when_stopped_w=pool.idle_w_per_gpu * placement.gpus,
                saves=behaviour.checkpoints is not None and board.phase[job] != Phase.STOPPING,
                gpus_per_replica=board.gpus[job] if replica else 0,
                replicas=int(self.engine.services.stays(job)) if replica else 0,
            )
            if replica:
                replicas.setdefault(board.job_id[job].partition("/")[0], []).append(load)
            else:
                loads.append(load)
        return (*loads, *(_service(name, parts) for name, parts in replicas.items()))

    def _checkpoint_s(self) -> float:
        board = self.engine.board
        longest_s = 0.0
        for job, _, _ in self.draw.holders():
            saves = board.behaviours[board.behaviour_of[job]].checkpoints
            if saves is not None:
                longest_s = max(longest_s, sum(saves.under(board.storage_stretch[job])[1:]))
        return longest_s

    # ------------------------------------------------------------------ what may start

    def bound_jobs(self, watts: float | None) -> None:
        """Let jobs start here only within so many watts above idle; None lifts the bound."""
        self.jobs_ceiling_w = watts
        for pool in self.draw.pools:
            pool.may_start = None if watts is None else self.may_start
            self.engine.pool_changed(pool.code)

    def may_start(self, job: int, placement: Placement, claims: Mapping[int, Placement]) -> bool:
        """Whether a job may start on a placement beside those claimed in the same pass."""
        board, ceiling_w = self.engine.board, self.jobs_ceiling_w
        if ceiling_w is None or board.kind[job] == "replica":
            return True
        pools = {pool.code: pool for pool in self.draw.pools}
        running = [(held, where, board.clock_fraction[held]) for held, where, _ in self.draw.holders()]
        coming = [(job, placement), *claims.items()]
        running += [
            (new, where, self.engine.power.caps.clock(new, where))
            for new, where in coming
            if where.pool in pools
        ]
        above_idle_w = sum(
            self.draw.job_most_w(one, where, pools[where.pool], clock)
            - pools[where.pool].idle_w_per_gpu * where.gpus
            for one, where, clock in running
            if board.kind[one] != "replica"
        )
        return above_idle_w <= ceiling_w * (1.0 + 1e-9)

    # ------------------------------------------------------------------ storage

    def store(self, power_w: float) -> str:
        """Change the dispatch; return why not."""
        if self.battery is None:
            return f"site {self.draw.name!r} has no storage"
        now_s = self.engine.clock.environment.now
        low_w, high_w = self.battery.available_w(now_s)
        if not low_w - 1e-9 <= power_w <= high_w + 1e-9:
            return f"{power_w:.6g} W lies outside the {low_w:.6g} to {high_w:.6g} W it can do now"
        self.battery = self.battery.with_power(now_s, power_w)
        self._note_dispatch()
        bound_s = self.battery.bound_s()
        self._bound.arm(math.inf if bound_s is None else snap_up(bound_s))
        return ""

    def _at_bound(self) -> None:
        if self.battery is None or self.battery.power_w == 0.0:
            return
        now_s = self.engine.clock.environment.now
        what = "full" if self.battery.power_w > 0.0 else "empty"
        self._trim(now_s)
        self.battery = self.battery.at_bound(now_s)
        self._note_dispatch()
        self.engine.recorder.events.add(
            now_s, "call", "storage", self.draw.name, what, 0.0, "", self.battery.charge_j(now_s)
        )
        if self.policy is not None:
            self._ask.arm_by(now_s)

    def _trim(self, now_s: float) -> None:
        """Let the last tick's power be what the bound, reached within it, left of it."""
        assert self.battery is not None
        bound_s = self.battery.bound_s()
        if bound_s is None or bound_s >= now_s:
            return
        times, powers = self.dispatch
        tick_s = max(times[-1], now_s - TICK_S)
        if tick_s > times[-1]:
            times.append(tick_s)
            powers.append(0.0)
        powers[-1] = self.battery.power_w * max(bound_s - tick_s, 0.0) / (now_s - tick_s)

    def _note_dispatch(self) -> None:
        assert self.battery is not None
        now_s = self.engine.clock.environment.now
        times, powers = self.dispatch
        if times and times[-1] == now_s:
            powers[-1] = self.battery.power_w
        else:
            times.append(now_s)
            powers.append(self.battery.power_w)


def _service(name: str, parts: list[LoadView]) -> LoadView:
    """Return a service's replicas at a site as one load."""
    first = parts[0]
    return LoadView(
        key=f"service:{name}",
        index=-1,
        kind="service",
        gpus=sum(part.gpus for part in parts),
        power_w=sum(part.power_w for part in parts),
        power_at_lowest_clock_w=sum(part.power_at_lowest_clock_w for part in parts),
        lowest_clock_fraction=max(part.lowest_clock_fraction for part in parts),
        priority=first.priority,
        clock_fraction=max(part.clock_fraction for part in parts),
        power_when_stopped_w=sum(part.power_when_stopped_w for part in parts),
        gpus_per_replica=first.gpus_per_replica,
        replicas=sum(part.replicas for part in parts),
    )
