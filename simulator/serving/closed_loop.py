"""A replica under a fixed number of users who ask again as soon as they are answered.

Load generators measure engines so. Everybody asks at once in the beginning, so the first round
of prompts queues for long; later rounds part company because answers differ in length. The mean
over all requests of such a test is what its authors print. A request passes the server's front
end, which reads prompts one after the other, and is then taken first come first served, in
chunks that fill the token budget beside the decodes or ahead of them; runs of pure decode are
summed at once. An engine may look for new requests only now and then, or hold prompts back until
enough are there: a `Hold`. Small and deterministic: lengths follow a van der Corput sequence,
nothing is drawn.

Three things that load tests hold and services do not are options: prompts that come from a small
set and are remembered from their first time on, an engine that takes prompts whole or not at all,
and kernels that compile when an iteration is first so wide.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.performance.serving import PAIR_SHIFT, PS_PER_S, IterationTime

#: Requests of each user in a load test: InferenceX sends ten times its concurrency.
ROUNDS: Final = 10

#: Sequences that engines decode at once unless told otherwise. [count]
MAX_SEQUENCES: Final = 1024

#: Tokens of a remembered prompt that are computed again: its last block, which engines never
#: take from memory. [tokens]
_LAST_BLOCK: Final = 16

#: Requests after which the later rounds of very many users are cut short: their mean has settled.
_MOST_REQUESTS: Final = 1500


@dataclass(frozen=True, slots=True)
class Hold:
    """How long an engine lets prompts wait although it has room for them.

    Parameters
    ----------
    iterations
        Longest wait, while something decodes. [count]
    runs_free
        The count goes on when nothing waits (an engine that looks for requests every so many
        iterations); else it begins with the first prompt that waits.
    prompts
        Waiting prompts that end the wait; 0: any number waits. [count]
    tokens
        Tokens of waiting prompts and of decodes that end the wait; 0: any number waits. [tokens]
    """

    iterations: int = 0
    runs_free: bool = False
    prompts: int = 0
    tokens: int = 0


NO_HOLD: Final = Hold()


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
    hold
        How the engine gathers prompts.
    request_s, prompt_token_s
        Of the front end: for a request, which others pass at the same time, and for each token of
        a prompt, one prompt after the other. [s]
    rounds
        Requests of each user. [count]
    distinct_prompts
        Different prompts that the requests take in turn and the engine remembers; None: every
        prompt is new. [count]
    whole_prompts
        A prompt waits until an iteration has room for all of it; longer ones than the budget are cut.
    compiles_s, compiled_tokens
        What the first iteration with so many prompt tokens takes longer, because its kernels are
        compiled then. [s], [tokens]
    """

    users: int
    prompt_tokens: int
    output_tokens: int
    shortest_fraction: float = 1.0
    token_budget: int = 8192
    max_sequences: int = MAX_SEQUENCES
    kv_tokens: float = float("inf")
    reserved_output_fraction: float = 0.5
    mixed: bool = True
    hold: Hold = NO_HOLD
    request_s: float = 0.0
    prompt_token_s: float = 0.0
    rounds: int = ROUNDS
    distinct_prompts: int | None = None
    whole_prompts: bool = False
    compiles_s: float = 0.0
    compiled_tokens: int = 1


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
    requests = test.rounds * test.users
    simulated = min(requests, max(_MOST_REQUESTS, 3 * test.users))
    experts_ps = np.zeros_like(cost.tokens_ps) if cost.experts_ps is None else cost.experts_ps
    found = loop(
        cost.tokens_ps - experts_ps,
        experts_ps,
        cost.attention_groups,
        cost.sequence_ps,
        cost.context_ps,
        cost.beside_prompts_ps,
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
        test.hold.iterations,
        test.hold.runs_free,
        test.hold.prompts,
        test.hold.tokens,
        round(test.request_s * PS_PER_S),
        round(test.prompt_token_s * PS_PER_S),
        simulated,
        requests if test.distinct_prompts is None else test.distinct_prompts,
        test.whole_prompts,
        round(test.compiles_s * PS_PER_S),
        test.compiled_tokens,
    )
    early_ps, later_ps, early_tpot_ps, later_tpot_ps, early_answers, later_answers = found[:6]
    decoding, clock_ps, prompts, outputs = found[6:]
    # Of very many users only the first rounds are played; the later ones count for the rest.
    first = min(test.users, simulated)
    rest = simulated - first
    share = first / requests if rest else 1.0
    late = (1.0 - share) / max(rest, 1)
    share /= first
    answered = share * early_answers + late * later_answers
    return LoadTestResult(
        ttft_s=(share * early_ps + late * later_ps) / PS_PER_S,
        tpot_s=(share * early_tpot_ps + late * later_tpot_ps) / max(answered, 1e-9) / PS_PER_S,
        decoding=decoding / max(clock_ps, 1),
        elapsed_s=clock_ps / PS_PER_S,
        prompt_tokens=prompts,
        output_tokens=outputs,
    )


def loop(
    tokens_ps: NDArray[np.int64],
    experts_ps: NDArray[np.int64],
    groups: int,
    sequence_ps: int,
    context_ps: int,
    mixed_context_ps: int,
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
    hold: int,
    runs_free: bool,
    hold_prompts: int,
    hold_tokens: int,
    request_ps: int,
    prompt_token_ps: int,
    requests: int,
    distinct: int,
    whole: bool,
    compiles_ps: int,
    compiled_tokens: int,
) -> tuple[int, int, float, float, int, int, float, int, int, int]:
    """Return (TTFT of the first round, of later ones, TPOT likewise, answers, decodes, clock, tokens).

    Sums over requests: of answers those that have more than one token, of decodes the sequences
    times time, of tokens the prompts' and the answers'. Plain integers and lists, so that it also
    compiles as it stands.
    """
    prompts = [max(1, round(prompt_tokens * _spread(3 * number + 2, shortest))) for number in range(requests)]
    outputs = [max(1, round(output_tokens * _spread(number + 1, shortest))) for number in range(requests)]
    arrived = [0] * requests
    ready_at = [0] * requests
    first = [0] * requests
    ends = [(0, 0)]  # (iteration of the last token, request)
    ends.pop()
    asked = min(users, requests)
    front = 0  # when the front end is free
    for request in range(asked):
        front = max(front, request_ps) + prompts[request] * prompt_token_ps
        ready_at[request] = front
    seen = taken = known = finished = 0
    waited = hold
    part = -1  # the prompt that is half done, and how far it is
    done = 0
    iteration = clock = decodes = context = 0
    held = 0.0
    early = later = 0
    early_tpot = later_tpot = decoding = 0.0
    early_answers = later_answers = 0
    while finished < requests:
        while seen < asked and ready_at[seen] <= clock:
            seen += 1
        if known < seen:
            waiting = decodes
            if hold_tokens > 0 and waited < hold:
                for request in range(taken, seen):
                    waiting += prompts[request]
            if (
                hold == 0
                or decodes == 0
                or waited >= hold
                or (hold_prompts > 0 and seen - taken >= hold_prompts)
                or (hold_tokens > 0 and waiting >= hold_tokens)
            ):
                known = seen
                waited = 0
        room = budget - decodes if mixed else budget
        new = pairs = chunks = 0
        ready_from = taken if part < 0 else part
        ready = 0
        while room > 0:
            if part < 0:
                if taken >= known or decodes + ready >= max_sequences:
                    break
                need = prompts[taken] + reserved * outputs[taken]
                if held + need > kv_tokens and held > 0.0:
                    break
                known_part = max(0, prompts[taken] - _LAST_BLOCK) if taken >= distinct else 0
                if whole and prompts[taken] - known_part > room and new > 0:
                    break
                held += need
                part, done = taken, known_part
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
            # Prompts that are fewer than the groups keep only some of those busy.
            spread = min(chunks, groups)
            widest = min(new * groups // spread + beside, len(tokens_ps) - 1)
            elapsed = int(tokens_ps[widest]) + int(experts_ps[new + beside])
            elapsed += sequence_ps * (chunks + beside)
            elapsed += (pair_ps_1024 * (pairs * groups // spread)) >> PAIR_SHIFT
            if new >= compiled_tokens:
                elapsed += compiles_ps
                compiles_ps = 0
            if mixed:
                elapsed += mixed_context_ps * context
                iteration += 1
                context += decodes
            decoding += float(decodes) * elapsed
            clock += elapsed
            # An engine that looks now and then looks after every prompt, too.
            waited = hold if runs_free and hold_prompts == 0 else 0
        elif decodes:
            steps = ends[0][0] - iteration
            one = int(tokens_ps[decodes]) + int(experts_ps[decodes])
            one += sequence_ps * decodes + context_ps * context
            if seen < asked:
                steps = min(steps, max(1, -((clock - ready_at[seen]) // one)))
            if hold > 0 and known < seen:
                steps = min(steps, max(1, hold - waited))
            elapsed = steps * one + context_ps * decodes * (steps * (steps - 1) // 2)
            decoding += float(decodes) * elapsed
            clock += elapsed
            iteration += steps
            context += steps * decodes
            if hold > 0 and known < seen:
                waited += steps
            elif runs_free and hold > 0:
                waited = (waited + steps) % hold
        else:
            clock = ready_at[seen]
        for request in range(ready_from, ready_from + ready):
            if request < users:
                early += clock - arrived[request]
            else:
                later += clock - arrived[request]
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
                step = (clock - first[request]) / (outputs[request] - 1)
                if request < users:
                    early_tpot += step
                    early_answers += 1
                else:
                    later_tpot += step
                    later_answers += 1
            if asked < requests:
                arrived[asked] = clock
                front = max(front, clock + request_ps) + prompts[asked] * prompt_token_ps
                ready_at[asked] = front
                asked += 1
    worked = (clock, sum(prompts), sum(outputs))
    return (early, later, early_tpot, later_tpot, early_answers, later_answers, decoding, *worked)


def _spread(number: int, shortest: float) -> float:
    """Return the number-th point of a van der Corput sequence from ``shortest`` to 1."""
    point, half = 0.0, 0.5
    while number:
        if number & 1:
            point += half
        number >>= 1
        half *= 0.5
    return shortest + (1.0 - shortest) * point
