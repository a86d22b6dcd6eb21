"""Fabrics as links: capacities, flows, and what faults take away."""

from __future__ import annotations

import networkx
import pytest

from simulator.foundation.errors import UnknownNameError
from simulator.network import TOPOLOGIES, Fault, Machines, Traffic
from simulator.network.link_names import near_link

PORT = 50e9
RING = (Traffic("data-parallel", 1e9),)


def fat_tree(nodes=64, kind="fat-tree", **changes):
    return TOPOLOGIES[kind](**{"nodes_per_leaf": 4} | changes).build(Machines(nodes, 8, PORT))


def only(fabric, on_node, traffic=RING):
    (flow,) = fabric.flows("job", on_node, traffic)
    return flow


def test_uplinks_carry_what_oversubscription_leaves():
    assert fat_tree().capacities_bytes_per_s[0] == 4 * 8 * PORT
    assert fat_tree(oversubscription=7.0).capacities_bytes_per_s[0] == pytest.approx(4 * 8 * PORT / 7)


def test_three_tiers_are_oversubscribed_at_the_top():
    fabric = fat_tree(leaves_per_pod=4, oversubscription=7.0)
    leaf, pod, core = fabric.tiers()
    assert (leaf.name, pod.name, core.name) == ("leaf", "pod", "core")
    assert (leaf.oversubscription, pod.oversubscription) == (1.0, 7.0)
    assert pod.up_bytes_per_s == pytest.approx(16 * 8 * PORT / 7)


def test_each_tier_may_be_oversubscribed():
    leaf, pod, _ = fat_tree(leaves_per_pod=4, oversubscription=3.0, leaf_oversubscription=2.0).tiers()
    assert (leaf.oversubscription, pod.oversubscription) == (2.0, 3.0)
    assert pod.up_bytes_per_s == pytest.approx(16 * 8 * PORT / 6)


def test_the_graph_has_the_switches_and_their_bandwidth():
    graph = fat_tree(leaves_per_pod=4).graph()
    leaves = [name for name, tier in graph.nodes(data="tier") if tier == "leaf"]
    assert len(leaves) == 16
    assert networkx.is_connected(graph)
    assert networkx.shortest_path_length(graph, "leaf-0", "leaf-15") == 4
    up = sum(graph.edges[name, "pod-0"]["bytes_per_s"] for name in leaves[:4])
    assert up == pytest.approx(16 * 8 * PORT)


def test_a_rail_fabric_has_a_leaf_for_each_rail():
    rails = fat_tree(kind="rail-optimised", nodes_per_leaf=32)
    assert rails.switches == 16
    assert rails.nodes_of_switch(3) == range(32)
    assert rails.nodes_of_switch(9) == range(32, 64)


def test_nothing_joins_the_rails_of_a_rail_only_fabric():
    graph = fat_tree(kind="rail-only", nodes_per_leaf=32).graph()
    assert networkx.number_connected_components(graph) == 8
    assert sorted(tier for _, tier in graph.nodes(data="tier")) == ["leaf"] * 16 + ["rail"] * 8


def test_a_job_below_one_leaf_loads_nothing():
    flow = only(fat_tree(), {4: 8, 5: 8, 6: 8, 7: 8})
    assert (flow.links, flow.talk_s) == ((), 1e9 / PORT)


def test_one_ring_crosses_each_leaf_once():
    flow = only(fat_tree(), dict.fromkeys(range(8), 8))
    assert flow.links == (0, 1)
    assert flow.bytes_per_step == pytest.approx((8e9, 8e9))
    assert flow.peak_bytes_per_s == pytest.approx((8 * PORT, 8 * PORT))


def test_rings_side_by_side_all_cross():
    flow = only(fat_tree(), dict.fromkeys(range(8), 8), (Traffic("data-parallel", 1e9, stride=2),))
    assert flow.bytes_per_step == pytest.approx((16e9, 16e9))


def test_stages_of_a_pipeline_cross_where_a_copy_lies_over_two_leaves():
    """Copies of 3 nodes: 0-2, 3-5, 6-8, 9-11. Leaf 0 ends inside the second, leaf 1 inside the third."""
    flow = only(fat_tree(), dict.fromkeys(range(12), 8), (Traffic("pipeline", 1e9, 1, 3, "chain"),))
    # 3 -> 4 leaves leaf 0, 7 -> 8 leaves leaf 1; the last stage sends nothing on.
    assert flow.links == (0, 1, 2)
    assert flow.bytes_per_step == pytest.approx((8e9, 8e9, 8e9))
    aligned = only(fat_tree(), dict.fromkeys(range(8), 8), (Traffic("pipeline", 1e9, 1, 4, "chain"),))
    assert aligned.links == ()


def test_experts_that_talk_with_all_send_out_what_is_not_below_their_leaf():
    """Groups of 8 nodes over two leaves: 4 of the 7 others are beyond, for each of 4 nodes of 8 GPUs."""
    flow = only(fat_tree(), dict.fromkeys(range(8), 8), (Traffic("experts", 1e9, span=8, pattern="all"),))
    assert flow.bytes_per_step == pytest.approx((4 * 8 * 4 / 7 * 1e9,) * 2)


def test_links_that_carry_whatever_comes_are_left_out():
    """Leaves carry all their ports, pods a seventh."""
    fabric = fat_tree(leaves_per_pod=4, oversubscription=7.0)
    flow = only(fabric, dict.fromkeys(range(64), 8))
    assert len(flow.links) == 16 + 4
    assert fabric.contended(flow).links == (16, 17, 18, 19)
    half = fabric.with_fault(Fault("link", 3, 0.5))
    assert half.contended(only(half, dict.fromkeys(range(64), 8))).links == (3, 16, 17, 18, 19)


def test_ranks_dealt_without_order_cross_more():
    import numpy as np

    nodes = dict.fromkeys(range(8), 8)
    every_other = np.array([0, 4, 1, 5, 2, 6, 3, 7])
    (flow,) = fat_tree().flows("job", nodes, RING, every_other)
    assert flow.bytes_per_step == pytest.approx((4 * 8e9, 4 * 8e9))


def test_a_job_over_pods_loads_the_core_too():
    flow = only(fat_tree(leaves_per_pod=1), {0: 8, 4: 8})
    assert flow.links == (0, 1, 16, 17)


def test_a_lost_leaf_cuts_off_its_nodes():
    fault = Fault("switch", 1)
    broken = fat_tree().with_fault(fault)
    assert [broken.port_share(node) for node in (3, 4, 7, 8)] == [1.0, 0.0, 0.0, 1.0]
    assert "leaf-1" not in broken.graph()
    assert broken.without_fault(fault) == fat_tree()


def test_a_lost_rail_takes_an_eighth():
    rails = fat_tree(kind="rail-optimised", nodes_per_leaf=32)
    broken = rails.with_fault(Fault("switch", 3))
    assert broken.port_share(0) == 7 / 8
    assert broken.port_share(40) == 1.0
    assert broken.capacities_bytes_per_s[0] == pytest.approx(7 / 8 * rails.capacities_bytes_per_s[0])
    assert only(broken, {0: 8, 40: 8}).port_share == 7 / 8


def test_half_the_uplinks_carry_half():
    fabric = fat_tree(leaves_per_pod=4)
    (fault,) = fabric.link_faults("pod-2", 0.5)
    assert fabric.link_name(fault.index) == "pod-2"
    whole, half = fabric.capacities_bytes_per_s, fabric.with_fault(fault).capacities_bytes_per_s
    assert [link for link in range(20) if half[link] != whole[link]] == [18]
    assert half[18] == whole[18] / 2


def test_a_pod_s_switches_carry_its_leaves_ways_up_and_its_own():
    fabric = fat_tree(leaves_per_pod=4)
    names = [fabric.link_name(fault.index) for fault in fabric.switch_faults("pod-1", 0.75)]
    assert names == ["leaf-4", "leaf-5", "leaf-6", "leaf-7", "pod-1"]
    assert [fabric.link_name(f.index) for f in fabric.switch_faults("core", 0.5)] == [
        f"pod-{pod}" for pod in range(4)
    ]


def test_a_lost_port_slows_its_node():
    broken = fat_tree().with_fault(Fault("nic", 5, 0.75))
    assert [broken.port_share(node) for node in (4, 5)] == [1.0, 0.75]
    assert only(broken, {5: 8, 9: 8}).port_share == 0.75
    assert only(broken, {4: 8, 9: 8}).port_share == 1.0


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("fat-tree", {"nodes_per_leaf": 2, "leaves_per_pod": 4}),
        ("rail-optimised", {"nodes_per_leaf": 8}),
        ("dragonfly", {"nodes_per_router": 1, "routers_per_group": 4}),
        ("dragonfly", {"nodes_per_router": 1, "routers_per_group": 4, "routing": "valiant"}),
        ("torus", {"dimensions": (4, 4, 2)}),
    ],
)
def test_every_link_is_found_by_its_name(kind, fields):
    fabric = TOPOLOGIES[kind](**fields).build(Machines(32, 8, PORT))
    names = [fabric.link_name(link) for link in range(fabric.links)]
    assert len(dict.fromkeys(names)) == fabric.links
    if kind != "torus":
        assert fabric.links == len(fabric.capacities_bytes_per_s)
    found = [fabric.link_named(name) for name in names]
    # A rail-optimised fabric of one pod has a pod without a way up nowhere in its names.
    assert [link for link in found if link is not None] == [
        link for link, name in enumerate(names) if fabric.link_named(name) is not None
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        ("fat-tree", {"nodes_per_leaf": 0}, "nodes_per_leaf is 0"),
        ("fat-tree", {"oversubscription": 0.5}, "oversubscription 0.5"),
        ("torus", {"dimensions": (2, 2)}, "hold 4 nodes; there are 32"),
        (
            "dragonfly",
            {"nodes_per_router": 1, "routers_per_group": 2, "global_links_per_router": 1},
            "16 groups",
        ),
    ],
)
def test_shapes_that_cannot_be_are_refused(kind, fields, text):
    with pytest.raises(ValueError, match=text):
        TOPOLOGIES[kind](**fields).build(Machines(32, 8, PORT))


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("leaf-40960", "did you mean 'leaf-39999'? known: leaf-0 to leaf-39999, pod-0 to pod-99"),
        ("pod-100", "did you mean 'pod-99'? known: leaf-0 to leaf-39999, pod-0 to pod-99"),
        ("laef-7", "did you mean 'leaf-7'? known: leaf-0 to leaf-39999, pod-0 to pod-99"),
        ("spine", "known: leaf-0 to leaf-39999, pod-0 to pod-99"),
    ],
)
def test_the_nearest_link_is_the_nearest_number_of_its_kind(said, hint):
    known = [*(f"leaf-{n}" for n in range(40_000)), *(f"pod-{n}" for n in range(100))]
    assert near_link(said, known) == hint


def test_links_with_two_numbers_are_near_by_both():
    known = [f"node-{node}-along-{axis}" for node in range(64) for axis in range(3)]
    assert near_link("node-70-along-1", known).startswith("did you mean 'node-63-along-1'?")


def test_names_that_are_not_there_are_refused():
    with pytest.raises(UnknownNameError, match="no link 'leaf-16'") as refused:
        fat_tree().find_link("leaf-16")
    assert refused.value.hint.startswith("did you mean 'leaf-15'? known: leaf-0 to leaf-15")
    with pytest.raises(UnknownNameError, match="no switch 'leaf-16'; there are 16"):
        fat_tree().switch_faults("leaf-16", 0.0)
    with pytest.raises(ValueError, match="lost as a whole"):
        fat_tree().switch_faults("leaf-1", 0.5)
