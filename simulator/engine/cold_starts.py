"""The cold starts of a service's replicas: each phase is told as it begins, and the end of all."""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from simulator.foundation.time_grid import Priority, snap_up

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class ColdStarts:
    """Cold starts under way.

    Parameters
    ----------
    phases
        Name and length of each phase, in order; none where they are not told. [s]
    wanted
        Jobs of replicas that were not taken away; it changes with the run.
    """

    def __init__(
        self, engine: Engine, phases: tuple[tuple[str, float], ...], wanted: Collection[int]
    ) -> None:
        self._engine = engine
        self._phases = phases
        self._wanted = wanted
        self._due: list[tuple[float, int, int]] = []
        """(when, job, phase), soonest first."""
        self._timer = engine.clock.timer(self._next_phases, Priority.CONTROL)

    def begin(self, job: int) -> None:
        """Tell the phases of a replica's cold start as they begin."""
        begin_s = self._engine.clock.environment.now
        for phase, (_, length_s) in enumerate(self._phases):
            heappush(self._due, (begin_s, job, phase))
            begin_s = snap_up(begin_s + length_s)
        self._next_phases()

    def end(self, job: int) -> None:
        """Tell that a replica is ready, and how long its cold start took, if it had one."""
        took_s = self._engine.clock.environment.now - self._engine.board.started_s[job]
        if self._phases and took_s > 0.0:
            self._tell(job, "ready", "ended", took_s)

    def _next_phases(self) -> None:
        """Tell the phases that begin now, of replicas that were not taken away meanwhile."""
        now_s = self._engine.clock.environment.now
        while self._due and self._due[0][0] <= now_s:
            _, job, phase = heappop(self._due)
            if job in self._wanted:
                what, length_s = self._phases[phase]
                self._tell(job, what, "began", length_s)
        if self._due:
            self._timer.arm(self._due[0][0])

    def _tell(self, job: int, what: str, outcome: str, value_s: float) -> None:
        now_s, board = self._engine.clock.environment.now, self._engine.board
        self._engine.recorder.events.add(
            now_s, "cold start", what, board.job_id[job], outcome, 0.0, "", value_s
        )
