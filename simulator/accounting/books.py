"""What the books are made with, and what they hold: plain values, all in SI units and USD."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import CostSpec
from simulator.facility.site import SitePhysics
from simulator.facility.storage import Battery
from simulator.facility.weather import Weather
from simulator.foundation.step_series import StepSeries
from simulator.grid.signals import GridSignals
from simulator.grid.tariff import Tariff

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteBooks:
    """What turns one site's IT power into energy, water, carbon and money."""

    physics: SitePhysics
    weather: Weather
    signals: GridSignals
    tariff: Tariff = field(default_factory=Tariff)
    market_g_per_kwh: StepSeries | None = None
    """Intensity of the electricity contracted; None: no contracts, market equals location."""
    storage_w: StepSeries | None = None
    """Dispatch of storage replayed for these books, charging positive; None takes the record's. [W]"""
    onsite_w: StepSeries | None = None
    """On-site supply, negative. [W]"""
    battery: Battery | None = None
    """To check that a dispatch stays within its bounds."""
    design_it_w: float = 0.0
    """IT power that the building was built for; carries its cost, staff and embodied carbon. [W]"""


@dataclass(frozen=True, slots=True)
class BookRules:
    """How carbon and money are counted, the same for all sites."""

    cost: CostSpec | None = None
    """Lives, capital, building, people, water; None: only energy and carbon cost."""
    carbon_price_usd_per_t: float = 0.0
    """Paid for location-based emissions. [USD/t]"""
    embodied: bool = True
    """Count embodied carbon, over the life in `cost`."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Two numbers that must be equal."""

    name: str
    left: float
    right: float

    @property
    def relative(self) -> float:
        """Return the difference over the larger of the two, 0 if both are nil; inf if one is unknown."""
        if math.isnan(self.left) or math.isnan(self.right):
            return math.inf
        size = max(abs(self.left), abs(self.right))
        return abs(self.left - self.right) / size if size > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class SiteAccount:
    """One site's accounts."""

    name: str
    hourly: Mapping[str, FloatArray]
    """Columns of the table `hourly` without `site`; NaN for null."""
    power: Mapping[str, StepSeries]
    """Component (gpu, host, network, conversion, cooling, other; storage and onsite where there
    are any) -> power. [W]"""
    meter: StepSeries
    """Power at the meter, import positive. [W]"""
    totals: Mapping[str, float]
    """Sums over the run, by name with unit; NaN where unknown."""
    cost_usd: Mapping[str, float]
    """Part -> cost; NaN where a price is unknown."""


#: Columns that every row, job or idle, has.
ROW_COLUMNS = (
    "gpu_seconds",
    "it_energy_j",
    "facility_energy_j",
    "location_gco2e",
    "market_gco2e",
    "marginal_gco2e",
    "embodied_gco2e",
    "cost_usd",
    "water_litres",
    "source_water_litres",
)


@dataclass(frozen=True, slots=True)
class Books:
    """The accounts of a run under one set of grids, climates and rules."""

    sites: tuple[SiteAccount, ...]
    jobs: Mapping[str, FloatArray]
    """Column (`ROW_COLUMNS`, and productive_gpu_seconds, mfu_fraction) -> one number a job."""
    idle: Mapping[str, FloatArray]
    """The same `ROW_COLUMNS` for what nobody held: one number a pool, in the record's order."""
    totals: Mapping[str, float]
    """Flat names as in `summary.json` where they belong to the books; NaN where unknown."""
    cost_usd: Mapping[str, float]
    """Part -> cost over all sites; NaN where a price is unknown."""
    gpu_seconds: Mapping[str, float]
    """owned, allocated, productive, overhead, lost, free, down, maintenance."""
    audit: tuple[AuditEntry, ...]
    tags: Mapping[str, str]
    """How carbon and money were counted: factor_set, basis, vintage, boundary, market, price_year."""
    notes: tuple[str, ...] = ()
    """What a reader must be told, e.g. which part has no price."""
