"""The clock: SimPy's environment, one re-armed timer a component, and the order of an instant."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import EventPriority

from simulator.foundation.errors import DatahallError
from simulator.foundation.time_grid import Priority

#: Decision rounds within one instant after which something must be wrong.
ROUNDS_PER_INSTANT = 1000


class Timer(simpy.Event):
    """A component's one pending event, armed again and again.

    SimPy cannot cancel: arming earlier puts a second entry on the heap, and the later one finds
    nothing due and goes back to sleep.
    """

    def __init__(self, clock: Clock, fire: Callable[[], None], priority: Priority) -> None:
        super().__init__(clock.environment)
        self._ok = True
        self._value = None
        self._fire = fire
        self._priority = EventPriority(int(priority))
        self._wake: list[Callable[[Any], None]] = [self._wakes]
        self.callbacks = self._wake
        #: Times of its entries on SimPy's heap, as a heap: seldom more than two.
        self._entries: list[float] = []
        self.due_s = math.inf

    def arm(self, at_s: float) -> None:
        """Fire at `at_s` instead of whenever it was due; inf disarms."""
        self.due_s = at_s
        entries = self._entries
        if not entries or at_s < entries[0]:
            if at_s == math.inf:
                return
            heappush(entries, at_s)
            now_s = self.env.now
            self.env.schedule(self, self._priority, at_s - now_s if at_s > now_s else 0)

    def arm_by(self, at_s: float) -> None:
        """Fire at `at_s` or when it was due already, whichever is first."""
        if at_s < self.due_s:
            self.arm(at_s)

    def _wakes(self, _: Any) -> None:
        self.callbacks = self._wake
        heappop(self._entries)
        due_s = self.due_s
        if due_s <= self.env.now:
            self.due_s = math.inf
            self._fire()
        elif due_s < math.inf:
            self.arm(due_s)


class Clock:
    """Simulated time and the loop that lets it pass."""

    def __init__(self) -> None:
        self.environment = simpy.Environment()
        self.events = 0
        self._rounds = 0
        self._round_s = -1.0

    @property
    def now_s(self) -> float:
        """Return the present. [s since the run's start]"""
        return float(self.environment.now)

    def timer(self, fire: Callable[[], None], priority: Priority) -> Timer:
        """Return a timer that calls `fire` when due, at its priority within the instant."""
        return Timer(self, fire, priority)

    def count_round(self) -> None:
        """Count a decision round; a thousand in one instant is an error."""
        now_s = self.environment.now
        if now_s != self._round_s:
            self._round_s, self._rounds = now_s, 0
        self._rounds += 1
        if self._rounds > ROUNDS_PER_INSTANT:
            raise DatahallError(
                f"at {now_s} s: {ROUNDS_PER_INSTANT} rounds of decisions within one instant; "
                "a policy keeps undoing what it did"
            )

    def advance_to(self, at_s: float) -> None:
        """Move the present to `at_s`; nothing may be pending before it."""
        if at_s > self.environment.now:
            self.environment.run(until=at_s)

    def run(
        self,
        until_s: float,
        before: Callable[[float], None] | None = None,
        progress: Callable[[float], None] | None = None,
        finished: Callable[[], bool] | None = None,
    ) -> None:
        """Let time pass up to and including `until_s`.

        Parameters
        ----------
        until_s
            The horizon; closed. inf runs until nothing is pending.
        before
            Called with the time of the next event before time moves on to it; it may arm timers
            earlier than that (crowds advance here).
        progress
            Called now and then with the time reached.
        finished
            Asked before time moves on; True ends the run.
        """
        environment = self.environment
        step, peek = environment.step, environment.peek
        last_s, count = -1.0, 0
        while True:
            next_s = peek()
            if next_s > until_s or next_s == math.inf:
                if before is None or (finished is not None and finished()):
                    break
                before(until_s)
                if peek() > until_s or peek() == math.inf:
                    break
                continue
            if next_s > last_s:
                if finished is not None and finished():
                    break
                if before is not None:
                    before(next_s)
                    next_s = peek()
                last_s = next_s
            step()
            count += 1
            if progress is not None and count & 1023 == 0:
                progress(last_s)
        self.events += count
