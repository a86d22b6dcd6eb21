"""What a grid says over a run: carbon intensity, price, clean share and water, as step series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.step_series import StepSeries

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GridSignals:
    """One grid's series over the whole run, and how its carbon was counted.

    Average and marginal intensity are two names; a marginal number is only ever as given. None
    means that nobody gave it: nothing is guessed from another series.
    """

    name: str
    """Where it comes from, for reports."""
    intensity_g_per_kwh: StepSeries
    """Average carbon intensity. [g/kWh]"""
    price_usd_per_kwh: StepSeries | None = None
    """Energy price; may be negative. [USD/kWh]"""
    marginal_g_per_kwh: StepSeries | None = None
    """[g/kWh]"""
    clean_fraction: StepSeries | None = None
    """Carbon-free share of the grid's electricity, 0 to 1."""
    source_water_litres_per_kwh: StepSeries | None = None
    """Water consumed to generate. [L/kWh]"""
    factor_set: str = ""
    """Emission factors used; empty where the intensity came ready-made."""
    basis: str = "as given"
    """`lifecycle`, `direct` or `as given`."""
    vintage: str = ""
    """Year or years of the data."""
    boundary: str = "generation"
    """`generation`, or `consumption` where losses of the network are included."""
    notes: tuple[str, ...] = ()
    """What a reader must be told."""

    @property
    def settlement_starts_s(self) -> FloatArray:
        """When each of the grid's own steps begins; overhead is shared within them. [s]"""
        parts = [
            series.start_s
            for series in (
                self.intensity_g_per_kwh,
                self.price_usd_per_kwh,
                self.marginal_g_per_kwh,
                self.clean_fraction,
                self.source_water_litres_per_kwh,
            )
            if series is not None
        ]
        return np.unique(np.concatenate(parts))

    def series(self) -> dict[str, StepSeries]:
        """Return the series that are known, by the names policies and re-accounting use."""
        named = {
            "intensity_g_per_kwh": self.intensity_g_per_kwh,
            "price_usd_per_kwh": self.price_usd_per_kwh,
            "marginal_g_per_kwh": self.marginal_g_per_kwh,
            "clean_fraction": self.clean_fraction,
        }
        return {name: series for name, series in named.items() if series is not None}

    def with_price(self, price_usd_per_kwh: StepSeries) -> GridSignals:
        """Return the same grid at another price."""
        return replace(self, price_usd_per_kwh=price_usd_per_kwh)


def constant_signals(
    end_s: float,
    intensity_g_per_kwh: float,
    price_usd_per_kwh: float | None = None,
    marginal_g_per_kwh: float | None = None,
) -> GridSignals:
    """Return a grid that never changes.

    Parameters
    ----------
    end_s
        The run's horizon. [s]
    intensity_g_per_kwh, marginal_g_per_kwh
        Average and marginal carbon intensity. [g/kWh]
    price_usd_per_kwh
        Energy price. [USD/kWh]
    """

    def held(value: float | None) -> StepSeries | None:
        return None if value is None else StepSeries.constant(value, end_s)

    if not intensity_g_per_kwh >= 0.0:
        raise ValueError(f"an intensity of {intensity_g_per_kwh} g/kWh; expected 0 or more")
    return GridSignals(
        name=f"constant {intensity_g_per_kwh:g} g/kWh",
        intensity_g_per_kwh=StepSeries.constant(intensity_g_per_kwh, end_s),
        price_usd_per_kwh=held(price_usd_per_kwh),
        marginal_g_per_kwh=held(marginal_g_per_kwh),
    )
