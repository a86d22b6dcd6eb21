"""From a scenario to what its books are made with: sites' physics, weather, grid, tariff; rules.

The engine builds physics and weather from the same functions, so a run and its books cannot
differ in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.accounting.books import BookRules, SiteBooks
from simulator.engine.build_sites import battery_of, network_power_w, physics_of, rated_nodes_w
from simulator.engine.environment import climate_of, signals_of, tariff_of, weather_of
from simulator.foundation.streams import Streams
from simulator.grid.tariff import Tariff
from simulator.scenario.sites import Grid, Site
from simulator.scenario.tree import Scenario
from simulator.telemetry import Record


def site_books(
    scenario: Scenario,
    horizon_s: float,
    *,
    grid: Grid | None = None,
    tariff: Tariff | None = None,
    climate: str | None = None,
) -> dict[str, SiteBooks]:
    """Return what turns each site's IT power into energy, water, carbon and money.

    Parameters
    ----------
    scenario
        What was run.
    horizon_s
        How long; the record's, which `until done` leaves open in the scenario. [s]
    grid, tariff, climate
        Put in the place of every site's own; None keeps it.
    """
    return {site.name: _site(scenario, site, horizon_s, grid, tariff, climate) for site in scenario.sites}


def book_rules(scenario: Scenario) -> BookRules:
    """Return how carbon and money are counted."""
    books = scenario.books
    return BookRules(
        cost=scenario.books.cost.spec(scenario.catalog),
        carbon_price_usd_per_t=books.carbon_price_usd_per_t,
        embodied=books.carbon.embodied != "none",
    )


def with_factors(scenario: Scenario, sites: Mapping[str, SiteBooks], factors: str) -> dict[str, SiteBooks]:
    """Return the same books with another factor set where a site's grid is counted by factors."""
    carbon = scenario.books.carbon.model_copy(update={"factors": factors})
    other = scenario.model_copy(update={"books": scenario.books.model_copy(update={"carbon": carbon})})
    found = {}
    for site in scenario.sites:
        own = sites[site.name]
        if site.grid.name is None:
            found[site.name] = own
            continue
        horizon_s = own.signals.intensity_g_per_kwh.end_s
        found[site.name] = replace(own, signals=signals_of(other, site.grid, horizon_s))
    return found


def _site(
    scenario: Scenario,
    site: Site,
    horizon_s: float,
    grid: Grid | None,
    tariff: Tariff | None,
    climate: str | None,
) -> SiteBooks:
    return SiteBooks(
        physics=physics_of(scenario, site),
        weather=weather_of(scenario, site, Streams(scenario.seed), horizon_s)
        if climate is None
        else climate_of(scenario, climate, site, horizon_s),
        signals=signals_of(scenario, grid or site.grid, horizon_s),
        tariff=tariff or tariff_of(scenario, site),
        battery=battery_of(site),
        design_it_w=rated_nodes_w(scenario, site) + network_power_w(scenario, site),
    )


def priced(scenario: Scenario, record: Record) -> Record:
    """Return the record with the scenario's own node price on every pool, if it gives one."""
    node_usd = scenario.books.cost.node_usd
    if node_usd is None:
        return record
    pools = tuple(replace(pool, node=replace(pool.node, price_usd=node_usd)) for pool in record.pools)
    return replace(record, pools=pools)
