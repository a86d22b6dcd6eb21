"""Placement in as few pods and leaves as possible, so that traffic stays low in the fabric."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.cluster.allocation import Placement, PoolFree, lowest_bits, stretches


@dataclass(frozen=True)
class PodAligned:
    """The tightest pod that holds the job; else whole idle pods and the tightest for the rest.

    Inside a pod leaves are filled the same way. Only whole nodes and one part of a node are given.
    """

    def find(self, gpus: int, free: PoolFree) -> Placement | None:
        """Return a placement that crosses few switches, or None if nodes are too fragmented."""
        top = free.gpus_per_node
        wanted, rest = divmod(gpus, top)
        idle = free.levels[top]
        if wanted > idle.bit_count():
            return None
        pods = stretches(free.nodes, free.nodes_per_pod, free.first_node)
        whole = _fill(idle, wanted, pods, free) if wanted else 0
        if not rest:
            return Placement(free.pool, gpus, whole)
        for level in range(rest, top + 1):
            mask = free.levels[level] & ~whole
            if mask:
                near = next((mask & pod for pod in pods if whole & pod and mask & pod), mask)
                return Placement(free.pool, gpus, whole, (((near & -near).bit_length() - 1, rest),))
        return None


def _fill(idle: int, wanted: int, units: list[int], free: PoolFree, *, leaves: bool = False) -> int:
    """Return `wanted` idle nodes out of few units, and within a pod out of few leaves."""
    room = sorted(((idle & unit).bit_count(), place) for place, unit in enumerate(units))
    chosen = 0
    while wanted:
        # The tightest that holds what is left, lowest first; else the one that holds most.
        count, place = next(((c, p) for c, p in room if c >= wanted), (room[-1][0], -1))
        if place < 0:
            place = next(p for c, p in room if c == count)
        taken = min(count, wanted)
        inside = idle & units[place]
        if taken == count:
            chosen |= inside
        elif leaves:
            chosen |= lowest_bits(inside, taken)
        else:
            parts = stretches(free.nodes, free.nodes_per_leaf, free.first_node, inside)
            chosen |= _fill(inside, taken, parts, free, leaves=True)
        wanted -= taken
        room.remove((count, place))
    return chosen
