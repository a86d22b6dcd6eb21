"""Speed of the fabric: building one for 100,000 GPUs, a large job's flows, and settling many."""

from __future__ import annotations

import random
import time
from statistics import median

import numpy as np
import pytest

from simulator.network import TOPOLOGIES, Machines, Traffic
from simulator.network.sharing import Flow, StepCurve, settle_shares

SHAPES = {
    "fat-tree": {"nodes_per_leaf": 2, "leaves_per_pod": 192, "oversubscription": 7.0},
    "rail-optimised": {"nodes_per_leaf": 32, "leaves_per_pod": 16},
    "rail-only": {"nodes_per_leaf": 64},
    "dragonfly": {},
    "torus": {"dimensions": (25, 25, 20)},
}


def cpu_s(act, times=5):
    taken = []
    for _ in range(times):
        begin = time.process_time()
        act()
        taken.append(time.process_time() - begin)
    return median(taken)


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", SHAPES)
def test_a_fabric_of_100_000_gpus(kind):
    machines = Machines(12_500, 8, 50e9)
    built_s = cpu_s(lambda: TOPOLOGIES[kind](**SHAPES[kind]).build(machines))
    fabric = TOPOLOGIES[kind](**SHAPES[kind]).build(machines)
    sent = (Traffic("data-parallel", 1e9, 16), Traffic("pipeline", 1e9, 1, 16, "ring"))
    job = dict.fromkeys(range(1024), 8)
    flows_s = cpu_s(lambda: fabric.flows("job", job, sent))
    graph_s = cpu_s(fabric.graph, 1)
    print(
        f"\n{kind}: {fabric.links:,} links; built {built_s * 1e3:.2f} ms, flows of 8,192 GPUs "
        f"{flows_s * 1e3:.1f} ms, networkx graph {graph_s:.2f} s"
    )
    assert built_s < 1.0


@pytest.mark.benchmark
@pytest.mark.parametrize("many", [10, 100, 1000])
def test_settling_flows_on_100_000_gpus(many):
    """Runs of 16 to 4,096 GPUs lie anywhere in 32 pods; their ranks follow no order."""
    chance = random.Random(1)
    fabric = TOPOLOGIES["fat-tree"](**SHAPES["fat-tree"]).build(Machines(12_288, 8, 50e9))
    jobs, curves = [], []
    for number in range(many):
        size = 2 ** chance.randint(1, 9 if many < 1000 else 5)
        nodes = dict.fromkeys(sorted(chance.sample(range(12_288), size)), 8)
        order = np.random.default_rng(number).permutation(size)
        flows = [
            fabric.contended(flow)
            for flow in fabric.flows(str(number), nodes, (Traffic("data-parallel", 1e10),), order)
        ]
        talk_s = sum(flow.talk_s for flow in flows)
        jobs.append(flows)
        curves.append(StepCurve(lambda share, talk_s=talk_s: 1.0 + talk_s / share))
    settle_shares(jobs, fabric.capacities_bytes_per_s, curves)
    taken_s = cpu_s(lambda: settle_shares(jobs, fabric.capacities_bytes_per_s, curves))
    shares = settle_shares(jobs, fabric.capacities_bytes_per_s, curves)
    held_up = sum(got[0] < 0.999 for got in shares)
    print(f"\n{many} runs, {held_up} held up: {taken_s * 1e3:.2f} ms a settling")
    assert all(isinstance(flow, Flow) for flows in jobs for flow in flows)
