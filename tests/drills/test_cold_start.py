"""A cold start phase by phase, by hand: when each begins, what waits for it, and who pays."""

from __future__ import annotations

import pytest

from simulator.foundation.errors import ScenarioError
from simulator.results.execution import execute
from simulator.scenario import load_text

SCENARIO = """
title: one replica that starts cold
start: 2024-01-01 00:00 UTC
duration: 2 min
sites:
  - name: s
    grid: DE
    cooling: {plant: constant-pue, pue: 1.0}
    network_power: 0 W
    pools: [{name: p, node: hgx-h100-8, nodes: 1}]
workloads:
  - name: chat
    kind: service
    model: llama-3.1-8b
    engine: {policy: vllm-v1}
    replicas: 1
    cold_start: {provision: 10 s, weights: 8.03 GB/s, compile: 20 s, warm_up: 5 s}
    demand: {requests: 1 per s, arrivals: constant}
    lengths: {prompt_mean: 100, output_mean: 10}
"""


def test_phases_follow_one_another_and_requests_wait_for_the_last(tmp_path):
    """8.03 billion weights of 2 bytes at 8.03 GB/s take 2 s; a host's link of 64 GB/s is no limit."""
    run = execute(load_text(SCENARIO), out=tmp_path / "run")
    events = [row for row in run.table("events").to_pylist() if row["kind"] == "cold start"]
    assert [row["what"] for row in events] == ["provision", "weights", "compile", "warm-up", "ready"]
    assert [row["time_s"] for row in events] == pytest.approx([0.0, 10.0, 12.0, 32.0, 37.0], abs=0.02)
    assert [row["outcome"] for row in events] == [*["began"] * 4, "ended"]
    # Of a phase how long it will take, of their end how long all of them took.
    assert [row["value"] for row in events] == pytest.approx([10.0, 2.0, 20.0, 5.0, 37.0], abs=0.02)
    started = run.table("requests")["prefill_started_s"].to_pylist()
    assert min(started) == pytest.approx(events[-1]["time_s"], abs=1e-5)
    # Those 37 of 120 seconds are held by the service and answer nobody, and it pays for them.
    (replica,) = [row for row in run.table("jobs").to_pylist() if row["kind"] == "replica"]
    assert replica["gpu_seconds"] == pytest.approx(120.0)
    starting = [row for row in run.table("segments").to_pylist() if row["phase"] == "starting"]
    energy_j = sum((row["end_s"] - row["start_s"]) * row["power_w"] for row in starting)
    assert 0.0 < energy_j < replica["it_energy_j"]


def test_the_slower_of_storage_and_the_hosts_link_sets_the_pace(tmp_path):
    run = execute(load_text(SCENARIO.replace("8.03 GB/s", "900 GB/s")), out=tmp_path / "run")
    (weights,) = [row for row in run.table("events").to_pylist() if row["what"] == "weights"]
    assert weights["value"] == pytest.approx(2 * 8.03e9 / 64e9, rel=1e-3)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{total: 2 min, compile: 3 s}", "give a total or its phases, and not both"),
        ("{provision: 0 s}", "give a total or its phases"),
    ],
)
def test_a_total_or_phases(said, message):
    text = SCENARIO.replace("{provision: 10 s, weights: 8.03 GB/s, compile: 20 s, warm_up: 5 s}", said)
    with pytest.raises(ScenarioError, match=message):
        load_text(text)
