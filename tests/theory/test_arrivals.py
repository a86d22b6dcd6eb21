"""Arrivals against the theory of Poisson processes.

Every statistic is held to 4 standard errors of its own law, so each check raises a false
alarm for one seed in 16,000; seeds are fixed, so a red run is red again.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.foundation.step_series import StepSeries
from simulator.workload.arrivals import GammaArrivals, PoissonArrivals

SIGMAS = 4.0


def all_of(rate: StepSeries, seed: int) -> np.ndarray:
    stream = PoissonArrivals(rate, np.random.default_rng(seed))
    blocks = []
    while len(found := stream.next_block(5000)):
        blocks.append(found)
    return np.concatenate(blocks)


@pytest.mark.parametrize("seed", range(5))
def test_the_count_is_that_of_the_rate(seed):
    """A Poisson count has a standard deviation of the root of its mean."""
    expected = 200_000.0
    found = all_of(StepSeries.constant(20.0, 10_000.0), seed)
    assert abs(len(found) - expected) < SIGMAS * math.sqrt(expected)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_not_clipped(seed):
    """Gaps above three means are exp(-3) of all, and lengthen the mean gap by 5 %.

    Clipping them there, as a peer does, raises the rate by exp(-3) / (1 - exp(-3)) = 5.2 %; with
    200,000 gaps the mean has a standard error of 0.22 %, so that would stand out at 23 sigma.
    """
    rate_per_s = 20.0
    gaps_s = np.diff(all_of(StepSeries.constant(rate_per_s, 10_000.0), seed))
    count = len(gaps_s)
    assert abs(gaps_s.mean() * rate_per_s - 1.0) < SIGMAS / math.sqrt(count)
    for means in (1.0, 3.0, 5.0, 8.0):
        share = math.exp(-means)
        longer = np.count_nonzero(gaps_s > means / rate_per_s)
        assert abs(longer - count * share) < SIGMAS * math.sqrt(count * share * (1.0 - share))


def test_gaps_have_the_spread_of_the_exponential():
    """Variance of the sample variance of an exponential with mean 1 is 8 / n."""
    gaps = np.diff(all_of(StepSeries.constant(1.0, 200_000.0), 7))
    assert abs(gaps.var() - 1.0) < SIGMAS * math.sqrt(8.0 / len(gaps))


@pytest.mark.parametrize("seed", range(3))
def test_each_step_has_its_own_count_and_steps_are_independent(seed):
    """400 days of a rhythm: each hour of the day is Poisson with the rate of that hour."""
    by_hour = 5.0 + 4.0 * np.sin(np.arange(24) * math.tau / 24)
    by_hour[3] = 0.0
    days = 400
    rate = StepSeries(3600.0 * np.arange(24 * days), np.tile(by_hour, days) / 60.0, 86400.0 * days)
    edges_s = 3600.0 * np.arange(24 * days + 1)
    counts = np.histogram(all_of(rate, seed), edges_s)[0].reshape(days, 24)
    expected = by_hour * 60.0
    assert counts[:, 3].sum() == 0
    busy = expected > 0
    error = np.sqrt(expected[busy] / days)
    # 23 hours are looked at, so one false alarm in 700 seeds.
    assert (np.abs(counts.mean(axis=0)[busy] - expected[busy]) < SIGMAS * error).all()
    # Index of dispersion: chi-squared with 23 x 400 degrees of freedom less the fitted none.
    dispersion = ((counts[:, busy] - expected[busy]) ** 2 / expected[busy]).sum()
    freedom = days * np.count_nonzero(busy)
    # A Poisson count of mean m adds 1/m to the variance of each squared standard score.
    spread = math.sqrt(days * np.sum(2.0 + 1.0 / expected[busy]))
    assert abs(dispersion - freedom) < SIGMAS * spread


def test_arrivals_within_a_step_are_uniform():
    """Given their number, arrivals of a constant rate are uniform: Kolmogorov's statistic.

    P(sqrt(n) D > 2.2) is 2 exp(-2 x 2.2^2) = 1 in 8,000.
    """
    found = np.sort(all_of(StepSeries([0.0, 50.0], [0.001, 100.0], 1050.0), 11) - 50.0)
    found = found[found >= 0.0] / 1000.0
    count = len(found)
    steps = np.arange(1, count + 1) / count
    distance = max(np.max(steps - found), np.max(found - steps + 1.0 / count))
    assert math.sqrt(count) * distance < 2.2


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_bursts_have_the_mean_and_the_spread_of_a_gamma_renewal_process(cv):
    """Gaps have mean 1/rate and standard deviation cv/rate; the count's variance is cv^2 its mean.

    A sample variance of Gamma gaps with shape k has relative variance (2 + 6/k)/n.
    """
    rate_per_s, span_s = 20.0, 20_000.0
    stream = GammaArrivals(StepSeries.constant(rate_per_s, span_s), np.random.default_rng(3), cv)
    found = np.concatenate([stream.next_block(100_000) for _ in range(8)])
    count = len(found)
    mean = rate_per_s * span_s
    assert abs(count - mean) < SIGMAS * cv * math.sqrt(mean)
    spread = np.diff(found).var() * rate_per_s**2
    shape = cv**-2.0
    assert abs(spread / cv**2 - 1.0) < SIGMAS * math.sqrt((2.0 + 6.0 / shape) / count)


def test_blocks_of_any_size_give_the_same_bursts():
    rate = StepSeries([0.0, 100.0], [5.0, 20.0], 300.0)
    whole = GammaArrivals(rate, np.random.default_rng(1), 4.0).next_block(100_000)
    stream = GammaArrivals(rate, np.random.default_rng(1), 4.0)
    parts = []
    while len(block := stream.next_block(7)):
        parts.append(block)
    # Gamma numbers are drawn by rejection, one after another: the block does not matter.
    assert np.array_equal(np.concatenate(parts), whole)
