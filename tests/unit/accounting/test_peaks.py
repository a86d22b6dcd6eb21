from __future__ import annotations

import numpy as np
import pytest

from simulator.accounting.peaks import largest_between, largest_ramp_w_per_s, quarter_hours
from simulator.foundation.calendar import Calendar
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S

ON_THE_HOUR = Calendar.from_text("2024-03-04T00:00Z")


def test_quarter_hours_are_those_of_the_clock():
    """A run that begins at five past: the first whole quarter begins ten minutes in."""
    power = StepSeries([0.0, 600.0], [1e6, 50.0], 2400.0)
    quarters = quarter_hours(power, Calendar.from_text("2024-03-04T00:05Z"))
    assert quarters.start_s.tolist() == [600.0, 1500.0]
    assert quarters.mean_w == pytest.approx([50.0, 50.0])


def test_a_run_too_short_for_a_quarter_hour_is_one_mean():
    quarters = quarter_hours(StepSeries([0.0, 100.0], [10.0, 30.0], 400.0), ON_THE_HOUR)
    assert quarters.mean_w == pytest.approx([25.0])


def test_largest_by_hour_is_blank_where_no_quarter_begins():
    quarters = quarter_hours(StepSeries.constant(7.0, 2 * HOUR_S), ON_THE_HOUR)
    largest = quarters.largest_by(np.array([0.0, 10.0, HOUR_S, HOUR_S + 1.0, 2 * HOUR_S]))
    assert largest == pytest.approx([7.0, 7.0, 7.0, 7.0])
    assert np.isnan(quarters.largest_by(np.array([1.0, 2.0])))


def test_the_largest_value_counts_what_is_held_at_the_begin():
    power = StepSeries([0.0, 50.0, 120.0], [1.0, 9.0, 4.0], 200.0)
    assert largest_between(power, np.array([0.0, 50.0, 100.0, 200.0])).tolist() == [1.0, 9.0, 9.0]


def test_a_ramp_is_between_five_minute_means():
    power = StepSeries([0.0, 450.0], [0.0, 600.0], 1200.0)
    # Means are 0, 300, 600, 600 W.
    assert largest_ramp_w_per_s(power, ON_THE_HOUR) == pytest.approx(1.0)
    assert largest_ramp_w_per_s(StepSeries.constant(5.0, 100.0), ON_THE_HOUR) == 0.0
