"""Every length distribution, job mix and rhythm on the shelf can be drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.calendar import Calendar
from simulator.foundation.streams import Streams
from simulator.foundation.units import DAY_S, WEEK_S
from simulator.workload.demand import Demand
from simulator.workload.lengths import LognormalLengths
from simulator.workload.mix import JobMix

CATALOG = Catalog.shipped()
MONDAY = Calendar.from_text("2024-03-04 00:00 Europe/Berlin")


@pytest.mark.parametrize("name", CATALOG.names("lengths"))
def test_lengths_are_drawn_with_their_stated_means(name):
    """20,000 pairs; 4 standard errors, one false alarm in 16,000 for each of the two means."""
    lengths = LognormalLengths(CATALOG.lengths(name))
    drawn = lengths.stream(np.random.default_rng(1)).next_block(20_000)
    for tokens, stated in zip(drawn, (lengths.mean_prompt_tokens, lengths.mean_output_tokens), strict=True):
        assert abs(tokens.mean() - stated) < 4 * tokens.std() / np.sqrt(len(tokens))


@pytest.mark.parametrize("name", CATALOG.names("mixes"))
def test_mixes_give_jobs_in_their_own_rhythm(name):
    spec = CATALOG.mix(name)
    mix = JobMix(spec)
    shape = CATALOG.shape(spec.arrival_shape)
    jobs = mix.jobs("r", 90.0, MONDAY, 14 * DAY_S, Streams(1), shape=shape)
    expected = 90.0 / mix.mean_gpu_s * 14 * DAY_S
    assert abs(len(jobs) - expected) < 4 * np.sqrt(expected)
    assert jobs.gpus.max() <= mix.largest_gpus


@pytest.mark.parametrize("name", CATALOG.names("shapes"))
def test_rhythms_keep_the_mean_of_a_week(name):
    shape = CATALOG.shape(name)
    peak_to_mean = None if np.ptp(shape.multipliers) == 0.0 else 1.5
    rate = Demand(3.0, shape, peak_to_mean).rate_per_s(MONDAY, WEEK_S)
    assert rate.mean() == pytest.approx(3.0, rel=1e-12)
