"""What the meter costs: energy by the hour, and a charge on the month's highest quarter-hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import TariffSpec
from simulator.foundation.errors import CatalogError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import KILO

FloatArray = NDArray[np.float64]

#: Demand is metered in quarter-hours almost everywhere. [s]
DEMAND_INTERVAL_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices at one meter; all in the run's price year."""

    energy_usd_per_kwh: float | None = None
    """Flat energy price; None takes the grid's own. [USD/kWh]"""
    adder_usd_per_kwh: float = 0.0
    """Per kWh imported, on top. [USD/kWh]"""
    demand_charge_usd_per_kw_month: float = 0.0
    """On the month's highest quarter-hour mean. [USD/kW-month]"""
    minimum_demand_w: float = 0.0
    """Demand that is billed at least. [W]"""

    @classmethod
    def from_spec(cls, spec: TariffSpec, contracted_w: float | None = None) -> Tariff:
        """Return a catalog tariff for a site.

        Parameters
        ----------
        spec
            The entry.
        contracted_w
            The site's connection; needed where the tariff bills a least share of it. [W]
        """
        if spec.minimum_peak_fraction > 0.0 and contracted_w is None:
            raise CatalogError(
                f"tariffs.{spec.name}: bills at least {spec.minimum_peak_fraction:.0%} of the contracted "
                "power; the site needs `interconnection: {limit: ...}`"
            )
        return cls(
            spec.energy_usd_per_kwh,
            spec.adder_usd_per_kwh,
            spec.demand_charge_usd_per_kw_month,
            spec.minimum_peak_fraction * (contracted_w or 0.0),
        )

    def price(self, grid_price: StepSeries | None, end_s: float) -> StepSeries | None:
        """Return the price of imported energy, adder included; None if nobody gave one.

        Parameters
        ----------
        grid_price
            The grid's own. [USD/kWh]
        end_s
            The run's horizon. [s]
        """
        if self.energy_usd_per_kwh is not None:
            return StepSeries.constant(self.energy_usd_per_kwh + self.adder_usd_per_kwh, end_s)
        if grid_price is None:
            return None
        return grid_price.map(lambda value: value + self.adder_usd_per_kwh)

    def demand_charge_usd(self, peak_w: FloatArray, month_share: FloatArray) -> FloatArray:
        """Return the demand charge of each month.

        Parameters
        ----------
        peak_w : (n,) float
            Highest quarter-hour mean of each month. [W]
        month_share : (n,) float
            Share of each calendar month that the run covers: the charge is prorated, so that
            two weeks cost half a month.
        """
        billed_w = np.maximum(peak_w, self.minimum_demand_w)
        return np.asarray(self.demand_charge_usd_per_kw_month * billed_w / KILO * month_share)
