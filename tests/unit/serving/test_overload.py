"""A service that falls ever further behind: looking at it costs what its replicas cost, not its queue."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import BatchRule
from simulator.serving.batching import Replica
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.compiled_fleet import CompiledFleet
from simulator.serving.crowd import AddReplica, SetWatch, Stop, Watch
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

RULE = BatchRule(max_sequences=16, token_budget=64, block_tokens=4)
PROFILE = GivenReplica(linear_iteration(fixed_s=2.0**-5, token_s=1e-5, most_tokens=64))


@pytest.mark.parametrize("form", [TwinCrowd, CompiledCrowd])
def test_control_periods_never_walk_the_queue(form, monkeypatch):
    count = 5000
    rng = np.random.default_rng(0)
    table = RequestTable(
        np.cumsum(rng.exponential(0.02, count)),
        rng.integers(1, 60, count),
        rng.integers(1, 60, count),
        np.zeros(count, np.int64),
    )
    crowd = form(ServiceRules("chat", rule=RULE))
    for number in range(2):
        crowd.apply(AddReplica(number, "here", "mixed", 1, PROFILE, 60), 0.0)
    crowd.apply(SetWatch(Watch(1.0, queue_above=2.0, load_below=1.0, kv_above_fraction=0.5)), 0.0)
    crowd.feed(table, math.inf)

    def walks(*_):
        raise AssertionError("every request in flight was looked at")

    seen = []
    with monkeypatch.context() as patch:
        for owner, name in ((Replica, "held"), (CompiledFleet, "held"), (CompiledFleet, "emitted")):
            patch.setattr(owner, name, walks)
        while crowd.advance(120.0) is not Stop.REACHED:
            crowd.fired()
            crowd.next_time()
            seen.append(crowd.observe())
    assert len(seen) > 90
    assert seen[-1].in_flight > 3000
    counters = crowd.counters()
    assert counters["in_flight"] == crowd.observe().in_flight
    assert counters["requests_in"] == count == counters["in_flight"] + len(crowd.take_rows()["request_id"])
    assert counters["preempted"] > 0
