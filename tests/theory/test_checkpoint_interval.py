"""When to save: Young's interval against a search, the ETTR law against drawn failures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.hardware.failure_laws import expected_ettr_fraction, young_interval_s


def expected_time_per_work(interval: float, save: float, mean: float) -> float:
    """Exact expected time to do one unit of work with exponential failures and free restarts."""
    return mean * (math.exp((interval + save) / mean) - 1.0) / interval


@pytest.mark.parametrize(("save", "mean"), [(10.0, 11_000.0), (60.0, 36_000.0), (300.0, 1e6)])
def test_youngs_interval_is_within_a_hair_of_the_best(save, mean):
    grid = np.geomspace(save / 10, mean, 20_001)
    best = min(expected_time_per_work(interval, save, mean) for interval in grid)
    young = expected_time_per_work(young_interval_s(save, mean), save, mean)
    assert best <= young <= 1.0005 * best


def test_the_ettr_law_agrees_with_drawn_failures():
    """200 jobs of 1,000 failures each; 4 standard errors and the law's own second order.

    Chance alone fails this once in 16,000 seeds; the seed is fixed. The law neglects terms of
    the order of (lost time / mean time between failures) squared, 0.5 % here.
    """
    mean, interval, save, restart = 40_000.0, 1_800.0, 30.0, 600.0
    ratios = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        gaps = rng.exponential(mean, 1_000)
        running = np.maximum(0.0, gaps - restart)  # a failure may strike while restarting
        cycles = np.floor(running / (interval + save))
        ratios.append((cycles * interval).sum() / gaps.sum())
    law = expected_ettr_fraction(
        mean_time_between_failures_s=mean, interval_s=interval, save_s=save, restart_s=restart
    )
    error = np.std(ratios, ddof=1) / math.sqrt(len(ratios))
    assert abs(np.mean(ratios) - law) < 4 * error + 0.005
