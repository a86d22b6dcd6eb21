"""How a GPU's watts follow its clock, and which clock a power cap leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ClockCurve:
    """Watts and speed as the clock moves below its highest value.

    A GPU's power is a floor (memory refresh, leakage, input stages) that the clock does not
    touch, and a dynamic part that goes as clock x voltage squared. Voltage falls in
    proportion to the clock until it meets its own floor. Arithmetic slows with the clock;
    work bound by memory hardly does.

    Parameters
    ----------
    lowest_fraction
        Lowest clock the part accepts, as a fraction of its highest.
    voltage_slope
        Fall of voltage, as a fraction, for each unit of fall of the clock fraction.
    lowest_voltage_fraction
        Voltage below which the part does not go, as a fraction of its highest.
    memory_sensitivity
        How much of memory-bound time stretches with the core clock, 0 to 1.
    """

    lowest_fraction: float = 0.15
    voltage_slope: float = 0.65
    lowest_voltage_fraction: float = 0.70
    memory_sensitivity: float = 0.10

    def voltage_fraction(self, clock_fraction: float) -> float:
        """Return the voltage at a clock, as a fraction of the highest."""
        voltage = 1.0 - self.voltage_slope * (1.0 - clock_fraction)
        return voltage if voltage > self.lowest_voltage_fraction else self.lowest_voltage_fraction

    def dynamic_fraction(self, clock_fraction: float) -> float:
        """Return the dynamic power at a clock, as a fraction of that at the highest clock."""
        voltage = self.voltage_fraction(clock_fraction)
        return clock_fraction * voltage * voltage

    def compute_stretch(self, clock_fraction: float) -> float:
        """Return by how much work bound by arithmetic takes longer; 1 at full clock."""
        return 1.0 / clock_fraction

    def memory_stretch(self, clock_fraction: float) -> float:
        """Return by how much work bound by memory takes longer; 1 at full clock."""
        return 1.0 + self.memory_sensitivity * (1.0 / clock_fraction - 1.0)

    def power_w(self, full_w: float, floor_w: float, clock_fraction: float) -> float:
        """Return watts at a clock of a load that draws ``full_w`` at the highest clock. [W]"""
        if full_w <= floor_w:
            return full_w
        return floor_w + (full_w - floor_w) * self.dynamic_fraction(clock_fraction)

    def clock_for_power(self, cap_w: float, full_w: float, floor_w: float) -> float:
        """Return the highest clock at which a load stays at or below a cap.

        Parameters
        ----------
        cap_w
            Cap on one GPU. [W]
        full_w, floor_w
            What the load draws at the highest clock, and the part no clock removes. [W]

        Returns
        -------
        float
            Clock as a fraction of the highest; the lowest the part accepts if even that
            draws more than the cap.
        """
        if cap_w >= full_w:
            return 1.0
        if self.power_w(full_w, floor_w, self.lowest_fraction) >= cap_w:
            return self.lowest_fraction
        low, high = self.lowest_fraction, 1.0
        for _ in range(52):
            middle = 0.5 * (low + high)
            if self.power_w(full_w, floor_w, middle) <= cap_w:
                low = middle
            else:
                high = middle
        return low


#: Fitted by hand to two published pairs: locking clocks for 20 % less power costs training
#: about 10 % of speed (POLCA, Patel et al. 2024), and a 150 W cap on a 250 W V100 takes
#: 8.5 % more time at 19 % less power (McDonald et al. 2022).
CLOCK_CURVE: Final = ClockCurve()


@dataclass(frozen=True, slots=True)
class GpuPower:
    """Watts of one GPU by what it is doing, at full clock.

    Parameters
    ----------
    idle_w
        No process on the GPU. [W]
    loaded_idle_w
        A model resident and clocks up, but no work. [W]
    compute_w
        Matrix multiplications at the efficiency that big ones reach. [W]
    memory_w
        Streaming memory at full bandwidth with little arithmetic. [W]
    communication_w
        Waiting in a collective, which spins and copies. [W]
    tdp_w
        Thermal design power: the highest sustained power. [W]
    curve
        How all of them follow the clock.
    """

    idle_w: float
    loaded_idle_w: float
    compute_w: float
    memory_w: float
    communication_w: float
    tdp_w: float
    curve: ClockCurve = CLOCK_CURVE

    @property
    def floor_w(self) -> float:
        """Return the part of the power that lowering the clock does not remove. [W]"""
        return self.idle_w
