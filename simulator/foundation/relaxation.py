"""A quantity that approaches a target exponentially, and when it reaches a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A first-order response: a room's temperature after the chiller stops.

    Parameters
    ----------
    value
        Where it is at `since_s`.
    target
        Where it would end, in the same unit.
    time_constant_s
        After this long, 1/e of the way is left. Positive: a jump would be a feedback without
        delay. [s]
    since_s
        From when target and time constant hold. [s since the run's start]

    Examples
    --------
    >>> room_c = Relaxation(25.0, 45.0, 600.0, 0.0)
    >>> round(room_c.at(600.0), 3), round(room_c.crossing_s(35.0), 3), room_c.crossing_s(45.0)
    (37.642, 415.888, None)
    """

    value: float
    target: float
    time_constant_s: float
    since_s: float

    def __post_init__(self) -> None:
        if not self.time_constant_s > 0.0:
            raise ValueError(f"a time constant is positive, but is {self.time_constant_s!r} s")
        if not all(math.isfinite(number) for number in (self.value, self.target, self.since_s)):
            raise ValueError(
                f"value {self.value!r}, target {self.target!r} and moment {self.since_s!r} must be finite"
            )

    def at(self, moment_s: float) -> float:
        """Return the value at a moment that is not before `since_s`."""
        if not moment_s >= self.since_s:
            raise ValueError(f"{moment_s!r} s lies before {self.since_s!r} s, from when this is known")
        gone = -math.expm1(-(moment_s - self.since_s) / self.time_constant_s)
        return self.value + (self.target - self.value) * gone

    def crossing_s(self, threshold: float) -> float | None:
        """Return when the value reaches a threshold, or None if it never does. [s]

        The target itself is only approached; a value that stands on the threshold has reached it.
        """
        if self.value == threshold:
            return self.since_s
        # Compared as numbers, not as differences, which may round to the same.
        if not (self.value < threshold < self.target or self.target < threshold < self.value):
            return None
        left = threshold - self.target
        # log1p keeps the digits when the threshold lies right beside the value.
        wait_s = self.time_constant_s * math.log1p((self.value - threshold) / left)
        return self.since_s + wait_s if math.isfinite(wait_s) else None

    def integral(self, from_s: float, to_s: float) -> float:
        """Return the integral between two moments, in the value's unit times seconds."""
        first, last = self.at(from_s), self.at(to_s)
        return self.target * (to_s - from_s) + self.time_constant_s * (first - last)

    def towards(self, moment_s: float, target: float, time_constant_s: float | None = None) -> Relaxation:
        """Return the value as it is at a moment, heading for another target."""
        constant_s = self.time_constant_s if time_constant_s is None else time_constant_s
        return Relaxation(self.at(moment_s), target, constant_s, moment_s)
