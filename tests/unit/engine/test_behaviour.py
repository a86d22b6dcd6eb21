"""Checkpoint cycles in closed form, against a loop that walks through every cycle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.engine.behaviour import time_for, work_after


def walked(elapsed_s, rate, cycle_work, stall_s):
    """Work, position, stall used and stalled time from a fresh cycle, one cycle at a time."""
    done = stalled = 0.0
    left = elapsed_s
    work_s = cycle_work / rate
    while True:
        if left <= work_s:
            return done + left * rate, left * rate, 0.0, stalled
        left -= work_s
        done += cycle_work
        if left < stall_s:
            return done, cycle_work, left, stalled + left
        left -= stall_s
        stalled += stall_s


@given(st.floats(0.0, 1e4), st.floats(0.1, 10.0), st.floats(5.0, 500.0), st.floats(0.1, 50.0))
def test_work_after_equals_walking_through_the_cycles(elapsed_s, rate, cycle_work, stall_s):
    found = work_after(elapsed_s, rate, 0.0, 0.0, cycle_work, stall_s)
    wanted = walked(elapsed_s, rate, cycle_work, stall_s)
    assert found[0] == pytest.approx(wanted[0], rel=1e-9, abs=1e-6)
    assert found[3] == pytest.approx(wanted[3], rel=1e-9, abs=1e-6)


@given(
    st.floats(1.0, 5e3),
    st.floats(1.0, 5e3),
    st.floats(0.1, 10.0),
    st.floats(5.0, 500.0),
    st.floats(0.1, 50.0),
)
def test_two_stretches_are_one(first_s, second_s, rate, cycle_work, stall_s):
    one = work_after(first_s + second_s, rate, 0.0, 0.0, cycle_work, stall_s)
    a = work_after(first_s, rate, 0.0, 0.0, cycle_work, stall_s)
    b = work_after(second_s, rate, a[1], a[2], cycle_work, stall_s)
    assert a[0] + b[0] == pytest.approx(one[0], rel=1e-9, abs=1e-6)
    assert a[3] + b[3] == pytest.approx(one[3], rel=1e-9, abs=1e-6)


@given(st.floats(1.0, 1e4), st.floats(0.1, 10.0), st.floats(5.0, 500.0), st.floats(0.1, 50.0))
def test_time_for_is_the_inverse(work, rate, cycle_work, stall_s):
    elapsed_s = time_for(work, rate, 0.0, 0.0, cycle_work, stall_s)
    assert work_after(elapsed_s, rate, 0.0, 0.0, cycle_work, stall_s)[0] == pytest.approx(
        work, rel=1e-9, abs=1e-6
    )


def test_by_hand():
    """10 s of work, 2 s of stall: after 25 s two cycles are over (24 s) and 1 s of the third."""
    assert work_after(25.0, 1.0, 0.0, 0.0, 10.0, 2.0) == (21.0, 1.0, 0.0, 4.0)
    assert work_after(11.0, 1.0, 0.0, 0.0, 10.0, 2.0) == (10.0, 10.0, 1.0, 1.0)
    assert time_for(20.0, 1.0, 0.0, 0.0, 10.0, 2.0) == 22.0
