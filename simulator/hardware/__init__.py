"""What silicon does by itself: watts against clock, rooflines, failure laws."""

from __future__ import annotations

from simulator.hardware.power_curve import CLOCK_CURVE, ClockCurve, GpuPower

__all__ = ["CLOCK_CURVE", "ClockCurve", "GpuPower"]
