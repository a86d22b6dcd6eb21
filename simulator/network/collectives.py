"""How long a collective takes alone: latency that grows with ranks, bytes over bandwidth.

Costs are those of the algorithms, not of one library: n ranks, S bytes, ``hop_s`` for each
step, ``bandwidth`` of one rank in one direction. Contention is not here; a share of the
bandwidth comes in from ``sharing``.

References
----------
Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH",
2005. Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and
scan", 2009.
"""

from __future__ import annotations

import math
from typing import Final

#: Bandwidth that a pipelined tree reaches of a ring's: its chunks never fill the links quite.
#: Estimate; NCCL's tuning tables say 0.85 to 0.95.
TREE_BANDWIDTH_FRACTION: Final = 0.9


def ring_all_reduce_s(ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float) -> float:
    """Return the time of a ring all-reduce: 2 (n - 1) steps of S / n bytes. [s]

    Examples
    --------
    >>> ring_all_reduce_s(4, 8e9, 1e9, 0.0)
    12.0
    """
    if ranks < 2:
        return 0.0
    steps = 2.0 * (ranks - 1)
    return steps * hop_s + steps / ranks * size_bytes / bandwidth_bytes_per_s


def tree_all_reduce_s(ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float) -> float:
    """Return the time of a pipelined double-tree all-reduce: 2 log2 n hops, 2 S bytes. [s]"""
    if ranks < 2:
        return 0.0
    wire_s = size_bytes / (TREE_BANDWIDTH_FRACTION * bandwidth_bytes_per_s)
    return 2.0 * (math.log2(ranks) * hop_s + wire_s)


def halving_doubling_all_reduce_s(
    ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float
) -> float:
    """Return the time of recursive halving and doubling: 2 log2 n steps, the ring's bytes. [s]

    Ranks beyond a power of two first hand their data to a partner and get the sum at the end. MPI
    libraries have it and NCCL has not, so `all_reduce_s` does not choose it.
    """
    if ranks < 2:
        return 0.0
    whole = 1 << (ranks.bit_length() - 1)
    wire_s = size_bytes / bandwidth_bytes_per_s
    inner_s = 2.0 * (math.log2(whole) * hop_s + (whole - 1) / whole * wire_s)
    return inner_s if whole == ranks else inner_s + 2.0 * (hop_s + wire_s)


def in_network_all_reduce_s(
    ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float
) -> float:
    """Return the time of an all-reduce that the switches add up: up and down once, S bytes. [s]

    Each rank sends its bytes once and gets the sum once, both ways at the same time, besides a
    last piece of 1 / n that can only come back when all is there (NVLS, SHARP).
    """
    if ranks < 2:
        return 0.0
    return 2.0 * hop_s + (ranks + 1) / ranks * size_bytes / bandwidth_bytes_per_s


def all_reduce_s(ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float) -> float:
    """Return the better of ring and tree, as a library would choose by size. [s]"""
    if ranks < 2:
        return 0.0
    wire_s = size_bytes / bandwidth_bytes_per_s
    ring_steps = 2.0 * (ranks - 1)
    ring_s = ring_steps * (hop_s + wire_s / ranks)
    tree_s = 2.0 * (math.log2(ranks) * hop_s + wire_s / TREE_BANDWIDTH_FRACTION)
    return ring_s if ring_s < tree_s else tree_s


def all_gather_s(ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float) -> float:
    """Return the time of an all-gather that leaves ``size_bytes`` on every rank. [s]

    Steps grow with the ranks up to the point where a tree of the same bytes is shorter. A
    reduce-scatter of ``size_bytes`` costs the same.
    """
    if ranks < 2:
        return 0.0
    steps = min(ranks - 1.0, 2.0 * math.log2(ranks))
    return steps * hop_s + (ranks - 1) / ranks * size_bytes / bandwidth_bytes_per_s


#: A reduce-scatter is an all-gather run backwards.
reduce_scatter_s = all_gather_s


def all_to_all_s(ranks: int, size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float) -> float:
    """Return the time of an all-to-all in which each rank sends ``size_bytes`` in all. [s]

    The part for itself stays; messages go out together, so one start-up counts for each
    doubling of the ranks.
    """
    if ranks < 2:
        return 0.0
    return math.log2(ranks) * hop_s + (ranks - 1) / ranks * size_bytes / bandwidth_bytes_per_s


def send_s(size_bytes: float, bandwidth_bytes_per_s: float, hop_s: float) -> float:
    """Return the time to send ``size_bytes`` to one other rank. [s]"""
    return hop_s + size_bytes / bandwidth_bytes_per_s


def hierarchical_all_reduce_s(
    inner_ranks: int,
    outer_ranks: int,
    size_bytes: float,
    *,
    inner_bandwidth_bytes_per_s: float,
    inner_hop_s: float,
    outer_bandwidth_bytes_per_s: float,
    outer_hop_s: float,
) -> tuple[float, float]:
    """Return (inner_s, outer_s) of an all-reduce over a scale-up domain and a network.

    Reduce-scatter among the ``inner_ranks`` of each domain, all-reduce of the pieces across
    ``outer_ranks`` domains on parallel rails, all-gather inside. The two parts are apart
    because only the outer one depends on the fabric's share.
    """
    inner_s = 2.0 * all_gather_s(inner_ranks, size_bytes, inner_bandwidth_bytes_per_s, inner_hop_s)
    outer_s = all_reduce_s(
        outer_ranks, size_bytes / max(1, inner_ranks), outer_bandwidth_bytes_per_s, outer_hop_s
    )
    return inner_s, outer_s
