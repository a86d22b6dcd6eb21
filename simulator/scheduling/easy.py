"""EASY backfilling: the head gets a reservation, others start if they do not delay it.

Shadow time S: the first expected end (start plus request; overdue counts as now) at which
free GPUs plus all releases due at or before S reach the head's need. Extra: that sum minus the
need, every release at S counted. One scan in order; a later job that fits now starts if it ends
by S, or if it is no larger than extra, which then shrinks. One reservation, one pass.

References
----------
Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995; Mu'alem and Feitelson, "Utilization,
predictability, workloads, and user runtime estimates", IEEE TPDS 2001.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from simulator.decisions import Decision, QueueView, Remember, Start
from simulator.scheduling.orders import Submission
from simulator.scheduling.protocols import Order


@dataclass(frozen=True)
class Easy:
    """First come, first served with EASY backfilling by counts."""

    order: ClassVar[Order] = Submission()
    pass_per: ClassVar[Literal["instant", "event"]] = "instant"
    reserve: ClassVar[Literal["counts", "machines", "nothing"]] = "counts"
    blocks_at_head: ClassVar[bool] = True

    def step(self, view: QueueView) -> Iterable[Decision]:
        """Start from the head while it fits, then backfill behind it."""
        waiting, memory = view.waiting, view.memory
        answers: list[Decision] = []
        if memory is not None and not view.freed and waiting[0] == memory[0] and view.now_s <= memory[1]:
            # Nothing came free, the head is the same, and no expected end beyond its shadow has
            # passed: whoever was refused last time would be refused again. Newcomers only.
            candidates = view.arrived
            if not view.free_gpus or not candidates:
                return answers
        else:
            position = 0
            for job in waiting:
                placement = view.claim(job)
                if placement is None:
                    break
                answers.append(Start(job, placement))
                position += 1
            else:
                return answers
            candidates = waiting[position + 1 :]
        shadow_s, extra = shadow(view, view.head)
        answers.append(Remember((view.head, shadow_s)))
        need, requested_s, now_s = view.jobs.gpus, view.jobs.requested_run_s, view.now_s
        free = view.free_gpus
        for job in candidates:
            if not free:
                break
            gpus = need[job]
            if gpus > free:
                continue
            ends_in_time = now_s + requested_s[job] <= shadow_s
            if ends_in_time or gpus <= extra:
                placement = view.claim(job)
                if placement is None:
                    continue
                answers.append(Start(job, placement))
                free -= gpus
                if not ends_in_time:
                    extra -= gpus
        return answers


def shadow(view: QueueView, head: int) -> tuple[float, int]:
    """Return (shadow time [s], extra GPUs) of the head's reservation.

    Jobs claimed earlier in the pass count as running. A head that fits by count but found no
    place waits for the next release.
    """
    need = view.jobs.gpus[head]
    now_s, held = view.now_s, view.releases
    free = view.free_gpus
    enough = max(need, free + 1)
    shadow_s = math.inf
    for end_s, job in view.ends:
        moment_s = max(end_s, now_s)
        if moment_s > shadow_s:
            break
        free += held[job]
        if shadow_s == math.inf and free >= enough:
            shadow_s = moment_s
    return shadow_s, free - need if shadow_s < math.inf else 0
