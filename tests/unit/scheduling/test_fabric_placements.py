"""Placements that know pods and leaves: nodes counted by hand."""

from __future__ import annotations

from simulator.cluster.allocation import Placement, PoolFree
from simulator.scheduling.pod_aligned import PodAligned
from simulator.scheduling.spread_out import SpreadOut


def pool(nodes=24, per_leaf=2, per_pod=8, held=(), first=0) -> PoolFree:
    free = PoolFree(0, nodes, 8)
    free.nodes_per_leaf, free.nodes_per_pod, free.first_node = per_leaf, per_pod, first
    for node in held:
        free.take(Placement(0, 8, 1 << node))
    return free


def test_a_job_that_fits_a_pod_goes_into_the_tightest():
    """Pod 0 has 8 idle nodes, pod 1 five, pod 2 six: five nodes go into pod 1."""
    found = PodAligned().find(40, pool(held=(8, 9, 10, 16, 17)))
    assert found.nodes() == [11, 12, 13, 14, 15]


def test_a_job_that_needs_more_takes_whole_pods_and_the_tightest_for_the_rest():
    found = PodAligned().find(8 * 10, pool(held=(8, 9, 10, 16, 17)))
    assert found.nodes() == [0, 1, 2, 3, 4, 5, 6, 7, 12, 13]


def test_inside_a_pod_leaves_are_filled_the_same_way():
    """Idle: leaf (0, 1) whole, one node of (2, 3), leaf (4, 5): a job of one node takes node 3."""
    assert PodAligned().find(8, pool(nodes=6, held=(2,))).nodes() == [3]
    assert PodAligned().find(16, pool(nodes=6, held=(2,))).nodes() == [0, 1]


def test_a_part_of_a_node_lies_near_the_rest():
    found = PodAligned().find(12, pool(held=(0, 1, 2, 3, 4, 5)))
    assert (found.nodes(), found.gpus) == ([6, 7], 12)


def test_pods_begin_where_the_fabric_s_do():
    """The pool's first node is the fabric's seventh: its first pod has two nodes."""
    assert PodAligned().find(16, pool(nodes=12, first=6)).nodes() == [0, 1]
    assert PodAligned().find(24, pool(nodes=12, first=6)).nodes() == [2, 3, 4]


def test_spreading_deals_nodes_over_the_pods():
    assert SpreadOut().find(8 * 6, pool()).nodes() == [0, 1, 8, 9, 16, 17]
    assert SpreadOut().find(8 * 7, pool(held=(8, 9, 10, 11, 12, 13, 14))).nodes() == [
        0, 1, 2, 15, 16, 17, 18,
    ]  # fmt: skip


def test_neither_gives_what_is_not_there():
    full = pool(nodes=2, held=(0,))
    for placement in (PodAligned(), SpreadOut()):
        assert placement.find(16, full) is None
        assert placement.find(12, full) is None
        assert placement.find(4, full).gpus == 4
