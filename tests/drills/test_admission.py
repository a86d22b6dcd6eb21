"""Drill: a bound on who waits at a replica turns the rest away, and they are counted as broken promises."""

from __future__ import annotations

import numpy as np
import pytest

from tests.drills.one_service import one_service

#: One replica that runs one request at a time; one comes every second, from 0.5 s on.
SCENARIO = one_service(
    """
    model: llama-3.1-8b
    tensor_parallel: 8
    replicas: 1
    warm_start: true
    engine: {max_sequences: 1, cpu_overhead: 100 ms}
    demand: {requests: 1 per s, arrivals: constant}
    lengths: {prompt_mean: 50, output_mean: 100}
    tiers: [{name: all, share: 100 %, ttft_slo: 60 s}]
    """,
    duration="100 s",
)


@pytest.mark.parametrize("bound", [1, 2, 5])
def test_whoever_finds_the_queue_full_is_turned_away(drill, bound):
    """Each of 100 iterations takes 100 ms of host time: 10 s a request, and 100 come in 100 s.

    `bound` wait from the start on; one runs. Ten end; those that are let in are the ten, the one
    that runs and those that wait. Every other one is turned away at its arrival.
    """
    run = drill(SCENARIO, f"workloads.chat.admission.queued_per_replica={bound}")
    run.books()
    counters = run.record.services[0].counters
    assert counters["requests_in"] == 100
    assert counters["in_flight"] == 1 + bound
    assert counters["shed"] == 100 - counters["requests_out"] - 1 - bound
    assert counters["requests_out"] in (9, 10)
    rows = {name: np.asarray(values) for name, values in run.sink.columns("requests").items()}
    turned = rows["state"] == "shed"
    assert turned.sum() == counters["shed"]
    # Ten seconds for each that is ahead, less what of the one that runs is over.
    longest_s = rows["ttft_s"][~turned].max()
    assert longest_s == pytest.approx(10.0 * bound, abs=1.2)


def test_nobody_is_turned_away_without_a_bound(drill):
    run = drill(SCENARIO)
    run.books()
    assert run.record.services[0].counters["shed"] == 0
