"""A quantity that grows or shrinks at a constant rate, and when it reaches a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """A linear integral: work done, charge, a tank, a budget.

    Parameters
    ----------
    value
        The level at `since_s`, between `low` and `high`.
    rate
        Its growth per second; negative when it shrinks.
    since_s
        From when the rate holds. [s since the run's start]
    low, high
        Where the level stops: an empty or full tank stays so until the rate turns.

    Examples
    --------
    >>> charge_j = Level(100.0, -2.0, 0.0, low=0.0)
    >>> charge_j.at(10.0), charge_j.crossing_s(0.0), charge_j.at(60.0)
    (80.0, 50.0, 0.0)
    """

    value: float
    rate: float
    since_s: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"a level of {self.value!r} is not between {self.low!r} and {self.high!r}")
        if not (math.isfinite(self.rate) and math.isfinite(self.since_s)):
            raise ValueError(f"a level's rate {self.rate!r} and moment {self.since_s!r} must be finite")

    def at(self, moment_s: float) -> float:
        """Return the level at a moment that is not before `since_s`."""
        _not_before(moment_s, self.since_s)
        if self.rate == 0.0:
            return self.value
        return min(max(self.value + self.rate * (moment_s - self.since_s), self.low), self.high)

    def crossing_s(self, threshold: float) -> float | None:
        """Return when the level reaches a threshold, or None if it never does. [s]

        A level that stands on the threshold has reached it at `since_s`.
        """
        if self.value == threshold:
            return self.since_s
        if self.rate == 0.0 or not self.low <= threshold <= self.high:
            return None
        wait_s = (threshold - self.value) / self.rate
        return self.since_s + wait_s if 0.0 <= wait_s < math.inf else None

    def with_rate(self, moment_s: float, rate: float) -> Level:
        """Return the level as it is at a moment, going on at another rate."""
        return Level(self.at(moment_s), rate, moment_s, self.low, self.high)

    def with_value(self, moment_s: float, value: float) -> Level:
        """Return the level set to a value at a moment, going on at the same rate."""
        return Level(value, self.rate, moment_s, self.low, self.high)


def _not_before(moment_s: float, since_s: float) -> None:
    if not moment_s >= since_s:
        raise ValueError(f"{moment_s!r} s lies before {since_s!r} s, from when this is known")
