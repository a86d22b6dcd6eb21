"""A pool while the clock runs: its free GPUs, its watts, and who sits on which node."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.cluster.allocation import Placement, PoolFree
from simulator.telemetry.record import PoolFacts


class Pool:
    """One pool of equal nodes."""

    def __init__(
        self,
        code: int,
        facts: PoolFacts,
        *,
        host_active_w: float,
        loaded_idle_w: float,
        most_gpus: int,
    ) -> None:
        self.code = code
        self.facts = facts
        self.site = facts.site
        self.name = facts.name
        self.gpus_per_node = facts.node.gpus_per_node
        self.gpu_type = facts.node.gpu_type
        #: What one job can get.
        self.most_gpus = most_gpus
        self.free = PoolFree(code, facts.nodes, facts.node.gpus_per_node)
        self.host_active_w_per_gpu = host_active_w / facts.node.gpus_per_node
        self.host_idle_w_per_gpu = facts.host_idle_w_per_gpu
        #: Power of a GPU that is held but does not compute (clocks up, model resident). [W]
        self.loaded_idle_w = loaded_idle_w
        self.idle_w_per_gpu = facts.idle_w_per_gpu
        #: Asked before a job starts, where power bounds that: (job, placement, claims of the pass).
        self.may_start: Callable[[int, Placement, Mapping[int, Placement]], bool] | None = None
