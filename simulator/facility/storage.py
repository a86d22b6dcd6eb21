"""A battery: charge as a level, losses on the way in and out, and its replay by threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from simulator.foundation.level import Level
from simulator.foundation.quantity import Fraction, Joules, Watts
from simulator.foundation.step_series import StepSeries


@dataclass(frozen=True)
class Battery:
    """A battery at the meter; power is counted there, charging positive."""

    energy_j: Annotated[Joules, "Charge between empty and full."]
    power_w: Annotated[Watts, "Largest power at the meter, both ways."]
    round_trip_efficiency_fraction: Annotated[Fraction, "Energy out over energy in."] = 0.88
    initial_fraction: Annotated[Fraction, "Charge at the run's start over full charge."] = 1.0
    minimum_fraction: Annotated[Fraction, "Charge below which it does not discharge."] = 0.0

    def __post_init__(self) -> None:
        """Refuse a battery that could not exist."""
        if not (self.energy_j > 0.0 and self.power_w > 0.0):
            raise ValueError(f"a battery of {self.energy_j} J and {self.power_w} W; both must be positive")
        if not 0.0 < self.round_trip_efficiency_fraction <= 1.0:
            raise ValueError(
                f"round_trip_efficiency is {self.round_trip_efficiency_fraction}; "
                "expected more than 0, at most 1"
            )
        if not 0.0 <= self.minimum_fraction <= self.initial_fraction <= 1.0:
            raise ValueError(
                f"initial {self.initial_fraction} and minimum {self.minimum_fraction}; "
                "expected 0 <= minimum <= initial <= 1"
            )

    @property
    def one_way_efficiency(self) -> float:
        """Efficiency of charging, and of discharging: the root of the round trip's."""
        return math.sqrt(self.round_trip_efficiency_fraction)

    def at_start(self, since_s: float = 0.0) -> BatteryState:
        """Return the battery at rest with its initial charge."""
        level = Level(
            value=self.initial_fraction * self.energy_j,
            rate=0.0,
            since_s=since_s,
            low=self.minimum_fraction * self.energy_j,
            high=self.energy_j,
        )
        return BatteryState(self, level, 0.0)


@dataclass(frozen=True, slots=True)
class BatteryState:
    """A battery from `charge.since_s` on, until somebody changes its power."""

    battery: Battery
    charge: Level
    """Stored energy. [J]"""
    power_w: float
    """Power at the meter: charging positive, discharging negative. [W]"""

    def charge_j(self, t_s: float) -> float:
        """Return the stored energy. [J]"""
        return self.charge.at(t_s)

    def available_w(self, t_s: float) -> tuple[float, float]:
        """Return the lowest (discharging) and highest (charging) power possible now. [W]"""
        charge_j = self.charge.at(t_s)
        return (
            -self.battery.power_w if charge_j > self.charge.low else 0.0,
            self.battery.power_w if charge_j < self.charge.high else 0.0,
        )

    def with_power(self, t_s: float, power_w: float) -> BatteryState:
        """Return the battery with another power from `t_s` on, bounded by what is possible.

        Parameters
        ----------
        t_s
            Now, not before the last change. [s]
        power_w
            Power wanted at the meter, charging positive. [W]
        """
        least, most = self.available_w(t_s)
        power_w = min(max(power_w, least), most)
        efficiency = self.battery.one_way_efficiency
        rate = power_w * efficiency if power_w > 0.0 else power_w / efficiency
        return replace(self, charge=self.charge.with_rate(t_s, rate), power_w=power_w)

    def bound_s(self) -> float | None:
        """Return when it is full or empty at the present power; None if never. [s]"""
        if self.power_w > 0.0:
            return self.charge.crossing_s(self.charge.high)
        if self.power_w < 0.0:
            return self.charge.crossing_s(self.charge.low)
        return None

    def at_bound(self, t_s: float) -> BatteryState:
        """Return the battery at rest, exactly full or empty, at the time `bound_s` told."""
        bound_j = self.charge.high if self.power_w > 0.0 else self.charge.low
        # Set, not computed: rounding must not leave a crumb to charge for no time at all.
        return replace(self, charge=replace(self.charge, value=bound_j, rate=0.0, since_s=t_s), power_w=0.0)

    def energy_out_j(self, t_s: float) -> float:
        """Return the energy it could still give at the meter. [J]"""
        return (self.charge.at(t_s) - self.charge.low) * self.battery.one_way_efficiency

    @property
    def energy_out_when_full_j(self) -> float:
        """Return the energy it could give at the meter if it were full. [J]"""
        return (self.charge.high - self.charge.low) * self.battery.one_way_efficiency

    def energy_in_j(self, t_s: float) -> float:
        """Return the energy it could still take at the meter. [J]"""
        return (self.charge.high - self.charge.at(t_s)) / self.battery.one_way_efficiency


def replay_threshold(
    battery: Battery, load_w: StepSeries, signal: StepSeries, threshold: float
) -> tuple[StepSeries, StepSeries]:
    """Return the dispatch of a battery that charges while a signal is low, and its charge.

    Below the threshold it charges at full power; otherwise it carries the load, never more
    than that, so it does not export. Storage that cannot affect IT is replayed like this,
    after the run, for any grid.

    Parameters
    ----------
    battery
        What is replayed.
    load_w
        Power at the meter without the battery. [W]
    signal
        Carbon intensity or price, in its own unit, over the same span.
    threshold
        In the signal's unit.

    Returns
    -------
    tuple of StepSeries
        Power at the meter (charging positive) [W], and stored energy at the beginning of
        each step [J].
    """
    state = battery.at_start(load_w.begin_s)
    times: list[float] = []
    powers: list[float] = []
    charges: list[float] = []
    t_s = load_w.begin_s
    while t_s < load_w.end_s:
        wanted_w = battery.power_w if signal.at(t_s) < threshold else -max(load_w.at(t_s), 0.0)
        state = state.with_power(t_s, max(wanted_w, -battery.power_w))
        times.append(t_s)
        powers.append(state.power_w)
        charges.append(state.charge_j(t_s))
        bound_s = state.bound_s()
        if bound_s is not None and bound_s <= t_s:
            state = state.at_bound(t_s)
            powers[-1], bound_s = 0.0, None
        next_s = min(
            moment
            for moment in (bound_s, load_w.next_change(t_s), signal.next_change(t_s), load_w.end_s)
            if moment is not None
        )
        if next_s == bound_s:
            state = state.at_bound(next_s)
        t_s = next_s
    return (
        StepSeries(times, powers, load_w.end_s),
        StepSeries(times, charges, load_w.end_s),
    )
