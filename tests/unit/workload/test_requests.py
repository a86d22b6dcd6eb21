"""Sources of requests: named streams, tiers, and logs that must cover the run."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.entries import LengthsSpec
from simulator.foundation.errors import CatalogError, TraceError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.streams import Streams
from simulator.workload.lengths import LognormalLengths
from simulator.workload.requests import DrawnRequests, LoggedRequests, RequestTable, Shares

LENGTHS = LognormalLengths(LengthsSpec("chat", "Chat", 700.0, 0.9, 300.0, 0.8, 0.3, 8192, 4096))


def source(seed=1, rate=2.0, **more):
    return DrawnRequests(StepSeries.constant(rate, 500.0), LENGTHS, Streams(seed), "chat", **more)


def drain(requests, block=97):
    tables = []
    while len(table := requests.next_block(block)):
        assert len(table) <= block
        tables.append(table)
    return {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in ("arrived_s", "prompt_tokens", "output_tokens", "tier")
    }


def test_the_same_seed_gives_the_same_requests_and_another_does_not():
    one, same, other = drain(source(1)), drain(source(1)), drain(source(2))
    for name, column in one.items():
        assert np.array_equal(column, same[name])
    assert not np.array_equal(one["arrived_s"], other["arrived_s"])


def test_changing_the_tiers_leaves_arrivals_and_lengths_alone():
    plain, tiered = drain(source()), drain(source(tier_shares=(0.1, 0.9)))
    for name in ("arrived_s", "prompt_tokens", "output_tokens"):
        assert np.array_equal(plain[name], tiered[name])
    assert set(plain["tier"].tolist()) == {0}
    assert set(tiered["tier"].tolist()) == {0, 1}


def test_more_demand_brings_the_same_requests_sooner():
    slow, fast = drain(source(rate=1.0)), drain(source(rate=2.0))
    count = len(slow["arrived_s"])
    assert np.array_equal(slow["prompt_tokens"], fast["prompt_tokens"][:count])
    assert np.allclose(slow["arrived_s"], 2 * fast["arrived_s"][:count], atol=1e-5)


def test_constant_arrivals_are_even():
    found = drain(source(arrivals="constant"))["arrived_s"]
    assert len(found) == 1000
    assert np.ptp(np.diff(found)) == 0.0


def test_an_unknown_kind_of_arrivals_is_refused():
    with pytest.raises(CatalogError, match="arrivals 'bursty'; expected one of poisson, gamma, constant"):
        source(arrivals="bursty")


def test_bursts_need_their_cv_and_nothing_else_takes_one():
    with pytest.raises(CatalogError, match="arrivals gamma: cv is missing"):
        source(arrivals="gamma")
    with pytest.raises(CatalogError, match="arrivals poisson: cv has no effect"):
        source(arrivals="poisson", cv=2.0)
    with pytest.raises(CatalogError, match="cv 0; expected above 0"):
        source(arrivals="gamma", cv=0.0)


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.6), (1.5, -0.5), (float("nan"), 1.0)])
def test_shares_that_are_no_shares_are_refused(shares):
    with pytest.raises(CatalogError, match=r"tiers: shares .* expected 1"):
        Shares(shares, "tiers")


def test_a_share_of_zero_is_never_drawn():
    drawn = Shares((0.0, 0.5, 0.0, 0.5, 0.0), "tiers").draw(np.random.default_rng(1), 10_000)
    assert set(drawn.tolist()) == {1, 3}


def table(*arrived_s):
    ones = np.ones(len(arrived_s), dtype=np.int64)
    return RequestTable(np.array(arrived_s), ones, 2 * ones, 0 * ones)


def test_a_log_is_given_away_in_blocks_up_to_the_end():
    requests = LoggedRequests(table(0.0, 1.0, 2.0, 3.0, 9.0), 3.0)
    assert requests.next_block(3).arrived_s.tolist() == [0.0, 1.0, 2.0]
    assert requests.next_block(3).arrived_s.tolist() == [3.0]
    assert len(requests.next_block(3)) == 0


def test_a_log_that_ends_before_the_run_is_refused_with_both_spans():
    with pytest.raises(TraceError, match="the request log covers 0 s to 9 s, the run 0 s to 10 s"):
        LoggedRequests(table(0.0, 9.0), 10.0)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="tier has 0 rows, arrived_s has 1"):
        RequestTable(np.zeros(1), np.ones(1, np.int64), np.ones(1, np.int64), np.empty(0, np.int64))
