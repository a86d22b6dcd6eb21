"""Drill: a service's router and autoscaler may come from a file; the twin runs them and says so."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.foundation.errors import DatahallError
from tests.drills.one_service import one_service

SCENARIO = one_service(
    """
    model: llama-3.1-8b
    tensor_parallel: 8
    replicas: 3
    warm_start: true
    demand: {requests: 1 per s, arrivals: constant}
    lengths: {prompt_mean: 500, output_mean: 100}
    """,
    duration="900 s",
    nodes=3,
)

RULES = '''
from dataclasses import dataclass
from typing import Annotated

from simulator.decisions import Scale
from simulator.foundation.quantity import Count, Seconds
from simulator.serving.crowd import Watch


@dataclass(frozen=True)
class Sticky:
    """So many in a row to one replica."""

    run: Annotated[Count, "Requests in a row."] = 2

    def pick(self, turn, candidates, loads, found, filled):
        return candidates[turn // self.run % len(candidates)]


@dataclass(frozen=True)
class OneMoreEachTime:
    """Grows by one at every control instant."""

    every_s: Annotated[Seconds, "Control period."] = 60.0

    def watch(self, view):
        return Watch(self.every_s, queue_above=-1.0) if view.replicas_asked < view.replicas_maximum else None

    def step(self, view):
        return (Scale(view.name, view.pool, view.replicas_asked + 1),)
'''


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "rules.py"
    file.write_text(RULES)
    return file


def test_a_router_from_a_file_deals_as_it_says(drill, rules):
    run = drill(SCENARIO, f"workloads.chat.router={{policy: '{rules}:Sticky', run: 3}}")
    run.books()
    rows = {name: np.asarray(values) for name, values in run.sink.columns("requests").items()}
    replica = rows["replica"][np.argsort(rows["arrived_s"], kind="stable")]
    assert replica[:12].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    assert run.record.services[0].form == ("twin", "router Sticky is not compiled")


def test_a_scaler_from_a_file_decides(drill, rules):
    """One replica is up at 0 s; one more is asked for at 60 s and at 120 s, the bound."""
    run = drill(
        SCENARIO,
        f"workloads.chat.replicas={{min: 1, max: 3, autoscale: '{rules}:OneMoreEachTime'}}",
        "workloads.chat.cold_start=10 s",
    )
    assert [run.job(f"chat/{number}")["started_s"] for number in range(3)] == [0.0, 60.0, 120.0]


def test_a_nearly_full_cache_asks_for_a_replica(drill):
    """Requests of 500 to 600 tokens in 80 blocks of 16: two fill 80 % of it, one less than half."""
    said = (
        "workloads.chat.replicas={min: 1, max: 2}",
        "workloads.chat.replicas.autoscale={policy: queue, kv_above: 75 %, queue_above: 1000}",
        "workloads.chat.engine.kv_blocks=80",
        "workloads.chat.engine.cpu_overhead=30 ms",
        "workloads.chat.cold_start=10 s",
    )
    # A request takes 100 iterations of 30 ms, 3 s: three would be there at a time.
    run = drill(SCENARIO, *said)
    assert run.job("chat/1")["started_s"] == 60.0
    calm = drill(SCENARIO, *said, "workloads.chat.demand.requests=0.2 per s")
    assert len(calm.record.jobs.job_id) == 1


def test_a_flow_refuses_a_threshold_of_blocks(drill):
    said = "workloads.chat.replicas={min: 1, max: 2, autoscale: {policy: queue, kv_above: 90 %}}"
    with pytest.raises(DatahallError, match="a fluid service knows no KV blocks"):
        drill(SCENARIO, said, "workloads.chat.mode=fluid", "workloads.chat.demand.arrivals=poisson")
