"""Lengths, tiers and job mixes against the laws they are said to follow.

4 standard errors each: one false alarm in 16,000 for every number looked at; seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.catalog.entries import JobClass, JobMixSpec, LengthsSpec
from simulator.foundation.calendar import Calendar
from simulator.foundation.streams import Streams
from simulator.foundation.units import DAY_S
from simulator.workload.lengths import LognormalLengths
from simulator.workload.mix import JobMix
from simulator.workload.requests import Shares

SIGMAS = 4.0
WIDE = LengthsSpec("wide", "Wide", 700.0, 0.9, 300.0, 0.8, 0.4, 1 << 40, 1 << 40)
TIGHT = LengthsSpec("tight", "Tight", 700.0, 1.2, 300.0, 1.0, -0.5, 1500, 900)
SMALL = LengthsSpec("small", "Small", 3.0, 1.2, 2.0, 0.8, 0.6, 40, 20)


def drawn(spec: LengthsSpec, count: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    return LognormalLengths(spec).stream(np.random.default_rng(5)).next_block(count)


@pytest.mark.parametrize("spec", [WIDE, TIGHT, SMALL], ids=lambda spec: spec.name)
def test_stated_means_are_those_of_what_is_drawn(spec):
    """Caps move the mean; the stated one is that of the law under both caps."""
    lengths = LognormalLengths(spec)
    for tokens, stated in zip(
        drawn(spec), (lengths.mean_prompt_tokens, lengths.mean_output_tokens), strict=True
    ):
        error = tokens.std() / math.sqrt(len(tokens))
        # The quadrature behind the stated mean is good to 1e-4.
        assert abs(tokens.mean() - stated) < SIGMAS * error + 1e-4 * stated


def test_a_wide_law_has_the_textbook_mean_median_and_correlation():
    """exp(mu + sigma^2 / 2) and half a token for rounding up."""
    prompt, output = drawn(WIDE)
    count = len(prompt)
    expected = 700.0 * math.exp(0.5 * 0.9**2) + 0.5
    assert LognormalLengths(WIDE).mean_prompt_tokens == pytest.approx(expected, rel=1e-4)
    # Half of the draws lie below the median, give or take a token of rounding.
    density_per_token = 1.0 / (700.0 * 0.9 * math.sqrt(math.tau))
    below = np.count_nonzero(prompt <= 700) / count
    assert abs(below - 0.5) < SIGMAS * 0.5 / math.sqrt(count) + density_per_token
    found = np.corrcoef(np.log(prompt), np.log(output))[0, 1]
    # Fisher: the standard error of a correlation r is (1 - r^2) / sqrt(n).
    assert abs(found - 0.4) < SIGMAS * (1 - 0.4**2) / math.sqrt(count)


def test_tiers_come_in_their_shares():
    shares = np.array([0.05, 0.25, 0.7])
    count = 300_000
    found = np.bincount(Shares(shares, "tiers").draw(np.random.default_rng(9), count), minlength=3)
    assert (np.abs(found - count * shares) < SIGMAS * np.sqrt(count * shares * (1 - shares))).all()


MIX = JobMixSpec(
    name="lab",
    title="Lab",
    classes=(JobClass(1, 0.7, 206.0, 2.0), JobClass(8, 0.25, 1000.0, 1.5), JobClass(64, 0.05, 5000.0, 1.0)),
    run_cap_s=5e4,
    requested_over_run_median=1.5,
    requested_over_run_sigma=0.5,
    arrival_shape="flat",
)
YEAR = JobMix(MIX).jobs(
    "r",
    200.0,
    Calendar.from_text("2024-01-01 00:00"),
    364 * DAY_S,
    Streams(3),
    tenants={"vision": 0.4, "speech": 0.3, "small-lab": 0.3},
)


def test_the_offered_load_is_the_load_asked_for():
    """Work is a compound Poisson sum: its variance is the rate times the mean square of a job.

    The cap is low enough that a rate that left its effect out would be seen at twice the bound.
    """
    gpu_s = YEAR.gpus * YEAR.work
    error = math.sqrt(np.sum(gpu_s**2)) / (364 * DAY_S)
    assert abs(gpu_s.sum() / (364 * DAY_S) - 200.0) < SIGMAS * error
    uncapped = sum(
        one.share_fraction * one.gpus * one.run_median_s * math.exp(0.5 * one.run_sigma**2)
        for one in MIX.classes
    )
    assert 200.0 * (1.0 - JobMix(MIX).mean_gpu_s / uncapped) > 2 * SIGMAS * error


def test_sizes_come_in_their_shares():
    count = len(YEAR)
    for job_class in MIX.classes:
        share = job_class.share_fraction
        found = np.count_nonzero(YEAR.gpus == job_class.gpus)
        assert abs(found - count * share) < SIGMAS * math.sqrt(count * share * (1 - share))


def test_tenants_come_in_their_shares():
    count = len(YEAR)
    found = np.bincount(YEAR.tenant.code) / count
    for share, part in zip((0.4, 0.3, 0.3), found, strict=True):
        assert abs(part - share) < SIGMAS * math.sqrt(share * (1 - share) / count)


def test_half_of_the_estimates_are_above_the_stated_median():
    factor = YEAR.requested_run_s / YEAR.work
    assert abs(np.mean(factor > 1.5) - 0.5) < SIGMAS * 0.5 / math.sqrt(len(YEAR))
    # The users who knew: a log-normal factor below 1 counts as 1.
    knew = 0.5 * math.erfc(math.log(1.5) / 0.5 / math.sqrt(2.0))
    assert abs(np.mean(factor <= 1.0) - knew) < SIGMAS * math.sqrt(knew * (1 - knew) / len(YEAR))
