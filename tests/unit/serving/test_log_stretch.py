from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.log_stretch import LogStretches
from simulator.workload.requests import Prefixes, RequestTable

#: Two hours; the second has thrice as many requests. Request i begins with piece i // 4, then its own.
ARRIVED_S = np.concatenate((np.arange(10) * 360.0, 3600.0 + np.arange(31) * 120.0))
COUNT = len(ARRIVED_S)
LOG = RequestTable(
    ARRIVED_S,
    np.arange(COUNT) + 100,
    np.arange(COUNT) + 1,
    np.zeros(COUNT, np.int64),
    prefixes=Prefixes(
        np.arange(COUNT + 1) * 2,
        np.stack((7000 + np.arange(COUNT) // 4, 9000 + np.arange(COUNT)), axis=1).ravel(),
        512,
    ),
)


def test_a_stretch_is_the_log_in_its_order_and_laps_share_nothing():
    drawn = LogStretches(LOG).drawn(3 * COUNT, 2.0, np.random.default_rng(1))
    row = drawn.prompt_tokens - 100
    assert (np.diff(row) % COUNT == 1).all()
    assert drawn.output_tokens.tolist() == (row + 1).tolist()
    common, own = drawn.prefixes.hashes.reshape(-1, 2).T
    lap = np.cumsum(row == 0) - (row[0] == 0)
    assert len(np.unique(own)) == 3 * COUNT
    # Two prompts begin alike if they do so in the log and are of one lap.
    for i in range(3 * COUNT):
        alike = np.flatnonzero((row // 4 == row[i] // 4) & (lap == lap[i]))
        assert np.flatnonzero(common == common[i]).tolist() == alike.tolist()


def test_hours_are_stretched_to_one_rate():
    drawn = LogStretches(LOG).drawn(20 * COUNT, 2.0, np.random.default_rng(1))
    gaps_s = np.diff(drawn.arrived_s)
    # Even in each hour of the log: half a second each, but for where hours and laps meet.
    assert np.median(gaps_s) == pytest.approx(0.5, rel=0.05)
    assert (20 * COUNT - 1) / drawn.arrived_s[-1] == pytest.approx(2.0, rel=0.02)
    assert gaps_s.min() >= 0.0
    together = LogStretches(LOG).drawn(5, math.inf, np.random.default_rng(1))
    assert together.arrived_s.tolist() == [0.0] * 5


def test_a_share_is_kept_by_chance_and_comes_at_the_rate_asked_for():
    drawn = LogStretches(LOG, 0.25).drawn(4000, 2.0, np.random.default_rng(1))
    # Gaps are geometric: 4 in the mean and 3.5 of spread; 4 standard errors.
    steps = np.diff(drawn.prompt_tokens) % COUNT
    assert np.mean(steps == 1) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 4000))
    assert 4000 / drawn.arrived_s[-1] == pytest.approx(2.0, rel=4 * 3.5 / 4 / math.sqrt(4000))


def test_a_log_without_prefixes_has_no_stretches():
    with pytest.raises(ValueError, match="what its prompts begin with"):
        LogStretches(RequestTable(*(np.ones(1, int) for _ in range(4))))
