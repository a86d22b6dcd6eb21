"""Caps on clocks and watts, and the clock that they leave each job.

A cap has a target and somebody who set it, so that lifting one's own leaves the others'. Of all
that apply to a job the lowest holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.cluster.allocation import Placement
from simulator.decisions import SetPower
from simulator.hardware.power_curve import CLOCK_CURVE
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Halvings that find the clock of a watt cap; 2**-30 of the clock is far below a watt.
_HALVINGS = 30


class Caps:
    """All caps in force."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: (by, target) -> (clock fraction, watts of each GPU); one of them is None.
        self._in_force: dict[tuple[str, str], tuple[float | None, float | None]] = {}
        self._sites = [plan.facts.name for plan in engine.world.sites]

    def set(self, decision: SetPower, by: str) -> str:
        """Put a cap in force, or lift it with a clock of 1; return why not."""
        clock, watts = decision.clock_fraction, decision.watts
        if (clock is None) == (watts is None):
            return "give either a clock fraction or watts, and not both"
        lowest = CLOCK_CURVE.lowest_fraction
        if clock is not None and not lowest <= clock <= 1.0:
            return f"a clock fraction of {clock:g} lies outside {lowest:g} to 1"
        if watts is not None and not watts > 0.0:
            return f"a cap of {watts:g} W leaves nothing"
        jobs = self._jobs_of(decision.target)
        if jobs is None:
            return f"there is no {decision.target!r}"
        if clock == 1.0:
            self._in_force.pop((by, decision.target), None)
        else:
            self._in_force[by, decision.target] = clock, watts
        for job in jobs:
            self._refresh(job)
        for pool in self.engine.pools:
            if pool.may_start is not None:
                # Other clocks leave other jobs room below a ceiling in watts.
                self.engine.pool_changed(pool.code)
        return ""

    def throttle(self, site: str, clock_fraction: float) -> None:
        """Cap a whole site from within, without the delay of a decision."""
        self.set(SetPower(f"site:{site}", clock_fraction), by="thermal")

    def start(self, job: int, placement: Placement) -> None:
        """Give a starting job the clock that the caps leave it there."""
        board = self.engine.board
        if not self._in_force:
            board.clock_fraction[job] = 1.0
            return
        board.clock_fraction[job] = self.clock(job, placement)
        self._note_exceeded(job, placement)

    def _refresh(self, job: int) -> None:
        """Take up changed caps."""
        engine, board = self.engine, self.engine.board
        placement = board.placement[job]
        if placement is None:
            return
        clock = self.clock(job, placement)
        if clock == board.clock_fraction[job]:
            return
        board.clock_fraction[job] = clock
        if board.kind[job] == "replica":
            engine.services.set_clock(job, clock)
        elif board.phase[job] == Phase.RUNNING:
            board.refresh(job)
        self._note_exceeded(job, placement)
        for tell in engine.listeners:
            tell(job)

    # ------------------------------------------------------------------ inside

    def _of(self, job: int, placement: Placement) -> list[tuple[float | None, float | None]]:
        """Return the caps that apply to a job."""
        engine, board = self.engine, self.engine.board
        pool = engine.pools[placement.pool]
        site = self._sites[pool.site]
        targets = [f"site:{site}", f"pool:{site}.{pool.name}", f"job:{board.job_id[job]}"]
        if board.kind[job] == "replica":
            targets.append(f"service:{board.job_id[job].partition('/')[0]}")
        else:
            targets.append(f"jobs:{site}")
        return [cap for (_, target), cap in self._in_force.items() if target in targets]

    def clock(self, job: int, placement: Placement) -> float:
        """Return the clock that the caps leave a job on a placement."""
        lowest = 1.0
        for clock, watts in self._of(job, placement):
            lowest = min(lowest, self._clock_for(job, placement, watts) if clock is None else clock)
        return lowest

    def _clock_for(self, job: int, placement: Placement, watts: float | None) -> float:
        """Return the highest clock at which a GPU of the job stays within `watts`."""
        assert watts is not None
        board = self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        profile = board.profile_on(job, placement)
        share = self.engine.board.link_share[job]
        if profile.at(1.0, share)[1] <= watts:
            return 1.0
        low, high = behaviour.lowest_clock_fraction, 1.0
        if profile.at(low, share)[1] > watts:
            return low
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            if profile.at(middle, share)[1] <= watts:
                low = middle
            else:
                high = middle
        return low

    def _note_exceeded(self, job: int, placement: Placement) -> None:
        """Say so where not even the lowest clock keeps a watt cap."""
        board = self.engine.board
        watts = min((w for _, w in self._of(job, placement) if w is not None), default=math.inf)
        if watts == math.inf:
            return
        profile = board.profile_on(job, placement)
        clock = board.clock_fraction[job]
        drawn_w = float(profile.at(clock, board.link_share[job])[1])
        if drawn_w > watts:
            self.engine.recorder.events.add(
                self.engine.clock.environment.now,
                "decision",
                "SetPower",
                board.job_id[job],
                "exceeded",
                0.0,
                f"a GPU draws {drawn_w:.4g} W at the lowest clock of {clock:.4g}, the cap is {watts:g} W",
                drawn_w,
            )

    def _jobs_of(self, target: str) -> list[int] | None:
        """Return the jobs that hold GPUs in a target, in submission order; None if there is none."""
        engine, board = self.engine, self.engine.board
        kind, _, name = target.partition(":")
        pools = [f"{self._sites[pool.site]}.{pool.name}" for pool in engine.pools]
        known = {
            "site": name in self._sites,
            "jobs": name in self._sites,
            "pool": name in pools,
            "job": name in board.job_id,
            "service": name in engine.services.services,
        }
        if not known.get(kind, False):
            return None
        found = []
        for pool in engine.pools:
            site = self._sites[pool.site]
            for job, _ in engine.holders(pool.code):
                replica = board.kind[job] == "replica"
                if (
                    (kind == "site" and site == name)
                    or (kind == "jobs" and site == name and not replica)
                    or (kind == "pool" and pools[pool.code] == name)
                    or (kind == "job" and board.job_id[job] == name)
                    or (kind == "service" and replica and board.job_id[job].partition("/")[0] == name)
                ):
                    found.append(job)
        return found
