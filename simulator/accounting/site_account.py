"""One site's account under one grid: energy, water, three carbons, cost, by hour and by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.accounting import cost
from simulator.accounting.books import BookRules, SiteAccount, SiteBooks
from simulator.accounting.carbon import embodied_g_per_gpu_s, operational_gco2e
from simulator.accounting.ledger import SiteLedger
from simulator.accounting.meter import SiteMeter
from simulator.accounting.metering import Metered
from simulator.accounting.peaks import QuarterHours
from simulator.accounting.settlement import Shares, by_code, month_starts, settlement_edges
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import G_PER_T, J_PER_KWH
from simulator.grid.tariff import Tariff
from simulator.telemetry.record import PoolFacts, Record

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteResult:
    """A site's account, and its part of every row."""

    account: SiteAccount
    jobs: Mapping[str, FloatArray]
    """Column -> one number a job; empty without rows."""
    idle: Mapping[str, FloatArray]
    """Column -> one number a pool of the site; empty without rows."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Intervals:
    """A site by settlement interval, energy and everything bought with it. All (m,)."""

    edges_s: FloatArray
    meter_j: FloatArray
    import_j: FloatArray
    location_g: FloatArray
    market_g: FloatArray
    marginal_g: FloatArray
    clean_j: FloatArray
    price_usd_per_kwh: FloatArray
    energy_usd: FloatArray
    water_litres: FloatArray
    source_water_litres: FloatArray


def account_site(
    metered: Metered, code: int, books: SiteBooks, rules: BookRules, with_rows: bool
) -> SiteResult:
    """Return one site's account.

    Parameters
    ----------
    metered
        The run at its meters.
    code
        The site's position in the record.
    books, rules
        How it is counted.
    with_rows
        Whether jobs and idle machines get their parts too.
    """
    record = metered.ledger.record
    ledger, meter = metered.ledger.sites[code], metered.meters[code]
    facts = record.sites[code]
    edges_s = settlement_edges(
        record.calendar, record.horizon_s, facts.timezone, books.signals.settlement_starts_s
    )
    intervals = _intervals(record, meter, books, edges_s)
    hours = dict(metered.hourly[code])
    hours.update(_hourly(hours["start_s"], intervals))
    by_month = _demand_usd(record, metered.quarters[code], books.tariff, facts.timezone)
    own = [(index, pool) for index, pool in enumerate(record.pools) if pool.site == code]
    capital, notes = _capital(own, books, rules, record.horizon_s, facts.name)

    shared = _shared_usd(intervals, rules)
    parts = {part: float(amount.sum()) for part, amount in shared.items()} | {
        "network_charge": float(by_month.sum())
    }
    for part in _CAPITAL_PARTS:
        rates = capital[part]
        parts[part] = sum(rates[i] * pool.gpus * record.horizon_s for i, (_, pool) in enumerate(own))
    embodied_g = sum(capital["embodied"][i] * pool.gpus * record.horizon_s for i, (_, pool) in enumerate(own))
    totals = _totals(meter, intervals, record.horizon_s) | {"embodied_gco2e": embodied_g}
    if np.isnan(totals["energy_cost_usd"]):
        notes = (
            *notes,
            f"{facts.name}: energy has no price, so the cost is unknown; give the grid's or a tariff's",
        )
    account = SiteAccount(
        name=facts.name,
        hourly=hours,
        power=_components(meter),
        meter=meter.meter,
        totals=totals,
        cost_usd={part: parts[part] for part in _PARTS},
    )
    if not with_rows:
        return SiteResult(account, {}, {}, notes)
    jobs, idle = _rows(ledger, len(record.jobs), intervals, shared, by_month, capital, record, facts.timezone)
    return SiteResult(account, jobs, idle, notes)


#: Parts of the cost that follow the time held, not the energy.
_CAPITAL_PARTS = ("hardware", "maintenance", "building", "staff")
_PARTS = ("hardware", "building", "maintenance", "staff", "energy", "network_charge", "water", "carbon_price")


def _intervals(record: Record, meter: SiteMeter, books: SiteBooks, edges_s: FloatArray) -> _Intervals:
    signals, tariff = books.signals, books.tariff
    at_s = edges_s[:-1]
    unknown = np.full(len(at_s), np.nan)

    def held(series: StepSeries | None, name: str) -> FloatArray:
        if series is None:
            return unknown
        series.require(0.0, record.horizon_s, f"{signals.name}: {name}")
        return series.at(at_s)

    meter_j = meter.meter.integrals_between(edges_s)
    import_j = meter_j
    if meter.has_supply:
        import_j = meter.meter.map(lambda power: np.maximum(power, 0.0)).integrals_between(edges_s)
    export_j = meter_j - import_j
    location_g = operational_gco2e(import_j, held(signals.intensity_g_per_kwh, "intensity"))
    market_g = location_g
    if books.market_g_per_kwh is not None:
        market_g = operational_gco2e(import_j, held(books.market_g_per_kwh, "market intensity"))
    # Exports displace other generation at the margin; they are not subtracted from inventories.
    marginal_g = operational_gco2e(meter_j, held(signals.marginal_g_per_kwh, "marginal intensity"))
    price = held(tariff.price(signals.price_usd_per_kwh, record.horizon_s), "price")
    paid_usd = cost.energy_usd(import_j, price) + cost.energy_usd(export_j, price - tariff.adder_usd_per_kwh)
    return _Intervals(
        edges_s=edges_s,
        meter_j=meter_j,
        import_j=import_j,
        location_g=location_g,
        market_g=market_g,
        marginal_g=marginal_g,
        clean_j=import_j * held(signals.clean_fraction, "clean fraction"),
        price_usd_per_kwh=price,
        energy_usd=paid_usd,
        water_litres=meter.water_litres(edges_s),
        source_water_litres=import_j / J_PER_KWH * held(signals.source_water_litres_per_kwh, "source water"),
    )


def _hourly(start_s: FloatArray, intervals: _Intervals) -> dict[str, FloatArray]:
    """Return the columns of `hourly` that a grid changes."""
    first = np.searchsorted(intervals.edges_s, start_s)
    widths_s = np.diff(intervals.edges_s)

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values, first))

    hours_s = total(widths_s)
    import_j, location_g = total(intervals.import_j), total(intervals.location_g)
    # Over an hour's import the mean intensity is the ratio of sums; without import, of time.
    intensity = np.divide(
        location_g * J_PER_KWH, import_j, out=np.full_like(import_j, np.nan), where=import_j > 0.0
    )
    return {
        "source_water_litres": total(intervals.source_water_litres),
        "intensity_g_per_kwh": intensity,
        "location_gco2e": location_g,
        "market_gco2e": total(intervals.market_g),
        "marginal_gco2e": total(intervals.marginal_g),
        "price_usd_per_kwh": total(intervals.price_usd_per_kwh * widths_s) / hours_s,
        "energy_cost_usd": total(intervals.energy_usd),
        "clean_matched_j": total(intervals.clean_j),
    }


def _demand_usd(record: Record, quarters: QuarterHours, tariff: Tariff, timezone: str) -> FloatArray:
    """Return the demand charge of each local month of the run. (months,) [USD]"""
    starts_s = month_starts(record.calendar, record.horizon_s, timezone)
    ends_s = np.append(starts_s[1:], record.horizon_s)
    peaks_w = np.nan_to_num(quarters.largest_by(np.append(starts_s, record.horizon_s)))
    lengths_s = np.array([_month_length_s(record, start_s, timezone) for start_s in starts_s])
    return tariff.demand_charge_usd(np.maximum(peaks_w, 0.0), (ends_s - starts_s) / lengths_s)


def _month_length_s(record: Record, moment_s: float, timezone: str) -> float:
    local = record.calendar.local(moment_s, timezone)
    first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    # Through UTC: a month with a change of clocks is an hour shorter or longer.
    return record.calendar.seconds(following) - record.calendar.seconds(first)


def _capital(
    own: list[tuple[int, PoolFacts]], books: SiteBooks, rules: BookRules, horizon_s: float, site: str
) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
    """Return what each pool's GPU costs per second held or idle, by part, and embodied grams.

    What needs a blank of the catalog is NaN: a sum without it would look like a small number.
    """
    rates = {part: np.zeros(len(own)) for part in (*_CAPITAL_PARTS, "embodied")}
    notes: list[str] = []
    spec = rules.cost
    gpus = sum(pool.gpus for _, pool in own)
    if spec is None or not rules.embodied:
        rates["embodied"][:] = np.nan
    if spec is None or gpus == 0:
        return rates, ()
    for index, (_, pool) in enumerate(own):
        node, where = pool.node, f"{site}.{pool.name}"
        if node.price_usd is None:
            rates["hardware"][index] = rates["maintenance"][index] = np.nan
            notes.append(f"{where}: node {node.node_type} has no price, so the cost is unknown")
        else:
            rates["hardware"][index], rates["maintenance"][index] = cost.node_usd_per_gpu_s(
                spec, node.price_usd, node.gpus_per_node
            )
        if rules.embodied and node.embodied_gco2e is None:
            rates["embodied"][index] = np.nan
            notes.append(f"{where}: node {node.node_type} has no embodied carbon in the catalog: unknown")
        elif rules.embodied and node.embodied_gco2e is not None:
            rates["embodied"][index] = embodied_g_per_gpu_s(
                node.embodied_gco2e, node.gpus_per_node, spec.gpu_life_s
            )
    rates["building"] += cost.building_usd(spec, books.design_it_w, horizon_s) / (gpus * horizon_s)
    rates["staff"] += cost.staff_usd(spec, books.design_it_w, horizon_s) / (gpus * horizon_s)
    if rules.embodied and spec.building_embodied_gco2e_per_w is not None:
        building_g = spec.building_embodied_gco2e_per_w * books.design_it_w
        rates["embodied"] += building_g / spec.building_life_s / gpus
    return rates, tuple(notes)


def _shared_usd(intervals: _Intervals, rules: BookRules) -> dict[str, FloatArray]:
    """Return what follows energy, by part and interval; the demand charge goes by month."""
    water_usd = (rules.cost.water_usd_per_litre or 0.0) if rules.cost is not None else 0.0
    return {
        "energy": intervals.energy_usd,
        # Unknown litres at no price cost nothing.
        "water": intervals.water_litres * water_usd if water_usd else np.zeros_like(intervals.energy_usd),
        "carbon_price": intervals.location_g / G_PER_T * rules.carbon_price_usd_per_t,
    }


def _rows(
    ledger: SiteLedger,
    jobs: int,
    intervals: _Intervals,
    shared: Mapping[str, FloatArray],
    by_month: FloatArray,
    capital: Mapping[str, FloatArray],
    record: Record,
    timezone: str,
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return every column of this site's rows: by job, and by pool for what nobody held."""
    edges_s = intervals.edges_s
    shares = Shares.of(edges_s, ledger, jobs)
    months_s = month_starts(record.calendar, record.horizon_s, timezone)
    month = np.searchsorted(months_s, edges_s[:-1], side="right") - 1
    month_j = by_code(month, shares.node_j, len(months_s))
    month_s = by_code(month, np.diff(edges_s), len(months_s))
    weight = np.where(month_j[month] > 0.0, shares.node_j, np.diff(edges_s))
    charge = by_month[month] * weight / np.where(month_j > 0.0, month_j, month_s)[month]
    amounts = {
        "facility_energy_j": intervals.meter_j,
        "location_gco2e": intervals.location_g,
        "market_gco2e": intervals.market_g,
        "marginal_gco2e": intervals.marginal_g,
        "cost_usd": charge + sum(shared.values()),
        "water_litres": intervals.water_litres,
        "source_water_litres": intervals.source_water_litres,
    }
    by_job: dict[str, FloatArray] = {}
    by_pool: dict[str, FloatArray] = {}
    for name, amount in amounts.items():
        if name == "market_gco2e" and amount is intervals.location_g:
            by_job[name], by_pool[name] = by_job["location_gco2e"], by_pool["location_gco2e"]
            continue
        by_job[name], by_pool[name] = shares.divide(amount)
    by_job["it_energy_j"], by_pool["it_energy_j"] = shares.it_energy_j()

    held = ledger.gpus * (ledger.end_s - ledger.start_s)
    idle = np.array([pool.idle_gpu_seconds(edges_s).sum() for pool in ledger.pools])
    first = np.zeros(len(record.pools), dtype=np.intp)
    first[[pool.code for pool in ledger.pools]] = np.arange(len(ledger.pools))
    of_pool = first[ledger.pool]
    by_job["gpu_seconds"], by_pool["gpu_seconds"] = by_code(ledger.job, held, jobs), idle
    usd_per_gpu_s = sum((capital[part] for part in _CAPITAL_PARTS), start=np.zeros(len(ledger.pools)))
    for name, rate in (("cost_usd", usd_per_gpu_s), ("embodied_gco2e", capital["embodied"])):
        by_time = by_code(ledger.job, held * rate[of_pool], jobs)
        by_job[name] = by_job.get(name, 0.0) + by_time
        by_pool[name] = by_pool.get(name, 0.0) + idle * rate
    return by_job, by_pool


def _totals(meter: SiteMeter, intervals: _Intervals, horizon_s: float) -> dict[str, float]:
    storage_j = 0.0 if meter.storage is None else meter.storage.integral()
    return {
        "it_energy_j": meter.node.integral() + meter.network_w * horizon_s,
        "node_energy_j": meter.node.integral(),
        "load_energy_j": meter.load.integral(),
        "facility_energy_j": meter.meter.integral(),
        "import_energy_j": float(intervals.import_j.sum()),
        "storage_energy_j": storage_j,
        "onsite_energy_j": 0.0 if meter.onsite is None else meter.onsite.integral(),
        "location_gco2e": float(intervals.location_g.sum()),
        "market_gco2e": float(intervals.market_g.sum()),
        "marginal_gco2e": float(intervals.marginal_g.sum()),
        "clean_matched_j": float(intervals.clean_j.sum()),
        "site_water_litres": float(intervals.water_litres.sum()),
        "source_water_litres": float(intervals.source_water_litres.sum()),
        "energy_cost_usd": float(intervals.energy_usd.sum()),
        "overheated_s": meter.overheated_s,
    }


def _components(meter: SiteMeter) -> dict[str, StepSeries]:
    """Return power by component; together with storage and on-site supply they are the meter."""
    end_s = meter.load.end_s
    found = {
        "gpu": meter.gpu,
        "host": StepSeries(meter.node.start_s, meter.node.value - meter.gpu.value, end_s),
        "network": StepSeries.constant(meter.network_w, end_s),
        "conversion": meter.conversion,
        "cooling": meter.cooling,
        "other": StepSeries.constant(meter.other_w, end_s),
    }
    if meter.storage is not None:
        found["storage"] = meter.storage
    if meter.onsite is not None:
        found["onsite"] = meter.onsite
    return found
