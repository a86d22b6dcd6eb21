"""Drill: a node fails under an elastic job - detection, shrink, recovery, and regrowth."""

from __future__ import annotations

import pytest

SCENARIO = """
title: One node less
start: 2024-01-01 00:00 UTC
duration: {duration}
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    pools:
      - name: p
        node: hgx-h100-8
        nodes: {nodes}
        hot_spares: {spares}
        power_model: {{gpu_load: 500 W, gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
scheduling: {{policy: fcfs, placement: consolidate}}
workloads:
  - kind: list
    name: jobs
    jobs:
      - {{id: run, gpus: 32, run: 10_000 s, minimum_gpus: {minimum}, checkpoint_every: 1000 s}}
script:
  - {{kind: node-fault, at: 2500 s, node: here.p.1, lasts: {lasts}}}
"""


def scenario(**changes: object) -> str:
    values = {"duration": "until done", "nodes": 4, "spares": 0, "minimum": 16, "lasts": "100 h"}
    return SCENARIO.format(**(values | changes))


def test_an_elastic_job_goes_on_with_three_nodes(drill):
    """32 GPUs do one reference second a second. At 2500 s a node fails; the last checkpoint is
    of 2000 s, so 500 s are lost: 500 s x 32 GPUs = 16 000 GPU-seconds. 8000 s of work are left;
    24 GPUs do 0.75 a second: 8000 / 0.75 = 10 666.67 s more, done at 13 166.67 s.
    """
    run = drill(scenario(duration="20_000 s"))
    job = run.job("run")
    assert job["lost_gpu_seconds"] == pytest.approx(16_000.0, rel=1e-9)
    assert job["finished_s"] == pytest.approx(2500.0 + 8000.0 / 0.75, abs=2e-6)
    assert job["restarts"] == 1
    assert [(phase, gpus) for phase, _, _, gpus, _, _ in run.segments("run")] == [
        ("running", 32),
        ("running", 24),
    ]
    assert job["work_done"] == pytest.approx(10_000.0, rel=1e-12)
    # The failed node draws its idle power: 8 x 100 W + 800 W.
    books = run.books()
    idle_j = books.idle["it_energy_j"][0]
    busy_s = job["finished_s"]
    assert idle_j == pytest.approx(1600.0 * (busy_s - 2500.0) + 4 * 1600.0 * (20_000.0 - busy_s), rel=1e-9)
    assert books.gpu_seconds["down"] == pytest.approx(8 * (20_000.0 - 2500.0), rel=1e-12)


def test_it_grows_back_when_the_node_is_repaired(drill):
    """Repair at 6500 s: by then 4000 s x 0.75 = 3000 of the 8000 s are done; 5000 s are left for
    32 GPUs, done at 11 500 s.
    """
    run = drill(scenario(lasts="4000 s"))
    assert run.job("run")["finished_s"] == 11_500.0
    assert [gpus for _, _, _, gpus, _, _ in run.segments("run")] == [32, 24, 32]
    assert [row[2] for row in run.events("decision")] == ["Resize", "Resize"]
    run.books()


def test_a_hot_spare_takes_the_place_at_once(drill):
    """Five nodes, one of them spare: 8000 s of work from 2500 s on 32 GPUs, done at 10 500 s."""
    run = drill(scenario(nodes=5, spares=1))
    assert run.job("run")["finished_s"] == 10_500.0
    run.books()


def test_a_rigid_job_waits_for_the_repair(drill):
    """No spare, no free node, rigid: requeued at 2500 s with 8000 s left, back at 6500 s."""
    run = drill(scenario(minimum=0, lasts="4000 s"))
    job = run.job("run")
    assert job["finished_s"] == 6500.0 + 8000.0
    assert run.waits("run") == [("down", "down", 2500.0, 6500.0)]
    run.books()


def test_a_node_that_is_switched_off_while_down_draws_nothing(drill):
    """As the first drill, but the failed node is off from 2500 s on: only the three healthy ones
    draw idle power after the job, 3 x 1600 W.
    """
    run = drill(scenario(duration="20_000 s") + "failures: {power_off_down_nodes: true}\n")
    books = run.books()
    busy_s = run.job("run")["finished_s"]
    assert books.idle["it_energy_j"][0] == pytest.approx(3 * 1600.0 * (20_000.0 - busy_s), rel=1e-9)
