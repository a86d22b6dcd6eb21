"""From a record to its books: energy, PUE, water, carbon, money and goodput. Pure functions.

`measure` and `read_meters` are done once for a run; `settle` is what another grid, tariff or
rule costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.audit import audit_entries
from simulator.accounting.books import ROW_COLUMNS, BookRules, Books, SiteAccount, SiteBooks
from simulator.accounting.ledger import measure
from simulator.accounting.metering import Metered, read_meters
from simulator.accounting.site_account import SiteResult, account_site
from simulator.foundation.units import G_PER_T, HOUR_S, J_PER_KWH, J_PER_MWH
from simulator.telemetry.record import Record

FloatArray = NDArray[np.float64]

_LITRES_PER_M3 = 1000.0


def account(record: Record, sites: Mapping[str, SiteBooks], rules: BookRules) -> Books:
    """Return the books of a record.

    Parameters
    ----------
    record
        What happened.
    sites
        Physics, weather, grid and tariff of every site, by name.
    rules
        How carbon and money are counted.
    """
    return settle(read_meters(measure(record), sites), sites, rules)


def settle(
    metered: Metered, sites: Mapping[str, SiteBooks], rules: BookRules, *, with_rows: bool = True
) -> Books:
    """Return the books of a metered run.

    Parameters
    ----------
    metered
        The run at its meters, of the same physics and weather as `sites`.
    sites, rules
        How it is counted.
    with_rows
        Without rows, only totals and hours: what comparing many grids needs. There is no audit
        then.
    """
    record = metered.ledger.record
    results = [
        account_site(metered, code, sites[site.name], rules, with_rows)
        for code, site in enumerate(record.sites)
    ]
    accounts = tuple(result.account for result in results)
    cost_usd = {part: sum(site.cost_usd[part] for site in accounts) for part in accounts[0].cost_usd}
    books = Books(
        sites=accounts,
        jobs=_jobs(metered, results) if with_rows else {},
        idle=_idle(metered, results) if with_rows else {},
        totals=_totals(metered, accounts, cost_usd),
        cost_usd=cost_usd,
        gpu_seconds=metered.goodput.by_use,
        audit=(),
        tags=_tags(record, sites, rules),
        notes=tuple(note for result in results for note in result.notes),
    )
    return replace(books, audit=audit_entries(metered, sites, books)) if with_rows else books


def _jobs(metered: Metered, results: list[SiteResult]) -> dict[str, FloatArray]:
    jobs = len(metered.ledger.record.jobs)
    columns = {
        name: np.sum([result.jobs[name] for result in results], axis=0) if jobs else np.empty(0)
        for name in ROW_COLUMNS
    }
    return columns | {
        "productive_gpu_seconds": metered.goodput.productive_gpu_seconds,
        "mfu_fraction": metered.goodput.mfu_fraction,
    }


def _idle(metered: Metered, results: list[SiteResult]) -> dict[str, FloatArray]:
    """Return one number a pool, in the record's order."""
    codes = [pool.code for site in metered.ledger.sites for pool in site.pools]
    order = np.argsort(codes)
    return {name: np.concatenate([result.idle[name] for result in results])[order] for name in ROW_COLUMNS}


def _totals(
    metered: Metered, accounts: tuple[SiteAccount, ...], cost_usd: Mapping[str, float]
) -> dict[str, float]:
    record, peaks, good = metered.ledger.record, metered.peaks, metered.goodput

    def total(name: str) -> float:
        return float(sum(site.totals[name] for site in accounts))

    it_j, import_j = total("it_energy_j"), total("import_energy_j")
    energy_usd = cost_usd["energy"] + cost_usd["network_charge"]
    unpriced = np.isnan(total("energy_cost_usd"))
    total_usd = sum(cost_usd.values())
    use = good.by_use
    owned = use["owned"]
    productive_h = use["productive"] / HOUR_S
    return {
        "gpus": float(sum(pool.gpus for pool in record.pools)),
        "horizon_s": record.horizon_s,
        "allocated_fraction": _ratio(use["allocated"], owned),
        "productive_fraction": _ratio(use["productive"], owned),
        "down_fraction": _ratio(use["down"] + use["maintenance"], owned),
        "mfu_fraction": good.fleet_mfu_fraction,
        "ettr_fraction": good.fleet_ettr_fraction,
        "it_energy_mwh": it_j / J_PER_MWH,
        "facility_energy_mwh": total("facility_energy_j") / J_PER_MWH,
        "pue": _ratio(total("load_energy_j"), it_j),
        "wue_litres_per_kwh": _ratio(total("site_water_litres"), it_j / J_PER_KWH),
        "peak_facility_power_w": peaks.peak_w,
        "peak_bound_power_w": peaks.bound_w,
        "peak_15min_power_w": peaks.peak_15min_w,
        "load_factor_fraction": _ratio(peaks.mean_w, peaks.peak_15min_w),
        "max_ramp_w_per_s": peaks.max_ramp_w_per_s,
        "location_tco2e": total("location_gco2e") / G_PER_T,
        "market_tco2e": total("market_gco2e") / G_PER_T,
        "marginal_tco2e": total("marginal_gco2e") / G_PER_T,
        "embodied_tco2e": total("embodied_gco2e") / G_PER_T,
        "cfe_fraction": _ratio(total("clean_matched_j"), import_j),
        "site_water_m3": total("site_water_litres") / _LITRES_PER_M3,
        "source_water_m3": total("source_water_litres") / _LITRES_PER_M3,
        "energy_cost_usd": float("nan") if unpriced else energy_usd,
        "total_cost_usd": total_usd,
        "usd_per_productive_gpu_hour": _ratio(total_usd, productive_h),
        "overheated_s": total("overheated_s"),
    }


def _tags(record: Record, sites: Mapping[str, SiteBooks], rules: BookRules) -> dict[str, str]:
    def joined(values: list[str]) -> str:
        """One value if all sites agree, else each with its site."""
        if len(set(values)) == 1:
            return values[0]
        return "; ".join(f"{site.name}: {value}" for site, value in zip(record.sites, values, strict=True))

    signals = [sites[site.name].signals for site in record.sites]
    contracted = [sites[site.name].market_g_per_kwh is not None for site in record.sites]
    return {
        "grid": joined([signal.name for signal in signals]),
        "factor_set": joined([signal.factor_set for signal in signals]),
        "basis": joined([signal.basis for signal in signals]),
        "vintage": joined([signal.vintage for signal in signals]),
        "boundary": joined([signal.boundary for signal in signals]),
        "market": joined(["contracts" if known else "none: equals location" for known in contracted]),
        "price_year": str(rules.cost.price_year) if rules.cost is not None else "",
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else float("nan")
