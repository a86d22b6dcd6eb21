"""First come, first served: start from the head while it fits, and block there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from simulator.decisions import Decision, QueueView, Start
from simulator.scheduling.orders import Submission
from simulator.scheduling.protocols import Order


@dataclass(frozen=True)
class Fcfs:
    """First come, first served; nobody overtakes."""

    order: ClassVar[Order] = Submission()
    pass_per: ClassVar[Literal["instant", "event"]] = "instant"
    reserve: ClassVar[Literal["counts", "machines", "nothing"]] = "nothing"
    blocks_at_head: ClassVar[bool] = True

    def step(self, view: QueueView) -> Iterable[Decision]:
        """Start jobs from the head until one does not fit."""
        started: list[Decision] = []
        for job in view.waiting:
            placement = view.claim(job)
            if placement is None:
                break
            started.append(Start(job, placement))
        return started
