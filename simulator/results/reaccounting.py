"""A finished run under other grids, prices and climates, without simulating it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.results.finished_run import Run
from simulator.telemetry.glossary import SUMMARY

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Reaccount:
    """One alternative: what was put in, and what comes out."""

    label: str
    summary: Mapping[str, float | None]
    """Flat names as in ``summary.json``, as far as the books decide them; None if unknown."""
    cost_usd: Mapping[str, float]
    """Part -> cost."""
    hourly: Mapping[str, Mapping[str, FloatArray]]
    """Site -> columns of ``hourly``; NaN for null."""
    notes: tuple[str, ...]


def reaccount(
    run: Run,
    *,
    grids: Sequence[str] = (),
    prices_usd_per_kwh: Sequence[float] = (),
    climates: Sequence[str] = (),
) -> list[Reaccount]:
    """Return the books of a finished run under every combination of the alternatives.

    What happened in the run stays; only energy at the meter (if the climate changes), water,
    carbon and money are counted again. Without any alternative, the run's own books come back.

    Parameters
    ----------
    grids
        Catalog names, or hourly files ending in ``.csv``; put in the place of every site's grid.
    prices_usd_per_kwh
        Flat energy prices instead of the tariff's energy part.
    climates
        Catalog names; put in the place of every site's weather.

    Raises
    ------
    AccountingRefusal
        A decision of the run read a signal that would change; the message names it.
    UnknownNameError, CatalogError
        A grid or climate that the catalog does not hold.
    """
    from simulator.accounting import measure, read_meters, refuse_if_read, settle
    from simulator.engine.environment import signals_of
    from simulator.results.book_inputs import book_rules, site_books
    from simulator.results.kept_record import kept_record
    from simulator.scenario.rebuilding import from_resolved
    from simulator.scenario.sites import Grid

    scenario = from_resolved(run.provenance["scenario"], str(run.path / "run.json"))
    record = kept_record(run)
    rules = book_rules(scenario)
    own = site_books(scenario, record.horizon_s)
    ledger = measure(record)
    found = []
    for climate in climates or (None,):
        # The meter depends on the climate alone: it is read once for all grids and prices.
        base = own if climate is None else site_books(scenario, record.horizon_s, climate=climate)
        metered = read_meters(ledger, base)
        for grid, price in product(grids or (None,), prices_usd_per_kwh or (None,)):
            sites = dict(base)
            if grid is not None:
                choice = Grid(trace=grid) if grid.endswith(".csv") else Grid(name=grid)
                signals = signals_of(scenario, choice, record.horizon_s)
                sites = {name: replace(books, signals=signals) for name, books in sites.items()}
            if price is not None:
                sites = {
                    name: replace(books, tariff=replace(books.tariff, energy_usd_per_kwh=price))
                    for name, books in sites.items()
                }
            refuse_if_read(record, own, sites)
            books = settle(metered, sites, rules, with_rows=False)
            found.append(
                Reaccount(
                    label=_label(grid, price, climate),
                    summary={
                        name: None if math.isnan(value) else float(value)
                        for name, value in books.totals.items()
                        if name in SUMMARY
                    },
                    cost_usd=dict(books.cost_usd),
                    hourly={site.name: site.hourly for site in books.sites},
                    notes=books.notes,
                )
            )
    return found


def _label(grid: str | None, price: float | None, climate: str | None) -> str:
    parts: list[Any] = []
    if grid is not None:
        parts.append(f"grid {grid}")
    if price is not None:
        parts.append(f"price {1000 * price:g} USD/MWh")
    if climate is not None:
        parts.append(f"climate {climate}")
    return ", ".join(parts) or "as run"
