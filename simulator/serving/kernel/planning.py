"""What a replica does next: admission from its queue, chunks of prompts, runs of decode."""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.batch import preempt, short, take
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.drafting import checking_ps, grow_checks, short_of_checks
from simulator.serving.kernel.power import meter_set, set_decode_power
from simulator.serving.kernel.prefixes import enter, extend, found_blocks, grow
from simulator.serving.kernel.state import compiled, inlined, rarely
from simulator.serving.kernel.static_batch import form
from simulator.serving.kernel.transfers import reserve


@compiled
def _find_again(k: Any, s: int, q: int, blocks: int) -> None:
    """Give a preempted request its leading blocks back: they leave the middle of the free queue."""
    k.replica[s, FREE] -= blocks
    k.request[q, COMPUTED] = blocks * k.crowd[BLOCK_TOKENS]
    mark = k.request[q, MARK]
    queue = k.waiting[s]
    for tier in range(queue.size // 2):
        other = queue[2 * tier]
        # Whoever was preempted here stands before all that never ran.
        while other >= 0 and k.request[other, HELD]:
            if k.request[other, HASHED] and k.request[other, MARK] > mark:
                k.request[other, MARK] -= blocks
            other = k.request[other, NEXT]


@inlined
def _put_in(k: Any, s: int, q: int, chunk: int) -> None:
    """Let a prompt have a chunk in the planned iteration."""
    r = k.replica[s]
    earlier = k.request[q, COMPUTED]
    r[NEW_SEQUENCES] += 1
    r[NEW_TOKENS] += chunk
    r[NEW_PAIRS] += chunk * earlier + chunk * (chunk + 1) // 2
    k.request[q, COMPUTED] = earlier + chunk
    if earlier + chunk == k.request[q, TARGET]:
        k.prefilled[s, r[PREFILLED]] = q
        r[PREFILLED] += 1
    else:
        r[PARTIAL] = q


@compiled
def _next_chunk(k: Any, s: int, budget: int) -> Any:
    """Plan the next chunk of the prompt that is partly done; return its tokens."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    q = r[PARTIAL]
    computed = k.request[q, COMPUTED]
    chunk = min(k.request[q, TARGET] - computed, budget)
    want = 0
    if not k.crowd[WHOLE_PROMPT]:
        want = (computed + chunk + size - 1) // size - (computed + size - 1) // size
        while want > r[FREE]:
            if preempt(k, s, 1) == q:
                return 0
    if FEATURED and k.crowd[PREFIXES]:
        extend(k, s, q, want, computed + chunk)
    else:
        take(r, want)
    r[PARTIAL] = -1
    _put_in(k, s, q, chunk)
    return chunk


@compiled
def _admit_ready(k: Any, s: int, budget: int) -> Any:
    """Plan the last tokens of prompts whose KV has come; return how many."""
    c = k.crowd
    r = k.replica[s]
    line = k.lines[s]
    count = 0
    while r[READY] and count < budget and r[RUNNING] < r[MOST_SEQUENCES]:
        q = line[2 * CAME]
        line[2 * CAME] = k.request[q, NEXT]
        r[READY] -= 1
        c[QUEUED] -= 1
        k.running[s, r[RUNNING]] = q
        k.request[q, PLACE] = r[RUNNING]
        r[RUNNING] += 1
        if c[PREFIXES]:
            extend(k, s, q, 0, k.request[q, TARGET])
        _put_in(k, s, q, 1)
        count += 1
    return count


@inlined
def _admit_waiting(k: Any, s: int, now: int, budget: int) -> None:
    """Plan the first chunks of waiting requests, in order, until the first that cannot go."""
    c = k.crowd
    r = k.replica[s]
    size = c[BLOCK_TOKENS]
    longest = 0
    if FEATURED and rarely(r[READY] > 0):
        budget -= _admit_ready(k, s, budget)
    queue = k.waiting[s]
    tier = 0
    while r[WAITING] and budget > 0 and r[RUNNING] < r[MOST_SEQUENCES]:
        while queue[2 * tier] < 0:
            tier += 1
        q = queue[2 * tier]
        v = k.request[q]
        target = v[TARGET]
        again = 0
        used = 0
        if FEATURED and rarely(c[PREFIXES] != 0):
            if v[SLOT] == s:
                again, used = found_blocks(k, s, q)
        elif v[HASHED]:
            left = v[HELD] - max(0, r[TAKEN] - v[MARK])
            again = max(0, min(v[HASHED], left))
        earlier = v[COMPUTED] + again * size
        chunk = target - earlier
        if c[CHUNKED]:
            chunk = min(chunk, budget)
        else:
            longest = max(longest, chunk)
            if c[PADDED_BUDGET]:
                if longest * (r[NEW_SEQUENCES] + 1) > c[BUDGET]:
                    break
            elif chunk > budget:
                break
        kept = r[WATERMARK] if c[WATERMARK_ALWAYS] or r[RUNNING] else 0
        if (target + size - 1) // size - used + kept > r[FREE]:
            break
        queue[2 * tier] = v[NEXT]
        r[WAITING] -= 1
        if FEATURED and rarely(v[SLOT] != s):
            reserve(k, s, q, now)
            continue
        c[QUEUED] -= 1
        k.running[s, r[RUNNING]] = q
        v[PLACE] = r[RUNNING]
        r[RUNNING] += 1
        if v[STARTED] == UNSEEN64:
            v[STARTED] = now
        c[LOOKED] += target
        c[HIT] += again * size
        held = target if c[WHOLE_PROMPT] else earlier + chunk
        blocks = (held + size - 1) // size
        if FEATURED and rarely(c[PREFIXES] != 0):
            enter(k, s, q, again, blocks, earlier + chunk)
            v[COMPUTED] = earlier
        else:
            if rarely(again > 0):
                _find_again(k, s, q, again)
            v[HASHED] = 0
            take(r, blocks - again)
        _put_in(k, s, q, chunk)
        budget -= chunk


@compiled
def _steps_until_full(k: Any, s: int, free: int) -> Any:
    """Return how many decode iterations so many free blocks allow."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    rounds = free // r[DECODES]
    left = free - rounds * r[DECODES]
    start = r[GENERATION] % size
    for ahead in range(size):
        left -= k.phases[s, start + ahead]
        if left < 0:
            return rounds * size + ahead
    return rounds * size + size


@inlined
def _plan_prompts(k: Any, s: int, now: int) -> None:
    """Plan one iteration with prompt tokens in it."""
    r = k.replica[s]
    decodes = 0
    context = 0
    if not r[STANDS]:
        decodes = r[DECODES]
        context = r[CONTEXT]
    cost = k.cost[r[COST]]
    duration_ps = (
        k.tokens_ps[r[COST], r[NEW_TOKENS] + decodes]
        + cost[SEQUENCE_PS] * (r[NEW_SEQUENCES] + decodes)
        + cost[MIXED_CONTEXT_PS] * context
        + (cost[PAIR_PS_1024] * r[NEW_PAIRS] >> PAIR_SHIFT)
    )
    if decodes:
        tokens_ps = k.tokens_ps[r[COST]]
        alone_ps = tokens_ps[decodes] + cost[SEQUENCE_PS] * decodes + cost[CONTEXT_PS] * context
        if FEATURED and rarely(k.crowd[DRAFTS] != 0):
            duration_ps += checking_ps(k.crowd, tokens_ps, decodes, r[NEW_TOKENS] + decodes)
            alone_ps += checking_ps(k.crowd, tokens_ps, decodes, decodes)
        set_decode_power(k, s, now, min(alone_ps, duration_ps), duration_ps)
    else:
        meter_set(r, now, k.prompt_mw[r[COST], r[NEW_TOKENS]], DOES_PROMPTS)
    r[STALE] = 1
    r[STEPS] = 1
    r[FIRST_PS] = duration_ps
    r[GROWTH_PS] = 0
    r[PLAN_START] = now
    r[PLAN_END] = now + duration_ps


@inlined
def _plan_decodes(k: Any, s: int, now: int, single: bool) -> None:
    """Plan a run of pure decode, of one iteration if `single`."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    cost = k.cost[r[COST]]
    decodes = r[DECODES]
    first = k.tokens_ps[r[COST], decodes] + cost[SEQUENCE_PS] * decodes + cost[CONTEXT_PS] * r[CONTEXT]
    growth = cost[CONTEXT_PS] * decodes
    steps = 1
    if FEATURED and rarely(k.crowd[DRAFTS] != 0):
        grow_checks(k, s)
        growth = 0
        first += checking_ps(k.crowd, k.tokens_ps[r[COST]], decodes, decodes)
    elif not single:
        steps = k.heap_end[s, 0] - r[GENERATION]
        free = r[FREE] + r[GROWN] - k.crowd[SPARE_BLOCK]
        if rarely((steps // size + 1) * decodes > free) and not k.crowd[UNTIL_DONE]:
            steps = max(1, min(steps, _steps_until_full(k, s, free)))
        while steps > 1 and steps * (first + 0.5 * growth * steps) > LONGEST_PS:
            steps //= 2
    r[STEPS] = steps
    r[FIRST_PS] = first
    r[GROWTH_PS] = growth
    r[PLAN_START] = now
    r[PLAN_END] = now + steps * first + growth * (steps * (steps - 1) // 2)
    if r[STALE]:
        r[STALE] = 0
        set_decode_power(k, s, now, 0, 0)


@inlined
def _short(k: Any, s: int) -> bool:
    if FEATURED and rarely(k.crowd[DRAFTS] != 0):
        return bool(short_of_checks(k, s))
    return bool(short(k, s))


@inlined
def schedule(k: Any, s: int, now: int) -> None:
    """Plan a replica's next iterations from `now` on, or let it fall idle."""
    c = k.crowd
    r = k.replica[s]
    r[BOUNDARY] = 0
    if r[NEXT_COST] >= 0:
        r[COST] = r[NEXT_COST]
        r[NEXT_COST] = -1
        r[STALE] = 1
    r[NEW_TOKENS] = 0
    r[NEW_PAIRS] = 0
    made_room = False
    if FEATURED and rarely(c[UNTIL_DONE] != 0):
        if not r[RUNNING]:
            form(k, s, now)
    else:
        budget = c[BUDGET]
        admits = True
        if not c[PROMPTS_APART]:
            while rarely(_short(k, s)):
                preempt(k, s, 0)
                made_room = True
            budget -= r[DECODES] * (1 + c[DRAFTS])
            if r[PARTIAL] >= 0 or r[WAITING] or r[READY]:
                # Decodes have their blocks for the next token before anybody else asks for some.
                if FEATURED and rarely(c[DRAFTS] != 0):
                    grow_checks(k, s)
                else:
                    r[GROWN] = k.phases[s, r[GENERATION] % c[BLOCK_TOKENS]]
                    if FEATURED and rarely(c[PREFIXES] != 0):
                        if r[GROWN]:
                            grow(k, s, r[GENERATION] + 1)
                    else:
                        take(r, r[GROWN])
            if r[PARTIAL] >= 0 and budget:
                before = r[RUNNING]
                budget -= _next_chunk(k, s, budget)
                made_room = made_room or r[RUNNING] < before
            # Where nothing is left that could run, the queue's head goes in at once.
            made_room = made_room and r[RUNNING] > 0
            admits = r[WAITING] + r[READY] > 0 and (not made_room or c[ADMITS_AFTER_PREEMPTION] > 0)
        # One place from which the admission is compiled in: it is the largest part of all.
        while admits:
            _admit_waiting(k, s, now, budget)
            admits = False
            if c[PROMPTS_APART] and not r[NEW_SEQUENCES]:
                while rarely(_short(k, s)):
                    preempt(k, s, 0)
                    made_room = True
                if made_room and not r[RUNNING]:
                    made_room = False
                    admits = True
        if c[PROMPTS_APART]:
            r[STANDS] = 1 if r[NEW_SEQUENCES] else 0
    if r[NEW_SEQUENCES]:
        _plan_prompts(k, s, now)
    elif r[DECODES]:
        _plan_decodes(k, s, now, made_room and r[WAITING] + r[READY] > 0)
    else:
        r[PLAN_END] = NEVER64
        r[STEPS] = 0
        meter_set(r, now, k.cost[r[COST], IDLE_MW], DOES_NOTHING)
        r[STALE] = 1
