"""Laws of linear and exponential integrals: what crosses, when, and that waiting in parts changes nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from simulator.foundation import Level, Relaxation

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
MOMENTS = st.floats(0, 1e8, allow_subnormal=False)
RATES = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda rate: rate == 0 or abs(rate) > 1e-6)
CONSTANTS = st.floats(1e-2, 1e7)


@given(NUMBERS, RATES, MOMENTS, NUMBERS)
def test_a_level_stands_on_the_threshold_when_it_crosses(value, rate, since_s, threshold):
    level = Level(value, rate, since_s)
    crossing_s = level.crossing_s(threshold)
    heading_there = value == threshold or (rate > 0 and threshold > value) or (rate < 0 and threshold < value)
    assert (crossing_s is not None) == heading_there
    if crossing_s is not None:
        assert crossing_s >= since_s
        # A moment of 1e8 s is known to 1.5e-8 s.
        slack = 1e-9 * (abs(value) + abs(threshold)) + abs(rate) * math.ulp(crossing_s) * 2
        assert level.at(crossing_s) == pytest.approx(threshold, rel=0, abs=slack)


@given(NUMBERS, RATES, st.floats(0, 1e4), st.floats(0, 1e4))
def test_waiting_twice_is_waiting_once(value, rate, first_s, second_s):
    level = Level(value, rate, 0.0, low=-1e6, high=1e6)
    in_parts = level.with_rate(first_s, rate).at(first_s + second_s)
    slack = 1e-9 * (abs(value) + abs(rate) * (first_s + second_s) + 1)
    assert in_parts == pytest.approx(level.at(first_s + second_s), rel=0, abs=slack)


@given(NUMBERS, RATES, st.floats(0, 1e6))
def test_a_level_never_leaves_its_bounds(value, rate, wait_s):
    level = Level(min(max(value, -10.0), 10.0), rate, 0.0, low=-10.0, high=10.0)
    assert -10.0 <= level.at(wait_s) <= 10.0


@given(NUMBERS, st.floats(1e-3, 1e3), NUMBERS)
def test_doubling_the_rate_halves_the_time(value, rate, threshold):
    assume(threshold > value)
    once, twice = (Level(value, rate * factor, 0.0).crossing_s(threshold) for factor in (1.0, 2.0))
    assert once is not None
    assert twice == pytest.approx(once / 2, rel=1e-12)


@given(NUMBERS, NUMBERS, CONSTANTS, st.floats(0, 1e6), st.floats(1e-6, 1 - 1e-6))
def test_a_relaxation_stands_on_the_threshold_when_it_crosses(value, target, constant_s, since_s, part):
    assume(abs(value - target) > 1e-3)
    room = Relaxation(value, target, constant_s, since_s)
    threshold = value + (target - value) * part
    crossing_s = room.crossing_s(threshold)
    assert crossing_s is not None
    assert crossing_s >= since_s
    # How far it moves within the rounding of a moment, and the rounding of the values themselves.
    speed = abs(target - value) / constant_s
    slack = speed * math.ulp(crossing_s) * 2 + 1e-9 * (abs(value) + abs(target))
    assert room.at(crossing_s) == pytest.approx(threshold, rel=0, abs=slack)


@given(NUMBERS, NUMBERS, CONSTANTS, st.floats(0, 1e6))
def test_a_relaxation_stays_between_where_it_was_and_its_target(value, target, constant_s, wait_s):
    there = Relaxation(value, target, constant_s, 0.0).at(wait_s)
    slack = 1e-12 * (abs(value) + abs(target))
    assert min(value, target) - slack <= there <= max(value, target) + slack


@given(NUMBERS, NUMBERS, CONSTANTS, NUMBERS)
def test_a_relaxation_never_reaches_its_target_or_what_lies_beyond_or_behind(
    value, target, constant_s, beyond
):
    room = Relaxation(value, target, constant_s, 0.0)
    if target != value:
        assert room.crossing_s(target) is None
    outside = beyond > max(value, target) or beyond < min(value, target)
    if outside:
        assert room.crossing_s(beyond) is None


@given(NUMBERS, NUMBERS, CONSTANTS, st.floats(0, 1e5), st.floats(0, 1e5))
def test_relaxing_twice_is_relaxing_once(value, target, constant_s, first_s, second_s):
    room = Relaxation(value, target, constant_s, 0.0)
    in_parts = room.towards(first_s, target).at(first_s + second_s)
    slack = 1e-9 * (abs(value) + abs(target) + 1)
    assert in_parts == pytest.approx(room.at(first_s + second_s), rel=0, abs=slack)


@given(
    st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(1.0, 1e4), st.floats(0, 1e4), st.floats(1.0, 1e4)
)
def test_the_integral_of_a_relaxation_equals_simpsons_rule(value, target, constant_s, from_s, width_s):
    """Composite Simpson on 400 panels; its error here is below h^4 / 180 times the fourth derivative."""
    room = Relaxation(value, target, constant_s, 0.0)
    panels = 400
    step_s = width_s / panels
    weights = [1, *(4 if i % 2 else 2 for i in range(1, panels)), 1]
    simpson = step_s / 3 * sum(w * room.at(from_s + i * step_s) for i, w in enumerate(weights))
    error = width_s / 180 * step_s**4 * abs(target - value) / constant_s**4
    slack = error + 1e-9 * (abs(value) + abs(target) + 1) * (width_s + constant_s)
    assert room.integral(from_s, from_s + width_s) == pytest.approx(simpson, rel=0, abs=slack)
