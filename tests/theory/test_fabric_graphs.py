"""Fabrics against graph theory: cuts by maximum flow, diameters and counts of textbooks.

Maximum flows and path lengths are networkx's, on the switch-level graph; capacities of links,
tiers and routes are ours. Exact; no chance.
"""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from simulator.network import TOPOLOGIES, Machines, Traffic

PORT = 50e9


def built(kind, nodes, gpus=8, **fields):
    return TOPOLOGIES[kind](**fields).build(Machines(nodes, gpus, PORT))


def cut(graph, left, right):
    """Maximum flow between two sets of switches."""
    flow = networkx.Graph(graph)
    for name in left:
        flow.add_edge("source", name, bytes_per_s=1e30)
    for name in right:
        flow.add_edge("target", name, bytes_per_s=1e30)
    return networkx.maximum_flow_value(flow, "source", "target", capacity="bytes_per_s")


@pytest.mark.parametrize("over", [1.0, 3.0, 7.0])
def test_half_of_a_fat_tree_reaches_the_other_through_what_oversubscription_leaves(over):
    """Bisection of a two-tier tree is half of all ports over the oversubscription."""
    fabric = built("fat-tree", 32, nodes_per_leaf=4, oversubscription=over)
    leaves = [f"leaf-{leaf}" for leaf in range(8)]
    assert cut(fabric.graph(), leaves[:4], leaves[4:]) == pytest.approx(16 * 8 * PORT / over, rel=1e-9)


@pytest.mark.parametrize(("leaf_over", "pod_over"), [(1.0, 7.0), (2.0, 3.0)])
def test_pods_reach_each_other_through_the_product_of_both_tiers(leaf_over, pod_over):
    fabric = built(
        "fat-tree",
        48,
        nodes_per_leaf=2,
        leaves_per_pod=6,
        oversubscription=pod_over,
        leaf_oversubscription=leaf_over,
    )
    leaves = [f"leaf-{leaf}" for leaf in range(24)]
    found = cut(fabric.graph(), leaves[:12], leaves[12:])
    assert found == pytest.approx(24 * 8 * PORT / leaf_over / pod_over, rel=1e-9)
    # Inside a pod only the leaves' own tier counts.
    assert cut(fabric.graph(), leaves[:3], leaves[3:6]) == pytest.approx(6 * 8 * PORT / leaf_over, rel=1e-9)


@pytest.mark.parametrize(("tiers", "hops"), [({}, 2), ({"leaves_per_pod": 4}, 4)])
def test_a_tree_s_leaves_are_two_hops_apart_for_each_tier_above(tiers, hops):
    graph = built("fat-tree", 64, nodes_per_leaf=4, **tiers).graph()
    leaves = [name for name, tier in graph.nodes(data="tier") if tier == "leaf"]
    lengths = dict(networkx.all_pairs_shortest_path_length(graph))
    assert max(lengths[a][b] for a in leaves for b in leaves) == hops


def test_rails_carry_their_own_and_nothing_else():
    """Rail-only: eight planes, each with an eighth of the ports; rail-optimised: one whole."""
    only = built("rail-only", 64, nodes_per_leaf=16)
    assert networkx.number_connected_components(only.graph()) == 8
    first = [f"leaf-{group * 8}" for group in range(4)]
    assert cut(only.graph(), first[:2], first[2:]) == pytest.approx(32 * PORT, rel=1e-9)
    spined = built("rail-optimised", 64, nodes_per_leaf=16).graph()
    assert networkx.is_connected(spined)


def test_a_full_dragonfly_is_as_its_authors_say():
    """Kim et al. 2008: a h + 1 groups of a routers; diameter 3; a - 1 + h links at each router."""
    a, h, p = 4, 2, 2
    groups = a * h + 1
    fabric = built("dragonfly", groups * a * p, 1, nodes_per_router=p)
    graph = fabric.graph()
    assert (fabric.groups, len(graph)) == (groups, groups * a)
    assert networkx.diameter(graph) == 3
    assert sorted({degree for _, degree in graph.degree()}) == [a - 1 + h]
    assert graph.number_of_edges() == groups * a * (a - 1) // 2 + groups * (groups - 1) // 2


def test_a_dragonfly_s_links_between_groups_carry_what_the_graph_s_do():
    fabric = built("dragonfly", 72, 1, nodes_per_router=2)
    graph = fabric.graph()
    between = [
        rate
        for one, other, rate in graph.edges(data="bytes_per_s")
        if int(one.split("-")[1]) // 4 != int(other.split("-")[1]) // 4
    ]
    ours = fabric.capacities_bytes_per_s[fabric.groups * 4 :]
    assert sorted(ours) == pytest.approx(sorted(between), rel=1e-12)


def test_detours_halve_what_groups_can_send_each_other_at_worst_and_spread_it():
    """Group 0 sends all to group 1: shortest ways have their one link, detours half of all links."""
    sent = (Traffic("experts", 1e9, span=16, pattern="all"),)
    nodes = dict.fromkeys(range(16), 1)  # groups 0 and 1, of 8 nodes
    peaks = {}
    for routing in ("minimal", "valiant"):
        fabric = built("dragonfly", 72, 1, nodes_per_router=2, routing=routing)
        (flow,) = fabric.flows("job", nodes, sent)
        worst = [
            peak / fabric.capacities_bytes_per_s[link]
            for link, peak in zip(flow.links, flow.peak_bytes_per_s, strict=True)
            if fabric.link_name(link).startswith("group")
        ]
        peaks[routing] = max(worst)
    # 8 ports x 8/15 of their bytes: over one link, and over 4 x 2 links of which half are for others.
    assert peaks == pytest.approx({"minimal": 8 * 8 / 15, "valiant": 8 * 8 / 15 / 4}, rel=1e-12)


@pytest.mark.parametrize("dimensions", [(8,), (4, 6), (4, 4, 4), (3, 5, 2)])
def test_a_torus_is_the_product_of_its_rings(dimensions):
    fabric = built("torus", int(np.prod(dimensions)), dimensions=dimensions)
    graph = fabric.graph()
    whole = networkx.grid_graph(dimensions[::-1], periodic=True)
    assert networkx.is_isomorphic(networkx.Graph(graph.edges), networkx.Graph(whole.edges))
    assert networkx.diameter(graph) == sum(size // 2 for size in dimensions)


def test_half_of_a_torus_reaches_the_other_across_two_faces():
    """Bisection across the longest dimension: both faces of 4 x 4 links of a sixth of a node."""
    fabric = built("torus", 128, dimensions=(8, 4, 4))
    graph = fabric.graph()
    left, right = ([f"node-{n}" for n in range(first, first + 64)] for first in (0, 64))
    assert cut(graph, left, right) == pytest.approx(2 * 16 * 8 * PORT / 6, rel=1e-9)


@pytest.mark.parametrize("dimensions", [(4, 6), (4, 4, 4)])
def test_messages_in_a_torus_take_shortest_ways(dimensions):
    fabric = built("torus", int(np.prod(dimensions)), dimensions=dimensions)
    lengths = dict(networkx.all_pairs_shortest_path_length(fabric.graph()))
    everyone = np.arange(fabric.places)
    source, target = np.repeat(everyone, fabric.places), np.tile(everyone, fabric.places)
    pair, _ = fabric.routes(source, target)
    hops = np.bincount(pair, minlength=len(source))
    wanted = [lengths[f"node-{a}"][f"node-{b}"] for a, b in zip(source, target, strict=True)]
    assert hops.tolist() == wanted


@pytest.mark.parametrize("dimensions", [(8,), (4, 6), (4, 4, 4), (3, 5, 7)])
def test_rings_over_a_whole_torus_fill_every_link_just_once(dimensions):
    """Rings along each dimension and both ways use all ports of all nodes, and no link twice."""
    fabric = built("torus", int(np.prod(dimensions)), dimensions=dimensions)
    (flow,) = fabric.flows("job", dict.fromkeys(range(fabric.places), 8), (Traffic("data-parallel", 1e9),))
    use = np.array(flow.peak_bytes_per_s) / fabric.capacities_bytes_per_s[list(flow.links)]
    assert len(use) == fabric.links
    assert use == pytest.approx(np.ones(len(use)), rel=1e-12)


def test_half_a_torus_has_no_ring_that_closes():
    """Nodes 0 to 3 of a ring of 8: what the last sends the first goes back over all three links."""
    fabric = built("torus", 8, dimensions=(8,))
    (flow,) = fabric.flows("job", dict.fromkeys(range(4), 8), (Traffic("data-parallel", 1e9),))
    use = np.array(flow.peak_bytes_per_s) / fabric.capacities_bytes_per_s[list(flow.links)]
    assert flow.links == (0, 1, 2)
    assert use == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("fat-tree", {"nodes_per_leaf": 2, "leaves_per_pod": 4}),
        ("dragonfly", {"nodes_per_router": 1, "routers_per_group": 4}),
        ("torus", {"dimensions": (4, 4, 2)}),
    ],
)
def test_routes_lead_from_one_node_to_the_other(kind, fields):
    """Every pair below different switches crosses something, every pair below one switch nothing."""
    fabric = built(kind, 32, **fields)
    source, target = np.repeat(np.arange(32), 32), np.tile(np.arange(32), 32)
    pair, _ = fabric.routes(source, target)
    crosses = np.bincount(pair, minlength=1024) > 0
    apart = fabric.edges_of(source) != fabric.edges_of(target)
    assert np.array_equal(crosses, apart)
