"""A GPU that somebody measured: its own figures in place of its generation's coefficients."""

from __future__ import annotations

from dataclasses import replace

from simulator.catalog.entries import GpuSpec
from simulator.hardware.power_curve import CLOCK_CURVE, ClockCurve
from simulator.performance.serving_coefficients import ServingCoefficients, serving_coefficients


def kernels_of(gpu: GpuSpec) -> ServingCoefficients:
    """Return what kernels reach on a GPU: as its entry says, and as its generation does for the rest.

    The shape of the laws (corner, experts, narrow weights in wide arithmetic, exchanges) stays the
    generation's: a single device without its neighbours says nothing about it.
    """
    law = serving_coefficients(gpu.generation)
    products = dict(law.products)
    if "wide" in products:
        wide = products["wide"]
        products["wide"] = replace(
            wide,
            launch_s=_said(gpu.product_launch_s, wide.launch_s),
            bandwidth=_said(gpu.reached_memory_fraction, wide.bandwidth),
            peak=_said(gpu.reached_16_bit_fraction, wide.peak),
        )
    if "fp8" in products:
        products["fp8"] = replace(products["fp8"], peak=_said(gpu.reached_fp8_fraction, products["fp8"].peak))
    if products == law.products and gpu.reached_cache_fraction is None:
        return law
    cache = _said(gpu.reached_cache_fraction, law.cache_bandwidth)
    return replace(law, products=products, cache_bandwidth=cache, fitted_on=f"{gpu.title}; {law.fitted_on}")


def clock_curve(gpu: GpuSpec) -> ClockCurve:
    """Return how a GPU's watts and speed follow its clock."""
    said = (gpu.clock_voltage_slope, gpu.lowest_voltage_fraction, gpu.memory_clock_sensitivity)
    if said == (None, None, None):
        return CLOCK_CURVE
    return replace(
        CLOCK_CURVE,
        voltage_slope=_said(gpu.clock_voltage_slope, CLOCK_CURVE.voltage_slope),
        lowest_voltage_fraction=_said(gpu.lowest_voltage_fraction, CLOCK_CURVE.lowest_voltage_fraction),
        memory_sensitivity=_said(gpu.memory_clock_sensitivity, CLOCK_CURVE.memory_sensitivity),
    )


def _said(own: float | None, otherwise: float) -> float:
    return otherwise if own is None else own
