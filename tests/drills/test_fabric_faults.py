"""Drill: links, ports and switches break under training - in part, or altogether - and are repaired.

A run of 32 H100 on nodes 0 to 3, two below each leaf, copies of the model in a node: one ring of
eight rails over four nodes. Each node puts 8 ports of 50 GB/s on its leaf's way up when its
neighbour is elsewhere, so of leaf 0's ways up (16 ports) the ring needs half.
"""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.training import TrainingProfile, estimate

TOKENS = 32 * 8192

HALL = """
title: Cables
start: 2024-01-01 00:00 UTC
duration: 10_000 s
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    network_power: 0 W
    fabric: {type: fat-tree, nodes_per_leaf: 2}
    pools: [{name: p, node: hgx-h100-8, nodes: 6}]
scheduling: {policy: fcfs, placement: lowest-numbered}
workloads:
  - kind: training
    name: wide
    model: llama-3.1-8b
    steps: 100_000
    gpus: 32
    context: 8192
    global_batch: 32
    parallelism: {tp: 8, zero_stage: 0}
    requested_run: 50_000 s
    checkpoint: {every: 500 s, stall: 0 s}
script:
  - EVENT
"""


def hall(event: str) -> str:
    return HALL.replace("EVENT", event)


@pytest.fixture(scope="module")
def wide() -> TrainingProfile:
    catalog = Catalog.shipped()
    node = catalog.node("hgx-h100-8")
    layout = Layout(tensor_parallel=8, data_parallel=4, global_batch=32, context_tokens=8192, zero_stage=0)
    architecture = Architecture.from_spec(catalog.model("llama-3.1-8b"))
    return estimate(architecture, layout, catalog.gpu(node.gpu), node, Spread(32, 8, 4, 2, 2))


def rates(run):
    return [(row[0], row[1], row[4]) for row in run.segments("wide")]


def test_half_the_cables_suffice_for_half_the_ports(drill, wide):
    """Half of leaf 0's cables carry 8 ports, and 8 talk: nothing slows."""
    run = drill(hall("{kind: link-fault, at: 1000 s, link: here.leaf-0, left: 50 %, lasts: 4000 s}"))
    full_s, _ = wide.at(1.0, 1.0)
    assert all(rate == pytest.approx(TOKENS / full_s, rel=1e-12) for _, _, rate in rates(run))
    assert len(run.sink.columns("links")["job"]) == 0
    assert [row[:6] for row in run.events("fabric")] == [
        (1000.0, "fabric", "link", "here.leaf-0", "began", 0.5),
        (5000.0, "fabric", "link", "here.leaf-0", "ended", 0.5),
    ]
    run.books()


def test_an_eighth_of_the_cables_leaves_a_quarter_of_the_rate(drill, wide):
    """2 ports of 16 are left for 8 that talk: a share of 1/4, from 1000 s to 5000 s."""
    run = drill(hall("{kind: link-fault, at: 1000 s, link: here.leaf-0, left: 12.5 %, lasts: 4000 s}"))
    full_s, slow_s = wide.at(1.0, 1.0)[0], wide.at(1.0, 0.25)[0]
    assert slow_s > 1.05 * full_s
    found = rates(run)
    assert [row[:2] for row in found] == [("running", 0.0), ("running", 1000.0), ("running", 5000.0)]
    assert [row[2] for row in found] == pytest.approx(
        [TOKENS / full_s, TOKENS / slow_s, TOKENS / full_s], rel=1e-5
    )
    links = run.sink.columns("links")
    (row,) = [{name: values[k] for name, values in links.items()} for k in range(len(links["job"]))]
    assert (row["site"], row["link"], row["job"], row["exchange"]) == (
        "here",
        "leaf-0",
        "wide",
        "data-parallel",
    )
    assert (row["start_s"], row["end_s"], row["tightest"]) == (1000.0, 5000.0, 1)
    assert row["capacity_bytes_per_s"] == pytest.approx(2 * 50e9)
    assert row["peak_bytes_per_s"] == pytest.approx(8 * 50e9)
    assert row["share"] == pytest.approx(0.25, rel=1e-5)
    assert row["offered_bytes_per_s"] == pytest.approx(8 * wide.flow_bytes_per_step / slow_s, rel=1e-5)
    (loss,) = run.record.link_losses
    assert loss.lost_gpu_seconds == pytest.approx(32 * 4000.0 * (1.0 - full_s / slow_s), rel=1e-5)
    assert loss.running_gpu_seconds == pytest.approx(32 * 10_000.0, rel=1e-12)
    assert (loss.link, loss.exchange, loss.part) == ("leaf-0", "data-parallel", "dp_exposed_s")
    run.books()


def test_two_lost_ports_of_eight_leave_three_quarters(drill, wide):
    run = drill(hall("{kind: nic-fault, at: 1000 s, node: p.1, ports: 2, lasts: 4000 s}"))
    full_s, slow_s = wide.at(1.0, 1.0)[0], wide.at(1.0, 0.75)[0]
    assert [row[2] for row in rates(run)] == pytest.approx(
        [TOKENS / full_s, TOKENS / slow_s, TOKENS / full_s], rel=1e-9
    )
    assert run.job("wide")["restarts"] == 0
    assert [row[:6] for row in run.events("fabric")] == [
        (1000.0, "fabric", "nic", "here.p.1", "began", 0.75),
        (5000.0, "fabric", "nic", "here.p.1", "ended", 0.75),
    ]
    run.books()


def test_a_node_without_ports_is_cut_off_and_another_takes_its_place(drill, wide):
    """At 1250 s node 1 loses all ports; 250 s of work since the checkpoint of 1000 s are lost.
    Node 4 is free: the run goes on at once, on nodes 0, 2, 3 and 4.
    """
    run = drill(hall("{kind: nic-fault, at: 1250 s, node: p.1, ports: 8, lasts: 4000 s}"))
    wide_job = run.job("wide")
    assert wide_job["restarts"] == 1
    assert 0.0 < wide_job["lost_gpu_seconds"] <= 250.0 * 32 * 1.01
    assert [row[:5] for row in run.events("failure")] == [(1250.0, "failure", "cut off", "here.p.1", "began")]
    outages = run.record.outages
    assert list(zip(outages["node"], outages["start_s"], outages["end_s"], strict=True)) == [
        (1, 1250.0, 5250.0)
    ]
    run.books()


def test_a_dead_link_stops_what_crosses_it_and_spares_what_stays_below(drill):
    """Leaf 1 loses all its cables at 1000 s. `wide` crosses them; `near` lies on nodes 2 and 3
    only and goes on. `wide` has nodes 0, 1, 4 and 5: it is not touched either.
    """
    event = "{kind: link-fault, at: 1000 s, link: here.leaf-1, left: 0, lasts: 4000 s}"
    near = "{kind: training, name: near, model: llama-3.1-8b, steps: 100_000, gpus: 16, context: 8192, "
    near += "global_batch: 32, parallelism: {tp: 8, zero_stage: 0}, requested_run: 50_000 s}"
    text = hall(event).replace("workloads:\n", f"workloads:\n  - {near}\n")
    # `near` is submitted first and takes nodes 0 and 1; `wide` the four others, across leaf 1.
    run = drill(text)
    assert len(run.segments("near")) == 1
    assert run.job("wide")["restarts"] == 1
    assert run.waits("wide") == [("down", "down", 1000.0, 5000.0)]
    assert [row[3] for row in run.events("failure")] == ["here.p.2", "here.p.3"]
    run.books()
    # The other way round: the link of the leaf that `near` does not leave.
    other = drill(text.replace("leaf-1", "leaf-0"))
    assert len(other.segments("near")) == 1
    assert [other.job(name)["restarts"] for name in ("near", "wide")] == [0, 0]
    assert other.events("failure") == []
    other.books()


def test_a_pod_s_switches_take_their_part_of_all_its_ways_up(drill, wide):
    """Of the pod's switches 7 of 8 are lost: 2 of 16 ports are left for 8 that talk, at both leaves."""
    event = "{kind: switch-fault, at: 1000 s, switch: here.pod-0, lost: 87.5 %, lasts: 4000 s}"
    run = drill(hall(event))
    full_s, slow_s = wide.at(1.0, 1.0)[0], wide.at(1.0, 0.25)[0]
    assert [row[2] for row in rates(run)] == pytest.approx(
        [TOKENS / full_s, TOKENS / slow_s, TOKENS / full_s], rel=1e-5
    )
    run.books()


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("{kind: link-fault, at: 1 s, link: here.leaf-3, lasts: 9 s}", "no link 'leaf-3'; there are 3"),
        ("{kind: link-fault, at: 1 s, link: there.leaf-0, lasts: 9 s}", "'there.leaf-0' is no link"),
        ("{kind: switch-fault, at: 1 s, switch: here.leaf-9, lasts: 9 s}", "no switch 'leaf-9'; there are 3"),
        ("{kind: switch-fault, at: 1 s, switch: here.leaf-0, lost: 50 %, lasts: 9 s}", "lost as a whole"),
        ("{kind: nic-fault, at: 1 s, node: p.9, lasts: 9 s}", "the pool has nodes 0 to 5"),
        ("{kind: nic-fault, at: 1 s, node: p.1, ports: 9, lasts: 9 s}", "the node has 8 ports"),
    ],
)
def test_faults_of_what_is_not_there_are_refused(drill, event, said):
    from simulator.foundation.errors import ScenarioError

    with pytest.raises(ScenarioError, match=said):
        drill(hall(event))
