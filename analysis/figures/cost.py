"""Cost by part, and who it falls on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.drawing import Drawing, Missing, new_figure, sign
from analysis.figures.carbon import by_workload
from analysis.numerals import digits
from analysis.palette import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    colours,
    in_order,
)
from simulator.foundation.units import USD_PER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.results import Run

NAME: Final = "cost"
TITLE: Final = "Cost by part, and on whom it falls"

PARTS: Final[Mapping[str, str]] = {
    "hardware": BLUE,
    "building": SKY,
    "energy": ORANGE,
    "network charge": YELLOW,
    "water": GREEN,
    "staff": PURPLE,
    "carbon price": VERMILLION,
    "maintenance": GREY,
}


def draw(run: Run) -> Drawing | Missing:
    """Left, the parts of the total; right, each workload's share of it."""
    said_usd = {
        name.replace("_", " "): value
        for name, value in run.provenance.get("books", {}).get("cost_usd", {}).items()
    }
    unknown = [name for name, value in said_usd.items() if value is None]
    if unknown:
        # Bars of what is left would look like the whole.
        return Missing(NAME, TITLE, f"The cost is unknown: {', '.join(unknown)} has no price.")
    parts = {name: float(value) for name, value in said_usd.items() if value}
    total = sum(parts.values())
    if total <= 0:
        return Missing(
            NAME, TITLE, "No price is set in this scenario (no tariff, no hardware cost), so nothing costs."
        )
    names = sorted(parts, key=lambda name: (-parts[name], name))
    paint = colours(in_order(names, PARTS), PARTS)
    unit, size = money_scale(total, str(run.provenance["currency"]))

    figure = new_figure(4.4)
    left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.0])
    place = np.arange(len(names))
    left.barh(
        place,
        [parts[name] / size for name in names],
        color=[paint[name] for name in names],
        height=0.7,
        zorder=2,
    )
    for at, name in zip(place, names, strict=True):
        left.text(
            (parts[name] + 0.015 * max(parts.values())) / size,
            at,
            f"{digits(parts[name] / size, 3)} ({100 * parts[name] / total:.0f} %)"
            if parts[name] >= 0.01 * total
            else f"{digits(parts[name] / size, 2)} (<1 %)",
            va="center",
            fontsize=9,
            color=INK,
        )
    left.set_yticks(place, names)
    left.set_title(f"By part, {unit}")
    left.set_xlim(0, 1.42 * max(parts.values()) / size)

    groups = by_workload(run)
    who = list(groups)
    spots = np.arange(len(who))
    values = [groups[name]["cost_usd"] for name in who]
    right.barh(
        spots,
        [value / size for value in values],
        color=[GREY if name == "idle" or name.endswith(" others") else BLUE for name in who],
        height=0.7,
        zorder=2,
    )
    top = max([*values, 1e-9])
    for at, value in zip(spots, values, strict=True):
        right.text(
            (value + 0.015 * top) / size, at, digits(value / size, 3), va="center", fontsize=9, color=INK
        )
    right.set_yticks(spots, who)
    right.set_title(f"By workload, {unit}")
    right.set_xlim(0, 1.25 * top / size)
    for axes, count in ((left, len(names)), (right, len(who))):
        axes.set_ylim(max(count, 4) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x")
    sign(figure, run, "run.json, jobs.parquet")

    year = run.provenance.get("books", {}).get("price_year")
    unit_cost = run.summary.get("usd_per_productive_gpu_hour")
    currency = str(run.provenance["currency"])
    per_hour = (
        ""
        if unit_cost is None
        else f", {digits(unit_cost / USD_PER[currency], 3)} {currency} per productive GPU-hour"
    )
    largest = max(parts, key=lambda name: parts[name])
    prices = f" of {year}" if year else ""
    said = f"{digits(total / size)} {unit}{prices}{per_hour}; {largest} {100 * parts[largest] / total:.0f} %."
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=f"{said} What nobody used stands under idle.",
        alternative=f"Bars of cost by part and by workload. {said}",
        data={
            "kind": ["part"] * len(names) + ["workload"] * len(who),
            "name": [*names, *who],
            "cost_usd": [*(parts[name] for name in names), *values],
        },
        source="run.json, jobs.parquet",
    )


def money_scale(usd: float, currency: str) -> tuple[str, float]:
    """Return the unit in which an amount reads best, and how many dollars it is."""
    dollars = USD_PER[currency]
    for word, size in (("billion ", 1e9), ("million ", 1e6), ("thousand ", 1e3)):
        if usd >= size * dollars:
            return word + currency, size * dollars
    return currency, dollars
