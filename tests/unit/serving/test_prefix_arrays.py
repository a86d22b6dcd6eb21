"""The arrays of a compiled crowd that shares prefixes: growth loses nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulator.serving import kernel
from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica, RemoveReplica
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.prefix_arrays import (
    add_replica,
    more_requests,
    more_slots,
    name_arrivals,
    no_prefixes,
)
from simulator.serving.routers import PrefixAware
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import Prefixes, RequestTable

RULE = BatchRule(max_sequences=4, token_budget=64, block_tokens=4)


def test_names_of_requests_in_flight_outlive_the_arrivals_they_came_with():
    p = more_requests(no_prefixes(), 4)
    flying = np.zeros(4, bool)
    p = name_arrivals(p, flying, np.array([0, 2, 2, 5]), np.array([11, 12, 13, 14, 15]))
    # The first and the third arrival sit at places 3 and 1; the second ended.
    p.sharer[3, [kernel.PIECE, kernel.PIECES]] = p.arriving[0], 2
    p.sharer[1, [kernel.PIECE, kernel.PIECES]] = p.arriving[2], 3
    flying[[1, 3]] = True
    p = name_arrivals(p, flying, np.array([0, 1]), np.array([16]))
    held = {
        place: p.piece[p.sharer[place, kernel.PIECE] :][: p.sharer[place, kernel.PIECES]].tolist()
        for place in (1, 3)
    }
    assert held == {1: [13, 14, 15], 3: [11, 12]}
    assert p.piece[p.arriving[0] : p.arriving[1]].tolist() == [16]


def test_a_wider_replica_leaves_the_others_as_they_were():
    p = add_replica(more_slots(no_prefixes(), 2), 0, 8, RULE, 2)
    p.counts[0, kernel.SPANS_TOUCHED] = 3
    p.span[0, :3] = np.arange(27).reshape(3, 9)
    wider = add_replica(p, 1, 5000, RULE, 2)
    assert wider.span.shape[1] == 5000
    assert wider.span[0, :3].tolist() == np.arange(27).reshape(3, 9).tolist()
    assert not wider.span[0, 3:].any()
    assert wider.counts[:, kernel.ALL_BLOCKS].tolist() == [8, 5000]


def run(form, table, rules, blocks):
    profile = GivenReplica(linear_iteration(fixed_s=0.01, token_s=1e-4, most_tokens=64))
    crowd = form(rules)
    crowd.apply(AddReplica(0, "here", "mixed", 1, profile, blocks), 0.0)
    crowd.feed(table, math.inf)
    crowd.advance(float(table.arrived_s[-1]) / 2)
    # Others with shelves of their own come while the first one's are in use; one goes.
    crowd.apply(AddReplica(1, "here", "mixed", 1, profile, 2 * blocks), crowd.now_s)
    crowd.apply(AddReplica(2, "here", "mixed", 1, profile, blocks), crowd.now_s)
    crowd.advance(float(table.arrived_s[-1]) * 0.75)
    crowd.apply(RemoveReplica(1, "kill"), crowd.now_s)
    crowd.advance(500.0)
    return crowd


@pytest.mark.parametrize("router", [PrefixAware(), PrefixAware(1)])
def test_shelves_grow_while_names_stand_on_them(router):
    """Pieces of 32 blocks of which prompts have one: many names, a block each."""
    rng = np.random.default_rng(5)
    count = 1200
    prompts = rng.integers(4, 12, count)
    table = RequestTable(
        np.arange(count) * 2.0**-4,
        prompts,
        rng.integers(1, 4, count),
        np.zeros(count, np.int64),
        prefixes=Prefixes(np.arange(count + 1), rng.integers(0, 400, count), 128),
    )
    rules = replace(ServiceRules("chat", rule=RULE, router=router), piece_tokens=128)
    twin, compiled = (run(form, table, rules, 300) for form in (TwinCrowd, CompiledCrowd))
    p = compiled._fleet.k.prefixes
    first = add_replica(more_slots(no_prefixes(), 1), 0, 600, RULE, 32).shelf.shape[1]
    assert p.shelf.shape[1] > first
    assert p.counts[0, kernel.SHELVES_USED] > first // 2
    one, other = twin.take_rows(), compiled.take_rows()
    for name, values in one.items():
        np.testing.assert_array_equal(np.asarray(values), np.asarray(other[name]), err_msg=name)
    assert twin.counters() == compiled.counters()
    assert twin.counters()["prefix_tokens_hit"] > 0
