"""A replica under a fixed number of users who ask again as soon as they are answered.

Load generators measure engines so. Everybody asks at once in the beginning, so the first round
of prompts queues for long; later rounds part company because answers differ in length. The mean
over the rounds of such a test is what its authors print. Prompts are taken first come first
served, in chunks that fill the token budget beside the decodes; runs of pure decode are summed
at once. Small and deterministic: lengths follow a van der Corput sequence, nothing is drawn.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.performance.serving import PAIR_SHIFT, PS_PER_S, IterationTime

#: Rounds of a load test: load generators send five to ten requests a user.
ROUNDS: Final = 6

#: Requests after which the rounds of very many users are cut short: the mean has settled.
_MOST_REQUESTS: Final = 1500


@dataclass(frozen=True, slots=True)
class LoadTest:
    """A closed loop.

    Parameters
    ----------
    users
        Requests under way at any time. [count]
    prompt_tokens, output_tokens
        Longest lengths. [tokens]
    shortest_fraction
        Lengths are spread evenly from this fraction of the longest up to it.
    token_budget, max_sequences
        Of the engine.
    kv_tokens
        Tokens that the replica can remember. [tokens]
    reserved_output_fraction
        Share of an answer for which room must be free before its prompt is taken.
    mixed
        Decodes go on beside prompts; else they wait.
    rounds
        Requests of each user. [count]
    """

    users: int
    prompt_tokens: int
    output_tokens: int
    shortest_fraction: float = 1.0
    token_budget: int = 8192
    max_sequences: int = 1024
    kv_tokens: float = float("inf")
    reserved_output_fraction: float = 0.5
    mixed: bool = True
    rounds: int = ROUNDS


@dataclass(frozen=True, slots=True)
class LoadTestResult:
    """What the users saw: means over all requests. [s], and the mean decoding batch."""

    ttft_s: float
    tpot_s: float
    decoding: float
    elapsed_s: float
    prompt_tokens: int
    output_tokens: int


def run_load_test(cost: IterationTime, test: LoadTest) -> LoadTestResult:
    """Return what a load test on one replica would print."""
    found = loop(
        cost.tokens_ps,
        cost.sequence_ps,
        cost.context_ps,
        cost.pair_ps_1024,
        test.users,
        test.prompt_tokens,
        test.output_tokens,
        test.shortest_fraction,
        min(test.token_budget, cost.most_tokens),
        test.max_sequences,
        min(test.kv_tokens, 1e15),
        test.reserved_output_fraction,
        test.mixed,
        min(test.rounds * test.users, max(_MOST_REQUESTS, 2 * test.users)),
    )
    requests, answered, ttft_ps, tpot_ps, decoding, clock_ps, prompts, outputs = found
    return LoadTestResult(
        ttft_s=ttft_ps / requests / PS_PER_S,
        tpot_s=tpot_ps / max(answered, 1) / PS_PER_S,
        decoding=decoding / max(clock_ps, 1),
        elapsed_s=clock_ps / PS_PER_S,
        prompt_tokens=prompts,
        output_tokens=outputs,
    )


def loop(
    tokens_ps: NDArray[np.int64],
    sequence_ps: int,
    context_ps: int,
    pair_ps_1024: int,
    users: int,
    prompt_tokens: int,
    output_tokens: int,
    shortest: float,
    budget: int,
    max_sequences: int,
    kv_tokens: float,
    reserved: float,
    mixed: bool,
    requests: int,
) -> tuple[int, int, int, float, float, int, int, int]:
    """Return (requests, answered, sum of TTFT, sum of TPOT, decode integral, clock, prompts, outputs).

    Plain integers and lists, so that it also compiles as it stands.
    """
    prompts = [max(1, round(prompt_tokens * _spread(3 * number + 2, shortest))) for number in range(requests)]
    outputs = [max(1, round(output_tokens * _spread(number + 1, shortest))) for number in range(requests)]
    arrived = [0] * requests
    first = [0] * requests
    ends = [(0, 0)]  # (iteration of the last token, request)
    ends.pop()
    asked = min(users, requests)
    taken = finished = answered = 0
    part = -1  # the prompt that is half done, and how far it is
    done = 0
    iteration = clock = decodes = context = 0
    held = 0.0
    ttft = 0
    tpot = decoding = 0.0
    while finished < requests:
        room = budget - decodes if mixed else budget
        new = pairs = chunks = 0
        ready_from = taken if part < 0 else part
        ready = 0
        while room > 0:
            if part < 0:
                if taken == asked or decodes + ready >= max_sequences:
                    break
                need = prompts[taken] + reserved * outputs[taken]
                if held + need > kv_tokens and held > 0.0:
                    break
                held += need
                part, done = taken, 0
                taken += 1
            left = prompts[part] - done
            chunk = left if left < room else room
            pairs += chunk * done + chunk * (chunk + 1) // 2
            done += chunk
            new += chunk
            room -= chunk
            chunks += 1
            if done == prompts[part]:
                ready += 1
                part = -1
        if new:
            beside = decodes if mixed else 0
            elapsed = int(tokens_ps[new + beside]) + sequence_ps * (chunks + beside)
            elapsed += (pair_ps_1024 * pairs) >> PAIR_SHIFT
            if mixed:
                elapsed += context_ps * context
                iteration += 1
                context += decodes
            decoding += float(decodes) * elapsed
            clock += elapsed
        elif decodes:
            steps = ends[0][0] - iteration
            one = int(tokens_ps[decodes]) + sequence_ps * decodes + context_ps * context
            elapsed = steps * one + context_ps * decodes * (steps * (steps - 1) // 2)
            decoding += float(decodes) * elapsed
            clock += elapsed
            iteration += steps
            context += steps * decodes
        for request in range(ready_from, ready_from + ready):
            ttft += clock - arrived[request]
            first[request] = clock
            decodes += 1
            context += prompts[request]
            heapq.heappush(ends, (iteration + outputs[request] - 1, request))
        while len(ends) > 0 and ends[0][0] <= iteration:
            _, request = heapq.heappop(ends)
            decodes -= 1
            context -= prompts[request] + outputs[request] - 1
            held -= prompts[request] + reserved * outputs[request]
            finished += 1
            if outputs[request] > 1:
                answered += 1
                tpot += (clock - first[request]) / (outputs[request] - 1)
            if asked < requests:
                arrived[asked] = clock
                asked += 1
    return requests, answered, ttft, tpot, decoding, clock, sum(prompts), sum(outputs)


def _spread(number: int, shortest: float) -> float:
    """Return the number-th point of a van der Corput sequence from ``shortest`` to 1."""
    point, half = 0.0, 0.5
    while number:
        if number & 1:
            point += half
        number >>= 1
        half *= 0.5
    return shortest + (1.0 - shortest) * point
