"""Intervals between checkpoints: by hand, and what they are refused for."""

from __future__ import annotations

import math

import pytest

from simulator.hardware import CHECKPOINT_POLICIES, DalyInterval, FixedInterval, YoungInterval
from simulator.hardware.save_intervals import NEVER_FAILS_S


def test_young_and_daly_by_hand():
    assert YoungInterval().interval_s(50.0, 10_000.0) == 1000.0
    assert DalyInterval().interval_s(50.0, 10_000.0) == pytest.approx(
        1000.0 * (1 + 0.05 / 3 + 0.0025 / 9) - 50
    )
    assert FixedInterval(600.0).interval_s(50.0, 10_000.0) == 600.0


def test_what_the_owner_believes_comes_first():
    assert YoungInterval(mean_time_s=40_000.0).interval_s(50.0, 10_000.0) == 2000.0


@pytest.mark.parametrize("name", ["young", "daly"])
def test_without_failures_it_saves_once_a_day(name):
    assert CHECKPOINT_POLICIES[name]().interval_s(50.0, math.inf) == NEVER_FAILS_S


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0 s"):
        FixedInterval(0.0)
