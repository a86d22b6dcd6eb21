"""The clock: order within an instant, re-armed timers, endless rounds."""

from __future__ import annotations

import math

import pytest

from simulator.engine.clock import ROUNDS_PER_INSTANT, Clock
from simulator.foundation.errors import DatahallError
from simulator.foundation.time_grid import Priority


def test_priorities_order_an_instant_whatever_the_order_of_arming():
    clock, seen = Clock(), []
    for priority in (
        Priority.DECIDE,
        Priority.ARRIVAL,
        Priority.SIGNAL,
        Priority.FAILURE,
        Priority.COMPLETION,
    ):
        clock.timer(lambda p=priority: seen.append(p), priority).arm(5.0)
    clock.run(10.0)
    assert seen == sorted(seen)


def test_a_timer_armed_earlier_fires_once_and_early():
    clock, seen = Clock(), []
    timer = clock.timer(lambda: seen.append(clock.now_s), Priority.CONTROL)
    timer.arm(8.0)
    timer.arm(3.0)
    clock.run(10.0)
    assert seen == [3.0]


def test_a_timer_armed_later_fires_late_and_disarmed_not_at_all():
    clock, seen = Clock(), []
    late = clock.timer(lambda: seen.append(("late", clock.now_s)), Priority.CONTROL)
    never = clock.timer(lambda: seen.append(("never", clock.now_s)), Priority.CONTROL)
    late.arm(3.0)
    late.arm(8.0)
    never.arm(4.0)
    never.arm(math.inf)
    clock.run(10.0)
    assert seen == [("late", 8.0)]


def test_re_arming_costs_no_more_events_than_moments():
    """A timer moved a thousand times: two entries on the heap at most, three events."""
    clock, seen = Clock(), []
    timer = clock.timer(lambda: seen.append(clock.now_s), Priority.CONTROL)
    timer.arm(1.0)
    for step in range(1000):
        timer.arm(2.0 + step)
    clock.run(2000.0)
    assert seen == [1001.0]
    assert clock.events <= 3


def test_the_horizon_is_closed():
    clock, seen = Clock(), []
    clock.timer(lambda: seen.append("at"), Priority.CONTROL).arm(10.0)
    clock.timer(lambda: seen.append("after"), Priority.CONTROL).arm(10.0 + 2.0**-20)
    clock.run(10.0)
    assert seen == ["at"]


def test_endless_rounds_within_an_instant_are_an_error():
    clock = Clock()
    for _ in range(ROUNDS_PER_INSTANT):
        clock.count_round()
    with pytest.raises(DatahallError, match=r"at 0.*1000 rounds of decisions within one instant"):
        clock.count_round()
