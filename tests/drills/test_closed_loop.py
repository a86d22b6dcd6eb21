"""Users in a closed loop: never more requests under way than users, and the law of Little."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.foundation.errors import BuildError
from simulator.results.execution import execute
from simulator.scenario import load_text

SCENARIO = """
title: twenty people and a model
start: 2024-01-01 00:00 UTC
duration: 2 h
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
    warm_start: true
    demand: {users: 20, think_time: 30 s}
    lengths: {prompt_mean: 200, output_mean: 300}
"""


def test_each_user_waits_for_his_answer_and_thinks(tmp_path):
    """Users = throughput x (answer + thinking): an exact law, met within the chance of the pauses.

    About 20 x 7,200 / 32.4 = 4,400 exponential pauses of 30 s have a mean with a standard error of
    30 / sqrt(4,400) = 0.45 s; 4 of those are 5.5 % of the round.
    """
    run = execute(load_text(SCENARIO), out=tmp_path / "run")
    rows = run.table("requests")
    arrived = np.array(rows["arrived_s"].to_pylist())
    finished = np.array(rows["finished_s"].to_pylist())
    answer_s = float(np.mean(rows["e2e_s"].to_pylist()))
    moments = np.concatenate([arrived, finished])
    steps = np.concatenate([np.ones(len(arrived)), -np.ones(len(finished))])
    under_way = np.cumsum(steps[np.lexsort((steps, moments))])
    assert under_way.max() <= 20
    throughput = len(finished) / run.horizon_s
    assert 20 / throughput == pytest.approx(answer_s + 30.0, abs=4 * 30.0 / math.sqrt(len(finished)))
    assert any("closed loop" in note for note in run.provenance["notes"])
    audit = run.provenance["audit"]
    assert max(entry["relative_difference"] for entry in audit) < 1e-9


def test_more_users_ask_the_same_and_wait_longer(tmp_path):
    few = execute(load_text(SCENARIO, ["duration=10 min"]), out=tmp_path / "few")
    many = execute(
        load_text(SCENARIO, ["duration=10 min", "workloads.chat.demand.users=400"]), out=tmp_path / "m"
    )
    assert many.summary["service.chat.requests"] > 10 * few.summary["service.chat.requests"]
    assert many.summary["service.chat.tpot_p50_s"] > few.summary["service.chat.tpot_p50_s"]


def test_modes_that_do_not_follow_requests_refuse_users(tmp_path):
    text = SCENARIO.replace("    replicas: 1\n", "    replicas: 1\n    mode: fluid\n")
    with pytest.raises(BuildError, match="closed loop"):
        execute(load_text(text), out=tmp_path / "run")
