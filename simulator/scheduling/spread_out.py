"""Placement dealt over all pods in turn, as a scheduler does that balances and knows no fabric."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.cluster.allocation import Placement, PoolFree, lowest_bits, stretches


@dataclass(frozen=True)
class SpreadOut:
    """Whole idle nodes, as many from each pod as from the next (each leaf, where there is one pod)."""

    def find(self, gpus: int, free: PoolFree) -> Placement | None:
        """Return nodes dealt over the pods, or None if too few are idle."""
        top = free.gpus_per_node
        wanted, rest = divmod(gpus, top)
        idle = free.levels[top]
        need = wanted + (1 if rest else 0)
        if need > idle.bit_count():
            return None
        units = stretches(free.nodes, free.nodes_per_pod, free.first_node)
        if len(units) == 1:
            units = stretches(free.nodes, free.nodes_per_leaf, free.first_node)
        have = [(idle & unit).bit_count() for unit in units]
        dealt = [0] * len(units)
        left = need
        while left:
            open_units = [place for place, count in enumerate(have) if dealt[place] < count]
            each = max(1, left // len(open_units))
            for place in open_units:
                taken = min(each, have[place] - dealt[place], left)
                dealt[place] += taken
                left -= taken
        whole = 0
        for unit, count in zip(units, dealt, strict=True):
            if count:
                whole |= lowest_bits(idle & unit, count)
        if not rest:
            return Placement(free.pool, gpus, whole)
        last = 1 << (whole.bit_length() - 1)
        return Placement(free.pool, gpus, whole ^ last, ((last.bit_length() - 1, rest),))
