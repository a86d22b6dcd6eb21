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

from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import Role
from simulator.serving.picoseconds import PS_PER_S
from simulator.serving.replica_costs import ReplicaCosts

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
        Requests per second that the replicas sustain at the mean lengths seen. [1/s]
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


def over_the_whole(word: Verdict, ttft_p99_s: float) -> Verdict:
    """Return the verdict of a run that may be shorter than the bins of its queue.

    A service whose slowest first tokens took longer than a backlog to come had one, even if its
    queue was never seen at the end of a bin.

    Parameters
    ----------
    ttft_p99_s
        99th percentile of the time to first token; NaN if nobody was answered. [s]
    """
    return "backlogged" if word == "stable" and ttft_p99_s > BACKLOG_S else word


def most_at_once(max_sequences: int, max_concurrency: int | None, groups: int) -> int:
    """Return how many sequences a group's batch can have where a replica gets so many requests at most."""
    if max_concurrency is None:
        return max_sequences
    return min(max_sequences, max(1, max_concurrency // groups))


def saturated_rate_per_s(
    costs: ReplicaCosts,
    rule: BatchRule,
    max_sequences: int,
    kv_blocks: int,
    *,
    role: Role,
    prompt_tokens: float,
    output_tokens: float,
) -> float:
    """Return requests per second that a replica sustains, or a group of one, its batch always full. [1/s]

    A steady mixture: every iteration decodes one token of each sequence and takes in the prompt
    tokens of those that replace the finished ones, within the token budget. An upper bound: a
    real queue is not always full, and lengths vary. Groups that advance together wait for the one
    that happens to take in most prompts.

    Parameters
    ----------
    role
        A prefill replica only reads prompts, a decode replica only decodes.
    prompt_tokens, output_tokens
        Mean lengths. [tokens]
    """
    if role == "prefill":
        whole = rule.token_budget / prompt_tokens
        return whole / costs.mixture_ps(0.0, 0.0, whole, prompt_tokens) * PS_PER_S
    mean_context = prompt_tokens + output_tokens / 2.0
    room = (1.0 - rule.watermark_fraction) * kv_blocks * rule.block_tokens
    # On average half a block of each sequence is empty.
    batch = max(1.0, min(float(max_sequences), room / (mean_context + rule.block_tokens / 2.0)))
    passes = output_tokens / rule.tokens_per_pass
    prompts = batch / passes if role == "mixed" else 0.0
    tokens = batch * (1 + rule.drafts) + prompts * prompt_tokens
    if tokens > rule.token_budget:
        # Prompts take what the decodes leave: fewer sequences keep the mixture steady.
        batch *= rule.token_budget / tokens
        prompts *= rule.token_budget / tokens
    iteration_ps = costs.mixture_ps(batch, mean_context, prompts, prompt_tokens)
    if costs.groups > 1:
        most = min(_most_of(costs.groups, prompts), max(0.0, rule.token_budget - batch) / prompt_tokens)
        alone_ps = costs.mixture_ps(batch, mean_context, most, prompt_tokens)
        tokens = round(batch + most * prompt_tokens)
        together = round(costs.groups * (batch + prompts * prompt_tokens))
        iteration_ps = max(iteration_ps, costs.beside_ps(round(alone_ps), tokens, together))
    if rule.drafts:
        decodes = max(1, round(batch))
        cost = rule.draft_cost_fraction
        iteration_ps += costs.checking_ps(decodes, 0, (), rule.drafts, cost)
        iteration_ps -= costs.iteration_ps(decodes, 0, ())
    return batch / passes / iteration_ps * PS_PER_S


def _most_of(groups: int, mean: float) -> float:
    """Return the mean of the largest of so many independent Poisson numbers.

    Examples
    --------
    >>> round(_most_of(1, 0.7), 9), round(_most_of(8, 1.0), 2)
    (0.7, 2.58)
    """
    largest = below = 0.0
    chance, count = math.exp(-mean), 0
    while below < 1.0 - 1e-12:
        below += chance
        largest += 1.0 - min(1.0, below) ** groups
        count += 1
        chance *= mean / count
        if count > mean and chance < 1e-15:
            break
    return largest
