"""Collectives: laws that hold whatever the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.network.collectives import (
    all_gather_s,
    all_reduce_s,
    all_to_all_s,
    halving_doubling_all_reduce_s,
    hierarchical_all_reduce_s,
    in_network_all_reduce_s,
    ring_all_reduce_s,
    tree_all_reduce_s,
)

ranks = st.integers(2, 20_000)
sizes = st.floats(1.0, 1e12)
bandwidths = st.floats(1e8, 1e12)
hops = st.floats(0.0, 1e-3)


@pytest.mark.parametrize(
    "collective",
    [
        ring_all_reduce_s,
        tree_all_reduce_s,
        halving_doubling_all_reduce_s,
        in_network_all_reduce_s,
        all_reduce_s,
        all_gather_s,
        all_to_all_s,
    ],
)
def test_one_rank_has_nobody_to_talk_to(collective):
    assert collective(1, 1e9, 1e9, 1e-6) == 0.0


@given(ranks, sizes, bandwidths, hops)
def test_the_chosen_all_reduce_is_the_better_of_both(n, size, bandwidth, hop):
    found = all_reduce_s(n, size, bandwidth, hop)
    ring = ring_all_reduce_s(n, size, bandwidth, hop)
    tree = tree_all_reduce_s(n, size, bandwidth, hop)
    assert found == pytest.approx(min(ring, tree), rel=1e-12)


@given(ranks, sizes, bandwidths, hops)
def test_latency_grows_with_ranks(n, size, bandwidth, hop):
    assert all_reduce_s(2 * n, size, bandwidth, hop) >= all_reduce_s(n, size, bandwidth, hop)


@given(ranks, sizes, bandwidths)
def test_no_all_reduce_beats_the_bandwidth_bound(n, size, bandwidth):
    bound = 2 * (n - 1) / n * size / bandwidth
    assert all_reduce_s(n, size, bandwidth, 0.0) >= bound * (1 - 1e-12)


@given(ranks, sizes, bandwidths, hops)
def test_twice_the_bandwidth_halves_the_bytes_part(n, size, bandwidth, hop):
    slow = ring_all_reduce_s(n, size, bandwidth, hop)
    fast = ring_all_reduce_s(n, size, 2 * bandwidth, hop)
    latency = ring_all_reduce_s(n, 0.0, bandwidth, hop)
    assert slow - latency == pytest.approx(2 * (fast - latency), rel=1e-9, abs=1e-15)


def test_small_messages_go_by_tree_and_large_ones_by_ring():
    args = (1024, 50e9, 10e-6)
    small, large = 1e5, 1e11
    assert all_reduce_s(args[0], small, *args[1:]) == tree_all_reduce_s(args[0], small, *args[1:])
    assert all_reduce_s(args[0], large, *args[1:]) == ring_all_reduce_s(args[0], large, *args[1:])


def test_only_a_part_of_the_bytes_leaves_the_domain():
    inner, outer = hierarchical_all_reduce_s(
        8,
        16,
        8e9,
        inner_bandwidth_bytes_per_s=400e9,
        inner_hop_s=0.0,
        outer_bandwidth_bytes_per_s=50e9,
        outer_hop_s=0.0,
    )
    assert inner == pytest.approx(2 * 7 / 8 * 8e9 / 400e9)
    assert outer == pytest.approx(2 * 15 / 16 * 1e9 / 50e9)


@given(ranks, sizes, bandwidths, hops)
def test_switches_that_add_up_are_no_slower_from_four_ranks_on(n, size, bandwidth, hop):
    """They send S (1 + 1 / n), rings 2 S (1 - 1 / n): equal at three ranks."""
    if n >= 3:
        reduced = in_network_all_reduce_s(n, size, bandwidth, hop)
        assert reduced <= ring_all_reduce_s(n, size, bandwidth, hop) * (1 + 1e-12)


@given(sizes, bandwidths, hops, st.integers(1, 14))
def test_halving_and_doubling_is_a_ring_with_fewer_steps(size, bandwidth, hop, power):
    n = 2**power
    ring = ring_all_reduce_s(n, size, bandwidth, hop)
    saved = 2.0 * (n - 1 - power) * hop
    assert halving_doubling_all_reduce_s(n, size, bandwidth, hop) == pytest.approx(ring - saved, rel=1e-9)
