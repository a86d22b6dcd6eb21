"""`datahall account`: a finished run's books under other grids, prices and climates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from simulator.results import Reaccount

#: Column heading -> name in the summary, unit as it is read and shown.
_COLUMNS: Final = (
    ("meter MWh", "facility_energy_mwh", 1.0),
    ("PUE", "pue", 1.0),
    ("location t", "location_tco2e", 1.0),
    ("marginal t", "marginal_tco2e", 1.0),
    ("site m3", "site_water_m3", 1.0),
    ("source m3", "source_water_m3", 1.0),
    ("energy kUSD", "energy_cost_usd", 1e-3),
    ("total kUSD", "total_cost_usd", 1e-3),
)


@click.command("account")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--grid", "grids", metavar="NAME[,NAME...]", multiple=True, help="Catalog grids.")
@click.option("--price", "prices", metavar="PRICE[,...]", multiple=True, help='Such as "42 USD/MWh".')
@click.option("--climate", "climates", metavar="NAME[,...]", multiple=True, help="Catalog climates.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    run: Path, grids: tuple[str, ...], prices: tuple[str, ...], climates: tuple[str, ...], as_json: bool
) -> None:
    """Count a finished RUN under every combination of the given alternatives.

    What happened in the run stays; energy at the meter, water, carbon and money are counted
    again. Refused where a decision of the run read what would change.
    """
    from simulator.foundation.units import parse
    from simulator.results import open_run, reaccount

    found = reaccount(
        open_run(run),
        grids=_words(grids),
        prices_usd_per_kwh=[parse(price, "USD/kWh") for price in _words(prices)],
        climates=_words(climates),
    )
    if as_json:
        rows = [{"label": item.label, "summary": dict(item.summary), "notes": item.notes} for item in found]
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for line in table_lines(found):
        click.echo(line)


def _words(said: Sequence[str]) -> list[str]:
    """Return what was listed with commas or by repeating the option."""
    return [word.strip() for text in said for word in text.split(",") if word.strip()]


def table_lines(found: Sequence[Reaccount]) -> list[str]:
    """Return the alternatives as a table, then what is to be known about them."""
    width = max(len(item.label) for item in found)
    lines = [" ".join([" " * width, *(f"{heading:>11}" for heading, _, _ in _COLUMNS)])]
    for item in found:
        cells = [item.summary.get(name) for _, name, _ in _COLUMNS]
        shown = [
            "unknown"
            if cell is None
            else f"{cell * scale:,.4g}"
            if abs(cell * scale) < 1000
            else f"{cell * scale:,.0f}"
            for cell, (_, _, scale) in zip(cells, _COLUMNS, strict=True)
        ]
        lines.append(" ".join([f"{item.label:{width}}", *(f"{cell:>11}" for cell in shown)]))
    notes = dict.fromkeys(note for item in found for note in item.notes)
    return [*lines, *(f"note: {note}" for note in notes)]
