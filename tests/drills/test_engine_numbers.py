"""Drill: a service says its engine's numbers itself, and each of them acts as it must."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.engine.build import build_world
from simulator.scenario.reading import load_text
from tests.drills.one_service import one_service

#: One replica; a request every 10 s from 5 s on, 500 tokens in and 101 out.
SCENARIO = one_service(
    """
    model: llama-3.1-8b
    tensor_parallel: 8
    replicas: 1
    warm_start: true
    demand: {requests: 0.1 per s, arrivals: constant}
    lengths: {prompt_mean: 500, output_mean: 101}
    """,
    duration="300 s",
)

#: What a driver reports. [B]
H100_BYTES = 79.65 * 2**30

ENGINE = "workloads.chat.engine"


def rows(drill, *said):
    run = drill(SCENARIO, *said)
    run.books()
    found = run.sink.columns("requests")
    return {name: np.asarray(values) for name, values in found.items()}


def tpot_s(drill, *said):
    return float(np.median(rows(drill, *said)["tpot_s"]))


def test_a_host_that_does_not_overlap_adds_its_time_to_every_iteration(drill):
    base_s = tpot_s(drill, f"{ENGINE}.overlaps_cpu=false", f"{ENGINE}.cpu_overhead=0 s")
    slow_s = tpot_s(drill, f"{ENGINE}.overlaps_cpu=false", f"{ENGINE}.cpu_overhead=30 ms")
    assert slow_s - base_s == pytest.approx(0.030, rel=1e-6)
    each_s = tpot_s(
        drill,
        f"{ENGINE}.overlaps_cpu=false",
        f"{ENGINE}.cpu_overhead=30 ms",
        f"{ENGINE}.cpu_overhead_per_sequence=5 ms",
    )
    # The catalog's 10 us a sequence give way to 5 ms; a batch of one.
    assert each_s - slow_s == pytest.approx(0.005 - 10e-6, rel=1e-6)


def test_a_host_that_overlaps_counts_where_it_is_the_longer(drill):
    # 50 ms hide the whole pass over weights; what a sequence costs comes on top.
    hidden_s = tpot_s(drill, f"{ENGINE}.cpu_overhead=50 ms")
    longer_s = tpot_s(drill, f"{ENGINE}.cpu_overhead=80 ms")
    assert longer_s - hidden_s == pytest.approx(0.030, rel=1e-6)


def replica(*said):
    """What the first replica of the service is added with."""
    scenario = load_text(SCENARIO, overrides=said)
    (plan,) = build_world(scenario).services
    return plan.add_command(0, 0, "here", "mixed", 8)


def test_memory_says_how_many_blocks_there_are():
    """With 1 GB less kept back a GPU has 1 GB more cache: 8 heads of 128 in 16 bits, keys and values,
    32 layers are 131,072 B a token, an eighth of it on each GPU."""
    share = f"{ENGINE}.memory=30 %"
    less, more = (replica(share, f"{ENGINE}.reserved={kept}").kv_blocks for kept in ("4 GB", "3 GB"))
    gained = more - less
    assert gained == pytest.approx(1e9 / (16 * 131_072 / 8), abs=1)
    gained = replica(f"{ENGINE}.memory=40 %").kv_blocks - replica(share).kv_blocks
    assert gained == pytest.approx(0.1 * H100_BYTES / (16 * 131_072 / 8), abs=1)


def test_blocks_of_another_size_hold_the_same_tokens():
    assert replica(f"{ENGINE}.block_tokens=32").kv_blocks == replica().kv_blocks // 2


def test_a_watermark_keeps_the_second_request_out(drill):
    """601 tokens want 38 blocks of 16; 80 blocks hold two such. The second request comes while the first
    decodes: its 500 tokens want 32 of the 48 that are left, unless 20 of them are kept free."""
    said = (f"{ENGINE}.kv_blocks=80", "workloads.chat.demand.requests=4 per s", "duration=100 s")
    both = rows(drill, *said)
    kept = rows(drill, *said, f"{ENGINE}.watermark=25 %")
    assert np.median(both["ttft_s"]) < 0.1
    assert np.median(kept["ttft_s"]) > np.median(both["ttft_s"]) + 0.01
