"""How a job of one workload behaves while it holds GPUs: profiles, starts, checkpoints, recovery."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from simulator.cluster.allocation import Placement


@dataclass(slots=True)
class Checkpoints:
    """Periodic checkpoints as a closed-form cycle: `every_s` of work, then a stall.

    One checkpoint is in flight at most: the next begins when the last is durable, so the work
    between two takes at least the lag.
    """

    every_s: float
    stall_s: float
    """Time that training stands still at each checkpoint. [s]"""
    lag_s: float = 0.0
    """Until an asynchronous checkpoint is durable, after its stall. [s]"""
    write_s: float = 0.0
    """The part of stall or lag that is writing to the site's storage, with all of its bandwidth;
    0 where the length was given. [s]"""

    def under(self, stretch: float) -> tuple[float, float, float]:
        """Return (work between checkpoints, stall, lag) when writing takes `stretch` as long. [s]"""
        more_s = (stretch - 1.0) * self.write_s
        if self.lag_s:
            lag_s = self.lag_s + more_s
            return max(self.every_s, lag_s), self.stall_s, lag_s
        return self.every_s, self.stall_s + more_s, 0.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a job comes back; what it does not say is the cause's own."""

    detect_s: float | None = None
    diagnose_s: float | None = None
    launch_s: float | None = None
    load_s: float = 0.0
    """Reading the checkpoint back. [s]"""
    warm_up_s: float = 0.0
    """From the first process to full speed: compiling, filling caches. [s]"""
    swaps: bool = True
    """Keeps its sound nodes and takes others for the broken; else all go back and it queues."""
    from_peers: bool = False
    """An elastic job whose other replicas hold all state goes on without the broken one and
    loses nothing; the replica joins again when it is up."""
    regroup_s: float = 0.0
    """Stall of all when a replica leaves; it joins again without one. [s]"""

    def again_s(self, launch_s: float) -> float:
        """Return the time from a known cause to full speed. [s]"""
        return (launch_s if self.launch_s is None else self.launch_s) + self.load_s + self.warm_up_s


#: Parts of a step that are not useful work, in the order of `Behaviour.unproductive`.
UNPRODUCTIVE: Final = ("bubble", "communication", "straggler", "recompute")


@dataclass(slots=True)
class Behaviour:
    """What all jobs of one workload share.

    `profile_for(job, placement, gpus)` gives a performance profile; it is called when a job's
    layout or placement changes, never at a change of clock or link share.
    """

    kind: str
    profile_for: Callable[[int, Placement, int], Any]
    start_s: float = 0.0
    """Launch and warm-up with GPUs held. [s]"""
    warm_at_s: float = -1.0
    """A first start at this moment needs no `start_s`: the job was up before the run. [s]"""
    restart_s: float = 0.0
    """Loading a checkpoint and warming up after a stop or a failure. [s]"""
    checkpoints: Checkpoints | None = None
    recovery: Recovery = Recovery()
    survives_failures: bool = False
    """True: detected, recovered, continued from the last durable checkpoint.
    False: killed by a failure and queued again from the beginning."""
    state_bytes: float = 0.0
    """What a move to another site must transfer. [B]"""
    flop_per_unit: float = math.nan
    peak_flop_per_s: float = math.nan
    mfu_convention: str = ""
    """Which operations `flop_per_unit` counts."""
    unproductive: Callable[[Any, float, float], tuple[float, ...]] | None = None
    """(profile, clock, link share) -> shares of a step by `UNPRODUCTIVE`; None where unknown."""
    unit_is_tokens: bool = False
    lowest_clock_fraction: float = 0.35
    flows: bool = False
    """Whether the job loads the fabric."""
    scattered_ranks: bool = False
    """Whether its ranks follow no order of the nodes."""


def work_after(
    elapsed_s: float, rate: float, since: float, used_s: float, cycle_work: float, stall_s: float
) -> tuple[float, float, float, float]:
    """Return (work done, work since the last durable checkpoint, stall used, time stalled).

    A cycle is `cycle_work` of work and then a stall, after which that work is durable.

    Parameters
    ----------
    elapsed_s
        Time in phase running. [s]
    rate
        Work per second between stalls.
    since, used_s
        Where in the cycle the time began: work since the last durable checkpoint, and how much
        of the stall was over (0 unless `since` is the whole cycle). [work], [s]
    cycle_work, stall_s
        Work between checkpoints, and the stall after it. [work], [s]

    Examples
    --------
    >>> work_after(25.0, 1.0, 0.0, 0.0, 10.0, 2.0)
    (21.0, 1.0, 0.0, 4.0)
    """
    work_s = cycle_work / rate
    cycle_s = work_s + stall_s
    total_s = since / rate + used_s + elapsed_s
    cycles = math.floor(total_s / cycle_s)
    rest_s = total_s - cycles * cycle_s
    if rest_s > work_s:
        now_since, now_used_s = cycle_work, rest_s - work_s
    else:
        now_since, now_used_s = min(rest_s * rate, cycle_work), 0.0
    done = cycles * cycle_work + now_since - since
    return done, now_since, now_used_s, cycles * stall_s + now_used_s - used_s


def time_for(
    work: float, rate: float, since: float, used_s: float, cycle_work: float, stall_s: float
) -> float:
    """Return the time to do `work`, stalls included; the last unit is not followed by a stall. [s]

    Examples
    --------
    >>> time_for(21.0, 1.0, 0.0, 0.0, 10.0, 2.0)
    25.0
    """
    if work == math.inf:
        return math.inf
    stalls = max(0, math.ceil((since + work) / cycle_work - 1e-12) - 1)
    return work / rate + stalls * stall_s - used_s
