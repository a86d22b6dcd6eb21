from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.serving.leap import run_ps, steps_within

costs = st.integers(1, 10**11)
growths = st.integers(0, 10**9)


@given(costs, growths, st.integers(0, 60))
def test_a_run_is_the_sum_of_its_steps(first, growth, steps):
    assert run_ps(first, growth, steps) == sum(first + i * growth for i in range(steps))


@given(costs, growths, st.integers(0, 10**13))
def test_as_many_steps_fit_as_can_be_counted_one_by_one(first, growth, span):
    span = min(span, run_ps(first, growth, 400))
    steps = spent = 0
    while spent + first + steps * growth <= span:
        spent += first + steps * growth
        steps += 1
    assert steps_within(first, growth, span) == steps


@given(costs, growths, st.integers(1, 10**6))
def test_a_run_of_a_million_steps_contains_exactly_itself(first, growth, steps):
    whole = run_ps(first, growth, steps)
    assert steps_within(first, growth, whole) == steps
    assert steps_within(first, growth, whole - 1) == steps - 1


def test_nothing_fits_before_the_start():
    assert steps_within(100, 3, -1) == 0


@pytest.mark.parametrize("span", [0, 99])
def test_no_step_fits_into_less_than_one(span):
    assert steps_within(100, 3, span) == 0
