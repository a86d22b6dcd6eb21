"""Collectives acted out message by message, against their closed forms.

The actors below move real pieces of data and keep a clock for each rank; they share nothing
with ``simulator.network.collectives``. No chance is involved, so the tests are exact.
"""

from __future__ import annotations

import pytest

from simulator.network.collectives import (
    all_gather_s,
    halving_doubling_all_reduce_s,
    ring_all_reduce_s,
)


def act_out_ring_all_reduce(ranks: int, size: float, bandwidth: float, hop: float) -> float:
    """Every rank passes pieces to its right neighbour until all know the sum; return the time."""
    pieces = [[{rank} for _ in range(ranks)] for rank in range(ranks)]
    clock = [0.0] * ranks
    piece_s = hop + size / ranks / bandwidth
    for turn in range(2 * (ranks - 1)):
        sent = []
        for rank in range(ranks):
            index = (rank - turn) % ranks
            sent.append((index, set(pieces[rank][index]), clock[rank] + piece_s))
        for rank in range(ranks):
            index, content, arrives = sent[(rank - 1) % ranks]
            if turn < ranks - 1:
                pieces[rank][index] |= content
            else:
                pieces[rank][index] = content
            clock[rank] = max(clock[rank] + piece_s, arrives)
    everyone = set(range(ranks))
    assert all(piece == everyone for mine in pieces for piece in mine)
    return max(clock)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 17])
@pytest.mark.parametrize(("size", "hop"), [(1e9, 0.0), (1e6, 20e-6), (8.0, 5e-6)])
def test_a_ring_all_reduce_takes_as_long_as_its_messages(ranks, size, hop):
    acted = act_out_ring_all_reduce(ranks, size, 25e9, hop)
    assert ring_all_reduce_s(ranks, size, 25e9, hop) == pytest.approx(acted, rel=1e-12)


def act_out_ring_all_gather(ranks: int, size: float, bandwidth: float, hop: float) -> float:
    known = [{rank} for rank in range(ranks)]
    newest = list(range(ranks))
    clock = 0.0
    while any(len(mine) < ranks for mine in known):
        newest = [newest[(rank - 1) % ranks] for rank in range(ranks)]
        for rank in range(ranks):
            known[rank].add(newest[rank])
        clock += hop + size / ranks / bandwidth
    return clock


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_a_small_all_gather_takes_as_long_as_its_messages(ranks):
    acted = act_out_ring_all_gather(ranks, 1e8, 50e9, 3e-6)
    assert all_gather_s(ranks, 1e8, 50e9, 3e-6) == pytest.approx(acted, rel=1e-12)


def act_out_halving_and_doubling(ranks: int, size: float, bandwidth: float, hop: float) -> float:
    """Partners at halving distances trade half of what they hold, then double back; return the time."""
    owns = [set(range(ranks)) for _ in range(ranks)]
    knows = [{piece: {rank} for piece in range(ranks)} for rank in range(ranks)]
    clock, distance = 0.0, ranks // 2
    while distance:
        before = [dict(mine) for mine in knows]
        sent = 0
        for rank in range(ranks):
            partner = rank ^ distance
            keep = {piece for piece in owns[rank] if piece & distance == rank & distance}
            sent = max(sent, len(owns[rank]) - len(keep))
            owns[rank] = keep
            for piece in keep:
                knows[rank][piece] = before[rank][piece] | before[partner][piece]
        clock += hop + sent * size / ranks / bandwidth
        distance //= 2
    everyone = set(range(ranks))
    assert all(knows[rank][rank] == everyone for rank in range(ranks))
    held = 1
    while held < ranks:
        clock += hop + held * size / ranks / bandwidth
        held *= 2
    return clock


@pytest.mark.parametrize("ranks", [2, 4, 8, 64])
@pytest.mark.parametrize(("size", "hop"), [(1e9, 0.0), (1e6, 20e-6)])
def test_halving_and_doubling_takes_as_long_as_its_messages(ranks, size, hop):
    acted = act_out_halving_and_doubling(ranks, size, 25e9, hop)
    assert halving_doubling_all_reduce_s(ranks, size, 25e9, hop) == pytest.approx(acted, rel=1e-12)
