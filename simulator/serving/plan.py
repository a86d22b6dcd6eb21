"""The iterations that a replica has planned: when they began, what each takes, where they are cut."""

from __future__ import annotations

from simulator.serving.leap import run_ps, steps_within
from simulator.serving.picoseconds import NEVER


class Planned:
    """What has a plan: so many iterations in a row, each longer than the last by the same."""

    __slots__ = (
        "boundary",
        "first_ps",
        "growth_ps",
        "iterations",
        "leaps",
        "plan_end",
        "plan_start",
        "steps",
    )

    def __init__(self) -> None:
        self.plan_start = 0
        self.plan_end = NEVER
        """NEVER where nothing is planned."""
        self.steps = 0
        self.first_ps = 0
        self.growth_ps = 0
        self.boundary = False
        """Whether `schedule` is due at this very instant."""
        self.iterations = 0
        self.leaps = 0

    def cut(self, after_ps: int) -> bool:
        """End the plan at its first boundary later than `after_ps`; return whether it shrank."""
        if self.steps <= 1:
            return False
        steps = steps_within(self.first_ps, self.growth_ps, after_ps - self.plan_start) + 1
        if steps >= self.steps:
            return False
        self._keep_to(steps)
        return True

    def _plan(self, at_ps: int, first_ps: int, growth_ps: int, steps: int) -> None:
        """Plan so many iterations from `at_ps` on."""
        self.plan_start = at_ps
        self.first_ps = first_ps
        self.growth_ps = growth_ps
        self.steps = steps
        self.plan_end = at_ps + run_ps(first_ps, growth_ps, steps)

    def _keep_to(self, steps: int) -> None:
        """Let the plan have so many iterations."""
        self.steps = steps
        self.plan_end = self.plan_start + run_ps(self.first_ps, self.growth_ps, steps)

    def _rest(self) -> None:
        """Plan nothing."""
        self.plan_end = NEVER
        self.steps = 0

    def _steps_begun(self, at_ps: int) -> int:
        """Return the iterations that have begun by a moment inside (or at the end of) the plan."""
        if self.plan_end == NEVER:
            return 0
        if self.steps <= 1:
            return self.steps
        done = steps_within(self.first_ps, self.growth_ps, at_ps - self.plan_start)
        return min(done + 1, self.steps)

    def _steps_ended(self, at_ps: int) -> int:
        """Return the iterations that are over by then."""
        if self.plan_end == NEVER:
            return 0
        return self.steps if at_ps >= self.plan_end else max(0, self._steps_begun(at_ps) - 1)
