"""Checkpoint storage shared by the runs that write to it: how much longer each write takes.

Runs save themselves by their own clocks, so who writes with whom is chance. What counts is the
expectation: a run's writing meets the mean number of others that write at the same time, and
the storage divides its bandwidth evenly. Nothing is simulated write by write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.foundation.time_grid import Priority
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.behaviour import Checkpoints
    from simulator.engine.engine import Engine

#: Rounds of the fixed point, and the change at which it stands; it rises to its limit from below.
_ROUNDS: Final = 200
_STANDS: Final = 1e-9


def write_stretches(writers: list[Checkpoints]) -> list[float]:
    """Return by how much each run's writing takes longer than alone, in expectation.

    A run writes for a share u = k w / (interval + stall) of its time, with w the write alone and
    k its stretch; k is 1 and the others' u together. Checkpoints never overlap their successors
    (`Checkpoints.under`), so no u passes 1 and the fixed point exists.
    """
    stretches = [1.0] * len(writers)
    for _ in range(_ROUNDS):
        shares = []
        for saves, stretch in zip(writers, stretches, strict=True):
            every_s, stall_s, _ = saves.under(stretch)
            shares.append(min(1.0, stretch * saves.write_s / (every_s + stall_s)))
        fresh = [1.0 + sum(shares[:own]) + sum(shares[own + 1 :]) for own in range(len(shares))]
        change = max(abs(new - old) for new, old in zip(fresh, stretches, strict=True))
        stretches = fresh
        if change < _STANDS:
            break
    return stretches


class StorageControl:
    """Tells the runs of a site how long their writes take, whenever the set of writers changes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        board = engine.board
        writers = [
            job
            for job in range(len(board.job_id))
            if (saves := board.behaviours[board.behaviour_of[job]].checkpoints) is not None and saves.write_s
        ]
        self.listens = len(writers) > 1
        self._writers = dict.fromkeys(writers)
        self._running: dict[int, tuple[int, ...]] = {}
        self._timer = engine.clock.timer(self._settle, Priority.CONTROL)

    def job_changed(self, job: int) -> None:
        """Note that a run may have begun or ceased to write."""
        if job in self._writers:
            self._timer.arm_by(self.engine.clock.environment.now)

    def _settle(self) -> None:
        board = self.engine.board
        by_site: dict[int, list[int]] = {}
        for job in self._writers:
            if board.phase[job] == Phase.RUNNING and board.held_gpus[job]:
                by_site.setdefault(self.engine.pools[board.last_pool[job]].site, []).append(job)
        for site, jobs in by_site.items():
            if self._running.get(site) == tuple(jobs):
                continue
            self._running[site] = tuple(jobs)
            stretches = write_stretches([self._saves(job) for job in jobs])
            for job, stretch in zip(jobs, stretches, strict=True):
                if stretch != board.storage_stretch[job]:
                    board.settle(job)
                    board.storage_stretch[job] = stretch
                    board.refresh(job)

    def _saves(self, job: int) -> Checkpoints:
        saves = self.engine.board.behaviours[self.engine.board.behaviour_of[job]].checkpoints
        assert saves is not None
        return saves
