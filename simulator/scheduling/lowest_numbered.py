"""Placement on the lowest-numbered GPUs that are free, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.cluster.allocation import Placement, PoolFree, bits, lowest_bits


@dataclass(frozen=True)
class LowestNumbered:
    """Fill nodes from the lowest number; a job may lie on parts of nodes."""

    def find(self, gpus: int, free: PoolFree) -> Placement | None:
        """Return the lowest-numbered free GPUs."""
        if gpus > free.free_gpus:
            return None
        top = free.gpus_per_node
        if top == 1:
            return Placement(free.pool, gpus, lowest_bits(free.levels[1], gpus))
        some = 0
        for mask in free.levels[1:]:
            some |= mask
        idle = free.levels[top]
        whole, parts, left = 0, [], gpus
        for node in bits(some):
            on_node = top if idle >> node & 1 else free.free_on(node)
            take = min(on_node, left)
            if take == top:
                whole |= 1 << node
            else:
                parts.append((node, take))
            left -= take
            if not left:
                break
        return Placement(free.pool, gpus, whole, tuple(parts))
