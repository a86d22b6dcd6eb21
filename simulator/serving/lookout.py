"""What a crowd keeps an eye on while time passes: a watch's thresholds, and samples of its queue."""

from __future__ import annotations

import math

from simulator.serving.crowd import Watch
from simulator.serving.picoseconds import NEVER, to_ps


class Lookout:
    """Control instants of a watch, and queue and arrivals at the end of each bin.

    Parameters
    ----------
    start_ps, bin_ps
        Start of the run and width of the bins. [ps]
    """

    def __init__(self, start_ps: int, bin_ps: int) -> None:
        self._bin_ps = bin_ps
        self.watch: Watch | None = None
        self.tick = NEVER
        """Next control instant that is not judged yet. [ps]"""
        self.sample = (start_ps // bin_ps + 1) * bin_ps
        """Next end of a bin. [ps]"""
        self.queued: list[int] = []
        self.arrived: list[int] = []
        """Requests that came so far, at the end of each bin."""

    def arm(self, now_ps: int) -> None:
        """Judge next at the first control instant after now: something has changed."""
        if self.watch is None:
            self.tick = NEVER
        else:
            period = to_ps(self.watch.every_s)
            self.tick = (now_ps // period + 1) * period

    def take_samples(self, before_ps: int, queued: int, arrived: int) -> None:
        """Note the queue at the ends of bins before `before_ps`."""
        while self.sample < before_ps:
            self.queued.append(queued)
            self.arrived.append(arrived)
            self.sample += self._bin_ps

    def passed(self, next_event_ps: int, *, fired: bool) -> None:
        """Go on from the control instant just judged; nothing happens before `next_event_ps`."""
        watch = self.watch
        if watch is None:
            return
        period = to_ps(watch.every_s)
        if fired or math.isfinite(watch.kv_above_fraction):
            self.tick += period
        else:
            # What the other thresholds look at stays as it is until the next event.
            self.tick = -(-next_event_ps // period) * period

    def crossed(self, queued: int, in_flight: int, ready: int) -> bool:
        """Return whether the queue or the load is beyond a threshold."""
        watch = self.watch
        if watch is None:
            return False
        if not ready:
            return queued > 0 and self.awaits_growth
        return (
            queued > watch.queue_above * ready
            or in_flight > watch.load_above * ready
            or in_flight < watch.load_below * ready
        )

    @property
    def awaits_growth(self) -> bool:
        """Whether more requests could pass a threshold."""
        watch = self.watch
        return watch is not None and math.isfinite(min(watch.queue_above, watch.load_above))

    def missing(self, in_flight: int, ready: int) -> int:
        """Return how many requests must come before queue or load can be beyond; 0: the queue may be now."""
        watch = self.watch
        if watch is None:
            return 0
        # Every request in flight may wait (again, after a preemption); beyond them new ones must come.
        return max(0, math.floor(min(watch.queue_above, watch.load_above) * ready) + 1 - in_flight)

    def first_tick_ps(self, at_ps: int) -> int:
        """Return the first control instant at or after both `tick` and `at_ps`. [ps]"""
        if self.watch is None or at_ps == NEVER:
            return NEVER
        period = to_ps(self.watch.every_s)
        return max(self.tick, -(-at_ps // period) * period)
