from __future__ import annotations

import numpy as np
import pytest

from simulator.accounting import BookRules, account, require_balance
from simulator.accounting.cost import annuity_usd_per_s
from simulator.catalog.entries import CostSpec
from simulator.facility.constant_pue import ConstantPue
from simulator.facility.site import SitePhysics
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S, MONTH_S, YEAR_S
from simulator.grid.signals import constant_signals
from simulator.telemetry import NodeFacts, PoolFacts, SiteFacts

HORIZON_S = 4 * HOUR_S


def pack(**changes) -> CostSpec:
    values = {
        "name": "plain",
        "title": "Plain",
        "gpu_life_s": 4 * YEAR_S,
        "network_life_s": 4 * YEAR_S,
        "building_life_s": 20 * YEAR_S,
        "wacc_fraction": 0.0,
        "residual_fraction": 0.0,
        "network_fraction": 0.0,
        "building_usd_per_w": 0.0,
        "maintenance_fraction": 0.0,
        "staff_usd_per_kw_month": None,
        "water_usd_per_litre": None,
        "building_embodied_gco2e_per_w": None,
        "price_year": 2024,
    }
    return CostSpec(**{**values, **changes})


def test_an_annuity_repays_the_price_at_the_cost_of_capital():
    """Discounting the yearly instalments gives the price back, less the residual's worth."""
    yearly = annuity_usd_per_s(1000.0, 6 * YEAR_S, 0.07, 0.25) * YEAR_S
    worth = sum(yearly / 1.07**year for year in range(1, 7)) + 250 / 1.07**6
    assert worth == pytest.approx(1000.0)


def test_without_interest_the_price_is_spread_evenly():
    assert annuity_usd_per_s(1000.0, 5 * YEAR_S, 0.0, 0.1) * YEAR_S == pytest.approx(180.0)


def test_hardware_falls_on_who_holds_it_and_the_rest_on_idle(record, site_books, segment):
    """80,000 USD over four years for eight GPUs; one of four nodes is held for an hour of four."""
    books = account(
        record([segment(0, 0.0, HOUR_S)]),
        {"here": site_books(signals=site_books().signals)},
        BookRules(cost=pack()),
    )
    per_node_s = 80_000 / (4 * YEAR_S)
    assert books.cost_usd["hardware"] == pytest.approx(4 * per_node_s * HORIZON_S)
    energy_usd = books.jobs["facility_energy_j"][0] / 3.6e6 * 0.05
    assert books.jobs["cost_usd"][0] == pytest.approx(per_node_s * HOUR_S + energy_usd)
    assert books.jobs["embodied_gco2e"][0] == pytest.approx(1.6e6 / (4 * YEAR_S) * HOUR_S)
    assert books.totals["embodied_tco2e"] == pytest.approx(4 * 1.6 * HORIZON_S / (4 * YEAR_S))
    require_balance(books)


def test_every_part_of_the_cost_by_hand(record, site_books):
    rules = BookRules(
        cost=pack(
            network_fraction=0.2,
            maintenance_fraction=0.05,
            building_usd_per_w=10.0,
            staff_usd_per_kw_month=6.0,
            water_usd_per_litre=0.003,
            building_embodied_gco2e_per_w=2900.0,
        ),
        carbon_price_usd_per_t=80.0,
    )
    physics = SitePhysics(ConstantPue(pue=1.25, wue_litres_per_kwh=1.8).sized_for(1e9), network_w=1000.0)
    books = account(record(), {"here": site_books(physics=physics, design_it_w=50_000.0)}, rules)
    it_kwh = 4.52 * 4
    assert books.cost_usd == pytest.approx(
        {
            "hardware": 4 * 80_000 * 1.2 / (4 * YEAR_S) * HORIZON_S,
            "building": 10 * 50_000 / (20 * YEAR_S) * HORIZON_S,
            "maintenance": 4 * 80_000 * 1.2 * 0.05 / YEAR_S * HORIZON_S,
            "staff": 6 * 50 * HORIZON_S / MONTH_S,
            "energy": it_kwh * 1.25 * 0.05,
            "network_charge": 0.0,
            "water": it_kwh * 1.8 * 0.003,
            "carbon_price": it_kwh * 1.25 * 400 / 1e6 * 80,
        }
    )
    assert books.totals["wue_litres_per_kwh"] == pytest.approx(1.8)
    building_t = 2900 * 50_000 / 1e6 * HORIZON_S / (20 * YEAR_S)
    assert books.totals["embodied_tco2e"] == pytest.approx(4 * 1.6 * HORIZON_S / (4 * YEAR_S) + building_t)
    require_balance(books)


def test_a_blank_makes_the_sum_unknown_and_is_said(record, site_books):
    """Not nil: a total without the hardware would read as a cheap fleet."""
    node = NodeFacts("mystery", "gpu", 8, 60.0, 400.0, None, None)
    books = account(
        record(pools=(PoolFacts("p", 0, 4, node),)), {"here": site_books()}, BookRules(cost=pack())
    )
    assert np.isnan([books.cost_usd["hardware"], books.cost_usd["maintenance"]]).all()
    assert books.cost_usd["energy"] > 0.0
    for name in ("total_cost_usd", "usd_per_productive_gpu_hour", "embodied_tco2e"):
        assert np.isnan(books.totals[name]), name
    assert np.isnan(books.jobs["cost_usd"]).all()
    assert np.isnan(books.idle["embodied_gco2e"]).all()
    assert books.notes == (
        "here.p: node mystery has no price, so the cost is unknown",
        "here.p: node mystery has no embodied carbon in the catalog: unknown",
    )
    require_balance(books)


def test_energy_without_a_price_makes_the_cost_unknown(record, site_books):
    signals = constant_signals(HORIZON_S, 400.0)
    books = account(record(), {"here": site_books(signals=signals)}, BookRules(cost=pack()))
    for name in ("energy_cost_usd", "total_cost_usd", "usd_per_productive_gpu_hour"):
        assert np.isnan(books.totals[name]), name
    assert np.isnan(books.cost_usd["energy"])
    assert books.cost_usd["hardware"] > 0.0
    assert np.isnan(books.jobs["cost_usd"]).all()
    assert [note for note in books.notes if "no price" in note]
    require_balance(books)


def test_an_audit_does_not_pass_what_one_side_does_not_know():
    from simulator.accounting.books import AuditEntry

    assert AuditEntry("x", float("nan"), 5.0).relative == np.inf
    assert AuditEntry("x", 5.0, float("nan")).relative == np.inf


def test_a_pue_says_nothing_of_water(record, site_books):
    """Water that nobody gave is unknown, and at no price costs nothing."""
    physics = SitePhysics(ConstantPue(pue=1.25).sized_for(1e9))
    books = account(record(), {"here": site_books(physics=physics)}, BookRules(cost=pack()))
    assert np.isnan(books.totals["site_water_m3"])
    assert np.isnan(books.totals["wue_litres_per_kwh"])
    assert np.isnan(books.sites[0].hourly["site_water_litres"]).all()
    assert np.isnan(books.jobs["water_litres"]).all()
    assert books.totals["total_cost_usd"] > 0.0
    require_balance(books)


def test_embodied_carbon_can_be_left_out(record, site_books):
    books = account(record(), {"here": site_books()}, BookRules(cost=pack(), embodied=False))
    assert np.isnan(books.totals["embodied_tco2e"])
    assert not books.notes


def test_a_contract_changes_market_based_carbon_alone(record, site_books):
    plain = account(record(), {"here": site_books()}, BookRules())
    green = account(
        record(), {"here": site_books(market_g_per_kwh=StepSeries.constant(30.0, HORIZON_S))}, BookRules()
    )
    assert plain.totals["market_tco2e"] == plain.totals["location_tco2e"]
    assert np.array_equal(plain.idle["market_gco2e"], plain.idle["location_gco2e"])
    assert green.totals["location_tco2e"] == plain.totals["location_tco2e"]
    assert green.totals["market_tco2e"] == pytest.approx(plain.totals["market_tco2e"] * 30 / 400)
    require_balance(green)


def test_a_clean_share_is_matched_hour_by_hour(record, site_books):
    from dataclasses import replace

    clean = StepSeries([0.0, HOUR_S, 2 * HOUR_S], [1.0, 0.5, 0.0], HORIZON_S)
    signals = replace(site_books().signals, clean_fraction=clean)
    books = account(record(), {"here": site_books(signals=signals)}, BookRules())
    assert books.totals["cfe_fraction"] == pytest.approx(1.5 / 4)


def test_source_water_is_its_own_column(record, site_books):
    from dataclasses import replace

    signals = replace(site_books().signals, source_water_litres_per_kwh=StepSeries.constant(2.0, HORIZON_S))
    books = account(record(), {"here": site_books(signals=signals)}, BookRules())
    assert books.totals["source_water_m3"] == pytest.approx(2.0 * 5.65 * 4 / 1000)
    assert np.isnan(books.totals["site_water_m3"])  # the plant is a PUE alone


def test_months_are_the_site_s_own(record, site_books, bare):
    """Two hours on each side of New York's midnight of 1 April: two demand charges, prorated."""
    from simulator.foundation.calendar import Calendar
    from simulator.grid import Tariff

    books = account(
        record(
            calendar=Calendar.from_text("2024-04-01T02:00Z"),
            sites=(SiteFacts("here", "America/New_York", 0.0, None),),
        ),
        {"here": site_books(physics=bare, tariff=Tariff(0.0, 0.0, 1000.0))},
        BookRules(),
    )
    # March 2024 has 743 hours in New York, April 720.
    assert books.cost_usd["network_charge"] == pytest.approx(3520 * (2 / 743 + 2 / 720))
    require_balance(books)
