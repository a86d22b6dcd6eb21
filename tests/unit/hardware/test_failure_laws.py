"""Failure laws: what they give, and where they stop."""

from __future__ import annotations

import pytest

from simulator.hardware.failure_laws import (
    daly_interval_s,
    expected_ettr_fraction,
    mean_time_between_s,
    young_interval_s,
)


def test_twice_the_gpus_fail_twice_as_often():
    assert mean_time_between_s(1e-5, 2000) == mean_time_between_s(1e-5, 1000) / 2


def test_daly_saves_a_little_later_than_young_less_the_save():
    young = young_interval_s(60.0, 36_000.0)
    daly = daly_interval_s(60.0, 36_000.0)
    assert young - 60.0 < daly < young


def test_saving_that_takes_longer_than_the_machine_lives():
    assert daly_interval_s(100.0, 40.0) == 40.0


def test_ettr_never_goes_negative():
    hopeless = expected_ettr_fraction(
        mean_time_between_failures_s=600.0, interval_s=3600.0, save_s=60.0, restart_s=600.0
    )
    assert hopeless == 0.0


def test_ettr_of_a_cluster_that_never_fails_is_what_saving_leaves():
    found = expected_ettr_fraction(
        mean_time_between_failures_s=1e18, interval_s=900.0, save_s=100.0, restart_s=600.0
    )
    assert found == pytest.approx(0.9)
