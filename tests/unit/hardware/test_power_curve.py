"""Watts against clock, and the way back from a cap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.hardware.power_curve import CLOCK_CURVE

clocks = st.floats(0.15, 1.0)


def test_full_clock_changes_nothing():
    assert CLOCK_CURVE.dynamic_fraction(1.0) == 1.0
    assert CLOCK_CURVE.compute_stretch(1.0) == CLOCK_CURVE.memory_stretch(1.0) == 1.0
    assert CLOCK_CURVE.power_w(650.0, 70.0, 1.0) == 650.0


@given(clocks, clocks)
def test_a_lower_clock_draws_less_and_takes_longer(a, b):
    low, high = sorted((a, b))
    assert CLOCK_CURVE.power_w(650, 70, low) <= CLOCK_CURVE.power_w(650, 70, high)
    assert CLOCK_CURVE.compute_stretch(low) >= CLOCK_CURVE.compute_stretch(high)
    assert CLOCK_CURVE.memory_stretch(low) <= CLOCK_CURVE.compute_stretch(low)


@given(st.floats(150.0, 649.0))
def test_the_clock_for_a_cap_meets_it_closely(cap):
    clock = CLOCK_CURVE.clock_for_power(cap, 650.0, 70.0)
    assert CLOCK_CURVE.power_w(650.0, 70.0, clock) <= cap
    assert CLOCK_CURVE.power_w(650.0, 70.0, clock + 1e-6) > cap


def test_a_cap_above_the_load_leaves_the_clock():
    assert CLOCK_CURVE.clock_for_power(700.0, 650.0, 70.0) == 1.0


def test_a_cap_below_the_lowest_clock_gives_that_clock():
    assert CLOCK_CURVE.clock_for_power(75.0, 650.0, 70.0) == CLOCK_CURVE.lowest_fraction


def test_the_floor_is_never_undercut():
    assert CLOCK_CURVE.power_w(60.0, 70.0, 0.5) == 60.0
    assert CLOCK_CURVE.power_w(650.0, 70.0, 0.15) > 70.0
