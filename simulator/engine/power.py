"""Watts while the clock runs: clock limits, called limits, storage, and cooling that fails.

Only what can act on the IT is here. Power itself is never sampled: it is asked for at the
moments at which something changed, and only at sites where somebody listens.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

from simulator.cluster.allocation import Placement
from simulator.decisions import (
    CallView,
    LoadView,
    PowerView,
    Remember,
    SetPower,
    Wake,
)
from simulator.engine.world import ScriptStep
from simulator.facility.site import FacilityDraw
from simulator.facility.storage import BatteryState
from simulator.facility.thermal import Episode, ThermalChange
from simulator.foundation.time_grid import Priority, snap, snap_up

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Halvings that find the clock of a watt cap; 2**-30 of the clock is far below a watt.
_HALVINGS = 30


class PowerControl:
    """Clocks, limits, storage and thermal episodes of all sites."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        world = engine.world
        #: Caps in force: target -> (clock fraction, watts of each GPU); one of them is None.
        self.caps: dict[str, tuple[float | None, float | None]] = {}
        self.sites = [_Site(self, code) for code in range(len(world.sites))]
        kinds = {step.kind for step in world.script}
        self.listens = bool(kinds & {"cooling-fault", "curtailment"}) and any(
            site.policy or "cooling-fault" in kinds for site in self.sites
        )

    def begin(self) -> None:
        """Start with storage at rest; wake for the calls."""
        for site in self.sites:
            site.begin()

    def job_changed(self, job: int) -> None:
        """Note that a job's power changed."""
        pool = self.engine.board.last_pool[job]
        if pool >= 0:
            self.sites[self.engine.pools[pool].site].changed()

    # ------------------------------------------------------------------ clocks

    def set_power(self, decision: SetPower) -> str:
        """Put a cap in force; return why not."""
        engine = self.engine
        if (decision.clock_fraction is None) == (decision.watts is None):
            return "give either a clock fraction or watts, and not both"
        if decision.clock_fraction is not None and not 0.0 < decision.clock_fraction <= 1.0:
            return f"a clock fraction of {decision.clock_fraction} lies outside 0 to 1"
        jobs = self._jobs_of(decision.target)
        if jobs is None:
            return f"there is no {decision.target!r}"
        if decision.clock_fraction == 1.0:
            self.caps.pop(decision.target, None)
        else:
            self.caps[decision.target] = (decision.clock_fraction, decision.watts)
        for job in jobs:
            self.refresh(job)
        del engine
        return ""

    def set_clock_of(self, job: int, placement: Placement) -> None:
        """Give a starting job the clock that the caps leave it."""
        self.engine.board.clock_fraction[job] = self._clock(job, placement)

    def refresh(self, job: int) -> None:
        """Take up a changed cap."""
        engine, board = self.engine, self.engine.board
        placement = board.placement[job]
        if placement is None:
            return
        clock = self._clock(job, placement)
        if clock == board.clock_fraction[job]:
            return
        board.clock_fraction[job] = clock
        if board.kind[job] == "replica":
            engine.services.set_clock(job, clock)
        else:
            board.refresh(job)
        for tell in engine.listeners:
            tell(job)

    def _clock(self, job: int, placement: Placement) -> float:
        engine, board = self.engine, self.engine.board
        pool = engine.pools[placement.pool]
        site = engine.world.sites[pool.site].facts.name
        targets = [f"site:{site}", f"pool:{site}.{pool.name}", f"job:{board.job_id[job]}"]
        if board.kind[job] == "replica":
            targets.append(f"service:{board.job_id[job].partition('/')[0]}")
        clock = 1.0
        for target in targets:
            cap = self.caps.get(target)
            if cap is None:
                continue
            fraction, watts = cap
            if fraction is None:
                assert watts is not None
                fraction = self._clock_for(job, watts)
            clock = min(clock, fraction)
        thermal = self.sites[pool.site].thermal_clock
        return min(clock, thermal) if thermal > 0.0 else clock

    def _clock_for(self, job: int, watts: float) -> float:
        """Return the highest clock at which a GPU of the job stays within `watts`."""
        board = self.engine.board
        placement = board.placement[job]
        if placement is None or board.kind[job] == "replica":
            lowest = board.behaviours[board.behaviour_of[job]].lowest_clock_fraction
            profile = board.behaviours[board.behaviour_of[job]].profile_for(
                job, placement or Placement(0, board.gpus[job], 0), board.gpus[job]
            )
        else:
            lowest = board.behaviours[board.behaviour_of[job]].lowest_clock_fraction
            profile = board.profile(job)
        share = board.link_share[job]
        if profile.at(1.0, share)[1] <= watts:
            return 1.0
        low, high = lowest, 1.0
        if profile.at(low, share)[1] > watts:
            return low
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            if profile.at(middle, share)[1] <= watts:
                low = middle
            else:
                high = middle
        return low

    def _jobs_of(self, target: str) -> list[int] | None:
        engine, board = self.engine, self.engine.board
        kind, _, name = target.partition(":")
        holders = [(job, pool) for pool in range(len(engine.pools)) for job, _ in engine.holders(pool)]
        sites = [plan.facts.name for plan in engine.world.sites]
        if kind == "site" and name in sites:
            code = sites.index(name)
            return [job for job, pool in holders if engine.pools[pool].site == code]
        if kind == "pool":
            for pool in engine.pools:
                if name == f"{sites[pool.site]}.{pool.name}":
                    return [job for job, code in holders if code == pool.code]
        if kind == "job" and name in board.job_id:
            return [job for job, _ in holders if board.job_id[job] == name]
        if kind == "service" and name in engine.services.services:
            return [
                job
                for job, _ in holders
                if board.job_id[job].partition("/")[0] == name and board.kind[job] == "replica"
            ]
        return None

    # ------------------------------------------------------------------ sites

    def store(self, name: str, power_w: float) -> str:
        """Charge or discharge the storage of a site; return why not."""
        site = self._site(name)
        if site is None or site.battery is None:
            return f"site {name!r} has no storage"
        return site.store(power_w)

    def add_call(self, step: ScriptStep) -> None:
        """Take in a curtailment of the script."""
        site = self._site(step.values["site"])
        assert site is not None
        start_s = snap(step.at_s)
        site.calls.append(
            CallView(
                max(0.0, start_s - step.values["notice_s"]),
                start_s,
                snap(start_s + step.values["lasts_s"]),
                step.values["limit_w"],
            )
        )

    def cooling(self, name: str, capacity_fraction: float) -> None:
        """Let a share of the cooling equipment of a site work from now on."""
        site = self._site(name)
        assert site is not None
        site.set_cooling(capacity_fraction)

    def _site(self, name: str) -> _Site | None:
        for site in self.sites:
            if site.plan.facts.name == name:
                return site
        return None

    def storage_series(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the dispatch of online storage by site."""
        return {
            site.code: (np.array(site.dispatch[0]), np.array(site.dispatch[1]))
            for site in self.sites
            if site.battery is not None
        }

    def limit_series(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the called limits by site; inf where none holds."""
        found = {}
        for site in self.sites:
            if site.calls:
                edges = sorted({0.0} | {t for call in site.calls for t in (call.start_s, call.end_s)})
                values = [
                    min(
                        [call.limit_w for call in site.calls if call.start_s <= t < call.end_s],
                        default=math.inf,
                    )
                    for t in edges
                ]
                found[site.code] = (np.array(edges), np.array(values))
        return found

    def thermal_series(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the working share of the cooling equipment by site, where it ever changed."""
        return {
            site.code: (np.array(site.cooling_log[0]), np.array(site.cooling_log[1]))
            for site in self.sites
            if len(site.cooling_log[0]) > 1
        }


class _Site:
    """One site's power while the clock runs."""

    def __init__(self, control: PowerControl, code: int) -> None:
        self.control = control
        self.engine = control.engine
        self.code = code
        self.plan = control.engine.world.sites[code]
        self.policy = self.plan.power_policy
        self.calls: list[CallView] = []
        self.memory: object = None
        self.battery: BatteryState | None = None
        self.dispatch = (array("d"), array("d"))
        self.cooling_fraction = 1.0
        self.cooling_log = (array("d", [0.0]), array("d", [1.0]))
        self.episode: Episode | None = None
        self.thermal_clock = 1.0
        self.tripped: list[int] = []
        clock = self.engine.clock
        self._ask = clock.timer(self._ask_policy, Priority.CONTROL)
        self._bound = clock.timer(self._at_bound, Priority.SIGNAL)
        self._thermal = clock.timer(self._thermal_change, Priority.SIGNAL)
        self._settle = clock.timer(self._settled, Priority.CONTROL)
        self._edges: list[float] = []

    def begin(self) -> None:
        """Put storage at rest and wake for the calls."""
        if self.plan.battery is not None:
            self.battery = self.plan.battery.at_start(0.0)
            self.dispatch[0].append(0.0)
            self.dispatch[1].append(0.0)
        if self.calls and self.policy is None:
            self.engine.world.notes.append(
                f"{self.plan.facts.name}: {len(self.calls)} curtailment calls and no power_policy: "
                "nobody acts on them, and the limit is only checked"
            )
        self._edges = sorted({t for call in self.calls for t in (call.announced_s, call.start_s, call.end_s)})
        self._log_calls()
        if self.policy is not None and self._edges:
            self._ask.arm(self._edges[0])

    def _log_calls(self) -> None:
        rows = sorted(
            (t, what, call.limit_w)
            for call in self.calls
            for t, what in (
                (call.announced_s, "announced"),
                (call.start_s, "began"),
                (call.end_s, "ended"),
            )
        )
        for at_s, what, limit_w in rows:
            self.engine.recorder.events.add(
                at_s, "call", "curtailment", self.plan.facts.name, what, 0.0, "", limit_w
            )

    # ------------------------------------------------------------------ what is drawn

    def node_power_w(self) -> float:
        """Return the power of all nodes now. [W]"""
        engine, board = self.engine, self.engine.board
        total_w = 0.0
        for pool in engine.pools:
            if pool.site != self.code:
                continue
            held = 0
            for job, placement in engine.holders(pool.code):
                held += placement.gpus
                total_w += self._job_power_w(job)
            total_w += (pool.facts.gpus - held) * pool.idle_w_per_gpu
        del board
        return total_w

    def _job_power_w(self, job: int) -> float:
        board = self.engine.board
        if board.kind[job] == "replica":
            return self.engine.services.power_w(job)
        return board.power_w[job]

    def _draw(self) -> tuple[FacilityDraw, float, float]:
        now_s = self.engine.clock.environment.now
        dry_c, wet_c = self.plan.weather.at(now_s)
        node_w = self.node_power_w()
        return self.plan.physics.draw(node_w, dry_c, wet_c, self.cooling_fraction), dry_c, wet_c

    # ------------------------------------------------------------------ the policy

    def changed(self) -> None:
        """Look again once the instant has settled, if anything here depends on power."""
        now_s = self.engine.clock.environment.now
        in_call = any(call.start_s <= now_s < call.end_s for call in self.calls)
        if self.episode is not None or self.cooling_fraction < 1.0 or (self.policy and in_call):
            self._settle.arm_by(now_s)

    def _settled(self) -> None:
        if self.episode is not None or self.cooling_fraction < 1.0:
            self._heat()
        if self.policy is not None and self._over_limit():
            self._ask.arm_by(self.engine.clock.environment.now)

    def _limit_w(self) -> float | None:
        now_s = self.engine.clock.environment.now
        limits = [call.limit_w for call in self.calls if call.start_s <= now_s < call.end_s]
        if self.plan.facts.limit_w is not None:
            limits.append(self.plan.facts.limit_w)
        return min(limits, default=None)

    def _over_limit(self) -> bool:
        limit_w = self._limit_w()
        if limit_w is None:
            return False
        storage_w = self.battery.power_w if self.battery else 0.0
        return float(self._draw()[0].meter_w) + storage_w > limit_w * (1.0 + 1e-9)

    def _ask_policy(self) -> None:
        now_s = self.engine.clock.environment.now
        for decision in self.policy.decide(self._view()):
            if isinstance(decision, Remember):
                self.memory = decision.value
            elif isinstance(decision, Wake):
                self._edges.append(snap_up(max(decision.at_s, now_s)))
            else:
                self.engine.decide(decision, by=type(self.policy).__name__)
        self._edges = sorted(edge for edge in set(self._edges) if edge > now_s)
        if self._edges:
            self._ask.arm_by(self._edges[0])

    def _view(self) -> PowerView:
        engine = self.engine
        now_s = engine.clock.environment.now
        draw, dry_c, wet_c = self._draw()
        node_w = float(draw.node_w)
        battery = self.battery
        return PowerView(
            site=self.plan.facts.name,
            now_s=now_s,
            calls=tuple(c for c in self.calls if c.announced_s <= now_s < c.end_s),
            limit_w=self._limit_w(),
            facility_power_w=float(draw.meter_w),
            it_power_w=node_w + draw.network_w,
            facility_per_it=self.plan.physics.meter_per_node_watt(node_w, dry_c, wet_c),
            storage_charge_j=battery.energy_out_j(now_s) if battery else 0.0,
            storage_capacity_j=(battery.energy_out_j(now_s) + battery.energy_in_j(now_s) if battery else 0.0),
            storage_power_w=battery.battery.power_w if battery else 0.0,
            storage_dispatch_w=battery.power_w if battery else 0.0,
            loads=self._loads(),
            cap_delay_s=engine.world.cap_delay_s,
            checkpoint_s=self._checkpoint_s(),
            memory=self.memory,
        )

    def _loads(self) -> tuple[LoadView, ...]:
        engine, board = self.engine, self.engine.board
        loads: list[LoadView] = []
        services: dict[str, list[int]] = {}
        for pool in engine.pools:
            if pool.site != self.code:
                continue
            for job, placement in engine.holders(pool.code):
                if board.kind[job] == "replica":
                    services.setdefault(board.job_id[job].partition("/")[0], []).append(job)
                    continue
                lowest = board.behaviours[board.behaviour_of[job]].lowest_clock_fraction
                loads.append(
                    LoadView(
                        key=f"job:{board.job_id[job]}",
                        index=job,
                        kind=board.kind[job],
                        gpus=placement.gpus,
                        power_w=board.power_w[job],
                        power_at_lowest_clock_w=board.power_at(job, lowest),
                        lowest_clock_fraction=lowest,
                        priority=board.priority[job],
                    )
                )
        for name, jobs in services.items():
            power_w = sum(self._job_power_w(job) for job in jobs)
            behaviour = board.behaviours[board.behaviour_of[jobs[0]]]
            per_gpu = [engine.pools[board.last_pool[job]].loaded_idle_w for job in jobs]
            host_w = sum(
                engine.pools[board.last_pool[job]].host_active_w_per_gpu * board.held_gpus[job]
                for job in jobs
            )
            floor_w = sum(w * board.held_gpus[job] for w, job in zip(per_gpu, jobs, strict=True))
            lowest = behaviour.lowest_clock_fraction
            # What lies above the loaded floor falls about with the clock.
            above_w = max(power_w - host_w - floor_w, 0.0)
            loads.append(
                LoadView(
                    key=f"service:{name}",
                    index=-1,
                    kind="service",
                    gpus=sum(board.held_gpus[job] for job in jobs),
                    power_w=power_w,
                    power_at_lowest_clock_w=min(power_w, host_w + floor_w + above_w * lowest),
                    lowest_clock_fraction=lowest,
                    priority=board.priority[jobs[0]],
                    gpus_per_replica=board.gpus[jobs[0]],
                    replicas=len(jobs),
                )
            )
        return tuple(loads)

    def _checkpoint_s(self) -> float:
        engine, board = self.engine, self.engine.board
        longest_s = 0.0
        for pool in engine.pools:
            if pool.site == self.code:
                for job, _ in engine.holders(pool.code):
                    saves = board.behaviours[board.behaviour_of[job]].checkpoints
                    if saves is not None:
                        longest_s = max(longest_s, saves.stall_s + saves.lag_s)
        return longest_s

    # ------------------------------------------------------------------ storage

    def store(self, power_w: float) -> str:
        """Change the dispatch; return why not."""
        assert self.battery is not None
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
        full = self.battery.power_w > 0.0
        self.battery = self.battery.at_bound(now_s)
        self._note_dispatch()
        self.engine.recorder.events.add(
            now_s,
            "call",
            "storage",
            self.plan.facts.name,
            "full" if full else "empty",
            0.0,
            "",
            self.battery.charge_j(now_s),
        )
        if self.policy is not None:
            self._ask.arm_by(now_s)

    def _note_dispatch(self) -> None:
        assert self.battery is not None
        now_s = self.engine.clock.environment.now
        times, powers = self.dispatch
        if times and times[-1] == now_s:
            powers[-1] = self.battery.power_w
        else:
            times.append(now_s)
            powers.append(self.battery.power_w)

    # ------------------------------------------------------------------ heat

    def set_cooling(self, capacity_fraction: float) -> None:
        """Let a share of the cooling work from now on."""
        now_s = self.engine.clock.environment.now
        self.cooling_fraction = capacity_fraction
        times, values = self.cooling_log
        if times[-1] == now_s:
            values[-1] = capacity_fraction
        else:
            times.append(now_s)
            values.append(capacity_fraction)
        self.engine.recorder.events.add(
            now_s,
            "thermal",
            "cooling",
            self.plan.facts.name,
            "began" if capacity_fraction < 1.0 else "ended",
            0.0,
            "",
            capacity_fraction,
        )
        self._settle.arm_by(now_s)

    def _heat(self) -> None:
        """Tell the episode what heat and capacity are now; begin one if heat is too much."""
        now_s = self.engine.clock.environment.now
        draw, dry_c, wet_c = self._draw()
        heat_w, capacity_w = float(draw.heat_w), float(draw.capacity_w)
        if self.episode is None:
            if heat_w <= capacity_w:
                return
            whole = self.plan.physics.draw(float(draw.node_w), dry_c, wet_c, 1.0)
            rated_w = min(float(whole.capacity_w), 1e300)
            if not math.isfinite(rated_w):
                return
            self.episode = Episode.begin(self.plan.thermal, rated_w, now_s)
            self._note_thermal("episode", "began", heat_w - capacity_w)
        self.episode = self.episode.with_load(now_s, heat_w, capacity_w)
        self._arm_thermal()

    def _arm_thermal(self) -> None:
        change = self.episode.next_change() if self.episode is not None else None
        self._thermal.arm(math.inf if change is None else snap_up(change[0]))

    def _thermal_change(self) -> None:
        if self.episode is None:
            return
        change = self.episode.next_change()
        now_s = self.engine.clock.environment.now
        if change is None or snap_up(change[0]) > now_s:
            self._arm_thermal()
            return
        what = change[1]
        self.episode = self.episode.changed(now_s, what)
        self._note_thermal(what.value, "applied", self.episode.clock_fraction)
        if what is ThermalChange.SETTLED:
            self._note_thermal("episode", "ended", 0.0)
            self.episode = None
        elif what is ThermalChange.TRIP:
            self._trip()
        elif what is ThermalChange.RESTART:
            self._restart()
        self._use_clock()
        self._arm_thermal()
        self._settle.arm_by(now_s)

    def _use_clock(self) -> None:
        fraction = self.episode.clock_fraction if self.episode is not None else 1.0
        # A tripped site has nothing left to clock.
        self.thermal_clock = fraction if fraction > 0.0 else 1.0
        if self.thermal_clock < 1.0:
            self.control.caps.setdefault(f"thermal:{self.plan.facts.name}", (1.0, None))
        else:
            self.control.caps.pop(f"thermal:{self.plan.facts.name}", None)
        for pool in self.engine.pools:
            if pool.site == self.code:
                for job, _ in self.engine.holders(pool.code):
                    self.control.refresh(job)

    def _trip(self) -> None:
        """Switch the IT off: every job loses what it did not save and waits."""
        engine, board = self.engine, self.engine.board
        for pool in engine.pools:
            if pool.site != self.code:
                continue
            for job, _ in engine.holders(pool.code):
                if board.kind[job] == "replica":
                    engine.services.failed(job)
                    continue
                board.lose_unsaved(job)
                board.restarts[job] += 1
                engine.leave(job)
                engine.requeue(job)
            for queue in engine.queues_of_pool.get(pool.code, ()):
                queue.ceiling_gpus = 0
                queue.changed()

    def _restart(self) -> None:
        for pool in self.engine.pools:
            if pool.site == self.code:
                for queue in self.engine.queues_of_pool.get(pool.code, ()):
                    queue.ceiling_gpus = None
                    queue.changed()
        self.engine.decide_soon()

    def _note_thermal(self, what: str, outcome: str, value: float) -> None:
        now_s = self.engine.clock.environment.now
        self.engine.recorder.events.add(now_s, "thermal", what, self.plan.facts.name, outcome, 0.0, "", value)
