"""Shortest requested time first; blocks at its head unless told to skip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from simulator.decisions import Decision, QueueView, Start
from simulator.scheduling.orders import ShortestRequest
from simulator.scheduling.protocols import Order


@dataclass(frozen=True)
class Sjf:
    """Shortest requested time first, then submission, then id."""

    skip: Annotated[bool, "Pass over jobs that do not fit instead of blocking at the first."] = False

    order: ClassVar[Order] = ShortestRequest()
    pass_per: ClassVar[Literal["instant", "event"]] = "instant"
    reserve: ClassVar[Literal["counts", "machines", "nothing"]] = "nothing"

    @property
    def blocks_at_head(self) -> bool:
        """Blocks unless it skips."""
        return not self.skip

    def step(self, view: QueueView) -> Iterable[Decision]:
        """Start jobs in order; at a misfit stop, or go on if `skip`."""
        started: list[Decision] = []
        for job in view.waiting:
            placement = view.claim(job)
            if placement is not None:
                started.append(Start(job, placement))
            elif not self.skip or view.free_gpus == 0:
                break
        return started
