"""Do the books balance? Pairs of numbers that must be equal, to one part in a billion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.books import AuditEntry, Books, SiteBooks
from simulator.accounting.metering import Metered
from simulator.facility.storage import Battery
from simulator.foundation.errors import AuditError
from simulator.foundation.step_series import StepSeries
from simulator.telemetry.record import ServiceRecord

FloatArray = NDArray[np.float64]

#: Largest relative difference that is rounding.
TOLERANCE: Final = 1e-9


def audit_entries(
    metered: Metered,
    sites: Mapping[str, SiteBooks],
    books: Books,
) -> tuple[AuditEntry, ...]:
    """Return every pair of the audit.

    Parameters
    ----------
    metered
        The run at its meters.
    sites
        What the books were made with.
    books
        The books, with rows.
    """
    entries = [*_time(metered), *_rows(books), *_components(books)]
    for site in books.sites:
        battery, storage = sites[site.name].battery, site.power.get("storage")
        if battery is not None and storage is not None:
            entries.append(_storage(site.name, battery, storage))
    for service in metered.ledger.record.services:
        entries += _service(service)
    return tuple(entries)


def require_balance(books: Books) -> None:
    """Raise AuditError if any pair differs by more than rounding; the message lists them."""
    failed = [entry for entry in books.audit if not entry.relative <= TOLERANCE]
    if failed:
        raise AuditError(
            "the books do not balance (a bug in datahall): "
            + "; ".join(f"{e.name}: {e.left!r} against {e.right!r}" for e in failed)
        )


def _time(metered: Metered) -> list[AuditEntry]:
    use = metered.goodput.by_use
    held = sum(pool.held_gpus.integral() for site in metered.ledger.sites for pool in site.pools)
    entries = [
        AuditEntry("GPU-seconds given are given back", use["allocated"], held),
        AuditEntry(
            "GPU-seconds owned are held, down or free",
            use["owned"],
            use["productive"]
            + use["overhead"]
            + use["lost"]
            + use["down"]
            + use["maintenance"]
            + max(use["free"], 0.0),
        ),
    ]
    for site in metered.ledger.sites:
        for pool in site.pools:
            most = max(pool.held_gpus.maximum(), float(pool.gpus))
            facts = metered.ledger.record
            where = f"{facts.sites[site.code].name}.{facts.pools[pool.code].name}"
            entries.append(AuditEntry(f"{where} never gives more GPUs than it has", most, float(pool.gpus)))
    return entries


def _rows(books: Books) -> list[AuditEntry]:
    """Compare sums over job and idle rows with the meters' totals."""
    pairs = (
        ("energy at the meter", "facility_energy_j", "facility_energy_j"),
        ("IT energy of the nodes", "it_energy_j", "node_energy_j"),
        ("location-based carbon", "location_gco2e", "location_gco2e"),
        ("market-based carbon", "market_gco2e", "market_gco2e"),
        ("marginal carbon", "marginal_gco2e", "marginal_gco2e"),
        ("embodied carbon", "embodied_gco2e", "embodied_gco2e"),
        ("site water", "water_litres", "site_water_litres"),
    )
    entries = []
    for name, column, total in pairs:
        whole = sum(site.totals[total] for site in books.sites)
        entries.append(AuditEntry(f"{name} is the sum over rows", whole, _row_sum(books, column)))
    entries.append(
        AuditEntry("cost is the sum over rows", sum(books.cost_usd.values()), _row_sum(books, "cost_usd"))
    )
    # What nobody knows is unknown in the rows too, and there is nothing to compare.
    entries = [entry for entry in entries if not (np.isnan(entry.left) and np.isnan(entry.right))]
    hours = sum(float(site.hourly["location_gco2e"].sum()) for site in books.sites)
    entries.append(
        AuditEntry("location-based carbon is the sum over hours", books.totals["location_tco2e"] * 1e6, hours)
    )
    return entries


def _row_sum(books: Books, column: str) -> float:
    return float(books.jobs[column].sum() + books.idle[column].sum())


def _components(books: Books) -> list[AuditEntry]:
    return [
        AuditEntry(
            f"{site.name}: power at the meter is the sum of its components",
            site.totals["facility_energy_j"],
            sum(series.integral() for series in site.power.values()),
        )
        for site in books.sites
    ]


def _storage(site: str, battery: Battery, storage_w: StepSeries) -> AuditEntry:
    """Follow the charge through the dispatch: it stays between empty and full."""
    efficiency = battery.one_way_efficiency
    into_w = np.where(storage_w.value > 0.0, storage_w.value * efficiency, storage_w.value / efficiency)
    charge_j = battery.initial_fraction * battery.energy_j + np.cumsum(into_w * storage_w.widths_s)
    low_j, high_j = battery.minimum_fraction * battery.energy_j, battery.energy_j
    outside_j = max(float(charge_j.max()) - high_j, low_j - float(charge_j.min()), 0.0)
    return AuditEntry(f"{site}: storage stays within its bounds", high_j + outside_j, high_j)


#: What came in -> where it may have gone, by the names of `ServiceRecord.counters`.
_FLOWS: Final = (
    ("requests", "requests_in", ("requests_out", "in_flight", "shed", "failed")),
    (
        "tokens",
        "tokens_in",
        ("tokens_out", "prompt_tokens_out", "tokens_in_flight", "tokens_shed", "tokens_failed"),
    ),
)


def _service(service: ServiceRecord) -> list[AuditEntry]:
    count = service.counters
    return [
        AuditEntry(
            f"{service.name}: {what} in are out, in flight, shed or failed",
            count[arrived],
            sum(count.get(name, 0.0) for name in gone),
        )
        for what, arrived, gone in _FLOWS
        if arrived in count
    ]
