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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from simulator.decisions import Decision, QueueView, Remember, Start
from simulator.scheduling.orders import Submission
from simulator.scheduling.protocols import Order

#: Waiting jobs above which the line is scanned in blocks of an array.
LONG_LINE: Final = 128
BLOCK: Final = 4096


@dataclass(frozen=True)
class Easy:
    """First come, first served with EASY backfilling by counts."""

    order: ClassVar[Order] = Submission()
    pass_per: ClassVar[Literal["instant", "event"]] = "instant"
    reserve: ClassVar[Literal["counts", "machines", "nothing"]] = "counts"
    blocks_at_head: ClassVar[bool] = True

    def step(self, view: QueueView) -> Iterable[Decision]:
        """Start from the head while it fits, then backfill behind it."""
        waiting, need = view.waiting, view.jobs.gpus
        answers: list[Decision] = []
        head, shadow_s, extra = view.memory or (-1, 0.0, 0)
        if not view.freed and waiting[0] == head and view.now_s <= shadow_s:
            # Nothing changed but by what this policy started, and no expected end beyond the
            # shadow has passed: the reservation stands, and whoever was refused last time would
            # be refused again. Newcomers only.
            candidates: Sequence[int] | None = view.arrived
        else:
            started = 0
            for job in waiting:
                placement = view.claim(job)
                if placement is None:
                    break
                answers.append(Start(job, placement))
                started += 1
            else:
                if view.memory is not None:
                    answers.append(Remember(None))
                return answers
            head = waiting[started]
            shadow_s, extra = shadow(view, head)
            candidates = waiting[started + 1 :] if len(waiting) - started <= LONG_LINE else None
        # What may be refused to a head that fits by count depends on what is free: no memory.
        fits = need[head] <= view.free_gpus
        reservation = Reservation(shadow_s, extra)
        if candidates is None:
            answers.extend(_backfill_line(view, started + 1, reservation))
        else:
            answers.extend(_backfill(view, candidates, reservation))
        extra = reservation.extra
        answers.append(Remember(None if fits else (head, shadow_s, extra)))
        return answers


class Reservation:
    """The head's: from when, and how many GPUs are to spare then; the latter shrinks in a scan."""

    __slots__ = ("extra", "shadow_s")

    def __init__(self, shadow_s: float, extra: int) -> None:
        self.shadow_s = shadow_s
        self.extra = extra


def _backfill(view: QueueView, candidates: Sequence[int], head: Reservation) -> Iterator[Start]:
    """Start those of the candidates, in order, that fit now and do not delay the head."""
    need, requested_s, now_s = view.jobs.gpus, view.jobs.requested_run_s, view.now_s
    for job in candidates:
        if not view.free_gpus:
            return
        gpus = need[job]
        if gpus > view.free_gpus:
            continue
        ends_in_time = now_s + requested_s[job] <= head.shadow_s
        if ends_in_time or gpus <= head.extra:
            placement = view.claim(job)
            if placement is None:
                continue
            yield Start(job, placement)
            if not ends_in_time:
                head.extra -= gpus


def _backfill_line(view: QueueView, first: int, head: Reservation) -> Iterator[Start]:
    """Do what `_backfill` does for the line from position `first` on, whole blocks at a time."""
    gpus, requested_s = view.line.read(view.waiting)
    block = first
    while block < len(gpus) and view.free_gpus:
        needs = gpus[block : block + BLOCK]
        ends_in_time = view.now_s + requested_s[block : block + BLOCK] <= head.shadow_s
        position = 0
        while view.free_gpus and position < len(needs):
            ahead = needs[position:]
            may_start = (ahead <= view.free_gpus) & (ends_in_time[position:] | (ahead <= head.extra))
            found = int(may_start.argmax())
            if not may_start[found]:
                break
            position += found
            job = view.waiting[block + position]
            placement = view.claim(job)
            if placement is not None:
                yield Start(job, placement)
                if not ends_in_time[position]:
                    head.extra -= int(needs[position])
            position += 1
        block += BLOCK


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
