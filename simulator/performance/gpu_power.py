"""Watts of a GPU by kind of work, from its catalog entry and its generation's coefficients."""

from __future__ import annotations

from simulator.catalog.entries import GpuSpec
from simulator.hardware.power_curve import GpuPower
from simulator.performance.measured_gpu import clock_curve
from simulator.performance.power_coefficients import power_coefficients


def gpu_power(gpu: GpuSpec) -> GpuPower:
    """Return the watts of ``gpu`` by kind of work, at full clock.

    Blanks in the catalog are estimated: idle as 10 % of TDP (A100 58 of 400 W, H100 72 of
    700 W measured), idle with a model resident from the generation's coefficient.
    """
    share = power_coefficients(gpu.generation)
    tdp_w = gpu.tdp_w
    idle_w = 0.10 * tdp_w if gpu.idle_w is None else gpu.idle_w
    loaded_w = gpu.loaded_idle_w
    if loaded_w is None:
        loaded_w = max(idle_w, share.loaded_idle * tdp_w)
    return GpuPower(
        idle_w=idle_w,
        loaded_idle_w=loaded_w,
        compute_w=share.compute * tdp_w if gpu.sustained_products_w is None else gpu.sustained_products_w,
        memory_w=share.memory * tdp_w if gpu.sustained_copy_w is None else gpu.sustained_copy_w,
        communication_w=max(loaded_w, share.communication * tdp_w),
        tdp_w=tdp_w,
        curve=clock_curve(gpu),
    )
