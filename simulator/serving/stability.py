"""Whether a service keeps up: stable, backlogged or overloaded, and how much headroom is left.

Near saturation every latency explodes, and a percentile from a queue that still grows says
nothing about the next hour. So every summary carries this verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["stable", "backlogged", "overloaded"]

#: A queue that takes longer than this to serve at full capacity is a backlog. [s]
BACKLOG_S: Final = 60.0

#: A growing queue counts as overload beyond this share of the arrivals of the period...
GROWTH_FRACTION: Final = 0.02

#: ... and beyond this many standard deviations of a Poisson count of them.
GROWTH_SIGMAS: Final = 4.0


@dataclass(frozen=True)
class Stability:
    """The verdict and the numbers behind it.

    Parameters
    ----------
    headroom_fraction
        1 minus offered load over capacity, in the busiest hour; negative beyond capacity; NaN
        where no request came or no replica is there.
    mean_headroom_fraction
        The same over the whole period.
    capacity_per_s
        Requests per second that the replicas sustain at the lengths seen; see `saturation`. [1/s]
    longest_queue
        Most requests that waited at the end of a bin. [count]
    """

    verdict: Verdict
    headroom_fraction: float
    mean_headroom_fraction: float
    capacity_per_s: float
    longest_queue: float

    @property
    def stationary(self) -> bool:
        """Whether percentiles over the period say something about the service."""
        return self.verdict == "stable"


def verdict(
    queued: NDArray[np.float64],
    arrived: NDArray[np.float64],
    bin_s: float,
    capacity_per_s: float,
) -> Stability:
    """Judge a period from what arrived and what waited.

    Overloaded: the queue is longer in the last quarter than in the third, and at the end holds
    more than chance and a few percent of the second half's arrivals explain; or more was offered
    over the whole period than capacity. Backlogged: at some time the queue stood for more than a
    minute of work, but it does not grow.

    Parameters
    ----------
    queued
        (n,) requests that wait at the end of each bin.
    arrived
        (n,) requests that came in each bin.
    bin_s
        Width of a bin. [s]
    capacity_per_s
        What the replicas sustain. [1/s]
    """
    total = float(np.sum(arrived))
    if not len(arrived) or not total:
        waits = bool(len(queued)) and float(queued[-1]) > 0.0
        return Stability(
            "backlogged" if waits else "stable",
            math.nan,
            math.nan,
            capacity_per_s,
            float(np.max(queued, initial=0.0)),
        )
    longest = float(np.max(queued))
    per_hour = max(1, round(3600.0 / bin_s))
    width = min(per_hour, len(arrived))
    sums = np.convolve(arrived, np.ones(width), mode="valid")
    busiest_per_s = float(np.max(sums)) / (width * bin_s)
    mean_per_s = total / (len(arrived) * bin_s)
    known = capacity_per_s > 0.0
    headroom = 1.0 - busiest_per_s / capacity_per_s if known else math.nan
    mean_headroom = 1.0 - mean_per_s / capacity_per_s if known else math.nan
    half = len(queued) // 2
    recent = float(np.sum(arrived[half:]))
    chance = GROWTH_SIGMAS * math.sqrt(recent)
    third, last = np.array_split(queued[half:], 2)
    growing = len(last) > 0 and float(np.mean(last)) > float(np.mean(third))
    answer: Verdict = "stable"
    grew = growing and float(queued[-1]) > max(chance, GROWTH_FRACTION * recent)
    beyond = known and mean_headroom < 0.0 and float(queued[-1]) > chance
    if grew or beyond:
        answer = "overloaded"
    elif known and longest / capacity_per_s > BACKLOG_S:
        answer = "backlogged"
    return Stability(answer, headroom, mean_headroom, capacity_per_s, longest)


def over_the_whole(
    word: Verdict, ttft_p99_s: float, *, headroom: float = math.nan, turns_away: bool = False
) -> Verdict:
    """Return the verdict of a run on more than its queue at the ends of bins.

    A service whose slowest first tokens took longer than a backlog to come had one. One that is
    offered more than it can serve is overloaded, too, where it turns away who finds a full queue.

    Parameters
    ----------
    ttft_p99_s
        99th percentile of the time to first token; inf if nobody was answered, NaN if nobody came. [s]
    headroom
        Capacity left at the busiest hour; NaN if unknown.
    turns_away
        Whether requests were turned away.
    """
    if turns_away and headroom < 0.0:
        return "overloaded"
    return "backlogged" if word == "stable" and ttft_p99_s > BACKLOG_S else word
