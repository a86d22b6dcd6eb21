"""An episode without enough cooling: the loop warms, clocks fall in levels, then the IT trips.

Thermal state lives only in an episode. One lumped temperature relaxes towards where heat and
capacity would leave it; every threshold it will cross is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Annotated

from simulator.foundation.quantity import Fraction, Kelvin, Seconds
from simulator.foundation.relaxation import Relaxation


@dataclass(frozen=True)
class ThermalLimits:
    """What the IT does as its coolant warms.

    The defaults are an assumption: a coolant loop of a few minutes, clocks lowered 10 K above
    the set point, a trip at 25 K above it. No vendor publishes these for a whole site.
    """

    throttle_above_k: Annotated[Kelvin, "First throttle level, above the set point."] = 10.0
    level_step_k: Annotated[Kelvin, "From one throttle level to the next."] = 4.0
    level_clocks_fraction: Annotated[
        tuple[Fraction, ...], "Clock at each throttle level, over full clock."
    ] = (0.75, 0.5)
    trip_above_k: Annotated[Kelvin, "IT is switched off, above the set point."] = 25.0
    restart_above_k: Annotated[Kelvin, "IT may start again, above the set point."] = 5.0
    hysteresis_k: Annotated[Kelvin, "A level is left so far below where it began."] = 3.0
    time_constant_s: Annotated[Seconds, "Heat capacity over conductance of loop and hall."] = 300.0
    full_heat_rise_k: Annotated[
        Kelvin, "Where the loop would settle without any cooling at rated heat, above the set point."
    ] = 60.0
    settled_within_k: Annotated[Kelvin, "The episode is over this close to the set point."] = 0.5

    def __post_init__(self) -> None:
        """Refuse thresholds that could not act one after the other."""
        last = self.throttle_above_k + self.level_step_k * (len(self.level_clocks_fraction) - 1)
        clocks = (1.0, *self.level_clocks_fraction)
        if not all(0.0 < b < a for a, b in pairwise(clocks)):
            raise ValueError(f"level_clocks {self.level_clocks_fraction} must fall from below 1 to above 0")
        if not (self.hysteresis_k > 0.0 and self.level_step_k > 0.0 and self.settled_within_k > 0.0):
            raise ValueError("hysteresis, level_step and settled_within must be positive")
        if not last < self.trip_above_k:
            raise ValueError(
                f"the last throttle level at {last} K must lie below the trip at {self.trip_above_k} K"
            )
        if not self.settled_within_k < self.throttle_above_k - self.hysteresis_k:
            raise ValueError("throttle_above less hysteresis must lie above settled_within")
        if not self.settled_within_k <= self.restart_above_k < self.trip_above_k:
            raise ValueError("restart_above must lie between settled_within and trip_above")

    def level_above_k(self, level: int) -> float:
        """Return where throttle level 1, 2, ... begins, above the set point. [K]"""
        return self.throttle_above_k + (level - 1) * self.level_step_k


class ThermalChange(Enum):
    """What happens at a threshold."""

    THROTTLE = "throttle"
    RELEASE = "release"
    TRIP = "trip"
    RESTART = "restart"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Episode:
    """A site's coolant from `excess.since_s` on, until heat or capacity changes.

    A value: `with_load`, then ask `next_change`, and at that time `changed`. Throttling lowers
    the heat, which the engine reports by `with_load`; hysteresis keeps every two changes a
    positive time apart.
    """

    limits: ThermalLimits
    rated_w: float
    """Rated heat of the plant. [W]"""
    excess: Relaxation
    """Coolant above its set point. [K]"""
    level: int = 0
    """Throttle level, 0 for none."""
    tripped: bool = False

    @classmethod
    def begin(cls, limits: ThermalLimits, rated_w: float, t_s: float) -> Episode:
        """Return an episode that starts at the set point."""
        return cls(limits, rated_w, Relaxation(0.0, 0.0, limits.time_constant_s, t_s))

    @property
    def clock_fraction(self) -> float:
        """Clock allowed now; 0 when tripped."""
        if self.tripped:
            return 0.0
        return self.limits.level_clocks_fraction[self.level - 1] if self.level else 1.0

    def above_set_point_k(self, t_s: float) -> float:
        """Return how far the coolant is above its set point. [K]"""
        return self.excess.at(t_s)

    def with_load(self, t_s: float, heat_w: float, capacity_w: float) -> Episode:
        """Return the episode with other heat or capacity from `t_s` on.

        Parameters
        ----------
        t_s
            Now. [s]
        heat_w
            Heat offered to the plant. [W]
        capacity_w
            Most heat it can carry in this weather with what works. [W]
        """
        uncarried = max(heat_w - capacity_w, 0.0) / self.rated_w
        return replace(self, excess=self.excess.towards(t_s, uncarried * self.limits.full_heat_rise_k))

    def next_change(self) -> tuple[float, ThermalChange] | None:
        """Return the next threshold's time and meaning; None if nothing will change.

        Returns
        -------
        tuple or None
            Time [s] and change.
        """
        value, target = self.excess.value, self.excess.target
        if target > value:
            if self.tripped:
                return None
            if self.level < len(self.limits.level_clocks_fraction):
                threshold, change = self.limits.level_above_k(self.level + 1), ThermalChange.THROTTLE
            else:
                threshold, change = self.limits.trip_above_k, ThermalChange.TRIP
            reached = value >= threshold
        else:
            if self.tripped:
                threshold, change = self.limits.restart_above_k, ThermalChange.RESTART
            elif self.level:
                threshold = self.limits.level_above_k(self.level) - self.limits.hysteresis_k
                change = ThermalChange.RELEASE
            else:
                threshold, change = self.limits.settled_within_k, ThermalChange.SETTLED
            reached = value <= threshold
            if not reached and target >= threshold:
                return None
        t_s = self.excess.since_s if reached else self.excess.crossing_s(threshold)
        return None if t_s is None else (t_s, change)

    def changed(self, t_s: float, change: ThermalChange) -> Episode:
        """Return the episode after a change at the time `next_change` told."""
        here = self.excess.towards(t_s, self.excess.target)
        if change is ThermalChange.THROTTLE:
            return replace(self, excess=here, level=self.level + 1)
        if change is ThermalChange.RELEASE:
            return replace(self, excess=here, level=self.level - 1)
        if change is ThermalChange.TRIP:
            return replace(self, excess=here, tripped=True)
        if change is ThermalChange.RESTART:
            return replace(self, excess=here, tripped=False, level=0)
        return replace(self, excess=here)
