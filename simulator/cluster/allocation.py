"""Which GPUs of a pool are free, and taking and giving them back.

Nodes are bits of Python integers, one integer per number of free GPUs, so that "the lowest k
idle nodes" and "the tightest node that fits" cost a few machine words whatever the pool's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Placement:
    """GPUs of one pool: whole nodes as a bit mask, and parts of nodes."""

    pool: int
    """Code of the pool."""
    gpus: int
    whole: int
    """Bit n set: all GPUs of node n."""
    parts: tuple[tuple[int, int], ...] = ()
    """(node, GPUs) for nodes held in part, by node."""

    def nodes(self) -> list[int]:
        """Return the nodes touched, ascending."""
        return sorted([*bits(self.whole), *(node for node, _ in self.parts)])


#: Set bits above which a mask is taken apart as an array.
_MANY_BITS: Final = 64


def bits(mask: int) -> Iterator[int]:
    """Yield the positions of the set bits, ascending."""
    if mask.bit_count() > _MANY_BITS:
        # Taking the lowest bit copies the whole number each time: a square in the nodes.
        raw = np.frombuffer(mask.to_bytes(-(-mask.bit_length() // 8), "little"), dtype=np.uint8)
        yield from np.flatnonzero(np.unpackbits(raw, bitorder="little")).tolist()
        return
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def lowest_bits(mask: int, count: int) -> int:
    """Return the `count` lowest set bits of `mask` as a mask; `mask` must have that many.

    Examples
    --------
    >>> bin(lowest_bits(0b101101, 3))
    '0b1101'
    """
    have = mask.bit_count()
    if have == count:
        return mask
    # Any cut with `count` bits below it will do; usually free nodes come in long runs, so a
    # halving search meets one soon.
    low, high = count - 1, mask.bit_length()
    while True:
        middle = (low + high) // 2
        part = mask & ((1 << middle) - 1)
        below = part.bit_count()
        if below == count:
            return part
        if below < count:
            low = middle + 1
        else:
            high = middle


def stretches(nodes: int, width: int, first: int, within: int = -1) -> list[int]:
    """Return the nodes of each leaf or pod as a mask, without those that have none of `within`.

    Parameters
    ----------
    nodes
        Of the pool. [count]
    width
        Nodes of a whole leaf or pod; 0: one holds all. [count]
    first
        Where the pool's nodes begin among all that the fabric joins.

    Examples
    --------
    >>> [bin(mask) for mask in stretches(5, 4, 2)]
    ['0b11', '0b11100']
    """
    if not width:
        return [(1 << nodes) - 1]
    found = []
    begin = 0
    while begin < nodes:
        end = min(nodes, begin + width - (first + begin) % width)
        mask = (1 << end) - (1 << begin)
        if mask & within:
            found.append(mask)
        begin = end
    return found


class PoolFree:
    """The free GPUs of one pool."""

    __slots__ = (
        "down",
        "first_node",
        "free_gpus",
        "gpus_per_node",
        "held",
        "levels",
        "nodes",
        "nodes_per_leaf",
        "nodes_per_pod",
        "pool",
    )

    def __init__(self, pool: int, nodes: int, gpus_per_node: int) -> None:
        self.pool = pool
        self.nodes = nodes
        #: Nodes below a leaf and in a pod of the fabric (0: all), and where the pool's begin there.
        self.nodes_per_leaf = self.nodes_per_pod = self.first_node = 0
        self.gpus_per_node = gpus_per_node
        #: levels[k]: healthy nodes with exactly k free GPUs.
        self.levels = [0] * (gpus_per_node + 1)
        self.levels[gpus_per_node] = (1 << nodes) - 1
        #: Nodes that failed or are in maintenance; they are in no level.
        self.down = 0
        #: node -> GPUs held, for down nodes only (what they will be short of when back).
        self.held: dict[int, int] = {}
        self.free_gpus = nodes * gpus_per_node

    @property
    def lost_gpus(self) -> int:
        """GPUs that nobody holds and nobody can have, because their nodes are down."""
        return self.down.bit_count() * self.gpus_per_node - sum(self.held.values())

    def free_on(self, node: int) -> int:
        """Return the free GPUs of a node; 0 for a node that is down."""
        bit = 1 << node
        for free, mask in enumerate(self.levels):
            if mask & bit:
                return free
        return 0

    def take(self, placement: Placement) -> None:
        """Hold the GPUs of a placement; ValueError if they are not free."""
        whole = placement.whole
        top = self.gpus_per_node
        if whole:
            if whole & ~self.levels[top]:
                raise ValueError(f"pool {self.pool}: node of {placement} is not idle")
            self.levels[top] ^= whole
            self.levels[0] |= whole
        for node, gpus in placement.parts:
            self._shift(node, -gpus)
        self.free_gpus -= placement.gpus

    def give_back(self, placement: Placement) -> None:
        """Return the GPUs of a placement; nodes that are down stay out of the free count."""
        whole = placement.whole
        top = self.gpus_per_node
        gone = whole & self.down
        if gone:
            for node in bits(gone):
                self.held[node] -= top
            whole ^= gone
        if whole:
            if whole & ~self.levels[0]:
                raise ValueError(f"pool {self.pool}: node of {placement} was not held")
            self.levels[0] ^= whole
            self.levels[top] |= whole
            self.free_gpus += whole.bit_count() * top
        for node, gpus in placement.parts:
            if self.down >> node & 1:
                self.held[node] -= gpus
            else:
                self._shift(node, gpus)
                self.free_gpus += gpus

    def take_down(self, node: int) -> None:
        """Take a node out; what is held on it stays with its holder until given back."""
        free = self.free_on(node)
        self.levels[free] &= ~(1 << node)
        self.down |= 1 << node
        self.held[node] = self.gpus_per_node - free
        self.free_gpus -= free

    def bring_back(self, node: int) -> None:
        """Put a repaired node back with whatever of it is not held."""
        self.down &= ~(1 << node)
        free = self.gpus_per_node - self.held.pop(node)
        self.levels[free] |= 1 << node
        self.free_gpus += free

    def _shift(self, node: int, gpus: int) -> None:
        bit = 1 << node
        free = self.free_on(node)
        found = free + gpus
        if not self.levels[free] & bit or not 0 <= found <= self.gpus_per_node:
            raise ValueError(
                f"pool {self.pool}: node {node} has {free} free GPUs, change by {gpus} is impossible"
            )
        self.levels[free] ^= bit
        self.levels[found] |= bit


def without_node(placement: Placement, node: int, gpus_per_node: int) -> tuple[Placement, Placement]:
    """Split a placement into (what is left, the part on `node`)."""
    bit = 1 << node
    if placement.whole & bit:
        lost = Placement(placement.pool, gpus_per_node, bit)
        left = Placement(
            placement.pool, placement.gpus - gpus_per_node, placement.whole ^ bit, placement.parts
        )
        return left, lost
    gone = tuple(part for part in placement.parts if part[0] == node)
    kept = tuple(part for part in placement.parts if part[0] != node)
    count = sum(gpus for _, gpus in gone)
    lost = Placement(placement.pool, count, 0, gone)
    return Placement(placement.pool, placement.gpus - count, placement.whole, kept), lost


def joined(first: Placement, second: Placement) -> Placement:
    """Return the union of two disjoint placements of one pool."""
    return Placement(
        first.pool,
        first.gpus + second.gpus,
        first.whole | second.whole,
        tuple(sorted(first.parts + second.parts)),
    )
