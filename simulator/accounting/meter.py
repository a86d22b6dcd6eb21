"""A site's power at the meter by component: physics applied to IT power and weather."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.books import SiteBooks
from simulator.accounting.ledger import SiteLedger
from simulator.facility.site import SitePhysics
from simulator.facility.weather import Weather
from simulator.foundation.step_series import StepSeries
from simulator.telemetry.record import Record

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteMeter:
    """Power of one site on common steps; no carbon, no price."""

    load: StepSeries
    """Everything but storage and on-site supply. [W]"""
    meter: StepSeries
    """What the utility sees, import positive. [W]"""
    node: StepSeries
    gpu: StepSeries
    conversion: StepSeries
    cooling: StepSeries
    network_w: float
    other_w: float
    storage: StepSeries | None
    onsite: StepSeries | None
    water_litres_per_s: StepSeries | None
    """None: the plant was given without its water."""
    bound_w: float
    """Largest load if every segment drew its maximum at once. [W]"""
    overheated_s: float
    """Time with more heat than the plant could carry. [s]"""

    def water_litres(self, edges_s: FloatArray) -> FloatArray:
        """Return site water between neighbouring edges; NaN where unknown. (m-1,) [L]"""
        if self.water_litres_per_s is None:
            return np.full(len(edges_s) - 1, np.nan)
        return self.water_litres_per_s.integrals_between(edges_s)

    @property
    def has_supply(self) -> bool:
        """Whether storage or on-site supply stands between load and meter."""
        return self.storage is not None or self.onsite is not None


def read_meter(record: Record, ledger: SiteLedger, books: SiteBooks) -> SiteMeter:
    """Return a site's power at the meter.

    Parameters
    ----------
    record
        For the cooling that failed and the storage that acted while it ran.
    ledger
        The site's IT.
    books
        Physics, weather, storage.
    """
    weather = _within(books.weather, record.horizon_s)
    working = _recorded(record.thermal, ledger.code, record.horizon_s, 1.0)
    storage = books.storage_w or _recorded(record.storage, ledger.code, record.horizon_s, 0.0)
    parts = [ledger.node_w, weather.dry_bulb, weather.wet_bulb]
    parts += [series for series in (working, storage, books.onsite_w) if series is not None]
    edges_s = np.unique(np.concatenate([series.start_s for series in parts]))
    dry_c, wet_c = weather.dry_bulb.at(edges_s), weather.wet_bulb.at(edges_s)
    working_share = np.ones_like(edges_s) if working is None else working.at(edges_s)
    node_w = ledger.node_w.at(edges_s)
    draw = books.physics.draw(node_w, dry_c, wet_c, working_share)

    def series(values: FloatArray) -> StepSeries:
        return StepSeries(edges_s, values, record.horizon_s)

    load_w = draw.meter_w
    supply_w = sum(
        (part.at(edges_s) for part in (storage, books.onsite_w) if part is not None),
        start=np.zeros_like(edges_s),
    )
    widths_s = np.diff(edges_s, append=record.horizon_s)
    return SiteMeter(
        load=series(load_w),
        meter=series(load_w + supply_w),
        node=series(node_w),
        gpu=series(ledger.gpu_w.at(edges_s)),
        conversion=series(draw.conversion_w),
        cooling=series(draw.cooling_w),
        network_w=draw.network_w,
        other_w=draw.other_w,
        storage=storage,
        onsite=books.onsite_w,
        water_litres_per_s=None
        if np.isnan(draw.water_litres_per_s).all()
        else series(draw.water_litres_per_s),
        bound_w=_bound(books.physics, ledger.bound_w.at(edges_s), edges_s, weather),
        overheated_s=float(widths_s[draw.heat_w > draw.capacity_w * (1.0 + 1e-12)].sum()),
    )


def _bound(physics: SitePhysics, bound_w: FloatArray, edges_s: FloatArray, weather: Weather) -> float:
    starts_s = np.union1d(weather.dry_bulb.start_s, weather.wet_bulb.start_s)
    largest_w = np.maximum.reduceat(bound_w, np.searchsorted(edges_s, starts_s))
    draw = physics.draw(largest_w, weather.dry_bulb.at(starts_s), weather.wet_bulb.at(starts_s))
    return float(draw.meter_w.max())


def _within(weather: Weather, horizon_s: float) -> Weather:
    """Return the weather of the run; refuse one that ends before it."""
    series = []
    for part in (weather.dry_bulb, weather.wet_bulb):
        part.require(0.0, horizon_s, f"weather ({weather.source})")
        series.append(part if (part.begin_s, part.end_s) == (0.0, horizon_s) else part.cut(0.0, horizon_s))
    return Weather(series[0], series[1], weather.source, weather.notes)


def _recorded(
    table: Mapping[int, tuple[FloatArray, FloatArray]], code: int, horizon_s: float, before: float
) -> StepSeries | None:
    """Return what the record holds as (times, values) for a site, from 0 on; None if nothing."""
    if code not in table:
        return None
    times, values = table[code]
    inside = times < horizon_s
    times, values = times[inside], values[inside]
    if not len(times):
        return None
    if times[0] > 0.0:
        times, values = np.insert(times, 0, 0.0), np.insert(values, 0, before)
    return StepSeries(times, values, horizon_s)
