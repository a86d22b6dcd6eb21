"""Drill: a leaf switch is lost under training - nodes cut off, or a share of the links - and repaired."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.training import TrainingProfile, estimate

#: Multiply-adds of Llama 3.1 8B for a token: 32 layers of attention and gated MLP, and the head.
_LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336
_MATMUL = 32 * _LAYER + 4096 * 128256
#: Operations to train on one token with 8192 of context, attention in full.
FLOP = 6 * _MATMUL + 12 * 32 * 4096 * 8192
#: The utilization at which 32 H100 take 2 s for a step of 32 sequences.
MFU = 32 * 8192 * FLOP / (2.0 * 32 * 989.5e12)

#: Six nodes, two below each leaf. `wide` lies below leaves 0 and 1, `inside` below leaf 2.
FAT_TREE = """
title: A leaf less
start: 2024-01-01 00:00 UTC
duration: 20_000 s
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    fabric: {{type: fat-tree, nodes_per_leaf: 2}}
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 6
        power_model: {{gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
scheduling: {{policy: easy, placement: lowest-numbered}}
workloads:
  - kind: training
    name: wide
    model: llama-3.1-8b
    steps: 5000
    gpus: 32
    context: 8192
    global_batch: 32
    mfu: {mfu!r}
    power_per_gpu: 700 W
    checkpoint: {{every: 1000 s, stall: 0 s}}
    elastic: {{minimum_gpus: {minimum}}}
    requested_run: 50_000 s
  - kind: list
    name: jobs
    power_per_gpu: 500 W
    jobs:
      - {{id: inside, gpus: 16, run: 10_000 s}}
      - {{id: small, submit: 3000 s, gpus: 16, run: 1000 s}}
script:
  - {{kind: leaf-fault, at: 2500 s, leaf: here.1, lasts: 4000 s}}
{more}
"""


def fat_tree(minimum: int = 32, more: str = "") -> str:
    return FAT_TREE.format(mfu=MFU, minimum=minimum, more=more)


def test_a_fat_trees_lost_leaf_cuts_its_nodes_off_until_it_is_back(drill):
    """`wide` does one step of 2 s, 5000 of them: 10 000 s. At 2500 s leaf 1 takes nodes 2 and 3
    along; the checkpoint of 2000 s is the last, so 500 s x 32 GPUs are lost, 8000 s are left.
    16 GPUs are free and 16 cut off: it waits for capacity until the leaf is back at 6500 s, and
    is done at 14 500 s. `inside` is below another leaf and notices nothing. `small` starts at
    once, on the two nodes that `wide` left and not on the two that are cut off.
    """
    run = drill(fat_tree())
    wide, inside, small = (run.job(name) for name in ("wide", "inside", "small"))
    assert wide["lost_gpu_seconds"] == pytest.approx(500.0 * 32, rel=1e-9)
    assert wide["restarts"] == 1
    assert wide["finished_s"] == pytest.approx(14_500.0, abs=2e-6)
    assert wide["work_done"] == pytest.approx(5000 * 32 * 8192, rel=1e-12)
    assert run.waits("wide") == [("down", "down", 2500.0, 6500.0)]
    tokens_per_s = 32 * 8192 / 2.0
    assert [row[:4] for row in run.segments("wide")] == [
        ("running", 0.0, 2500.0, 32),
        ("running", 6500.0, wide["finished_s"], 32),
    ]
    assert [row[4] for row in run.segments("wide")] == pytest.approx([tokens_per_s] * 2, rel=1e-9)
    assert [row[:4] for row in run.segments("inside")] == [("running", 0.0, 10_000.0, 16)]
    assert inside["restarts"] == 0
    assert (small["started_s"], small["finished_s"]) == (3000.0, 4000.0)
    assert [row[:5] for row in run.events("fabric")] == [
        (2500.0, "fabric", "leaf", "here.1", "began"),
        (6500.0, "fabric", "leaf", "here.1", "ended"),
    ]
    assert [row[:5] for row in run.events("failure")] == [
        (2500.0, "failure", "cut off", "here.p.2", "began"),
        (2500.0, "failure", "cut off", "here.p.3", "began"),
    ]
    # 700 W a GPU while it trains; a node cut off draws its idle power, 8 x 100 W + 800 W.
    books = run.books()
    assert books.gpu_seconds["down"] == pytest.approx(16 * 4000.0, rel=1e-12)
    job = run.record.jobs.job_id.index("wide")
    assert books.jobs["it_energy_j"][job] == pytest.approx(700.0 * 32 * 10_500.0, rel=1e-9)
    free_gpu_s = 16 * (500.0 + 2500.0) + 16 * 10_000.0 + 32 * (20_000.0 - wide["finished_s"])
    idle_gpu_s = free_gpu_s + 16 * 4000.0
    assert books.idle["it_energy_j"].sum() == pytest.approx(200.0 * idle_gpu_s, rel=1e-9)


def test_an_elastic_run_goes_on_with_the_leaf_that_is_left(drill):
    """It may shrink to 16 GPUs, which take 4 s a step. From 2500 s to 6500 s it does 2000 s of
    the 8000 s that are left; with both nodes back it needs 6000 s more: done at 12 500 s.
    """
    run = drill(fat_tree(minimum=16), "workloads.jobs.jobs=[{id: inside, gpus: 16, run: 10_000 s}]")
    wide = run.job("wide")
    assert wide["finished_s"] == pytest.approx(12_500.0, abs=2e-6)
    assert [(start_s, gpus) for _, start_s, _, gpus, _, _ in run.segments("wide")] == [
        (0.0, 32),
        (2500.0, 16),
        (6500.0, 32),
    ]
    assert [(row[0], row[2], row[4], row[5]) for row in run.events("decision")] == [
        (2500.0, "Resize", "applied", 16.0),
        (6500.0, "Resize", "applied", 24.0),
        (6500.0, "Resize", "applied", 32.0),
    ]
    assert run.waits("wide") == []
    run.books()


def test_a_node_that_breaks_behind_the_leaf_waits_for_its_own_repair(drill):
    """Node 2 breaks at 3000 s for 10 000 s, while cut off. The leaf is back at 6500 s, node 2
    only at 13 000 s. `wide` needs four nodes: 0, 1, 3 and, when `inside` ends at 10 000 s, 4.
    It is done at 18 000 s. Node 2 was down once, for 10 500 s.
    """
    run = drill(fat_tree(more="  - {kind: node-fault, at: 3000 s, node: here.p.2, lasts: 10_000 s}"))
    assert run.job("wide")["finished_s"] == pytest.approx(18_000.0, abs=2e-6)
    assert run.waits("wide") == [("down", "down", 2500.0, 10_000.0)]
    outages = run.record.outages
    rows = zip(outages["node"], outages["start_s"], outages["end_s"], strict=True)
    assert sorted(rows) == [(2, 2500.0, 13_000.0), (3, 2500.0, 6500.0)]
    assert run.books().gpu_seconds["down"] == pytest.approx(8 * 10_500.0 + 8 * 4000.0, rel=1e-12)


def test_two_faults_of_one_leaf_end_with_the_later(drill):
    """A second fault from 3000 s to 9000 s: the nodes are back at 9000 s, and `wide` with them."""
    run = drill(fat_tree(more="  - {kind: leaf-fault, at: 3000 s, leaf: here.1, lasts: 6000 s}"))
    assert run.waits("wide") == [("down", "down", 2500.0, 9000.0)]
    assert run.job("wide")["finished_s"] == pytest.approx(17_000.0, abs=2e-6)
    run.books()


def test_what_ends_at_the_instant_of_the_fault_is_done(drill):
    """Completions come before failures: a job below leaf 1 that ends at 2500 s has ended, and
    one that ends when the leaf is back does not meet those that start then.
    """
    run = drill(
        fat_tree(),
        "workloads.wide.gpus=16",
        "workloads.wide.elastic.minimum_gpus=16",
        "workloads.jobs.jobs=[{id: edge, gpus: 16, run: 2500 s}, {id: other, gpus: 16, run: 6500 s}, "
        "{id: next, submit: 2500 s, gpus: 16, run: 10 s}]",
    )
    assert run.job("edge")["state"] == "done"
    assert (run.job("edge")["finished_s"], run.job("edge")["restarts"]) == (2500.0, 0)
    # `edge` lay below leaf 1, `other` below leaf 2: both free at 6500 s, `next` takes the lower.
    assert run.waits("next") == [("down", "down", 2500.0, 6500.0)]
    run.books()


RAILS = """
title: A rail less
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    network_power: 0 W
    fabric: {type: rail-optimised, nodes_per_leaf: 2}
    pools: [{name: p, node: hgx-h100-8, nodes: 6}]
scheduling: {policy: fcfs, placement: lowest-numbered}
workloads:
  - kind: training
    name: wide
    model: llama-3.1-8b
    steps: 10_000
    gpus: 32
    context: 8192
    global_batch: 32
    parallelism: {tp: 8, zero_stage: 0}
  - kind: training
    name: inside
    model: llama-3.1-8b
    steps: 10_000
    gpus: 16
    context: 8192
    global_batch: 32
    parallelism: {tp: 8, zero_stage: 0}
script:
  - {kind: leaf-fault, at: 1000 s, leaf: here.3, lasts: 4000 s}
"""


def profile(nodes: int, leaves: int) -> TrainingProfile:
    """Llama 3.1 8B, tensor-parallel in the node, one copy a node."""
    catalog = Catalog.shipped()
    node = catalog.node("hgx-h100-8")
    layout = Layout(
        tensor_parallel=8, data_parallel=nodes, global_batch=32, context_tokens=8192, zero_stage=0
    )
    spread = Spread(8 * nodes, 8, nodes, leaves, nodes // leaves)
    architecture = Architecture.from_spec(catalog.model("llama-3.1-8b"))
    return estimate(architecture, layout, catalog.gpu(node.gpu), node, spread)


def test_a_lost_rail_takes_an_eighth_of_the_links(drill):
    """Rail 3 of group 0 is lost: each node there has 7 of 8 ports, and the slowest rank sets the
    pace, so `wide` gets a share of 7/8; its uplinks, 16 x 50 GB/s x 7/8, carry its 400 GB/s.
    A step stretches by a seventh of its exchange across the network, which hides behind nothing
    more than before (and by the stragglers' part of that). `inside` is in group 2.
    """
    run = drill(RAILS)
    wide = profile(4, 2)
    full_s, _ = wide.at(1.0, 1.0)
    slow_s, _ = wide.at(1.0, 7.0 / 8.0)
    stragglers = 1.0 + wide.straggler_fraction
    assert slow_s - full_s == pytest.approx(wide.gradient_outer_s / 7.0 * stragglers, rel=1e-9)
    segments = run.segments("wide")
    tokens = 32 * 8192
    assert [row[1] for row in segments] == [0.0, 1000.0, 5000.0]
    assert [row[4] for row in segments] == pytest.approx(
        [tokens / full_s, tokens / slow_s, tokens / full_s], rel=1e-9
    )
    left = 10_000 - 1000.0 / full_s - 4000.0 / slow_s
    assert run.job("wide")["finished_s"] == pytest.approx(5000.0 + left * full_s, rel=1e-9)
    assert run.job("wide")["restarts"] == 0
    inside_s, _ = profile(2, 1).at(1.0, 1.0)
    assert [row[1] for row in run.segments("inside")] == [0.0]
    assert run.job("inside")["finished_s"] == pytest.approx(10_000 * inside_s, rel=1e-9)
    assert run.events("failure") == []
    run.books()


def test_a_group_without_any_rail_left_is_cut_off(drill):
    """All eight rails of group 1 are lost at 1000 s: nodes 2 and 3 are cut off, `wide` waits."""
    rails = ", ".join(
        f"{{kind: leaf-fault, at: 1000 s, leaf: here.{rail}, lasts: 4000 s}}" for rail in range(8, 16)
    )
    run = drill(RAILS, f"script=[{rails}]")
    assert run.waits("wide") == [("down", "down", 1000.0, 5000.0)]
    assert [row[3] for row in run.events("failure")] == ["here.p.2", "here.p.3"]
    assert run.job("inside")["restarts"] == 0
    run.books()
