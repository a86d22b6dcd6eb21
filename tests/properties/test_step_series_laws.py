"""Laws of step functions, on series that nobody chose by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.foundation import StepSeries

VALUES = st.floats(-1e9, 1e9, allow_subnormal=False)


@st.composite
def series(draw, end_s=None, most=30):
    """A step series from 0 s, on the time grid, so that sums of moments are exact."""
    end = draw(st.integers(1, 10**6)) if end_s is None else int(end_s)
    starts = draw(st.sets(st.integers(1, max(end - 1, 1)), max_size=most))
    start_s = [0.0, *sorted(float(start) for start in starts if start < end)]
    value = draw(st.lists(VALUES, min_size=len(start_s), max_size=len(start_s)))
    return StepSeries(start_s, value, float(end))


def steps(whole):
    """Start, end and value of each step, as plain floats."""
    starts = whole.start_s.tolist()
    return list(zip(starts, [*starts[1:], whole.end_s], whole.value.tolist(), strict=True))


def exact_integral(whole, from_s, to_s):
    """The integral in rational arithmetic, one step at a time: slow, and right."""
    total = Fraction(0)
    for start, end, value in steps(whole):
        width = min(Fraction(end), Fraction(to_s)) - max(Fraction(start), Fraction(from_s))
        if width > 0:
            total += width * Fraction(value)
    return float(total)


def close(whole):
    """Rounding allowed: 1e-12 of the integral of the absolute value."""
    return float(np.sum(np.abs(whole.value) * whole.widths_s)) * 1e-12


@given(series(), st.floats(0, 1), st.floats(0, 1))
def test_the_integral_equals_rational_arithmetic(whole, one, other):
    from_s, to_s = sorted((one * whole.end_s, other * whole.end_s))
    found = whole.integral(from_s, to_s)
    assert found == pytest.approx(exact_integral(whole, from_s, to_s), rel=0, abs=close(whole))


@given(series(), st.floats(0.01, 0.99))
def test_cutting_a_step_in_two_keeps_everything(whole, fraction):
    middle = whole.start_s[0] + whole.widths_s[0] * fraction
    halves = StepSeries(
        np.insert(whole.start_s, 1, middle), np.insert(whole.value, 1, whole.value[0]), whole.end_s
    )
    assert halves.integral() == pytest.approx(whole.integral(), rel=0, abs=close(whole))
    assert halves.maximum() == whole.maximum()
    assert halves.simplified() == whole.simplified()


@given(series(), st.lists(st.floats(0, 1), max_size=20))
def test_parts_of_a_span_sum_to_the_whole(whole, cuts):
    edges = np.array([0.0, *sorted(cut * whole.end_s for cut in cuts), whole.end_s])
    parts = whole.integrals_between(edges)
    assert parts.sum() == pytest.approx(whole.integral(), rel=0, abs=close(whole))


@given(series(), st.floats(0, 1), st.floats(0, 1))
def test_the_mean_lies_between_the_extremes_of_the_span(whole, one, other):
    from_s, to_s = sorted((one * whole.end_s, other * whole.end_s))
    if to_s - from_s < 1e-3:
        return
    slack = 1e-9 * max(abs(whole.maximum()), abs(whole.minimum()), 1.0) * whole.end_s / (to_s - from_s)
    low, high = whole.minimum(from_s, to_s), whole.maximum(from_s, to_s)
    assert low - slack <= whole.mean(from_s, to_s) <= high + slack


@given(st.data())
def test_the_integral_of_a_sum_is_the_sum_of_integrals(data):
    end_s = data.draw(st.integers(2, 1000))
    parts = data.draw(st.lists(series(end_s=end_s, most=8), min_size=1, max_size=9))
    total = StepSeries.sum_of(parts)
    slack = sum(close(part) for part in parts)
    assert total.integral() == pytest.approx(sum(part.integral() for part in parts), rel=0, abs=slack)
    moment = data.draw(st.floats(0, end_s))
    expected = sum(part.at(moment) for part in parts)
    assert total.at(moment) == pytest.approx(expected, rel=0, abs=1e-12 * 1e9 * len(parts))


@given(series(), st.floats(-1e3, 1e3), st.integers(-(10**6), 10**6))
def test_scaling_and_shifting_do_to_the_integral_what_they_do_to_values(whole, factor, by_s):
    slack = close(whole) * (abs(factor) + 1)
    assert whole.scaled(factor).integral() == pytest.approx(whole.integral() * factor, rel=0, abs=slack)
    assert whole.shift(float(by_s)).integral() == pytest.approx(whole.integral(), rel=0, abs=slack)


@given(series())
def test_events_of_the_differences_rebuild_the_series(whole):
    deltas = np.diff(whole.value)
    rebuilt = StepSeries.from_events(whole.start_s[1:], deltas, whole.value[0], whole.end_s)
    assert rebuilt.start_s.tolist() == whole.start_s.tolist()
    assert rebuilt.value == pytest.approx(whole.value, rel=0, abs=1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(-9, 9)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_the_order_of_events_does_not_matter(events, random):
    shuffled = list(events)
    random.shuffle(shuffled)
    built = [
        StepSeries.from_events([t for t, _ in order], [d for _, d in order], 0, 20)
        for order in (events, shuffled)
    ]
    assert built[0] == built[1]


@given(series(), VALUES, st.floats(0, 1))
def test_first_times_equal_a_plain_search(whole, threshold, fraction):
    from_s = fraction * whole.end_s
    expected = None
    for start, end, value in steps(whole):
        if end > from_s and value >= threshold:
            expected = max(start, from_s)
            break
    else:
        if from_s == whole.end_s and whole.value[-1] >= threshold:
            expected = from_s
    assert whole.first_at_least(threshold, from_s) == expected
    below = whole.scaled(-1.0).first_at_most(-threshold, from_s)
    assert below == expected


@given(series(), series())
def test_a_product_with_one_changes_nothing_and_products_commute(one, other):
    unit = StepSeries.constant(1.0, one.end_s)
    assert one.times(unit) == one
    if one.end_s == other.end_s:
        assert one.times(other) == other.times(one)


@given(series(), st.floats(0, 1), st.floats(0, 1))
def test_a_part_that_is_cut_out_says_the_same_as_the_whole(whole, one, other):
    from_s, to_s = sorted((one * whole.end_s, other * whole.end_s))
    if from_s == to_s:
        return
    part = whole.cut(from_s, to_s)
    moments = np.linspace(from_s, to_s, 17)[:-1]
    assert part.at(moments).tolist() == whole.at(moments).tolist()
    assert part.integral() == pytest.approx(whole.integral(from_s, to_s), rel=0, abs=close(whole))
