"""A grid by its annual mix: fuels move by month and UTC hour, factors turn them into carbon."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import CARBON_FREE, FactorSet, GridSpec, WaterSet
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import CatalogError
from simulator.foundation.step_series import StepSeries
from simulator.grid.signals import GridSignals

FloatArray = NDArray[np.float64]


def mix_signals(
    spec: GridSpec,
    factors: FactorSet,
    calendar: Calendar,
    horizon_s: float,
    *,
    water: WaterSet | None = None,
    include_losses: bool = False,
) -> GridSignals:
    """Return the signals of a catalog grid over a run.

    Parameters
    ----------
    spec
        Mix and shapes; a typical year, the same for every year of a run.
    factors
        Grams per kWh generated, by fuel.
    calendar, horizon_s
        The run's span. [s]
    water
        Litres per kWh generated, by fuel; without it source water stays unknown.
    include_losses
        Divide by 1 less the loss between plant and meter. Not done unless asked for.

    Raises
    ------
    CatalogError
        A fuel of the mix has no factor, or losses are asked for and the grid gives none; the
        message names both.
    """
    intensity = _by_month_and_hour(spec, factors.g_per_kwh, f"factor set '{factors.name}'")
    delivered = 1.0
    if include_losses:
        if spec.t_and_d_loss_fraction is None:
            raise CatalogError(
                f"grids.{spec.name}: t_and_d_loss_fraction is blank; give it in the `catalog:` block, "
                "or count carbon at generation"
            )
        delivered = 1.0 - spec.t_and_d_loss_fraction
    clean = _by_month_and_hour(spec, {fuel: float(fuel in CARBON_FREE) for fuel in spec.mix}, "clean fuels")
    if not spec.fuel_shapes:
        # Where the mix by hour is unknown, ready-made shapes move the annual figures.
        intensity = _shaped(intensity, spec.intensity_shape)
        clean = np.clip(_shaped(clean, spec.clean_fraction_shape), 0.0, 1.0)

    edges_s = calendar.hour_edges_s(horizon_s)
    month, hour = calendar.month(edges_s[:-1]), calendar.hour_of_day(edges_s[:-1])

    def series(table: FloatArray) -> StepSeries:
        return StepSeries(edges_s[:-1], table[month, hour], horizon_s)

    def known(table: FloatArray | None) -> StepSeries | None:
        return None if table is None else series(table)

    litres = None
    if water is not None:
        litres = _by_month_and_hour(spec, water.litres_per_kwh, f"water set '{water.name}'") / delivered
    return GridSignals(
        name=spec.name,
        intensity_g_per_kwh=series(intensity / delivered),
        price_usd_per_kwh=known(_scaled(spec.price_mean_usd_per_kwh, spec.price_shape)),
        marginal_g_per_kwh=known(_scaled(spec.marginal_mean_g_per_kwh, spec.marginal_shape)),
        clean_fraction=series(clean),
        source_water_litres_per_kwh=known(litres),
        factor_set=factors.name,
        basis=factors.kind,
        vintage=str(spec.mix_year),
        boundary="consumption" if include_losses else "generation",
    )


def _by_month_and_hour(spec: GridSpec, by_fuel: Mapping[str, float], what: str) -> FloatArray:
    missing = [fuel for fuel in spec.mix if fuel not in by_fuel]
    if missing:
        raise CatalogError(
            f"grids.{spec.name}: {what} has no number for {', '.join(missing)}; "
            f"known: {', '.join(sorted(by_fuel))}"
        )
    table: FloatArray = np.asarray(spec.month_hour(by_fuel), dtype=float)
    return table


def _shaped(table: FloatArray, shape: FloatArray | None) -> FloatArray:
    return table if shape is None else np.asarray(table * shape)


def _scaled(mean: float | None, shape: FloatArray | None) -> FloatArray | None:
    """Return mean times shape by month and hour; None where no mean is known."""
    if mean is None:
        return None
    return _shaped(np.full((12, 24), mean), shape)
