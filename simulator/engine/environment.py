"""Weather and grid of a site over a run: what the books read, and policies may read."""

from __future__ import annotations

from pathlib import Path

from simulator.facility.epw import read_epw
from simulator.facility.weather import Weather, constant_weather, synthetic_weather
from simulator.foundation.errors import BuildError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.streams import Streams
from simulator.grid.mix import mix_signals
from simulator.grid.signals import GridSignals, constant_signals
from simulator.grid.tariff import Tariff
from simulator.grid.trace import read_trace
from simulator.scenario.sites import Grid, Site
from simulator.scenario.sites import Tariff as TariffChoice
from simulator.scenario.tree import Scenario

#: Outside air where a scenario names none: the plant then sees a mild constant day.
_MILD_C = (15.0, 10.0)


def weather_of(scenario: Scenario, site: Site, streams: Streams, horizon_s: float) -> Weather:
    """Return a site's outside air from the start to `horizon_s`."""
    calendar = scenario.calendar
    if site.weather is not None:
        if site.weather.file is not None:
            return read_epw(Path(site.weather.file), calendar, horizon_s)
        dry_c = _MILD_C[0] if site.weather.temperature_c is None else site.weather.temperature_c
        wet_c = site.weather.wet_bulb_c
        return constant_weather(dry_c, min(dry_c, _MILD_C[1]) if wet_c is None else wet_c, horizon_s)
    if site.climate is None:
        return constant_weather(*_MILD_C, horizon_s)
    spec = scenario.catalog.climate(site.climate)
    return synthetic_weather(spec, calendar, horizon_s, streams.stream(f"weather.{site.name}"))


def climate_of(scenario: Scenario, name: str, site: Site, horizon_s: float) -> Weather:
    """Return the weather that a site would have in another catalog climate."""
    streams = Streams(scenario.seed)
    spec = scenario.catalog.climate(name)
    stream = streams.stream(f"weather.{site.name}")
    return synthetic_weather(spec, scenario.calendar, horizon_s, stream)


def signals_of(scenario: Scenario, grid: Grid, horizon_s: float) -> GridSignals:
    """Return a grid's series from the start to `horizon_s`."""
    calendar, catalog = scenario.calendar, scenario.catalog
    if grid.name is not None:
        return mix_signals(
            catalog.grid(grid.name),
            catalog.factors(scenario.books.carbon.factors),
            calendar,
            horizon_s,
            water=catalog.water(catalog.names("water")[0]),
        )
    if grid.trace is not None:
        return read_trace(
            Path(grid.trace),
            calendar,
            horizon_s,
            intensity_column=grid.intensity_column,
            marginal_column=grid.marginal_column,
            price_column=grid.price_column,
        )
    if grid.intensity_g_per_kwh is None:
        raise BuildError(
            f"a grid needs a name, a trace or an intensity; known names: {', '.join(catalog.names('grids'))}"
        )
    return constant_signals(
        horizon_s, grid.intensity_g_per_kwh, grid.price_usd_per_kwh, grid.marginal_g_per_kwh
    )


def tariff_of(scenario: Scenario, site: Site) -> Tariff:
    """Return a site's tariff; without one, energy costs the grid's own price."""
    choice: TariffChoice | None = site.tariff
    contracted_w = site.interconnection.limit_w if site.interconnection else None
    if choice is None:
        return Tariff()
    if choice.name is not None:
        return Tariff.from_spec(scenario.catalog.tariff(choice.name), contracted_w)
    return Tariff(
        energy_usd_per_kwh=choice.energy_usd_per_kwh,
        demand_charge_usd_per_kw_month=choice.demand_charge_usd_per_kw_month or 0.0,
    )


def policy_signals(signals: GridSignals, weather: Weather) -> dict[str, StepSeries]:
    """Return the series that a policy of the site may read, by name."""
    return {
        **signals.series(),
        "dry_bulb_c": weather.dry_bulb,
        "wet_bulb_c": weather.wet_bulb,
    }
