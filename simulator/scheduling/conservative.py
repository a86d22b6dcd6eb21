"""Conservative backfilling: every waiting job has a reservation, rebuilt at every pass.

The profile of free GPUs over time is built from the running jobs' requested ends; each queued
job in order takes the earliest slot long enough for its whole request; those whose slot is now,
start. This is `replan: full`: reservations are not kept between passes.

References
----------
Mu'alem and Feitelson, IEEE TPDS 2001, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from simulator.decisions import Decision, QueueView, Start
from simulator.scheduling.orders import Submission
from simulator.scheduling.protocols import Order

#: Waiting times running jobs above which the compiled kernel pays for its call.
KERNEL_FROM = 4096


@dataclass(frozen=True)
class Conservative:
    """First come, first served with a reservation for every job."""

    replan: Annotated[Literal["full"], "Rebuild every reservation at every pass."] = "full"

    order: ClassVar[Order] = Submission()
    pass_per: ClassVar[Literal["instant", "event"]] = "instant"
    reserve: ClassVar[Literal["counts", "machines", "nothing"]] = "counts"
    blocks_at_head: ClassVar[bool] = True

    def step(self, view: QueueView) -> Iterable[Decision]:
        """Start every job whose earliest slot is now."""
        need = [view.jobs.gpus[job] for job in view.waiting]
        if view.free_gpus < min(need):
            return []
        requested_s = [view.jobs.requested_run_s[job] for job in view.waiting]
        ends = view.ends
        release_s = [max(end_s, view.now_s) for end_s, _ in ends]
        release_gpus = [view.releases[job] for _, job in ends]
        plan = starts_now
        if len(need) * (len(ends) + 1) >= KERNEL_FROM:
            from simulator.scheduling.conservative_kernel import starts_now_compiled as plan
        chosen = plan(view.now_s, view.free_gpus, release_s, release_gpus, need, requested_s)
        answers: list[Decision] = []
        for position in chosen:
            placement = view.claim(view.waiting[position])
            if placement is not None:
                answers.append(Start(view.waiting[position], placement))
        return answers


def starts_now(
    now_s: float,
    free: int,
    release_s: list[float],
    release_gpus: list[int],
    need: list[int],
    requested_s: list[float],
) -> list[int]:
    """Return the positions of the waiting jobs whose earliest slot is now; the readable twin.

    Parameters
    ----------
    now_s, free
        The instant [s] and the GPUs free at it.
    release_s, release_gpus
        When running jobs are expected to give back how many GPUs; ascending, none before now.
    need, requested_s
        GPUs and requested run time [s] of the waiting jobs in order.
    """
    times = [now_s]
    frees = [free]
    for end_s, gpus in zip(release_s, release_gpus, strict=True):
        if end_s == times[-1]:
            frees[-1] += gpus
        else:
            times.append(end_s)
            frees.append(frees[-1] + gpus)
    # Nobody further down can start now once less is free than the smallest of them needs.
    smallest_after = list(need)
    for position in range(len(need) - 2, -1, -1):
        smallest_after[position] = min(smallest_after[position], smallest_after[position + 1])
    chosen: list[int] = []
    for position, (gpus, run_s) in enumerate(zip(need, requested_s, strict=True)):
        if frees[0] < smallest_after[position]:
            break
        if gpus > frees[-1]:
            continue
        first = 0
        while True:
            while frees[first] < gpus:
                first += 1
            end_s = times[first] + run_s
            last = first
            while last + 1 < len(times) and times[last + 1] < end_s:
                last += 1
                if frees[last] < gpus:
                    break
            else:
                break
            first = last
        if first == 0:
            chosen.append(position)
        if end_s > times[last]:
            if (last + 1 == len(times) or times[last + 1] > end_s) and end_s != float("inf"):
                times.insert(last + 1, end_s)
                frees.insert(last + 1, frees[last])
            for slot in range(first, last + 1):
                frees[slot] -= gpus
    return chosen
