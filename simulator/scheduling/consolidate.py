"""Placement on as few nodes as possible: the tightest node, or whole idle nodes.

A job no larger than a node goes to the fullest node that still fits it, lowest number first; a
larger one takes whole idle nodes and the rest on the tightest other node. This is the
`consolidate` placer of the Helios artifact.

References
----------
Hu et al., "Characterization and prediction of deep learning workloads in large-scale GPU
datacenters", SC 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.cluster.allocation import Placement, PoolFree, lowest_bits


@dataclass(frozen=True)
class Consolidate:
    """Fewest nodes; whole nodes for large jobs, the tightest node for small ones."""

    def find(self, gpus: int, free: PoolFree) -> Placement | None:
        """Return a consolidated placement, or None if nodes are too fragmented."""
        top = free.gpus_per_node
        whole_nodes, rest = divmod(gpus, top)
        idle = free.levels[top]
        if whole_nodes > idle.bit_count():
            return None
        whole = lowest_bits(idle, whole_nodes) if whole_nodes else 0
        if not rest:
            return Placement(free.pool, gpus, whole)
        for level in range(rest, top + 1):
            mask = free.levels[level]
            if level == top:
                mask &= ~whole
            if mask:
                node = (mask & -mask).bit_length() - 1
                return Placement(free.pool, gpus, whole, ((node, rest),))
        return None
