"""Demand as people write it becomes a rate; its shape keeps the mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.catalog.entries import ShapeSpec
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import CatalogError
from simulator.foundation.units import DAY_S, HOUR_S, MONTH_S, WEEK_S
from simulator.workload.demand import Demand

BERLIN = Calendar.from_text("2024-03-04 00:00 Europe/Berlin")


def office() -> ShapeSpec:
    """Twice the mean in ten hours of each weekday; the rest shares what remains."""
    week = np.zeros(168)
    for day in range(5):
        week[24 * day + 8 : 24 * day + 18] = 2.0
    week[week == 0.0] = (168.0 - week.sum()) / np.count_nonzero(week == 0.0)
    return ShapeSpec("office", "Office hours", week)


def test_the_same_demand_in_four_ways_of_saying_it():
    by_day = Demand(150_000 / DAY_S)
    by_users = Demand.of_users(7_500, 20 / DAY_S)
    by_tokens = Demand.of_tokens(150_000 * 400 / DAY_S, 400)
    # Each request takes 36 GPU-seconds: 1,500 GPU-hours a day.
    by_gpu_time = Demand.of_gpu_time(1_500 * HOUR_S / DAY_S, 36)
    for demand in (by_users, by_tokens, by_gpu_time):
        assert demand.mean_per_s == pytest.approx(by_day.mean_per_s, rel=1e-12)


def test_tokens_per_month_need_tokens_per_request():
    assert Demand.of_tokens(2e12 / MONTH_S, 500).mean_per_s == pytest.approx(4e9 / MONTH_S)
    with pytest.raises(CatalogError, match="0 tokens per request; expected more than 0"):
        Demand.of_tokens(1.0, 0.0)


def test_a_flat_demand_is_one_step():
    rate = Demand(2.5).rate_per_s(BERLIN, 3 * DAY_S)
    assert rate.value.tolist() == [2.5]
    assert rate.end_s == 3 * DAY_S


def test_the_rate_follows_the_local_hour_of_the_week():
    rate = Demand(1.0, office()).rate_per_s(BERLIN, WEEK_S)
    # The run begins on a Monday at local midnight.
    assert rate.at(7.9 * HOUR_S) < 1.0
    assert rate.at(8.0 * HOUR_S) == pytest.approx(2.0)
    assert rate.at(5 * DAY_S + 12 * HOUR_S) < 1.0


def test_users_may_live_elsewhere_even_where_clocks_are_off_by_45_minutes():
    rate = Demand(1.0, office()).rate_per_s(BERLIN, WEEK_S, "Asia/Kathmandu")
    # 08:00 in Kathmandu is 03:15 in Berlin in winter.
    assert rate.at(3.24 * HOUR_S) < 1.0
    assert rate.at(3.25 * HOUR_S) == pytest.approx(2.0)


def test_the_week_of_the_change_of_clocks_moves_against_utc():
    calendar = Calendar.from_text("2024-03-31 00:00 Europe/Berlin")
    rate = Demand(1.0, office()).rate_per_s(calendar, 3 * DAY_S)
    # Sunday the 31st has 23 hours, so Monday 08:00 comes 31 hours after its midnight.
    assert rate.at(30.9 * HOUR_S) < 1.0
    assert rate.at(31.0 * HOUR_S) == pytest.approx(2.0)


@pytest.mark.parametrize("peak_to_mean", [None, 1.0, 1.4, 2.0, 2.3])
def test_stretching_to_a_peak_keeps_the_mean(peak_to_mean):
    demand = Demand(3.0, office(), peak_to_mean)
    rate = demand.rate_per_s(BERLIN, 2 * WEEK_S)
    assert rate.mean() == pytest.approx(3.0, rel=1e-12)
    assert rate.maximum() == pytest.approx(3.0 * (peak_to_mean or 2.0), rel=1e-12)
    assert rate.minimum() >= 0.0


def test_an_impossible_peak_is_refused_with_the_largest_possible():
    # Off hours are 68/118 of the mean: the stretch k = 1 / (1 - 68/118) = 2.36 empties them.
    with pytest.raises(CatalogError, match=r"hour of shape office negative; expected at most 3\.36,"):
        Demand(1.0, office(), 4.0)
    assert Demand(1.0, office(), 3.36).multipliers().min() == pytest.approx(0.0, abs=1e-9)


def test_a_peak_below_the_mean_is_refused():
    with pytest.raises(CatalogError, match=r"peak_to_mean 0\.9; expected 1 or more"):
        Demand(1.0, office(), 0.9)


def test_a_peak_without_effect_is_refused():
    with pytest.raises(CatalogError, match="no effect on shape flat"):
        Demand(1.0, None, 2.0)
    assert Demand(1.0, None, 1.0).multipliers().tolist() == [1.0] * 168


@pytest.mark.parametrize(
    ("week", "message"),
    [
        (np.ones(24), "24 multipliers; expected 168"),
        (np.full(168, 2.0), "have mean 2; expected 1"),
        (np.r_[-1.0, np.full(167, 169 / 167)], "multiplier -1 at hour 0"),
        (np.r_[np.nan, np.ones(167)], "multiplier nan at hour 0"),
    ],
)
def test_a_shape_that_is_no_week_is_refused(week, message):
    with pytest.raises(CatalogError, match=message):
        Demand(1.0, ShapeSpec("odd", "Odd", week))


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(CatalogError, match="expected a number, 0 or more"):
        Demand(rate)


def test_multipliers_printed_with_few_digits_still_have_a_mean_of_one():
    week = np.r_[1.05, np.ones(167)]
    assert Demand(7.0, ShapeSpec("printed", "Printed", week)).rate_per_s(
        BERLIN, WEEK_S
    ).mean() == pytest.approx(7.0, rel=1e-12)


def test_growth_doubles_in_its_time_and_counts_exactly():
    """The integral of r 2^(t/d) from 0 to d is r d / ln 2."""
    calendar = Calendar.from_text("2024-01-01 00:00 UTC")
    rate = Demand(2.0, doubling_s=86_400.0).rate_per_s(calendar, 2 * 86_400.0)
    day = np.array([0.0, 86_400.0, 2 * 86_400.0])
    counts = rate.integrals_between(day)
    assert counts[0] == pytest.approx(2.0 * 86_400.0 / math.log(2.0), rel=1e-12)
    assert counts[1] == pytest.approx(2.0 * counts[0], rel=1e-12)


@pytest.mark.parametrize("doubling_s", [0.0, -5.0, math.inf, math.nan])
def test_a_doubling_time_that_cannot_be_is_refused(doubling_s):
    with pytest.raises(CatalogError, match="doubling time"):
        Demand(1.0, doubling_s=doubling_s)
