"""Hot spares: whole nodes of a pool that stand idle outside the free count until a job needs one."""

from __future__ import annotations

from simulator.cluster.allocation import Placement
from simulator.engine.pool import Pool


class HotSpares:
    """The spares of one pool: its last nodes at first, then any that come back from repair.

    Parameters
    ----------
    pool
        Whose nodes.
    wanted
        How many there are when none is in use. [count]
    """

    def __init__(self, pool: Pool, wanted: int) -> None:
        self._pool = pool
        self._wanted = wanted
        self._ready = list(range(pool.facts.nodes - wanted, pool.facts.nodes))
        for node in self._ready:
            pool.free.take(self._whole(1 << node))

    def __len__(self) -> int:
        return len(self._ready)

    def take(self, gpus: int) -> Placement | None:
        """Return spares for so many GPUs, if that is a number of whole nodes and there are as many."""
        nodes = -(-gpus // self._pool.gpus_per_node)
        if len(self._ready) < nodes or gpus % self._pool.gpus_per_node:
            return None
        taken, self._ready = self._ready[:nodes], self._ready[nodes:]
        return self._whole(sum(1 << node for node in taken))

    def lose(self, node: int) -> None:
        """Count a node that went down among the pool's others, if it was a spare."""
        if node in self._ready:
            self._ready.remove(node)
            self._pool.free.give_back(self._whole(1 << node))

    def refill(self, node: int) -> bool:
        """Keep a node that came back, if spares are missing and it is idle; return whether it was kept."""
        pool = self._pool
        if len(self._ready) >= self._wanted or pool.free.free_on(node) != pool.gpus_per_node:
            return False
        self._ready.append(node)
        pool.free.take(self._whole(1 << node))
        return True

    def _whole(self, nodes: int) -> Placement:
        return Placement(self._pool.code, nodes.bit_count() * self._pool.gpus_per_node, nodes)
