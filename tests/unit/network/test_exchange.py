"""KV between senders and receivers: which links it loads, and by how much."""

from __future__ import annotations

import pytest

from simulator.network import TOPOLOGIES, Fault, Machines


def fabric(**changes):
    values = {"nodes_per_leaf": 2, "oversubscription": 4.0} | changes
    return TOPOLOGIES["fat-tree"](**values).build(Machines(8, 8, 10.0))


def test_one_sender_and_one_receiver_below_two_leaves():
    """All 6 B/s go up from leaf 0 and down to leaf 2, 80 B/s at most while they go."""
    flow = fabric().exchange("kv", {0: 1.0}, {5: 1.0}, 6.0, 80.0)
    assert (flow.links, flow.bytes_per_step, flow.peak_bytes_per_s) == ((0, 2), (6.0, 6.0), (80.0, 80.0))
    assert flow.port_share == 1.0


def test_below_one_leaf_nothing_crosses():
    assert fabric().exchange("kv", {0: 1.0}, {1: 1.0}, 6.0, 80.0).links == ()


def test_the_part_that_stays_below_a_leaf_does_not_cross():
    """Two senders below leaf 0, and a receiver below each of leaves 0, 1 and 2: a third stays.

    Up from leaf 0 go 2/3; down to leaves 1 and 2 a third each. Across leaf 0's link two may talk at
    a moment (two senders, two receivers beyond); across the others one.
    """
    flow = fabric().exchange("kv", {0: 1.0, 1: 1.0}, {1: 1.0, 2: 1.0, 4: 1.0}, 9.0, 80.0)
    assert flow.links == (0, 1, 2)
    assert flow.bytes_per_step == pytest.approx((6.0, 3.0, 3.0), rel=1e-12)
    assert flow.peak_bytes_per_s == pytest.approx((160.0, 80.0, 80.0), rel=1e-12)


def test_a_link_that_both_ways_use_counts_the_busier_way():
    """Leaf 0 sends half of all and takes three quarters, of which half come from beyond."""
    flow = fabric().exchange("kv", {0: 1.0, 2: 1.0}, {0: 1.0, 1: 2.0, 3: 1.0}, 8.0, 80.0)
    # Out of leaf 0: 1/2 x 1/4 = 1/8; into it: 3/4 x 1/2 = 3/8. Leaf 1 the other way round.
    assert flow.bytes_per_step == pytest.approx((3.0, 3.0), rel=1e-12)
    assert flow.peak_bytes_per_s == (80.0, 80.0)


def test_pods_carry_what_crosses_them():
    """Leaves 0 and 1 make pod 0, 2 and 3 pod 1: links 4 and 5 after the four leaves'."""
    flow = fabric(leaves_per_pod=2).exchange("kv", {0: 1.0}, {2: 1.0, 6: 1.0}, 8.0, 80.0)
    assert flow.links == (0, 1, 3, 4, 5)
    assert flow.bytes_per_step == pytest.approx((8.0, 4.0, 4.0, 4.0, 4.0), rel=1e-12)


def test_a_replica_on_two_nodes_is_divided_between_their_leaves():
    """Half a sender below each of leaves 0 and 1, the receiver below leaf 1: half crosses."""
    flow = fabric().exchange("kv", {1: 0.5, 2: 0.5}, {3: 1.0}, 8.0, 80.0)
    assert (flow.links, flow.bytes_per_step) == ((0, 1), (4.0, 4.0))
    assert flow.peak_bytes_per_s == (40.0, 40.0)


def test_the_worst_port_sets_the_pace():
    """A rail lost in one group takes an eighth of the ports of all who talk to it."""
    lame = TOPOLOGIES["rail-optimised"](nodes_per_leaf=2).build(Machines(4, 8, 10.0))
    lame = lame.with_fault(Fault("switch", 3))
    assert lame.exchange("kv", {0: 1.0}, {2: 1.0}, 6.0, 80.0).port_share == pytest.approx(7 / 8)
