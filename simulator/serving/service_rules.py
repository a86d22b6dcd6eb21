"""What holds for a service as a whole: its tiers, batches, routing and promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simulator.serving.batch_rule import BatchRule
from simulator.serving.routers import RoundRobin, Router


@dataclass(frozen=True)
class ServiceRules:
    """What holds for a service as a whole, whatever replicas it has.

    Parameters
    ----------
    name, tenant
        Whose requests these are.
    tiers, ttft_slo_s
        Classes of requests, the most urgent first, and the time to first token promised to each. [s]
    tpot_slo_s
        Mean time between output tokens promised to each tier; nothing where left out. [s]
    rule
        Bounds of a batch.
    router
        Which replica a request goes to.
    kv_bytes_per_token
        KV of one token on all GPUs of a replica, for transfers from prefill to decode. [B]
    transfer_bytes_per_s
        Bandwidth of each prefill replica's transfers until a command says otherwise. [B/s]
    retries
        How often a request begins again after losing its replica before it counts as failed. It is
        sent to another one at once, as front ends retry (such as LiteLLM's router: a retry is another
        pick); where requests are held at the door it goes first in its tier, as it had passed already.
    weight
        Requests of the world that each one stands for.
    origin_s
        A moment at or before the start, on a UTC hour: bins and hours are counted from it. [s]
    rows
        Rows held before `advance` comes back to have them taken.
    piece_tokens
        Tokens that one name of a prompt's pieces stands for; 0 where requests share nothing.
    attention_data_parallel
        Groups of GPUs in each replica that have a queue, a batch and KV blocks each, and go through
        every iteration together. [count]
    cells, simulated_cells
        Requests are dealt in turn to this many cells, each with replicas of its own, and the
        router chooses within a cell; only the first cells are simulated.
    """

    name: str
    tenant: str = ""
    tiers: tuple[str, ...] = ("standard",)
    ttft_slo_s: tuple[float, ...] = (math.inf,)
    rule: BatchRule = field(default_factory=BatchRule)
    router: Router = field(default_factory=RoundRobin)
    kv_bytes_per_token: float = 0.0
    transfer_bytes_per_s: float = math.inf
    retries: int = 3
    weight: float = 1.0
    origin_s: float = 0.0
    rows: int = 65536
    tpot_slo_s: tuple[float, ...] = ()
    piece_tokens: int = 0
    attention_data_parallel: int = 1
    cells: int = 1
    simulated_cells: int = 1

    def __post_init__(self) -> None:
        if not self.tpot_slo_s:
            object.__setattr__(self, "tpot_slo_s", (math.inf,) * len(self.tiers))
        for promised in (self.ttft_slo_s, self.tpot_slo_s):
            if not self.tiers or len(self.tiers) != len(promised):
                raise ValueError(f"service {self.name}: {len(self.tiers)} tiers and {len(promised)} promises")
        if self.origin_s > 0.0:
            raise ValueError(f"service {self.name}: origin_s {self.origin_s} is after the start")
        if self.piece_tokens and self.rule.drafts:
            raise ValueError(
                f"service {self.name}: prefixes that requests share are not modelled together with drafts; "
                "give `prefix_caching: false`, or leave out `speculative`"
            )
        if self.piece_tokens % self.rule.block_tokens:
            raise ValueError(
                f"service {self.name}: prefixes of pieces of {self.piece_tokens} tokens do not go with "
                f"blocks of {self.rule.block_tokens}"
            )
        if self.attention_data_parallel < 1:
            raise ValueError(
                f"service {self.name}: {self.attention_data_parallel} attention groups; expected at least 1"
            )
        if self.attention_data_parallel > 1 and self.rule.until_done:
            raise ValueError(
                f"service {self.name}: static batches end each on its own, so attention groups that advance "
                "together have no effect on them; use another engine"
            )
        if not 1 <= self.simulated_cells <= self.cells:
            raise ValueError(
                f"service {self.name}: {self.simulated_cells} of {self.cells} cells cannot be simulated"
            )

    @property
    def shares_prefixes(self) -> bool:
        """Whether requests share what their prompts begin with."""
        return self.piece_tokens > 0 and self.rule.keeps_blocks
