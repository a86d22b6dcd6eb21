from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simulator.accounting import BookRules, account, require_balance, settle
from simulator.accounting.ledger import measure
from simulator.accounting.metering import read_meters
from simulator.facility.storage import Battery
from simulator.facility.weather import constant_weather
from simulator.foundation.errors import AccountingRefusal, AuditError, TraceError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S, J_PER_KWH
from simulator.grid import GridSignals, Tariff, constant_signals
from simulator.telemetry import NodeFacts, PoolFacts, SignalRead, SiteFacts

RULES = BookRules()
HORIZON_S = 4 * HOUR_S


def test_an_idle_site_by_hand(record, site_books):
    """4 nodes of 880 W and 1,000 W of network are 4,520 W of IT; PUE 1.25 makes 5,650 W."""
    books = account(record(), {"here": site_books()}, RULES)
    site = books.sites[0]
    assert site.totals["it_energy_j"] == pytest.approx(4520 * HORIZON_S)
    assert site.totals["facility_energy_j"] == pytest.approx(5650 * HORIZON_S)
    assert books.totals["pue"] == pytest.approx(1.25)
    kwh = 5650 * 4 / 1000
    assert site.totals["location_gco2e"] == pytest.approx(400 * kwh)
    assert site.totals["marginal_gco2e"] == pytest.approx(600 * kwh)
    assert books.cost_usd["energy"] == pytest.approx(0.05 * kwh)
    assert books.idle["facility_energy_j"] == pytest.approx([5650 * HORIZON_S])
    require_balance(books)


def test_a_job_pays_for_its_share_of_everything_in_each_hour(record, site_books, segment):
    """Second hour: a job of 5,000 W beside 24 idle GPUs of 2,640 W.

    Nodes draw 7,640 W and the meter (7,640 + 1,000) x 1.25 = 10,800 W; the job's part is 5,000
    of 7,640.
    """
    books = account(record([segment(0, HOUR_S, 2 * HOUR_S)]), {"here": site_books()}, RULES)
    assert books.jobs["it_energy_j"][0] == pytest.approx(5000 * HOUR_S)
    assert books.jobs["facility_energy_j"][0] == pytest.approx(10_800 * HOUR_S * 5000 / 7640)
    assert books.jobs["location_gco2e"][0] == pytest.approx(400 * 10.8 * 5000 / 7640)
    assert books.jobs["cost_usd"][0] == pytest.approx(0.05 * 10.8 * 5000 / 7640)
    assert books.jobs["gpu_seconds"][0] == 8 * HOUR_S
    require_balance(books)


def test_carbon_of_opendc_s_quarter_hours_is_exact(record, site_books, bare):
    """150 W for an hour at 164.5177, 162.9489, 164.3010 and 167.5809 g/kWh is 24.726 g.

    The intensities are OpenDC's NL trace; 0.15 kWh times their mean.
    """
    steps = [164.5177, 162.9489, 164.3010, 167.5809]
    intensity = StepSeries([0.0, 900.0, 1800.0, 2700.0], steps, HOUR_S)
    node = NodeFacts("n", "g", 1, 50.0, 100.0, None, None)
    books = account(
        record(
            horizon_s=HOUR_S,
            sites=(SiteFacts("here", "UTC", 0.0, None),),
            pools=(PoolFacts("p", 0, 1, node),),
        ),
        {"here": site_books(HOUR_S, physics=bare, signals=GridSignals("NL", intensity_g_per_kwh=intensity))},
        RULES,
    )
    assert books.totals["location_tco2e"] * 1e6 == pytest.approx(24.726, abs=0.001)
    assert len(books.sites[0].hourly["start_s"]) == 1


def test_overhead_follows_it_within_the_grids_own_step(record, site_books, bare, segment):
    """Two jobs of equal power in different quarter-hours carry their own quarter's carbon."""
    intensity = StepSeries([0.0, 900.0, 1800.0, 2700.0], [100.0, 500.0, 0.0, 0.0], HOUR_S)
    node = NodeFacts("n", "g", 8, 0.0, 0.0, None, None)
    books = account(
        record(
            [segment(0, 0.0, 900.0, power_w=1000.0), segment(1, 900.0, 1800.0, power_w=1000.0)],
            horizon_s=HOUR_S,
            sites=(SiteFacts("here", "UTC", 0.0, None),),
            pools=(PoolFacts("p", 0, 1, node),),
        ),
        {"here": site_books(HOUR_S, physics=bare, signals=GridSignals("g", intensity_g_per_kwh=intensity))},
        RULES,
    )
    assert books.jobs["location_gco2e"] == pytest.approx([25.0, 125.0])


def test_components_are_told_apart(record, site_books, chained, segment):
    books = account(
        record([segment(0, 0.0, HORIZON_S, power_w=5000.0, gpu_power_w=4000.0)]),
        {"here": site_books(physics=chained)},
        RULES,
    )
    power = {name: series.at(0.0) for name, series in books.sites[0].power.items()}
    node_w = 5000 + 3 * 880
    loss_w = 300 + 0.02 * (node_w + 1000) + 1e-6 * (node_w + 1000) ** 2
    assert power == pytest.approx(
        {
            "gpu": 4000 + 24 * 60,
            "host": 1000 + 3 * 400,
            "network": 1000,
            "conversion": loss_w,
            "cooling": 0.0,
            "other": 200,
        }
    )
    assert books.sites[0].meter.at(0.0) == pytest.approx(sum(power.values()))


def test_no_price_leaves_the_cost_unknown_and_says_so(record, site_books):
    books = account(record(), {"here": site_books(signals=constant_signals(HORIZON_S, 400.0))}, RULES)
    assert np.isnan(books.totals["energy_cost_usd"])
    assert np.isnan(books.totals["marginal_tco2e"])
    assert np.isnan(books.totals["cfe_fraction"])
    assert "energy has no price" in books.notes[0]
    require_balance(books)


def test_a_demand_charge_is_on_the_highest_quarter_hour_and_prorated(record, site_books, bare, segment):
    """Half an hour at 12,000 W starting on the hour; 4 hours of March are 4/744 of the month."""
    tariff = Tariff(0.0, 0.0, demand_charge_usd_per_kw_month=744.0)
    books = account(
        record(
            [segment(0, HOUR_S, 1.5 * HOUR_S, gpus=32, power_w=12_000.0)],
            sites=(SiteFacts("here", "UTC", 0.0, None),),
        ),
        {"here": site_books(physics=bare, tariff=tariff)},
        RULES,
    )
    assert books.totals["peak_15min_power_w"] == pytest.approx(12_000)
    assert books.cost_usd["network_charge"] == pytest.approx(12 * 744 * 4 / 744)
    # The charge is shared over the month's IT energy.
    share = 6000 / (6000 + 3.5 * 3520)
    assert books.jobs["cost_usd"][0] == pytest.approx(48 * share)


def test_a_burst_shorter_than_a_quarter_hour_is_averaged(record, site_books, bare, segment):
    books = account(
        record(
            [segment(0, 450.0, 900.0, gpus=32, power_w=10_000.0)],
            sites=(SiteFacts("here", "UTC", 0.0, None),),
        ),
        {"here": site_books(physics=bare)},
        RULES,
    )
    assert books.totals["peak_15min_power_w"] == pytest.approx((10_000 + 3520) / 2)
    assert books.totals["peak_facility_power_w"] == pytest.approx(10_000)
    assert books.sites[0].hourly["peak_power_w"] == pytest.approx([10_000, 3520, 3520, 3520])


def test_storage_moves_energy_and_export_is_negative(record, site_books, bare):
    """3,520 W; storage takes 1,000 W in the first hour and gives 4,000 W in the second."""
    dispatch = (np.array([0.0, HOUR_S, 2 * HOUR_S]), np.array([1000.0, -4000.0, 0.0]))
    books = account(
        record(sites=(SiteFacts("here", "UTC", 0.0, None),), more={"storage": {0: dispatch}}),
        {
            "here": site_books(
                physics=bare,
                tariff=Tariff(adder_usd_per_kwh=0.02),
                battery=Battery(4 * J_PER_KWH, 5000.0, 1.0, initial_fraction=0.75),
            )
        },
        RULES,
    )
    hourly = books.sites[0].hourly
    assert hourly["facility_energy_j"] / J_PER_KWH == pytest.approx([4.52, -0.48, 3.52, 3.52])
    assert hourly["storage_energy_j"] / J_PER_KWH == pytest.approx([1.0, -4.0, 0.0, 0.0])
    # An export earns the grid's price without the adder, and is no negative inventory.
    assert hourly["energy_cost_usd"] == pytest.approx([4.52 * 0.07, -0.48 * 0.05, 3.52 * 0.07, 3.52 * 0.07])
    assert hourly["location_gco2e"] == pytest.approx([4.52 * 400, 0.0, 3.52 * 400, 3.52 * 400])
    assert hourly["marginal_gco2e"][1] == pytest.approx(-0.48 * 600)
    assert hourly["pue"] == pytest.approx([1.0] * 4)
    require_balance(books)


def test_a_dispatch_beyond_the_battery_fails_the_audit(record, site_books):
    dispatch = (np.array([0.0]), np.array([-1000.0]))
    books = account(
        record(more={"storage": {0: dispatch}}),
        {"here": site_books(battery=Battery(1.0 * J_PER_KWH, 5000.0, 1.0))},
        RULES,
    )
    with pytest.raises(AuditError, match="storage stays within its bounds"):
        require_balance(books)


def test_more_gpus_than_there_are_fail_the_audit(record, site_books, segment):
    books = account(record([segment(0, 0.0, HOUR_S, gpus=33)]), {"here": site_books()}, RULES)
    with pytest.raises(
        AuditError, match=r"here\.pool never gives more GPUs than it has: 33\.0 against 32\.0"
    ):
        require_balance(books)


def test_hours_know_limits_weather_and_calls(record, site_books):
    calls = (np.array([0.0, 1.5 * HOUR_S, 1.75 * HOUR_S]), np.array([np.inf, 4000.0, np.inf]))
    books = account(
        record(sites=(SiteFacts("here", "UTC", 1000.0, 9000.0),), more={"limits": {0: calls}}),
        {"here": site_books()},
        RULES,
    )
    hourly = books.sites[0].hourly
    assert hourly["limit_w"] == pytest.approx([9000.0, 4000.0, 9000.0, 9000.0])
    assert hourly["dry_bulb_c"] == pytest.approx([15.0] * 4)
    whole_hour = (np.array([0.0, HOUR_S, 2 * HOUR_S]), np.array([np.inf, 4000.0, np.inf]))
    called = account(record(more={"limits": {0: whole_hour}}), {"here": site_books()}, RULES)
    assert called.sites[0].hourly["limit_w"] == pytest.approx([np.nan, 4000.0, np.nan, np.nan], nan_ok=True)


def test_failed_cooling_is_taken_from_the_record(record, site_books):
    from simulator.facility import AirChiller, SitePhysics

    physics = SitePhysics(AirChiller(capacity_w=6000.0), network_w=1000.0)
    fault = {0: (np.array([0.0, HOUR_S, 2 * HOUR_S]), np.array([1.0, 0.2, 1.0]))}
    hot = constant_weather(30.0, 24.0, HORIZON_S)
    well = account(record(), {"here": site_books(physics=physics, weather=hot)}, RULES)
    ill = account(record(more={"thermal": fault}), {"here": site_books(physics=physics, weather=hot)}, RULES)
    assert well.totals["overheated_s"] == 0.0
    assert ill.totals["overheated_s"] == pytest.approx(HOUR_S)
    assert ill.totals["facility_energy_mwh"] < well.totals["facility_energy_mwh"]


def test_sites_are_added_and_the_fleet_peaks_as_they_coincide(record, site_books, bare, segment):
    sites = (SiteFacts("east", "UTC", 0.0, None), SiteFacts("west", "America/New_York", 0.0, None))
    node = NodeFacts("n", "g", 8, 0.0, 0.0, None, None)
    pools = (PoolFacts("a", 0, 1, node), PoolFacts("b", 1, 1, node))
    rows = [
        segment(0, 0.0, HOUR_S, power_w=3000.0),
        segment(0, HOUR_S, 2 * HOUR_S, power_w=2000.0, site=1, pool=1),
        segment(1, 0.5 * HOUR_S, HOUR_S, power_w=1000.0, site=1, pool=1),
    ]
    books = account(
        record(rows, sites=sites, pools=pools),
        {
            "east": site_books(physics=bare),
            "west": site_books(physics=bare, signals=constant_signals(HORIZON_S, 100.0)),
        },
        RULES,
    )
    assert books.totals["peak_facility_power_w"] == pytest.approx(4000)
    assert books.jobs["location_gco2e"] == pytest.approx([3 * 400 + 2 * 100, 0.5 * 100])
    assert books.tags["grid"] == "east: constant 400 g/kWh; west: constant 100 g/kWh"
    require_balance(books)


def test_books_without_rows_have_the_same_totals(record, site_books, segment):
    sites = {"here": site_books()}
    metered = read_meters(measure(record([segment(0, 100.0, 9000.0)])), sites)
    with_rows, without = settle(metered, sites, RULES), settle(metered, sites, RULES, with_rows=False)
    assert without.totals == pytest.approx(with_rows.totals, nan_ok=True)
    assert not without.jobs
    assert not without.audit


def test_re_accounting_equals_accounting_anew(record, site_books, segment):
    rows = [segment(0, 100.0, 9000.0), segment(1, 500.0, 7000.0, gpus=16, power_w=9000.0)]
    other = constant_signals(HORIZON_S, 50.0, price_usd_per_kwh=0.2)
    metered = read_meters(measure(record(rows)), {"here": site_books()})
    again = settle(metered, {"here": site_books(signals=other)}, RULES)
    anew = account(record(rows), {"here": site_books(signals=other)}, RULES)
    assert again.totals == pytest.approx(anew.totals, nan_ok=True)
    for column, values in anew.jobs.items():
        assert np.array_equal(again.jobs[column], values, equal_nan=True), column


def test_a_signal_shorter_than_the_run_is_refused_with_both_spans(record, site_books):
    with pytest.raises(TraceError, match=r"intensity covers 0 s to 3600 s, but 0 s to 14400 s is needed"):
        account(record(), {"here": site_books(signals=constant_signals(HOUR_S, 400.0))}, RULES)


def test_weather_shorter_than_the_run_is_refused(record, site_books):
    with pytest.raises(TraceError, match="weather"):
        account(record(), {"here": site_books(weather=constant_weather(15.0, 10.0, HOUR_S))}, RULES)


def test_a_site_without_books_is_named(record):
    with pytest.raises(KeyError, match="no books for the sites here"):
        account(record(), {}, RULES)


def test_re_accounting_is_refused_when_a_policy_read_what_changes(record, site_books):
    from simulator.accounting import refuse_if_read

    read = SignalRead("here", "intensity_g_per_kwh", "carbon-hold")
    ran = dataclasses.replace(record(), signals_read=(read,))
    before = {"here": site_books()}
    dearer = {"here": site_books(signals=constant_signals(HORIZON_S, 400.0, 0.09, 600.0))}
    cleaner = {"here": site_books(signals=constant_signals(HORIZON_S, 50.0, 0.05, 600.0))}
    refuse_if_read(ran, before, dearer)
    refuse_if_read(record(), before, cleaner)
    with pytest.raises(AccountingRefusal, match="carbon-hold read intensity_g_per_kwh of here"):
        refuse_if_read(ran, before, cleaner)


def test_re_accounting_is_refused_when_an_unknown_signal_was_read_and_anything_changes(record, site_books):
    from simulator.accounting import refuse_if_read

    ran = dataclasses.replace(record(), signals_read=(SignalRead("here", "limit_w", "ride-through"),))
    before = {"here": site_books()}
    refuse_if_read(ran, before, {"here": site_books()})
    warmer = {"here": site_books(weather=constant_weather(25.0, 10.0, HORIZON_S))}
    with pytest.raises(AccountingRefusal, match="ride-through read limit_w"):
        refuse_if_read(ran, before, warmer)


def test_re_accounting_under_another_climate_is_refused_when_a_limit_or_failed_cooling_acted(
    record, site_books
):
    from simulator.accounting import refuse_if_read

    before = {"here": site_books()}
    warmer = {"here": site_books(weather=constant_weather(25.0, 10.0, HORIZON_S))}
    cleaner = {"here": site_books(signals=constant_signals(HORIZON_S, 50.0))}
    refuse_if_read(record(), before, warmer)
    steps = (np.array([0.0, HOUR_S]), np.array([1.0, 0.5]))
    for what, table in (("a called limit", "limits"), ("failed cooling", "thermal")):
        ran = record(more={table: {0: steps}})
        refuse_if_read(ran, before, cleaner)
        with pytest.raises(AccountingRefusal, match=f"{what} at here hung on plant and weather"):
            refuse_if_read(ran, before, warmer)
