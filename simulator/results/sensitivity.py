"""What moves the answer most: one assumption at a time, by accounting the same run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from simulator.accounting import BookRules, Books, Metered, SiteBooks, settle
from simulator.catalog.entries import CostSpec
from simulator.foundation.units import YEAR_S
from simulator.results.book_inputs import with_factors
from simulator.scenario.tree import Scenario

#: What the money is asked: how it is called, and the rules with the low and the high value.
_MONEY: Final[tuple[tuple[str, Callable[[CostSpec], tuple[CostSpec, CostSpec]]], ...]] = (
    (
        "GPU life 3-6 yr",
        lambda cost: (replace(cost, gpu_life_s=3 * YEAR_S), replace(cost, gpu_life_s=6 * YEAR_S)),
    ),
    (
        "cost of capital 6-12 %",
        lambda cost: (replace(cost, wacc_fraction=0.06), replace(cost, wacc_fraction=0.12)),
    ),
    (
        "building -30/+30 %",
        lambda cost: (
            replace(cost, building_usd_per_w=0.7 * cost.building_usd_per_w),
            replace(cost, building_usd_per_w=1.3 * cost.building_usd_per_w),
        ),
    ),
)

#: Shown in the closing print; the smaller ones move the answer less than these.
_MOST: Final = 4


def what_moves_most(
    books: Books,
    metered: Metered,
    sites: Mapping[str, SiteBooks],
    rules: BookRules,
    by_factors: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return assumptions with what their low and high value do to a number, the largest first.

    Returns
    -------
    list of dict
        ``assumption``, ``number`` (cost or tonnes), ``low_fraction``, ``high_fraction``: relative
        changes under the low and the high value.
    """
    moves: list[dict[str, Any]] = []
    total_usd = sum(books.cost_usd.values())
    if rules.cost is not None and total_usd > 0:
        for said, vary in _MONEY:
            low, high = (
                sum(settle(metered, sites, replace(rules, cost=cost), with_rows=False).cost_usd.values())
                for cost in vary(rules.cost)
            )
            moves.append(_move(said, "cost", total_usd, low, high))
        energy_usd = books.cost_usd["energy"]
        moves.append(
            _move(
                "energy price -30/+30 %",
                "cost",
                total_usd,
                total_usd - 0.3 * energy_usd,
                total_usd + 0.3 * energy_usd,
            )
        )
    tonnes = books.totals["location_tco2e"]
    if len(by_factors) > 1 and tonnes > 0:
        moves.append(
            _move("factor set", "tonnes", tonnes, min(by_factors.values()), max(by_factors.values()))
        )
    moves.sort(key=lambda move: -max(abs(move["low_fraction"]), abs(move["high_fraction"])))
    return [move for move in moves if max(abs(move["low_fraction"]), abs(move["high_fraction"])) > 5e-4][
        :_MOST
    ]


def carbon_by_factor_set(
    scenario: Scenario, metered: Metered, sites: Mapping[str, SiteBooks], rules: BookRules
) -> dict[str, float]:
    """Return the location-based tonnes under every factor set of the catalog. [t CO2e]

    Empty if no site's grid is counted by factors (all intensities came ready-made).
    """
    if all(site.grid.name is None for site in scenario.sites):
        return {}
    return {
        name: settle(metered, with_factors(scenario, sites, name), rules, with_rows=False).totals[
            "location_tco2e"
        ]
        for name in scenario.catalog.names("factors")
    }


def _move(said: str, number: str, usual: float, low: float, high: float) -> dict[str, Any]:
    return {
        "assumption": said,
        "number": number,
        "low_fraction": low / usual - 1.0,
        "high_fraction": high / usual - 1.0,
    }
