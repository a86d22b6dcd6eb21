"""Prompts that begin alike, counted by hand: iterations of 0.1 s and 0.01 s a prompt token."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.routers import LeastOutstanding, PrefixAware
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import Prefixes, RequestTable

PROFILE = GivenReplica(linear_iteration(fixed_s=0.1, token_s=0.01))


@pytest.fixture(params=[TwinCrowd, CompiledCrowd])
def shared(request):
    """Run (arrival, prompt, output, names) with pieces of 8 tokens; return the crowd and its rows."""

    def run(*rows, blocks=100, replicas=1, router=None, keeps=True, size=4):
        rule = BatchRule(max_sequences=8, token_budget=64, block_tokens=size, keeps_blocks=keeps)
        rules = ServiceRules("chat", rule=rule, router=router or LeastOutstanding(), piece_tokens=8)
        crowd = request.param(rules)
        for number in range(replicas):
            crowd.apply(AddReplica(number, "here", "mixed", 1, PROFILE, blocks), 0.0)
        names = [list(row[3]) for row in rows]
        prefixes = Prefixes(
            np.cumsum([0, *map(len, names)]),
            np.array([name for path in names for name in path], dtype=np.int64),
            8,
        )
        columns = [np.array(column) for column in list(zip(*rows, strict=True))[:3]]
        tier = np.zeros(len(rows), dtype=np.int64)
        crowd.feed(RequestTable(columns[0].astype(float), *columns[1:], tier, prefixes=prefixes), math.inf)
        crowd.advance(100.0)
        found = crowd.take_rows()
        order = np.argsort(found["request_id"])
        return crowd, {name: np.asarray(found[name])[order].tolist() for name in found}

    return run


def test_a_prompt_that_was_read_before_is_not_read_again(shared):
    crowd, rows = shared((0.0, 20, 1, (1, 2, 3)), (1.0, 24, 1, (1, 2, 4)))
    # 16 of the second's 24 tokens are there; 8 take 0.08 s.
    assert rows["cached_tokens"] == [0, 16]
    assert rows["ttft_s"] == pytest.approx([0.3, 0.18])
    counters = crowd.counters()
    assert (counters["prefix_tokens_looked"], counters["prefix_tokens_hit"]) == (44, 16)


def test_one_token_is_always_left_to_compute(shared):
    _, rows = shared((0.0, 16, 1, (1, 2)), (1.0, 16, 1, (1, 2)))
    # All four blocks are there, but the last is read again for its last token.
    assert rows["cached_tokens"] == [0, 12]


def test_prompts_of_one_iteration_share_what_it_reads(shared):
    _, rows = shared((0.0, 20, 1, (1, 2, 3)), (0.0, 20, 1, (1, 2, 4)))
    assert rows["cached_tokens"] == [0, 16]
    # 20 + 4 tokens.
    assert rows["ttft_s"] == pytest.approx([0.34, 0.34])


def test_what_was_used_longest_ago_goes_first(shared):
    # 6 blocks of 4: prompts of 8 and 8 leave 4 named ones; a third of 16 takes the 2 that nothing
    # was in and the first prompt's 2.
    kept = (3.0, 9, 1, (2, 5)), (4.0, 9, 1, (1, 6))
    _, rows = shared((0.0, 8, 1, (1,)), (1.0, 8, 1, (2,)), (2.0, 16, 1, (3, 4)), *kept, blocks=6)
    assert rows["cached_tokens"] == [0, 0, 0, 8, 0]


def test_an_engine_without_a_cache_reads_everything(shared):
    _, rows = shared((0.0, 20, 1, (1, 2, 3)), (1.0, 24, 1, (1, 2, 4)), keeps=False)
    assert rows["cached_tokens"] == [0, 0]


def test_the_router_sends_prompts_where_they_are_known(shared):
    rows = ((0.0, 16, 1, (1, 2)), (0.0, 16, 1, (3, 4)), (1.0, 24, 1, (3, 4, 5)), (2.0, 24, 1, (1, 2, 6)))
    _, aware = shared(*rows, replicas=2, router=PrefixAware())
    assert aware["replica"] == [0, 1, 1, 0]
    assert aware["cached_tokens"] == [0, 0, 16, 16]
    _, blind = shared(*rows, replicas=2)
    assert blind["cached_tokens"] == [0, 0, 0, 16]


def test_a_busy_replica_is_passed_over():
    loads = [12, 2]
    found = {0: 100, 1: 0}.__getitem__
    assert PrefixAware(most_ahead=10).pick(0, [0, 1], loads, found, lambda _: 0.0) == 0
    assert PrefixAware(most_ahead=9).pick(0, [0, 1], loads, found, lambda _: 0.0) == 1


def test_pieces_are_whole_blocks():
    with pytest.raises(ValueError, match="pieces of 8 tokens do not go with blocks of 16"):
        ServiceRules("chat", piece_tokens=8)
