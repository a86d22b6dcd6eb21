"""Laws of taking and giving back GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from simulator.cluster.allocation import PoolFree, bits, joined, lowest_bits, without_node
from simulator.scheduling import PLACEMENTS


@given(st.integers(1, 2**70), st.data())
def test_lowest_bits_are_the_lowest(mask, data):
    count = data.draw(st.integers(1, mask.bit_count()))
    assert list(bits(lowest_bits(mask, count))) == list(bits(mask))[:count]


class Pool(RuleBasedStateMachine):
    """Jobs come and go, nodes fail and come back; GPUs are never lost nor doubled."""

    nodes, per_node = 6, 4

    def __init__(self):
        super().__init__()
        self.free = PoolFree(0, self.nodes, self.per_node)
        self.held = []
        self.down = set()

    @rule(gpus=st.integers(1, 24), placement=st.sampled_from(sorted(PLACEMENTS)))
    def start(self, gpus, placement):
        found = PLACEMENTS[placement]().find(gpus, self.free)
        if found is None:
            if placement == "lowest-numbered":
                assert gpus > self.free.free_gpus
            return
        assert found.gpus == gpus
        assert found.whole.bit_count() * self.per_node + sum(n for _, n in found.parts) == gpus
        assert not set(found.nodes()) & self.down
        self.free.take(found)
        self.held.append(found)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data):
        self.free.give_back(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @precondition(lambda self: len(self.down) < self.nodes)
    @rule(data=st.data())
    def fail(self, data):
        node = data.draw(st.sampled_from([n for n in range(self.nodes) if n not in self.down]))
        self.free.take_down(node)
        self.down.add(node)

    @precondition(lambda self: self.down)
    @rule(data=st.data())
    def repair(self, data):
        node = data.draw(st.sampled_from(sorted(self.down)))
        self.free.bring_back(node)
        self.down.discard(node)

    @precondition(lambda self: any(len(p.nodes()) > 1 for p in self.held))
    @rule()
    def lose_one_node_of_a_job(self):
        index = next(i for i, p in enumerate(self.held) if len(p.nodes()) > 1)
        whole = self.held[index]
        left, lost = without_node(whole, whole.nodes()[0], self.per_node)
        assert joined(left, lost) == whole
        self.free.give_back(lost)
        self.held[index] = left

    @invariant()
    def free_is_what_nobody_holds_on_healthy_nodes(self):
        on_node = [self.per_node] * self.nodes
        for placement in self.held:
            for node in bits(placement.whole):
                on_node[node] -= self.per_node
            for node, gpus in placement.parts:
                on_node[node] -= gpus
        assert all(gpus >= 0 for gpus in on_node)
        for node in range(self.nodes):
            assert self.free.free_on(node) == (0 if node in self.down else on_node[node])
        assert self.free.free_gpus == sum(gpus for node, gpus in enumerate(on_node) if node not in self.down)


TestPool = Pool.TestCase


def test_taking_what_is_held_is_refused():
    free = PoolFree(0, 2, 4)
    placement = PLACEMENTS["lowest-numbered"]().find(6, free)
    free.take(placement)
    with pytest.raises(ValueError, match=r"not idle|is impossible"):
        free.take(placement)


def test_consolidate_prefers_the_tightest_node():
    """Nodes with 4, 2 and 3 free GPUs: two GPUs go to the one with two."""
    free = PoolFree(0, 3, 4)
    find = PLACEMENTS["lowest-numbered"]().find
    whole = find(12, free)
    free.take(whole)
    for node, back in ((0, 4), (1, 2), (2, 3)):
        from simulator.cluster.allocation import Placement

        _, part = without_node(whole, node, 4)
        free.give_back(Placement(0, 4, part.whole))
        if back < 4:
            free.take(Placement(0, 4 - back, 0, ((node, 4 - back),)))
    assert PLACEMENTS["consolidate"]().find(2, free).parts == ((1, 2),)
