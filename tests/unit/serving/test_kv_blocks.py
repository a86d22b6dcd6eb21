"""Blocks that are only counted against blocks that are named: what a preempted request finds again."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.batch_rule import BatchRule
from simulator.serving.kv_blocks import KvBlocks
from simulator.serving.prefix_cache import PrefixCache
from simulator.serving.request import Request

SIZE = 4
RULE = BatchRule(block_tokens=SIZE)


class Holders:
    """Requests that take blocks, lose them and come again, in any order."""

    def __init__(self, blocks, kind, *more):
        self.waiting = (deque(),)
        self.kv = kind(blocks, RULE, self.waiting, *more)
        self.computed = {}
        self.requests = {}
        self.numbers = 0

    def arrive(self, place):
        request = self.requests[place] = Request(self.numbers, 0, 1, 1, 0)
        self.numbers += 1
        self.waiting[0].append(request)

    def act(self, place, what, tokens):
        """Do what can be done; a place that is empty gets a new request."""
        request = self.requests.get(place)
        if request is None:
            self.arrive(place)
        elif what == "go on" and request.number not in self.computed:
            found = self.kv.found(request)
            done = found * SIZE + tokens
            if RULE.blocks_of(done) <= self.kv.free:
                self.waiting[0].remove(request)
                self.kv.admit(request, found, RULE.blocks_of(done), done)
                self.computed[request.number] = done
        elif what == "go on":
            before = self.computed[request.number]
            more = RULE.blocks_of(before + tokens) - RULE.blocks_of(before)
            if more <= self.kv.free:
                self.kv.extend(request, more, before + tokens)
                self.computed[request.number] += tokens
        elif request.number in self.computed:
            done = self.computed.pop(request.number)
            if what == "end":
                self.kv.give(request, RULE.blocks_of(done))
                del self.requests[place]
            else:
                self.kv.preempt(request, RULE.blocks_of(done), done)
                request.target = done + 1
                self.waiting[0].append(request)

    def seen(self):
        return self.kv.free, [(other.number, self.kv.found(other)) for other in self.waiting[0]]


acts = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["go on", "go on", "preempt", "end"]), st.integers(1, 9)),
    max_size=60,
)


@settings(max_examples=200)
@given(st.integers(6, 16), acts)
def test_counting_finds_what_a_queue_of_blocks_holds_whoever_comes_back_first(blocks, script):
    counted, named = Holders(blocks, KvBlocks), Holders(blocks, PrefixCache, SIZE)
    for act in script:
        counted.act(*act)
        named.act(*act)
        assert counted.seen() == named.seen()
    assert counted.kv.taken == named.kv.taken
    assert counted.kv.hit_tokens == named.kv.hit_tokens


def test_who_leaves_the_middle_of_the_queue_moves_those_behind_up():
    # Of 6 blocks, the first request computes 8 tokens in 2 and is preempted, then the second likewise:
    # the queue is [4 5 | 1 0 | 3 2]. The first comes back and finds both of its: [4 5 | 3 2].
    # A third takes 3 blocks, so that one of the second's is left.
    holders = Holders(6, KvBlocks)
    for act in [(0, "go on", 8), (0, "go on", 8), (1, "go on", 8), (1, "go on", 8)]:
        holders.act(*act)
    first, second = holders.requests[0], holders.requests[1]
    holders.act(0, "preempt", 1)
    holders.act(1, "preempt", 1)
    assert (holders.kv.found(first), holders.kv.found(second), holders.kv.free) == (2, 2, 6)
    holders.act(0, "go on", 0)
    assert (holders.kv.found(second), holders.kv.free) == (2, 4)
    holders.act(2, "go on", 12)
    holders.act(2, "go on", 12)
    assert (holders.kv.found(second), holders.kv.free) == (1, 1)


def test_who_leaves_the_end_of_the_queue_moves_nobody():
    # As above, [4 5 | 1 0 | 3 2], but the second comes back first: [4 5 | 1 0]. Three are taken, and the
    # first still has its first block.
    holders = Holders(6, KvBlocks)
    for act in [(0, "go on", 8), (0, "go on", 8), (1, "go on", 8), (1, "go on", 8)]:
        holders.act(*act)
    first = holders.requests[0]
    holders.act(0, "preempt", 1)
    holders.act(1, "preempt", 1)
    holders.act(1, "go on", 0)
    assert (holders.kv.found(first), holders.kv.free) == (2, 4)
    holders.act(2, "go on", 12)
    holders.act(2, "go on", 12)
    assert (holders.kv.found(first), holders.kv.free) == (1, 1)
