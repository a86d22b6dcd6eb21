"""Fabrics as links: capacities, flows, and what a lost leaf takes away."""

from __future__ import annotations

import networkx
import pytest

from simulator.network.topology import Fabric

PORT = 50e9


def fat_tree(**changes) -> Fabric:
    return Fabric(
        **{"kind": "fat-tree", "nodes": 64, "gpus_per_node": 8, "port_bytes_per_s": PORT, "nodes_per_leaf": 4}
        | changes
    )


def test_uplinks_carry_what_oversubscription_leaves():
    assert fat_tree().capacities_bytes_per_s[0] == 4 * 8 * PORT
    assert fat_tree(oversubscription=7.0).capacities_bytes_per_s[0] == pytest.approx(4 * 8 * PORT / 7)


def test_three_tiers_are_oversubscribed_at_the_top():
    fabric = fat_tree(leaves_per_pod=4, oversubscription=7.0)
    leaf, pod, core = fabric.tiers()
    assert (leaf.name, pod.name, core.name) == ("leaf", "pod", "core")
    assert (leaf.oversubscription, pod.oversubscription) == (1.0, 7.0)
    assert pod.up_bytes_per_s == pytest.approx(16 * 8 * PORT / 7)


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
    assert rails.nodes_of_leaf(3) == range(32)
    assert rails.nodes_of_leaf(9) == range(32, 64)


def test_a_job_below_one_leaf_loads_nothing():
    flow = fat_tree().flow("job", {4: 8, 5: 8, 6: 8, 7: 8}, 1e9)
    assert flow.links == ()


def test_one_ring_crosses_each_leaf_once():
    flow = fat_tree().flow("job", dict.fromkeys(range(8), 8), 1e9)
    assert flow.links == (0, 1)
    assert flow.bytes_per_step == (8e9, 8e9)
    assert flow.peak_bytes_per_s == (8 * PORT, 8 * PORT)


def test_rings_side_by_side_all_cross():
    flow = fat_tree().flow("job", dict.fromkeys(range(8), 8), 1e9, replica_nodes=2)
    assert flow.bytes_per_step == (16e9, 16e9)


def test_a_job_over_pods_loads_the_core_too():
    flow = fat_tree(leaves_per_pod=1).flow("job", {0: 8, 4: 8}, 1e9)
    assert flow.links == (0, 1, 16, 17)


def test_a_lost_leaf_cuts_off_its_nodes():
    broken = fat_tree().without_leaf(1)
    assert [broken.port_share(node) for node in (3, 4, 7, 8)] == [1.0, 0.0, 0.0, 1.0]
    assert "leaf-1" not in broken.graph()
    assert broken.with_leaf(1) == fat_tree()


def test_a_lost_rail_takes_an_eighth():
    rails = fat_tree(kind="rail-optimised", nodes_per_leaf=32)
    broken = rails.without_leaf(3)
    assert broken.port_share(0) == 7 / 8
    assert broken.port_share(40) == 1.0
    assert broken.capacities_bytes_per_s[0] == pytest.approx(7 / 8 * rails.capacities_bytes_per_s[0])
    assert broken.flow("job", {0: 8, 40: 8}, 1e9).port_share == 7 / 8


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "fat-treee"}, "did you mean 'fat-tree'"),
        ({"nodes": 0}, "nodes is 0"),
        ({"oversubscription": 0.5}, "oversubscription 0.5 at least 1"),
        ({"lost_leaves": (16,)}, "no leaf switch 16; there are 16"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        fat_tree(**changes)
