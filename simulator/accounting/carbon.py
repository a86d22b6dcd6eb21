"""Grams from energy at the meter and intensity; embodied grams from time held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.units import J_PER_KWH

FloatArray = NDArray[np.float64]


def operational_gco2e(energy_j: FloatArray, intensity_g_per_kwh: FloatArray) -> FloatArray:
    """Return the carbon of energy, interval by interval. [g]

    The one place where an intensity meets an energy: on metered energy, so that conversion and
    cooling count once.

    Parameters
    ----------
    energy_j : (m,) float
        Energy at the meter. [J]
    intensity_g_per_kwh : (m,) float
        Constant within each interval. [g/kWh]
    """
    return np.asarray(energy_j / J_PER_KWH * intensity_g_per_kwh)


def embodied_g_per_gpu_s(node_gco2e: float, gpus_per_node: int, life_s: float) -> float:
    """Return embodied carbon per GPU and second of its life. [g/s]

    Straight-line over the life, used or not, so idle machines carry theirs.

    Parameters
    ----------
    node_gco2e
        Cradle to gate, the whole node. [g]
    gpus_per_node
        GPUs that share it evenly.
    life_s
        Years of service. [s]
    """
    return node_gco2e / gpus_per_node / life_s
