"""Where the ranks of a job lie."""

from __future__ import annotations

import pytest

from simulator.network.spread import Spread


def test_a_compact_job_fills_nodes_leaves_and_pods():
    spread = Spread.compact(16_384, 8, nodes_per_leaf=2, leaves_per_pod=192)
    assert (spread.nodes, spread.leaves, spread.pods) == (2048, 1024, 6)
    assert spread.nodes_per_leaf_max == 2
    assert spread.domain_gpus == 8
    assert spread.crosses_leaf


def test_a_small_job_stays_in_its_node():
    spread = Spread.compact(4, 8)
    assert (spread.nodes, spread.leaves, spread.gpus_per_node, spread.domain_gpus) == (1, 1, 4, 4)
    assert not spread.crosses_leaf


def test_a_rack_can_be_one_scale_up_domain():
    assert Spread.compact(64, 4, domain_gpus=72).domain_gpus == 64
    assert Spread.compact(144, 4, domain_gpus=72).domain_gpus == 72


def test_a_placement_is_counted():
    spread = Spread.of_nodes({0: 8, 1: 8, 5: 4}, nodes_per_leaf=4, nodes_per_domain=2)
    assert spread == Spread(
        ranks=20, gpus_per_node=8, nodes=3, leaves=2, nodes_per_leaf_max=2, pods=1, domain_gpus=16
    )


def test_it_is_a_key():
    assert len({Spread.compact(8, 8), Spread.compact(8, 8), Spread.compact(16, 8)}) == 2


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="20 ranks do not fit 2 nodes"):
        Spread(ranks=20, gpus_per_node=8, nodes=2)
