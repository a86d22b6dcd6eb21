"""Free GPUs by hand: parts of nodes, nodes that are down while held, splits and joins."""

from __future__ import annotations

import pytest

from simulator.cluster.allocation import Placement, PoolFree, joined, without_node
from simulator.scheduling.consolidate import Consolidate
from simulator.scheduling.lowest_numbered import LowestNumbered


def test_a_node_that_goes_down_keeps_what_is_held_on_it_until_it_is_given_back():
    free = PoolFree(0, nodes=2, gpus_per_node=8)
    held = Placement(0, 3, 0, ((1, 3),))
    free.take(held)
    free.take_down(1)
    assert (free.free_gpus, free.lost_gpus, free.free_on(1)) == (8, 5, 0)
    free.give_back(held)
    assert (free.free_gpus, free.lost_gpus) == (8, 8)
    free.bring_back(1)
    assert (free.free_gpus, free.lost_gpus, free.free_on(1)) == (16, 0, 8)


def test_a_node_that_comes_back_under_its_holder_is_short_of_what_is_held():
    free = PoolFree(0, nodes=1, gpus_per_node=8)
    free.take(Placement(0, 3, 0, ((0, 3),)))
    free.take_down(0)
    free.bring_back(0)
    assert (free.free_gpus, free.free_on(0)) == (5, 5)


@pytest.mark.parametrize(
    "placement", [Placement(0, 8, 1), Placement(0, 6, 0, ((0, 6),))], ids=["whole node", "part of a node"]
)
def test_what_is_not_free_cannot_be_taken(placement):
    free = PoolFree(0, nodes=1, gpus_per_node=8)
    free.take(Placement(0, 3, 0, ((0, 3),)))
    with pytest.raises(ValueError, match="pool 0: node"):
        free.take(placement)


@pytest.mark.parametrize(
    "placement", [Placement(0, 8, 1), Placement(0, 6, 0, ((0, 6),))], ids=["whole node", "part of a node"]
)
def test_what_is_not_held_cannot_be_given_back(placement):
    free = PoolFree(0, nodes=1, gpus_per_node=8)
    free.take(Placement(0, 3, 0, ((0, 3),)))
    with pytest.raises(ValueError, match="pool 0: node"):
        free.give_back(placement)


@pytest.mark.parametrize("node", [0, 2, 3])
def test_what_a_node_took_away_joins_again(node):
    whole = Placement(0, 21, 0b0101, ((3, 5),))
    left, lost = without_node(whole, node, 8)
    assert left.gpus + lost.gpus == whole.gpus
    assert lost.nodes() == [node]
    assert node not in left.nodes()
    assert joined(left, lost) == whole


def test_consolidation_takes_the_tightest_node_and_whole_ones_first():
    """Free: 8, 3, 5, 8. Four GPUs go to the 5; eleven to a whole node and the 3; seventeen: none."""
    free = PoolFree(0, nodes=4, gpus_per_node=8)
    free.take(Placement(0, 8, 0, ((1, 5), (2, 3))))
    place = Consolidate()
    assert place.find(4, free) == Placement(0, 4, 0, ((2, 4),))
    assert place.find(11, free) == Placement(0, 11, 0b0001, ((1, 3),))
    assert place.find(22, free) is None
    assert LowestNumbered().find(22, free) == Placement(0, 22, 0b0001, ((1, 3), (2, 5), (3, 6)))
    assert LowestNumbered().find(25, free) is None
