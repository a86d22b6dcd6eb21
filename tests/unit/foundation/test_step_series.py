from __future__ import annotations

import pickle

import numpy as np
import pytest

from simulator.foundation import StepSeries, TraceError
from simulator.foundation.step_series import merged_edges

POWER_W = StepSeries([0.0, 10.0, 20.0], [5.0, 7.0, 3.0], 40.0)


def test_a_value_holds_from_its_start_and_the_last_one_at_the_end():
    assert [POWER_W.at(t) for t in (0.0, 9.999, 10.0, 20.0, 40.0)] == [5.0, 5.0, 7.0, 3.0, 3.0]
    assert POWER_W.at(np.array([40.0, 0.0, 10.0])).tolist() == [3.0, 5.0, 7.0]
    assert isinstance(POWER_W.at(0.0), float)


def test_integrals_are_widths_times_values():
    assert POWER_W.integral() == 5 * 10 + 7 * 10 + 3 * 20
    assert POWER_W.integral(5.0, 15.0) == 5 * 5 + 7 * 5
    assert POWER_W.integral(12.0, 12.0) == 0.0
    assert POWER_W.integrals_between([0, 5, 15, 40]).tolist() == [25.0, 60.0, 95.0]
    assert POWER_W.antiderivative_at([40.0, 0.0, 25.0]).tolist() == [180.0, 0.0, 135.0]
    assert POWER_W.means_between([0, 20, 40]).tolist() == [6.0, 3.0]
    assert POWER_W.mean() == 4.5
    assert POWER_W.mean(10.0, 10.0) == 7.0


def test_extremes_count_only_what_is_held_for_some_time():
    assert POWER_W.maximum() == 7.0
    assert POWER_W.minimum() == 3.0
    assert POWER_W.maximum(0.0, 10.0) == 5.0
    assert POWER_W.maximum(0.0, 10.5) == 7.0
    assert POWER_W.minimum(10.0, 20.0) == 7.0
    assert POWER_W.maximum(20.0, 20.0) == 3.0


def test_next_change_is_strictly_later():
    assert POWER_W.next_change(-1.0) == 0.0
    assert POWER_W.next_change(0.0) == 10.0
    assert POWER_W.next_change(19.0) == 20.0
    assert POWER_W.next_change(20.0) is None


def test_first_times_look_from_a_moment_and_not_before_it():
    assert POWER_W.first_at_least(7.0) == 10.0
    assert POWER_W.first_above(7.0) is None
    assert POWER_W.first_at_most(3.0) == 20.0
    assert POWER_W.first_below(5.0, 12.0) == 20.0
    assert POWER_W.first_at_least(6.0, 15.0) == 15.0
    assert POWER_W.first_at_least(6.0, 20.0) is None
    assert POWER_W.first_at_most(3.0, 40.0) == 40.0
    assert POWER_W.first_at_least(7.0, 40.0) is None
    assert POWER_W.first_at_most(3.0, 41.0) is None


def test_a_first_time_is_found_wherever_it_lies():
    for index in (*range(300), 4321, 4999):
        value = np.zeros(5000)
        value[index:] = 1.0
        assert StepSeries(np.arange(5000.0), value, 5000.0).first_at_least(1.0, 0.0) == index


def test_simultaneous_events_are_added_in_the_order_given():
    # Rounding depends on the order, so the order is part of the answer: (1e16 + 1) - 1e16 is 0.
    times = np.tile([1.0, 0.5], 1500)
    deltas = np.tile([1e16, 3.0, 1.0, 3.0, -1e16, 3.0], 500)
    assert StepSeries.from_events(times, deltas, 0.0, 2.0).at(0.5) == 4500.0
    held = 4500.0
    for delta in deltas[::2]:
        held += delta
    assert StepSeries.from_events(times, deltas, 0.0, 2.0).at(1.0) == held


def test_simultaneous_events_are_merged_in_any_order():
    busy = StepSeries.from_events([3, 1, 3, 5], [-3, 4, -1, 9], 0, 5)
    assert busy == StepSeries([0, 1, 3], [0, 4, 0], 5)
    assert StepSeries.from_events([], [], 2.0, 5.0) == StepSeries.constant(2.0, 5.0)
    assert StepSeries.from_events([0.0, 0.0], [1.0, 2.0], 10.0, 5.0) == StepSeries.constant(13.0, 5.0)
    with pytest.raises(TraceError, match=r"changes outside 0 s to 5 s at indexes \[0 2\]"):
        StepSeries.from_events([-1, 2, 6], [1, 1, 1], 0, 5)
    with pytest.raises(TraceError, match=r"at indexes \[0\]"):
        StepSeries.from_events([np.nan], [1], 0, 5)
    with pytest.raises(TraceError, match="2 times for 1 changes"):
        StepSeries.from_events([1, 2], [1], 0, 5)


def test_series_of_one_span_are_added_and_multiplied():
    other = StepSeries([0.0, 15.0], [1.0, 2.0], 40.0)
    assert StepSeries.sum_of([POWER_W, other, other]) == StepSeries([0, 10, 15, 20], [7, 9, 11, 7], 40)
    assert POWER_W.times(other) == StepSeries([0, 10, 15, 20], [5, 7, 14, 6], 40)
    assert merged_edges([POWER_W, other]).tolist() == [0, 10, 15, 20]
    assert StepSeries.sum_of([POWER_W]) == POWER_W
    with pytest.raises(TraceError, match="series 0 covers 0 s to 40 s, but series 1 covers 0 s to 39 s"):
        StepSeries.sum_of([POWER_W, StepSeries.constant(1.0, 39.0)])
    with pytest.raises(TraceError, match="at least one series"):
        StepSeries.sum_of([])


def test_shifting_scaling_cutting_mapping_and_simplifying():
    assert POWER_W.shift(5.0) == StepSeries([5, 15, 25], [5, 7, 3], 45)
    assert POWER_W.scaled(2.0) == StepSeries([0, 10, 20], [10, 14, 6], 40)
    assert POWER_W.map(np.sqrt).at(0.0) == 5.0**0.5
    assert POWER_W.cut(10.0, 25.0) == StepSeries([10, 20], [7, 3], 25)
    assert POWER_W.cut(12.0, 20.0) == StepSeries([12], [7], 20)
    assert StepSeries([0, 1, 2, 3], [1, 1, 2, 1], 4).simplified() == StepSeries([0, 2, 3], [1, 2, 1], 4)
    with pytest.raises(TraceError, match="nothing lies between"):
        POWER_W.cut(10.0, 10.0)


@pytest.mark.parametrize(
    ("start_s", "value", "end_s", "message"),
    [
        ([0, 2, 2, 1], [1, 1, 1, 1], 9, r"starts not strictly increasing at indexes \[2 3\]"),
        ([0, 1], [1, np.nan], 9, r"values not finite at indexes \[1\]"),
        ([0, np.inf], [1, 1], np.inf, r"starts not finite at indexes \[1\]"),
        ([0, 1], [1], 9, "2 starts for 1 values"),
        ([[0, 1]], [[1, 1]], 9, "each value needs its start"),
        ([], [], 9, "at least one value"),
        ([0, 5], [1, 2], 5, "ends at 5 s, not after its last start at 5 s"),
        ([0], [1], np.nan, "ends at nan s"),
        (np.zeros(30), np.ones(30), 9, r"at indexes \[1 2 3 4 5 6 7 8 \.\.\.\]"),
    ],
)
def test_what_is_no_series_is_refused_by_index(start_s, value, end_s, message):
    with pytest.raises(TraceError, match=message):
        StepSeries(start_s, value, end_s)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: POWER_W.at(40.1),
        lambda: POWER_W.integral(10.0, 40.1),
        lambda: POWER_W.maximum(0.0, 40.1),
        lambda: POWER_W.cut(0.0, 40.1),
        lambda: POWER_W.integrals_between([0.0, 40.1]),
        lambda: POWER_W.require(0.0, 40.1),
    ],
)
def test_a_span_that_is_not_covered_is_refused_with_both_spans(ask):
    with pytest.raises(TraceError, match=r"covers 0 s to 40 s, but .*40\.1 s"):
        ask()


@pytest.mark.parametrize("moment", [-0.1, 40.5, float("nan"), np.array([1.0, np.nan])])
def test_a_moment_outside_is_refused_and_nan_is_outside(moment):
    with pytest.raises(TraceError, match="is needed"):
        POWER_W.at(moment)


def test_a_span_backwards_is_refused():
    with pytest.raises(TraceError, match="back to"):
        POWER_W.integral(10.0, 5.0)
    with pytest.raises(TraceError, match="back to"):
        POWER_W.maximum(10.0, 5.0)


def test_arrays_are_read_only_and_apart_from_what_was_given():
    given = np.array([1.0, 2.0])
    series = StepSeries([0.0, 1.0], given, 2.0)
    given[0] = 99.0
    assert series.at(0.0) == 1.0
    for array in (series.start_s, series.value, series.widths_s):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5.0
    with pytest.raises(AttributeError):
        series.end_s = 7.0


def test_a_series_travels_between_processes_and_stays_read_only():
    again = pickle.loads(pickle.dumps(POWER_W))
    assert again == POWER_W
    with pytest.raises(ValueError, match="read-only"):
        again.value[0] = 5.0


def test_equal_series_hash_alike_and_differ_from_others():
    again = StepSeries([0.0, 10.0, 20.0], [5.0, 7.0, 3.0], 40.0)
    assert again == POWER_W
    assert hash(again) == hash(POWER_W)
    assert again != POWER_W.scaled(2.0)
    assert again != "a series"


def test_many_changes_are_integrated_without_losing_the_small_ones():
    # A campus near 1e8 W that changes by a watt a million times; the exact sum is known.
    n = 1_000_001
    value = 1e8 + (np.arange(n) % 2)
    series = StepSeries(np.arange(n, dtype=float), value, float(n))
    exact = n * 10**8 + n // 2
    assert series.integral() == pytest.approx(exact, rel=1e-13, abs=0)
