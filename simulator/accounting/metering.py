"""A whole run at its meters: what grids, tariffs and rules share, computed once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.books import SiteBooks
from simulator.accounting.goodput import Goodput, goodput
from simulator.accounting.ledger import Ledger
from simulator.accounting.meter import SiteMeter, read_meter
from simulator.accounting.peaks import QuarterHours, largest_between, largest_ramp_w_per_s, quarter_hours
from simulator.foundation.step_series import StepSeries
from simulator.telemetry.record import Record

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FleetPeaks:
    """Peaks of all sites together, as they coincide."""

    peak_w: float
    bound_w: float
    """If every segment of every site drew its maximum at once. [W]"""
    peak_15min_w: float
    mean_w: float
    max_ramp_w_per_s: float


@dataclass(frozen=True, slots=True)
class Metered:
    """A ledger with its sites' power at the meter."""

    ledger: Ledger
    meters: tuple[SiteMeter, ...]
    quarters: tuple[QuarterHours, ...]
    hourly: tuple[Mapping[str, FloatArray], ...]
    """Per site, the columns of `hourly` that no grid changes."""
    peaks: FleetPeaks
    goodput: Goodput


def read_meters(ledger: Ledger, sites: Mapping[str, SiteBooks]) -> Metered:
    """Return a run at its meters.

    Parameters
    ----------
    ledger
        What the run used.
    sites
        Books of every site, by name; of them only physics, weather, storage and on-site supply
        are read.
    """
    record = ledger.record
    missing = [site.name for site in record.sites if site.name not in sites]
    if missing:
        raise KeyError(f"no books for the sites {', '.join(missing)}; given: {', '.join(sites)}")
    meters = tuple(read_meter(record, site, sites[record.sites[site.code].name]) for site in ledger.sites)
    quarters = tuple(quarter_hours(meter.meter, record.calendar) for meter in meters)
    hourly = tuple(
        _hourly(record, code, sites[record.sites[code].name], meter, quarter)
        for code, (meter, quarter) in enumerate(zip(meters, quarters, strict=True))
    )
    return Metered(ledger, meters, quarters, hourly, _peaks(record, meters), goodput(ledger))


def _hourly(
    record: Record, code: int, books: SiteBooks, meter: SiteMeter, quarters: QuarterHours
) -> dict[str, FloatArray]:
    edges_s = record.calendar.hour_edges_s(record.horizon_s)
    widths_s = np.diff(edges_s)
    node_j = meter.node.integrals_between(edges_s)
    it_j = node_j + meter.network_w * widths_s
    load_j = meter.load.integrals_between(edges_s)
    nil = np.zeros_like(widths_s)

    def integral(series: StepSeries | None) -> FloatArray:
        return nil if series is None else series.integrals_between(edges_s)

    peak_15min_w = quarters.largest_by(edges_s)
    # An hour too short for a whole quarter-hour has its mean.
    peak_15min_w = np.where(np.isnan(peak_15min_w), meter.meter.means_between(edges_s), peak_15min_w)
    return {
        "start_s": edges_s[:-1],
        "end_s": edges_s[1:],
        "it_energy_j": it_j,
        "facility_energy_j": meter.meter.integrals_between(edges_s),
        "pue": np.divide(load_j, it_j, out=np.full_like(it_j, np.nan), where=it_j > 0.0),
        "site_water_litres": meter.water_litres(edges_s),
        "limit_w": _limit(record, code, edges_s),
        "peak_15min_power_w": peak_15min_w,
        "peak_power_w": largest_between(meter.meter, edges_s),
        "storage_energy_j": integral(meter.storage),
        "onsite_energy_j": integral(meter.onsite),
        "dry_bulb_c": books.weather.dry_bulb.means_between(edges_s),
        "wet_bulb_c": books.weather.wet_bulb.means_between(edges_s),
    }


def _limit(record: Record, code: int, edges_s: FloatArray) -> FloatArray:
    """Return the lowest limit in each hour, of the connection and of calls; NaN without any."""
    fixed_w = record.sites[code].limit_w
    lowest_w = np.full(len(edges_s) - 1, np.inf if fixed_w is None else fixed_w)
    if code in record.limits:
        times_s, limits_w = record.limits[code]
        times_s, limits_w = np.append(times_s, np.inf), np.asarray(limits_w)
        for begin_s, end_s, limit_w in zip(times_s[:-1], times_s[1:], limits_w, strict=True):
            within = (edges_s[:-1] < end_s) & (edges_s[1:] > begin_s)
            lowest_w[within] = np.minimum(lowest_w[within], limit_w)
    return np.where(np.isfinite(lowest_w), lowest_w, np.nan)


def _peaks(record: Record, meters: tuple[SiteMeter, ...]) -> FleetPeaks:
    whole = meters[0].meter if len(meters) == 1 else StepSeries.sum_of([meter.meter for meter in meters])
    return FleetPeaks(
        peak_w=whole.maximum(),
        bound_w=sum(meter.bound_w for meter in meters),
        peak_15min_w=float(quarter_hours(whole, record.calendar).mean_w.max()),
        mean_w=whole.mean(),
        max_ramp_w_per_s=largest_ramp_w_per_s(whole, record.calendar),
    )
