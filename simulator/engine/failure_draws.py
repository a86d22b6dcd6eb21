"""The failure process of one pool: when the next failure comes, which cause, which node and GPU.

All nodes of a pool share one Poisson process. That equals independent exponential laws for each
GPU and costs one pending event a pool. Lemons are nodes with a higher rate in the same process.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.engine.world import Cause
from simulator.foundation.streams import BlockStream
from simulator.foundation.time_grid import Priority, snap_up

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class PoolFailures:
    """Draws and strikes, one failure at a time."""

    def __init__(self, engine: Engine, code: int, causes: tuple[Cause, ...]) -> None:
        self.engine = engine
        self.code = code
        self.causes = causes
        pool = engine.pools[code]
        site = engine.world.sites[pool.site].facts.name
        self.stream: BlockStream = engine.world.streams.block(f"failures.{site}.{pool.name}")
        self.repairs: BlockStream = engine.world.streams.block(f"repairs.{site}.{pool.name}")
        self.nodes, self.gpus_per_node = pool.facts.nodes, pool.gpus_per_node
        rate_per_s = sum(cause.per_gpu_s for cause in causes)
        self.mean_s = 1.0 / (rate_per_s * pool.facts.gpus) if rate_per_s else math.inf
        self.edges: Any = np.cumsum([cause.per_gpu_s for cause in causes]) / rate_per_s if rate_per_s else []
        self.timer = engine.clock.timer(self._fail, Priority.FAILURE)
        #: Nodes that break more often; None where a sound one has taken the place.
        self.lemons: list[int | None] = []
        self.extra = 0.0
        rules = engine.world.lemons
        if rules is not None and rules.rate_scale > 1.0:
            count = round(rules.share_fraction * self.nodes)
            drawn = engine.world.streams.stream(f"lemons.{site}.{pool.name}")
            self.lemons = sorted(drawn.choice(self.nodes, size=count, replace=False).tolist())
            self.extra = rules.rate_scale - 1.0
        self._next()

    def replaced(self, node: int) -> None:
        """Put a sound node in a node's place."""
        if node in self.lemons:
            self.lemons[self.lemons.index(node)] = None

    def _next(self) -> None:
        if self.mean_s < math.inf:
            now_s = self.engine.clock.environment.now
            self.timer.arm(snap_up(now_s + self.stream.exponential(self.mean_s)))

    def _fail(self) -> None:
        place, which = self.stream.uniform(), self.stream.uniform()
        number = int(np.searchsorted(self.edges, which, side="right"))
        cause = self.causes[min(number, len(self.causes) - 1)]
        # What a part of a node causes comes more often from a lemon; the pool's mean is as
        # published, since those who counted had lemons too.
        lemons = len(self.lemons) if cause.scope == "node" and not cause.planned else 0
        weight = place * (self.nodes + lemons * self.extra)
        node: int | None = int(weight)
        within = weight - int(weight)
        if weight >= self.nodes:
            lemon, within = divmod((weight - self.nodes) / self.extra, 1.0)
            node = self.lemons[min(int(lemon), lemons - 1)]
        if node is not None:
            # A lemon that was replaced has left its extra failures with it.
            repair_s = self.repairs.exponential(cause.repair_s) if cause.scope == "node" else 0.0
            gpu = int(within * self.gpus_per_node)
            self.engine.failures.strike(self.code, node, cause, repair_s, gpu)
        self._next()
