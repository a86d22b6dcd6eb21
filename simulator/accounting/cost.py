"""Dollars: energy at the meter by price, and capital as annuities over the machines' lives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import CostSpec
from simulator.foundation.units import J_PER_KWH, KILO, MONTH_S, YEAR_S

FloatArray = NDArray[np.float64]


def energy_usd(energy_j: FloatArray, price_usd_per_kwh: FloatArray) -> FloatArray:
    """Return the cost of energy, interval by interval; exports at a positive price earn. [USD]

    The one place where a price meets an energy.

    Parameters
    ----------
    energy_j : (m,) float
        Energy at the meter, export negative. [J]
    price_usd_per_kwh : (m,) float
        Constant within each interval; may be negative. [USD/kWh]
    """
    return np.asarray(energy_j / J_PER_KWH * price_usd_per_kwh)


def annuity_usd_per_s(
    price_usd: float, life_s: float, wacc_fraction: float, residual_fraction: float = 0.0
) -> float:
    """Return what owning something costs per second: price less present residual, spread evenly.

    Parameters
    ----------
    price_usd
        Paid at the beginning. [USD]
    life_s
        Until it is sold or scrapped. [s]
    wacc_fraction
        Cost of capital, a year, 0 or more.
    residual_fraction
        What it is then worth, of the price.

    Examples
    --------
    >>> round(annuity_usd_per_s(100.0, 5 * YEAR_S, 0.0) * YEAR_S, 6)
    20.0
    >>> round(annuity_usd_per_s(100.0, 5 * YEAR_S, 0.08) * YEAR_S, 4)
    25.0456
    """
    years = life_s / YEAR_S
    if wacc_fraction == 0.0:
        return price_usd * (1.0 - residual_fraction) / life_s
    discount = math.exp(-years * math.log1p(wacc_fraction))
    present_usd = price_usd * (1.0 - residual_fraction * discount)
    return present_usd * wacc_fraction / (1.0 - discount) / YEAR_S


def node_usd_per_gpu_s(spec: CostSpec, price_usd: float, gpus_per_node: int) -> tuple[float, float]:
    """Return hardware (with its share of fabric and storage) and maintenance per GPU-second.

    Parameters
    ----------
    spec
        Lives, capital, shares.
    price_usd
        The whole node. [USD]
    gpus_per_node
        GPUs that share it evenly.

    Returns
    -------
    tuple of float
        Hardware, maintenance. [USD/s]
    """
    node = annuity_usd_per_s(price_usd, spec.gpu_life_s, spec.wacc_fraction, spec.residual_fraction)
    network_price_usd = spec.network_fraction * price_usd
    network = annuity_usd_per_s(network_price_usd, spec.network_life_s, spec.wacc_fraction)
    maintenance = spec.maintenance_fraction * (price_usd + network_price_usd) / YEAR_S
    return (node + network) / gpus_per_node, maintenance / gpus_per_node


def building_usd(spec: CostSpec, design_it_w: float, time_s: float) -> float:
    """Return shell and plant over a time, used or not. [USD]

    Parameters
    ----------
    spec
        Price per watt, life, capital.
    design_it_w
        IT power it was built for. [W]
    time_s
        The run. [s]
    """
    price_usd = spec.building_usd_per_w * design_it_w
    return annuity_usd_per_s(price_usd, spec.building_life_s, spec.wacc_fraction) * time_s


def staff_usd(spec: CostSpec, design_it_w: float, time_s: float) -> float:
    """Return people over a time, by the power the site was built for; 0 where blank. [USD]"""
    per_kw_month = spec.staff_usd_per_kw_month or 0.0
    return per_kw_month * design_it_w / KILO * time_s / MONTH_S
