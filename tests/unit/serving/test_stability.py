from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.stability import over_the_whole, verdict

BIN_S = 300.0


def queues(rate_per_s, capacity_per_s, seed=0):
    """Backlog of a flow with Poisson arrivals against a constant capacity."""
    rng = np.random.default_rng(seed)
    arrived = rng.poisson(np.asarray(rate_per_s) * BIN_S).astype(float)
    queued, backlog = [], 0.0
    for count in arrived:
        backlog = max(0.0, backlog + count - capacity_per_s * BIN_S)
        queued.append(backlog)
    return np.array(queued), arrived


def test_light_load_is_stable_with_headroom_by_the_busiest_hour():
    rate = np.concatenate([np.full(48, 1.0), np.full(12, 4.0), np.full(48, 1.0)])
    found = verdict(*queues(rate, 8.0), BIN_S, 8.0)
    assert found.verdict == "stable"
    assert found.stationary
    assert found.headroom_fraction == pytest.approx(0.5, abs=0.05)
    assert found.mean_headroom_fraction == pytest.approx(1.0 - 144.0 / 108.0 / 8.0, abs=0.02)


def test_a_peak_beyond_capacity_that_drains_is_a_backlog():
    rate = np.concatenate([np.full(48, 1.0), np.full(12, 12.0), np.full(48, 1.0)])
    found = verdict(*queues(rate, 8.0), BIN_S, 8.0)
    assert found.verdict == "backlogged"
    assert found.headroom_fraction < 0.0 < found.mean_headroom_fraction
    assert not found.stationary


@pytest.mark.parametrize("rate", [8.4, 10.0, 30.0])
def test_a_queue_that_grows_is_overload(rate):
    found = verdict(*queues(np.full(200, rate), 8.0), BIN_S, 8.0)
    assert found.verdict == "overloaded"
    assert found.longest_queue > 0


def test_a_queue_that_grows_is_overload_though_capacity_was_thought_higher():
    assert verdict(*queues(np.full(200, 10.0), 8.0), BIN_S, 12.0).verdict == "overloaded"


def test_seven_eighths_of_capacity_is_no_overload_whatever_chance_does():
    """Two hundred seeds; four sigma leaves one false alarm in 80 such tests."""
    for seed in range(200):
        assert verdict(*queues(np.full(96, 7.0), 8.0, seed), BIN_S, 8.0).verdict == "stable"


def test_silence_is_stable_and_knows_no_headroom():
    found = verdict(np.zeros(5), np.zeros(5), BIN_S, 8.0)
    assert found.verdict == "stable"
    assert math.isnan(found.headroom_fraction)
    assert verdict(np.empty(0), np.empty(0), BIN_S, math.nan).verdict == "stable"


@pytest.mark.parametrize(
    ("word", "ttft_p99_s", "said"),
    [
        ("stable", 5.0, "stable"),
        ("stable", 61.0, "backlogged"),
        ("stable", float("nan"), "stable"),
        ("overloaded", 61.0, "overloaded"),
    ],
)
def test_a_run_shorter_than_its_bins_is_judged_by_who_waited(word, ttft_p99_s, said):
    assert over_the_whole(word, ttft_p99_s) == said


def test_a_short_queue_of_a_service_that_turns_requests_away_is_no_stability():
    assert over_the_whole("stable", 0.5, headroom=-0.1, turns_away=True) == "overloaded"
    assert over_the_whole("stable", 0.5, headroom=0.1, turns_away=True) == "stable"
    assert over_the_whole("stable", 0.5, headroom=-0.1) == "stable"
    assert over_the_whole("stable", float("inf")) == "backlogged"
    assert over_the_whole("stable", float("nan")) == "stable"
