"""Drill: one run, other grids. Counting it again equals running it again, or is refused.

Two sites with the same day of work: a job of 8 GPUs for two hours and one of 16 for four. Nothing
of it depends on the grid, unless a gate of the queue reads the grid.
"""

from __future__ import annotations

import numpy as np
import pytest

from simulator.accounting import account, refuse_if_read
from simulator.foundation.errors import AccountingRefusal
from simulator.results import execute, open_run, reaccount
from simulator.results.book_inputs import book_rules, site_books
from simulator.scenario.reading import load_text
from simulator.scenario.sites import Grid

GRIDS = ("DE", "FR", "GB", "PL", "US-PJM", "US-CAISO")

SCENARIO = """
title: Count again
start: 2024-06-01 00:00 Europe/Berlin
duration: 1 d
sites:
  - name: north
    climate: frankfurt-typical
    grid: DE
    tariff: {{demand_charge: 100 EUR/kW-yr}}
    cooling: {{plant: dry-cooler-adiabatic, supply_temperature: 32 C}}
    power_chain: 2n-ups-double-conversion
    pools: [{{name: p, node: hgx-h100-8, nodes: 2}}]
  - name: south
    climate: frankfurt-typical
    grid: {{intensity: 300 g/kWh, price: 60 USD/MWh}}
    cooling: {{plant: air-chiller}}
    pools: [{{name: p, node: hgx-h100-8, nodes: 1}}]
scheduling:
  queues:
    - {{name: up, pools: [north.p]{admit}}}
    - {{name: down, pools: [south.p]}}
workloads:
  - kind: list
    name: jobs
    jobs:
      - {{id: a, gpus: 8, run: 2 h, queue: up, tenant: flexible}}
      - {{id: b, submit: 1 h, gpus: 16, run: 4 h, queue: up, tenant: firm}}
      - {{id: c, gpus: 8, run: 20 h, queue: down}}
books:
  carbon: {{factors: ipcc-ar5-lifecycle, market: none}}
  cost: {{gpu_life: 5 yr, wacc: 8 %}}
  carbon_price: 30 EUR/t
"""
HELD = ", admit: [{policy: carbon-hold, threshold: 300 g/kWh, patience: 6 h, tenants: [flexible]}]"
PLAIN, GATED = SCENARIO.format(admit=""), SCENARIO.format(admit=HELD)


def assert_same_books(found, expected) -> None:
    """Every number of the accounts is the same float."""
    assert list(found.totals) == list(expected.totals)
    for name, value in expected.totals.items():
        np.testing.assert_array_equal(found.totals[name], value, err_msg=name)
    assert found.cost_usd == expected.cost_usd
    for name, column in expected.jobs.items():
        np.testing.assert_array_equal(found.jobs[name], column, err_msg=name)
    for name, column in expected.idle.items():
        np.testing.assert_array_equal(found.idle[name], column, err_msg=name)
    for one, other in zip(found.sites, expected.sites, strict=True):
        for name, column in other.hourly.items():
            np.testing.assert_array_equal(one.hourly[name], column, err_msg=f"{one.name} {name}")


@pytest.mark.parametrize("grid", GRIDS)
def test_counting_again_equals_running_again_to_the_last_bit(drill, grid):
    """The record made under DE, with the books of another grid at the site north, against a run
    whose scenario says that grid.
    """
    first = drill(PLAIN)
    again = drill(PLAIN, f"sites.north.grid={grid}")
    horizon_s = first.record.horizon_s
    sites = site_books(first.scenario, horizon_s)
    other = site_books(first.scenario, horizon_s, grid=Grid(name=grid))
    sites["north"] = other["north"]
    refuse_if_read(first.record, site_books(first.scenario, horizon_s), sites)
    books = account(first.record, sites, book_rules(first.scenario))
    assert_same_books(books, again.books())
    if grid != "DE":
        assert books.totals["location_tco2e"] != first.books().totals["location_tco2e"]
    # What happened is the same: nothing of the grid reached the engine.
    for name, column in again.record.segments.items():
        np.testing.assert_array_equal(first.record.segments[name], column)
    assert first.record.signals_read == ()


def test_another_climate_is_another_meter_and_the_same_run(drill):
    """The air of Phoenix at both sites: plants and chain draw otherwise, nobody works otherwise."""
    first = drill(PLAIN)
    again = drill(PLAIN, "sites.north.climate=phoenix", "sites.south.climate=phoenix")
    warm = site_books(first.scenario, first.record.horizon_s, climate="phoenix")
    books = account(first.record, warm, book_rules(first.scenario))
    assert_same_books(books, again.books())
    assert books.totals["pue"] > first.books().totals["pue"]


def test_tonnes_are_the_hours_of_the_meter_times_the_hours_of_the_grid(drill):
    """By hand: the site south stands at 300 g/kWh, so it emits that times its meter; under
    100 g/kWh a third.
    """
    run = drill(PLAIN)
    south = run.books().sites[1]
    meter_kwh = south.meter.integral() / 3.6e6
    assert south.totals["location_gco2e"] == pytest.approx(300.0 * meter_kwh, rel=1e-12)
    assert south.cost_usd["energy"] == pytest.approx(0.06 * meter_kwh, rel=1e-12)
    horizon_s = run.record.horizon_s
    third = load_text(PLAIN, ["sites.south.grid.intensity=100 g/kWh"], name="plain.yaml").sites[1].grid
    clean = site_books(run.scenario, horizon_s, grid=third)
    books = account(run.record, clean, book_rules(run.scenario))
    assert books.sites[1].totals["location_gco2e"] == pytest.approx(100.0 * meter_kwh, rel=1e-12)
    assert books.sites[1].meter == south.meter


def test_a_folder_is_counted_again_as_it_would_have_been_run(tmp_path):
    """Through the files: a finished folder under every grid and a price, against folders of runs
    whose scenario says so for both sites.
    """
    run = execute(load_text(PLAIN, name="plain.yaml"), out=tmp_path / "de")
    found = reaccount(open_run(run.path), grids=GRIDS)
    for grid, alternative in zip(GRIDS, found, strict=True):
        overrides = [f"sites.north.grid={grid}", f"sites.south.grid={grid}"]
        again = execute(load_text(PLAIN, overrides, name="plain.yaml"), out=tmp_path / grid)
        for name, value in alternative.summary.items():
            assert again.summary[name] == value, (grid, name)
    [priced] = reaccount(open_run(run.path), prices_usd_per_kwh=[0.05])
    energy_usd = 50.0 * priced.summary["facility_energy_mwh"]
    assert priced.cost_usd["energy"] == pytest.approx(energy_usd, rel=1e-12)


# ---------------------------------------------------------------------- a policy read the grid


def test_it_is_refused_where_a_gate_read_the_grid_and_names_who_read_what(drill):
    """carbon-hold kept job a until the grid of north fell below 300 g/kWh: under another grid a
    would have started at another time.
    """
    run = drill(GATED)
    assert run.waits("a")[0][0] == "carbon-hold"
    assert run.job("a")["started_s"] > 0.0
    before = site_books(run.scenario, run.record.horizon_s)
    after = dict(before, north=site_books(run.scenario, run.record.horizon_s, grid=Grid(name="FR"))["north"])
    with pytest.raises(AccountingRefusal) as refusal:
        refuse_if_read(run.record, before, after)
    said = str(refusal.value)
    assert "carbon-hold read intensity_g_per_kwh of north, which changes" in said
    assert "Run the scenario again" in said
    # And rightly: under FR it does start at another time.
    assert drill(GATED, "sites.north.grid=FR").job("a")["started_s"] == 0.0


def test_what_nobody_read_may_still_change(drill):
    """The gate read the intensity of north: the grid of south, a price, a climate may change."""
    run = drill(GATED)
    horizon_s = run.record.horizon_s
    before = site_books(run.scenario, horizon_s)
    south = site_books(run.scenario, horizon_s, grid=Grid(name="PL"))["south"]
    refuse_if_read(run.record, before, dict(before, south=south))
    warm = site_books(run.scenario, horizon_s, climate="phoenix")
    refuse_if_read(run.record, before, warm)
    refuse_if_read(run.record, before, before)


def test_a_folder_whose_run_read_the_grid_is_refused_too(tmp_path):
    run = execute(load_text(GATED, name="gated.yaml"), out=tmp_path / "gated")
    with pytest.raises(AccountingRefusal, match="carbon-hold read intensity_g_per_kwh of north"):
        reaccount(open_run(run.path), grids=["FR"])
    [same] = reaccount(open_run(run.path), prices_usd_per_kwh=[0.05])
    assert same.summary["location_tco2e"] == run.summary["location_tco2e"]


def test_a_climate_is_refused_where_the_weather_moved_the_it(drill):
    """A cooling fault throttles north by what its plant can carry in that night's air. Another
    climate would have throttled it otherwise; another grid would not.
    """
    fault = "script:\n  - {kind: cooling-fault, at: 2 h, site: north, capacity: 20 %, lasts: 1 h}\n"
    run = drill(PLAIN + fault)
    assert any(row[2] == "throttle" for row in run.events("thermal"))
    horizon_s = run.record.horizon_s
    before = site_books(run.scenario, horizon_s)
    with pytest.raises(AccountingRefusal, match="cooling read dry_bulb_c of north"):
        refuse_if_read(run.record, before, site_books(run.scenario, horizon_s, climate="phoenix"))
    refuse_if_read(run.record, before, site_books(run.scenario, horizon_s, grid=Grid(name="FR")))
    again = drill(PLAIN + fault, "sites.north.grid=FR", "sites.south.grid=FR")
    french = account(
        run.record,
        site_books(run.scenario, horizon_s, grid=Grid(name="FR")),
        book_rules(run.scenario),
    )
    assert_same_books(french, again.books())
