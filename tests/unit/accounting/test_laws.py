"""Laws that every account obeys, whatever happened."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.accounting import TOLERANCE, BookRules, account
from simulator.facility import AirChiller, PowerChain, SitePhysics, Stage
from simulator.facility.weather import Weather
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S
from simulator.grid import GridSignals, Tariff, constant_signals
from simulator.telemetry import NodeFacts, PoolFacts

HORIZON_S = 4 * HOUR_S


@st.composite
def stints(draw):
    """Up to six stretches of GPU time that share 32 GPUs without ever exceeding them."""
    found = []
    for job in range(draw(st.integers(0, 6))):
        start_s = draw(st.floats(0.0, HORIZON_S - 1.0))
        end_s = draw(st.floats(start_s + 0.5, HORIZON_S))
        found.append((job, start_s, end_s, draw(st.integers(1, 5)), draw(st.floats(10.0, 9000.0))))
    return found


@pytest.fixture(scope="session")
def physics():
    chain = PowerChain((Stage("ups", 100.0, 0.02, 1e-6),))
    return SitePhysics(AirChiller(capacity_w=60e3), chain, network_w=500.0, other_w=100.0)


@pytest.fixture(scope="session")
def weather():
    dry = StepSeries([0.0, HOUR_S, 3 * HOUR_S], [12.0, 25.0, 33.0], HORIZON_S)
    wet = StepSeries([0.0, HOUR_S, 3 * HOUR_S], [9.0, 18.0, 22.0], HORIZON_S)
    return Weather(dry, wet, "made up")


@pytest.fixture(scope="session")
def signals():
    steps = [0.0, 1000.0, 5000.0, 12_000.0]
    return GridSignals(
        "uneven",
        StepSeries(steps, [10.0, 700.0, 300.0, 50.0], HORIZON_S),
        price_usd_per_kwh=StepSeries(steps, [0.1, -0.05, 0.3, 0.0], HORIZON_S),
        marginal_g_per_kwh=StepSeries(steps, [800.0, 0.0, 400.0, 900.0], HORIZON_S),
    )


@given(rows=stints())
def test_the_sum_over_rows_is_the_meter(record, site_books, segment, physics, weather, signals, rows):
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    tariff = Tariff(adder_usd_per_kwh=0.01, demand_charge_usd_per_kw_month=10.0)
    site = site_books(physics=physics, weather=weather, signals=signals, tariff=tariff)
    books = account(record(segments), {"here": site}, BookRules(carbon_price_usd_per_t=50.0))
    for entry in books.audit:
        assert entry.relative <= TOLERANCE, entry


@given(rows=stints(), cut=st.floats(0.01, 0.99))
def test_cutting_segments_in_two_changes_nothing(
    record, site_books, segment, physics, weather, signals, rows, cut
):
    site = {"here": site_books(physics=physics, weather=weather, signals=signals)}
    whole = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    halves = []
    for j, a, b, g, w in rows:
        middle = a + cut * (b - a)
        halves += [segment(j, a, middle, gpus=g, power_w=w), segment(j, middle, b, gpus=g, power_w=w)]
    one, two = account(record(whole), site, BookRules()), account(record(halves), site, BookRules())
    for column, values in one.jobs.items():
        assert two.jobs[column] == pytest.approx(values, rel=1e-9, abs=1e-6, nan_ok=True), column
    assert two.totals == pytest.approx(one.totals, rel=1e-9, abs=1e-9, nan_ok=True)


@given(rows=stints())
def test_an_intensity_and_a_price_of_zero_cost_nothing(record, site_books, segment, physics, weather, rows):
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    nil = constant_signals(HORIZON_S, 0.0, 0.0, 0.0)
    books = account(
        record(segments), {"here": site_books(physics=physics, weather=weather, signals=nil)}, BookRules()
    )
    for column in ("location_gco2e", "market_gco2e", "marginal_gco2e", "cost_usd"):
        assert not books.jobs[column].any()
        assert not books.idle[column].any()
    assert books.totals["total_cost_usd"] == 0.0


@given(rows=stints())
def test_without_contracts_market_equals_location(
    record, site_books, segment, physics, weather, signals, rows
):
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    books = account(
        record(segments), {"here": site_books(physics=physics, weather=weather, signals=signals)}, BookRules()
    )
    assert np.array_equal(books.jobs["market_gco2e"], books.jobs["location_gco2e"])
    assert books.totals["market_tco2e"] == books.totals["location_tco2e"]


@given(rows=stints())
def test_an_idle_node_adds_exactly_its_idle_energy(record, site_books, segment, bare, rows):
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    small = record(segments)
    pool = small.pools[0]
    large = dataclasses.replace(small, pools=(PoolFacts(pool.name, 0, pool.nodes + 1, pool.node),))
    site = {"here": site_books(physics=bare)}
    one, two = account(small, site, BookRules()), account(large, site, BookRules())
    more_j = (two.totals["it_energy_mwh"] - one.totals["it_energy_mwh"]) * 3.6e9
    assert more_j == pytest.approx(880.0 * HORIZON_S, rel=1e-9)
    assert two.jobs["it_energy_j"] == pytest.approx(one.jobs["it_energy_j"])


@given(rows=stints(), order=st.randoms(use_true_random=False))
def test_the_order_of_segments_does_not_matter(
    record, site_books, segment, physics, weather, signals, rows, order
):
    site = {"here": site_books(physics=physics, weather=weather, signals=signals)}
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    shuffled = list(segments)
    order.shuffle(shuffled)
    one, two = account(record(segments), site, BookRules()), account(record(shuffled), site, BookRules())
    assert two.totals == pytest.approx(one.totals, rel=1e-12, nan_ok=True)


@given(rows=stints())
def test_pue_is_at_least_one_and_every_part_is_positive(record, site_books, segment, physics, weather, rows):
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    books = account(record(segments), {"here": site_books(physics=physics, weather=weather)}, BookRules())
    assert books.totals["pue"] >= 1.0
    assert np.all(books.sites[0].hourly["pue"] >= 1.0)
    for name in ("network", "conversion", "cooling", "other"):
        assert np.all(books.sites[0].power[name].value >= 0.0), name


@given(rows=stints(), seconds=st.floats(1e-3, 5.0), at_s=st.floats(0.0, HORIZON_S - 5.0))
def test_rows_still_sum_to_the_meter_where_idle_machines_draw_nothing(
    record, site_books, segment, physics, weather, signals, rows, seconds, at_s
):
    """A job of milliseconds alone in its hour must not carry rounding into anybody's row."""
    segments = [segment(j, a, b, gpus=g, power_w=w) for j, a, b, g, w in rows]
    segments.append(segment(6, at_s, at_s + seconds, gpus=1, power_w=5.0))
    off = NodeFacts("off", "gpu", 8, 0.0, 0.0, None, None)
    tariff = Tariff(demand_charge_usd_per_kw_month=10.0)
    site = site_books(physics=physics, weather=weather, signals=signals, tariff=tariff)
    books = account(record(segments, pools=(PoolFacts("p", 0, 5, off),)), {"here": site}, BookRules())
    for entry in books.audit:
        assert entry.relative <= TOLERANCE, entry
