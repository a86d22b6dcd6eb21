"""What silicon does by itself: watts against clock, rooflines, failure laws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simulator.hardware.failure_laws import (
    daly_interval_s,
    expected_ettr_fraction,
    first_order_loss_fraction,
    mean_time_between_s,
    renewal_ettr_fraction,
    young_interval_s,
)
from simulator.hardware.power_curve import CLOCK_CURVE, ClockCurve, GpuPower
from simulator.hardware.roofline import peak_16_bit_flop_per_s, peak_flop_per_s, roofline_s
from simulator.hardware.save_intervals import DalyInterval, FixedInterval, SaveInterval, YoungInterval

#: When a training run saves itself, by the name in YAML.
CHECKPOINT_POLICIES: Final[Mapping[str, type[SaveInterval]]] = {
    "fixed": FixedInterval,
    "young": YoungInterval,
    "daly": DalyInterval,
}

__all__ = [
    "CHECKPOINT_POLICIES",
    "CLOCK_CURVE",
    "ClockCurve",
    "DalyInterval",
    "FixedInterval",
    "GpuPower",
    "SaveInterval",
    "YoungInterval",
    "daly_interval_s",
    "expected_ettr_fraction",
    "first_order_loss_fraction",
    "mean_time_between_s",
    "peak_16_bit_flop_per_s",
    "peak_flop_per_s",
    "renewal_ettr_fraction",
    "roofline_s",
    "young_interval_s",
]
