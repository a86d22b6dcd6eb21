"""What silicon does by itself: watts against clock, rooflines, failure laws."""

from __future__ import annotations

from simulator.hardware.failure_laws import (
    daly_interval_s,
    expected_ettr_fraction,
    mean_time_between_s,
    young_interval_s,
)
from simulator.hardware.power_curve import CLOCK_CURVE, ClockCurve, GpuPower
from simulator.hardware.roofline import peak_16_bit_flop_per_s, peak_flop_per_s, roofline_s

__all__ = [
    "CLOCK_CURVE",
    "ClockCurve",
    "GpuPower",
    "daly_interval_s",
    "expected_ettr_fraction",
    "mean_time_between_s",
    "peak_16_bit_flop_per_s",
    "peak_flop_per_s",
    "roofline_s",
    "young_interval_s",
]
