"""The compiled heart of a crowd: iterations, arrivals and routing over plain arrays.

The readable form is `twin.TwinCrowd` with `batching.Replica`; this equals it exactly, on every
request and power bin. All state lies in integer arrays that `compiled_crowd` owns: commands act on
them from Python, `advance` moves them through time. Times are picoseconds since a base that the
owner moves on, so that they fit 64 bits. A call comes back wherever Python must act, even within
an instant, and the next call goes on exactly there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def _compiled(function: Callable[..., Any]) -> Any:
    # Nothing here makes an array, so nothing needs counting of references; counting those of the
    # whole state at every call would take nine tenths of the time.
    return njit(cache=True, error_model="numpy", _nrt=False)(function)  # type: ignore[call-overload,unused-ignore]


def _inlined(function: Callable[..., Any]) -> Any:
    # A call hands the whole state over word by word, which took half of the time.
    return njit(  # type: ignore[call-overload,unused-ignore]
        cache=True, error_model="numpy", _nrt=False, forceinline=True
    )(function)


#: Later than any event.
NEVER64 = np.iinfo(np.int64).max
#: No plan lasts longer than this; a longer run of decode is cut in two. [ps]
LONGEST_PS = 1 << 61

# Columns of `State.replica`.
(
    REPLICA_ID, SITE, COST, NEXT_COST, BLOCKS, WATERMARK, FREE, TAKEN, GROWN, MOST_SEQUENCES, WAITING,
    RUNNING, GENERATION, DECODES, CONTEXT, PARTIAL, PREFILLED, NEW_SEQUENCES, NEW_TOKENS, NEW_PAIRS, STANDS,
    ORDER, JOINED, HEAP, STALE, PLAN_START, PLAN_END, STEPS, FIRST_PS, GROWTH_PS, BOUNDARY, ITERATIONS, PLANS,
    LOAD, DRAINING, LEVEL_MW, SINCE, ENERGY_HIGH, ENERGY_LOW, LARGEST_MW, REPLICA_COLUMNS,
) = range(41)  # fmt: skip

# Columns of `State.request`.
(
    NUMBER, ARRIVED, PROMPT, OUTPUT, TIER, PREEMPTIONS, ATTEMPTS, STARTED, FIRST_TOKEN, EMITTED, COMPUTED,
    TARGET, PLACE_ORDER, TOKEN, END, BASE, PHASE, NEXT, PLACE, SLOT, HASHED, HELD, MARK,
    REQUEST_COLUMNS,
) = range(24)  # fmt: skip

#: `request[FIRST_TOKEN]` and `request[STARTED]` before there is one; times before the base are below zero.
UNSEEN64 = np.iinfo(np.int64).min

# Values of `request[SLOT]` beside the slot of a replica: not in use, at the door.
UNUSED, LOBBY = -1, -2

# Fields of `State.crowd`.
(
    NOW, STAGE, EVENT, ROWS, ROWS_WANTED, ARRIVAL, ARRIVALS, KNOWN, FREE_REQUEST, IN_LOBBY, QUEUED, LOADED,
    REQUESTS_IN, PROMPTS_IN, OUTPUTS_IN, BOUNDARIES, DRAINED, MOST_QUEUED, CELLS, ROUTER, SHARED, BUDGET,
    BLOCK_TOKENS, UNKNOWN, PREEMPTED, CHUNKED, PROMPTS_APART, PADDED_BUDGET, WHOLE_PROMPT, WATERMARK_ALWAYS,
    SPARE_BLOCK, ADMITS_AFTER_PREEMPTION, KEEPS_BLOCKS, LOOKED, HIT, CROWD_FIELDS,
) = range(36)  # fmt: skip

# Values of ROUTER.
ROUND_ROBIN, LEAST_OUTSTANDING = range(2)

# What a call is for.
ADVANCE, PLAN, DEAL = range(3)

# Why a call came back.
REACHED, ROWS_LIMIT, NOBODY_KNOWN, MORE_ARRIVALS, MORE_ROWS, MORE_REQUESTS, POWER_UNKNOWN, REPLICA_DRAINED = (
    range(8)
)

# Steps of one instant, in `crowd[STAGE]`.
NEXT_EVENT, ENDS, ARRIVING, PLANNING = range(4)

# States of rows, as in the ledger.
OK, SHED, FAILED, RETRIED = range(4)

# Columns of `State.cost`.
SEQUENCE_PS, CONTEXT_PS, PAIR_PS_1024, IDLE_MW, PREFILL_MW, MIXED_CONTEXT_PS = range(6)

#: Mean context is rounded to this for the watts of a decode batch, as in `replica_costs`. [tokens]
CONTEXT_BUCKET = 512
PAIR_SHIFT = 10
ENERGY_SHIFT = 20


class State(NamedTuple):
    """All that a crowd is, as arrays of whole numbers, where nothing else is said."""

    crowd: Ints
    """(CROWD_FIELDS,) of the crowd as a whole."""
    replica: Ints
    """(slots, REPLICA_COLUMNS)"""
    request: Ints
    """(requests, REQUEST_COLUMNS) those in flight; the rest are a chain of free places."""
    waiting: Ints
    """(slots, 2 tiers) first and last of each tier's queue."""
    running: Ints
    """(slots, sequences) requests in the batch, in no order."""
    prefilled: Ints
    """(slots, sequences) whose prompt is done when the plan ends."""
    heap_end: Ints
    """(slots, sequences) a heap of ends on the replica's token clock."""
    heap_request: Ints
    """(slots, sequences) whose end it is."""
    phases: Ints
    """(slots, 2 block tokens) decodes that need a block at this generation modulo block size, twice."""
    ends: Ints
    """(2 width,) a tree of minima over `replica[PLAN_END]`: leaves from `width` on, its root at 1."""
    boundary: Ints
    """(slots,) slots whose replicas plan on before time moves."""
    doors: Ints
    """(2, 2 tiers) first and last of the queues at the door, and of those that are being dealt out."""
    entry: Ints
    """(cells, slots) open slots of each cell."""
    entries: Ints
    """(cells,) how many."""
    turns: Ints
    """(cells, sites + 1) requests routed by cell and site; without shares the site is 0."""
    scratch: Ints
    """(slots or sites,) for picking."""
    shares: NDArray[np.float64]
    """(2, sites) weight and credit by site."""
    cost: Ints
    """(costs, 6)"""
    tokens_ps: Ints
    """(costs, budget + 1)"""
    power_key: Ints
    """A hash table of decode watts: (cost, sequences, bucket) packed, 0 where empty."""
    power_mw: Ints
    unknown: Ints
    """(slots, 6) plans whose watts Python must look up: slot, cost, sequences, bucket, own ps, ps."""
    arrived: Ints
    """(arrivals,) the block of arrivals that is at hand."""
    arriving: Ints
    """(arrivals, 4) number, prompt, output, tier."""
    rows: Ints
    """(rows, 12) of requests that are over."""
    totals: Ints
    """(4, 3) requests, prompt and output tokens that ended, by state."""


@_compiled
def tree_set(tree: Any, slot: int, value: int) -> None:
    """Put a time at a leaf of a tree of minima."""
    at = tree.size // 2 + slot
    tree[at] = value
    at >>= 1
    while at:
        least = min(tree[2 * at], tree[2 * at + 1])
        if tree[at] == least:
            break
        tree[at] = least
        at >>= 1


@_compiled
def _tree_first(tree: Any) -> Any:
    """Return the lowest slot that has the least time."""
    width = tree.size // 2
    least = tree[1]
    at = 1
    while at < width:
        at *= 2
        if tree[at] != least:
            at += 1
    return at - width


@_compiled
def _steps_within(first_ps: int, growth_ps: int, span_ps: int, most: int) -> Any:
    """Return `leap.steps_within`, `most` at most (whose time fits 64 bits)."""
    if span_ps < first_ps:
        return 0
    if growth_ps == 0:
        return min(span_ps // first_ps if first_ps else most, most)
    half = first_ps - 0.5 * growth_ps
    guess = int(2.0 * span_ps / (half + np.sqrt(half * half + 2.0 * growth_ps * span_ps)))
    steps = max(0, min(guess, most))
    # The float is off by a step or two at most; whole numbers decide.
    while steps * first_ps + growth_ps * (steps * (steps - 1) // 2) > span_ps:
        steps -= 1
    while steps < most and (steps + 1) * first_ps + growth_ps * ((steps + 1) * steps // 2) <= span_ps:
        steps += 1
    return steps


@_compiled
def _share(amount: int, part: int, whole: int) -> Any:
    """Return amount * part // whole for 0 <= part <= whole < 2^61, whatever the product."""
    size = abs(amount)
    if float(size) * float(part) < 4e18:
        return amount * part // whole
    quotient = 0
    rest = 0
    for bit in range(40, -1, -1):
        quotient *= 2
        rest *= 2
        if (size >> bit) & 1:
            rest += part
        quotient += rest // whole
        rest %= whole
    if amount >= 0:
        return quotient
    return -quotient - (1 if rest else 0)


@_compiled
def meter_read(r: Any, at_ps: int) -> None:
    """Account for a replica's energy up to a moment in the bin under way."""
    since = r[SINCE]
    if at_ps > since:
        level = r[LEVEL_MW]
        span = at_ps - since
        # Milliwatts times picoseconds of a bin are more than 64 bits: two limbs.
        low = r[ENERGY_LOW] + level * (span & ((1 << ENERGY_SHIFT) - 1))
        r[ENERGY_HIGH] += level * (span >> ENERGY_SHIFT) + (low >> ENERGY_SHIFT)
        r[ENERGY_LOW] = low & ((1 << ENERGY_SHIFT) - 1)
        r[LARGEST_MW] = max(r[LARGEST_MW], level)
        r[SINCE] = at_ps


@_compiled
def _meter_set(r: Any, at_ps: int, level_mw: int) -> None:
    if level_mw != r[LEVEL_MW]:
        meter_read(r, at_ps)
        r[LEVEL_MW] = level_mw


@_compiled
def power_place(power_key: Any, key: int) -> Any:
    """Return where a key stands in the hash table, or the empty place where it would."""
    mask = power_key.size - 1
    at = ((key * 0x5851F42D4C957F2D) >> 32) & mask
    while power_key[at] != 0 and power_key[at] != key:
        at = (at + 1) & mask
    return at


@_inlined
def _set_decode_power(k: Any, s: int, now: int, alone_ps: int, duration_ps: int) -> None:
    """Hold the watts of a decode batch, or those of one with prompts in it (`duration_ps` above 0)."""
    r = k.replica[s]
    decodes = r[DECODES]
    cost = r[COST]
    bucket = (r[CONTEXT] // decodes + CONTEXT_BUCKET // 2) // CONTEXT_BUCKET
    key = ((cost << 40) | (decodes << 24) | bucket) + 1
    at = power_place(k.power_key, key)
    if k.power_key[at] == 0:
        unknown = k.unknown[k.crowd[UNKNOWN]]
        k.crowd[UNKNOWN] += 1
        unknown[0] = s
        unknown[1] = cost
        unknown[2] = decodes
        unknown[3] = bucket
        unknown[4] = alone_ps
        unknown[5] = duration_ps
        return
    level = k.power_mw[at]
    if duration_ps:
        # The decodes' own share of the iteration at their watts, the rest at the prompts'.
        prefill = k.cost[cost, PREFILL_MW]
        level = prefill + _share(level - prefill, alone_ps, duration_ps)
    _meter_set(r, now, level)


@_compiled
def _sift_up(heap_end: Any, heap_request: Any, request: Any, at: int, end: int, q: int) -> None:
    """Put a decode at a free place of the heap of ends, or above it; ties by who joined first."""
    while at:
        up = (at - 1) // 2
        above = heap_end[up]
        if above < end or (above == end and request[heap_request[up], TOKEN] < request[q, TOKEN]):
            break
        heap_end[at] = above
        heap_request[at] = heap_request[up]
        at = up
    heap_end[at] = end
    heap_request[at] = q


@_compiled
def _heap_remove(heap_end: Any, heap_request: Any, request: Any, size: int, at: int) -> None:
    """Take the decode at a place out of a heap of `size`."""
    last = size - 1
    end = heap_end[last]
    q = heap_request[last]
    # The hole goes down to the bottom along the lesser ends, then the last one rises from there.
    down = 2 * at + 1
    while down < last:
        other = down + 1
        if other < last:
            below, beside = heap_end[down], heap_end[other]
            tie = below == beside
            if beside < below or (
                tie and request[heap_request[other], TOKEN] < request[heap_request[down], TOKEN]
            ):
                down = other
        heap_end[at] = heap_end[down]
        heap_request[at] = heap_request[down]
        at = down
        down = 2 * at + 1
    if at < last:
        _sift_up(heap_end, heap_request, request, at, end, q)


@_inlined
def end_row(k: Any, q: int, state: int, replica_id: int, site: int) -> None:
    """Write the row of a request that is over, and free its place."""
    c = k.crowd
    r = k.request[q]
    if state == OK and r[ATTEMPTS]:
        state = RETRIED
    row = k.rows[c[ROWS]]
    c[ROWS] += 1
    row[0] = r[NUMBER]
    row[1] = site
    row[2] = replica_id
    row[3] = r[TIER]
    row[4] = state
    row[5] = r[ARRIVED]
    row[6] = r[STARTED]
    row[7] = r[FIRST_TOKEN]
    row[8] = c[NOW]
    row[9] = r[PROMPT]
    row[10] = r[OUTPUT]
    row[11] = r[PREEMPTIONS]
    k.totals[state, 0] += 1
    k.totals[state, 1] += r[PROMPT]
    k.totals[state, 2] += r[OUTPUT]
    c[PREEMPTED] += r[PREEMPTIONS]
    r[SLOT] = UNUSED
    r[NEXT] = c[FREE_REQUEST]
    c[FREE_REQUEST] = q


@_inlined
def _leave_running(k: Any, s: int, q: int) -> None:
    r = k.replica[s]
    last = r[RUNNING] - 1
    r[RUNNING] = last
    place = k.request[q, PLACE]
    other = k.running[s, last]
    k.running[s, place] = other
    k.request[other, PLACE] = place


@_inlined
def _leave_decode(k: Any, s: int, q: int) -> None:
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    context = k.request[q, BASE] + r[GENERATION]
    phase = k.request[q, PHASE]
    k.phases[s, phase] -= 1
    k.phases[s, phase + size] -= 1
    r[DECODES] -= 1
    r[CONTEXT] -= context
    r[STALE] = 1
    at = 0
    while k.heap_request[s, at] != q:
        at += 1
    _heap_remove(k.heap_end[s], k.heap_request[s], k.request, r[HEAP], at)
    r[HEAP] -= 1
    k.request[q, TOKEN] = -1


@_inlined
def _prompt_done(k: Any, s: int, q: int, now: int) -> None:
    """Emit the token that a finished prompt gives, and go on to decode, hand over or end."""
    r = k.replica[s]
    request = k.request[q]
    size = k.crowd[BLOCK_TOKENS]
    if request[FIRST_TOKEN] == UNSEEN64:
        request[FIRST_TOKEN] = now
    request[EMITTED] += 1
    context = request[TARGET]
    remaining = request[OUTPUT] - request[EMITTED]
    if not remaining:
        _leave_running(k, s, q)
        r[FREE] += (context + size - 1) // size
        _done(k, s, q)
        return
    generation = r[GENERATION]
    phase = (generation - context) % size
    request[PHASE] = phase
    k.phases[s, phase] += 1
    k.phases[s, phase + size] += 1
    request[BASE] = context - generation
    request[END] = generation + remaining
    request[TOKEN] = r[JOINED]
    r[JOINED] += 1
    r[DECODES] += 1
    r[CONTEXT] += context
    _sift_up(k.heap_end[s], k.heap_request[s], k.request, r[HEAP], request[END], q)
    r[HEAP] += 1


@_inlined
def _done(k: Any, s: int, q: int) -> None:
    r = k.replica[s]
    r[LOAD] -= 1
    k.crowd[LOADED] -= 1
    end_row(k, q, OK, r[REPLICA_ID], r[SITE])


@_inlined
def _growth_blocks(k: Any, s: int, steps: int) -> Any:
    """Return the blocks that the decodes of a replica take over the next `steps` iterations."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    rounds = steps // size
    start = r[GENERATION] % size
    blocks = rounds * r[DECODES]
    for phase in range(start, start + steps - rounds * size):
        blocks += k.phases[s, phase]
    return blocks


@_inlined
def _finish(k: Any, s: int, now: int) -> None:
    """End a replica's planned iterations: tokens come out, requests finish."""
    r = k.replica[s]
    steps = r[STEPS]
    r[ITERATIONS] += steps
    r[PLANS] += 1
    if not r[STANDS]:
        decodes = r[DECODES]
        if decodes and not r[NEW_SEQUENCES]:
            _take(r, _growth_blocks(k, s, steps) - r[GROWN])
        r[CONTEXT] += steps * decodes
        generation = r[GENERATION] + steps
        r[GENERATION] = generation
        while r[HEAP] and k.heap_end[s, 0] <= generation:
            q = k.heap_request[s, 0]
            size = k.crowd[BLOCK_TOKENS]
            r[FREE] += (k.request[q, BASE] + generation + size - 1) // size
            _leave_decode(k, s, q)
            _leave_running(k, s, q)
            _done(k, s, q)
    for i in range(r[PREFILLED]):
        _prompt_done(k, s, k.prefilled[s, i], now)
    r[PREFILLED] = 0
    r[NEW_SEQUENCES] = 0
    r[STANDS] = 0
    r[GROWN] = 0
    r[PLAN_END] = NEVER64
    tree_set(k.ends, s, NEVER64)
    _call(k, s)


@_inlined
def _call(k: Any, s: int) -> None:
    if not k.replica[s, BOUNDARY]:
        k.replica[s, BOUNDARY] = 1
        k.boundary[k.crowd[BOUNDARIES]] = s
        k.crowd[BOUNDARIES] += 1


@_compiled
def _take(r: Any, blocks: int) -> None:
    r[FREE] -= blocks
    r[TAKEN] += blocks


@_compiled
def _last_running(k: Any, s: int, decoding: bool) -> Any:
    """Return the last of the worst tier in a batch, of those that decode only if `decoding`."""
    last = -1
    for i in range(k.replica[s, RUNNING]):
        q = k.running[s, i]
        if decoding and k.request[q, TOKEN] < 0:
            continue
        if last >= 0:
            tier = k.request[q, TIER] - k.request[last, TIER]
            if tier < 0 or (tier == 0 and k.request[q, PLACE_ORDER] < k.request[last, PLACE_ORDER]):
                continue
        last = q
    return last


@_inlined
def _short(k: Any, s: int) -> bool:
    """Whether some decode does not get the block that it asks for."""
    r = k.replica[s]
    phase = r[GENERATION] % k.crowd[BLOCK_TOKENS]
    need = k.phases[s, phase]
    if need != r[FREE]:
        return bool(need > r[FREE])
    if not k.crowd[SPARE_BLOCK] or not r[DECODES]:
        return False
    return bool(k.request[_last_running(k, s, True), PHASE] != phase)


@_compiled
def _preempt(k: Any, s: int) -> Any:
    """Send the last of the worst tier back to the front of its queue; return it."""
    c = k.crowd
    r = k.replica[s]
    size = c[BLOCK_TOKENS]
    q = _last_running(k, s, False)
    v = k.request[q]
    if v[TOKEN] >= 0:
        context = v[BASE] + r[GENERATION]
        blocks = (context + size - 1) // size
        v[EMITTED] = v[OUTPUT] - (v[END] - r[GENERATION])
        if r[GROWN] and v[PHASE] == r[GENERATION] % size:
            r[GROWN] -= 1
            blocks += 1
        _leave_decode(k, s, q)
    else:
        r[PARTIAL] = -1
        context = v[COMPUTED]
        blocks = ((v[TARGET] if c[WHOLE_PROMPT] else context) + size - 1) // size
    if c[KEEPS_BLOCKS]:
        v[HASHED] = context // size
        v[HELD] = blocks
        v[MARK] = r[TAKEN] + r[FREE]
    r[FREE] += blocks
    v[TARGET] = v[PROMPT] + v[EMITTED]
    v[COMPUTED] = 0
    v[PREEMPTIONS] += 1
    _leave_running(k, s, q)
    queue = k.waiting[s]
    tier = v[TIER]
    v[NEXT] = queue[2 * tier]
    if queue[2 * tier] < 0:
        queue[2 * tier + 1] = q
    queue[2 * tier] = q
    r[WAITING] += 1
    c[QUEUED] += 1
    return q


@_compiled
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


@_inlined
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


@_compiled
def _next_chunk(k: Any, s: int, budget: int) -> Any:
    """Plan the next chunk of the prompt that is partly done; return its tokens."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    q = r[PARTIAL]
    computed = k.request[q, COMPUTED]
    chunk = min(k.request[q, TARGET] - computed, budget)
    if not k.crowd[WHOLE_PROMPT]:
        want = (computed + chunk + size - 1) // size - (computed + size - 1) // size
        while want > r[FREE]:
            if _preempt(k, s) == q:
                return 0
        _take(r, want)
    r[PARTIAL] = -1
    _put_in(k, s, q, chunk)
    return chunk


@_inlined
def _admit_waiting(k: Any, s: int, now: int, budget: int) -> None:
    """Plan the first chunks of waiting requests, in order, until the first that cannot go."""
    c = k.crowd
    r = k.replica[s]
    size = c[BLOCK_TOKENS]
    longest = 0
    queue = k.waiting[s]
    tier = 0
    while r[WAITING] and budget > 0 and r[RUNNING] < r[MOST_SEQUENCES]:
        while queue[2 * tier] < 0:
            tier += 1
        q = queue[2 * tier]
        v = k.request[q]
        target = v[TARGET]
        again = 0
        if v[HASHED]:
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
        if (target + size - 1) // size + kept > r[FREE]:
            break
        queue[2 * tier] = v[NEXT]
        r[WAITING] -= 1
        c[QUEUED] -= 1
        k.running[s, r[RUNNING]] = q
        v[PLACE] = r[RUNNING]
        r[RUNNING] += 1
        if v[STARTED] == UNSEEN64:
            v[STARTED] = now
        c[LOOKED] += target
        if again:
            c[HIT] += again * size
            _find_again(k, s, q, again)
        v[HASHED] = 0
        held = target if c[WHOLE_PROMPT] else earlier + chunk
        _take(r, (held + size - 1) // size - again)
        _put_in(k, s, q, chunk)
        budget -= chunk


@_inlined
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
        alone_ps = k.tokens_ps[r[COST], decodes] + cost[SEQUENCE_PS] * decodes + cost[CONTEXT_PS] * context
        _set_decode_power(k, s, now, min(alone_ps, duration_ps), duration_ps)
    else:
        _meter_set(r, now, cost[PREFILL_MW])
    r[STALE] = 1
    r[STEPS] = 1
    r[FIRST_PS] = duration_ps
    r[GROWTH_PS] = 0
    r[PLAN_START] = now
    r[PLAN_END] = now + duration_ps


@_inlined
def _plan_decodes(k: Any, s: int, now: int, single: bool) -> None:
    """Plan a run of pure decode, of one iteration if `single`."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    cost = k.cost[r[COST]]
    decodes = r[DECODES]
    first = k.tokens_ps[r[COST], decodes] + cost[SEQUENCE_PS] * decodes + cost[CONTEXT_PS] * r[CONTEXT]
    growth = cost[CONTEXT_PS] * decodes
    steps = 1
    if not single:
        steps = k.heap_end[s, 0] - r[GENERATION]
        free = r[FREE] + r[GROWN] - k.crowd[SPARE_BLOCK]
        if (steps // size + 1) * decodes > free:
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
        _set_decode_power(k, s, now, 0, 0)


@_inlined
def _schedule(k: Any, s: int, now: int) -> None:
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
    if c[PROMPTS_APART]:
        _admit_waiting(k, s, now, c[BUDGET])
        if not r[NEW_SEQUENCES]:
            while _short(k, s):
                _preempt(k, s)
                made_room = True
            if made_room and not r[RUNNING]:
                made_room = False
                _admit_waiting(k, s, now, c[BUDGET])
        r[STANDS] = 1 if r[NEW_SEQUENCES] else 0
    else:
        while _short(k, s):
            _preempt(k, s)
            made_room = True
        budget = c[BUDGET] - r[DECODES]
        if r[PARTIAL] >= 0 or r[WAITING]:
            # Decodes have their blocks for the next token before anybody else asks for some.
            r[GROWN] = k.phases[s, r[GENERATION] % c[BLOCK_TOKENS]]
            _take(r, r[GROWN])
        if r[PARTIAL] >= 0 and budget:
            before = r[RUNNING]
            budget -= _next_chunk(k, s, budget)
            made_room = made_room or r[RUNNING] < before
        # Where nothing is left that could run, the queue's head goes in at once.
        made_room = made_room and r[RUNNING] > 0
        if r[WAITING] and (not made_room or c[ADMITS_AFTER_PREEMPTION]):
            _admit_waiting(k, s, now, budget)
    if r[NEW_SEQUENCES]:
        _plan_prompts(k, s, now)
    elif r[DECODES]:
        _plan_decodes(k, s, now, made_room and r[WAITING] > 0)
    else:
        r[PLAN_END] = NEVER64
        r[STEPS] = 0
        _meter_set(r, now, k.cost[r[COST], IDLE_MW])
        r[STALE] = 1


@_compiled
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


@_inlined
def _enqueue(k: Any, s: int, q: int, after_ps: int) -> None:
    """Let a request wait at a replica, and cut the leap under way if it could be admitted sooner."""
    r = k.replica[s]
    request = k.request[q]
    r[LOAD] += 1
    k.crowd[LOADED] += 1
    request[SLOT] = s
    request[PLACE_ORDER] = r[ORDER]
    r[ORDER] += 1
    queue = k.waiting[s]
    tier = request[TIER]
    is_head = True
    if r[WAITING]:
        for better in range(tier + 1):
            if queue[2 * better] >= 0:
                is_head = False
                break
    request[NEXT] = -1
    if queue[2 * tier] < 0:
        queue[2 * tier] = q
    else:
        k.request[queue[2 * tier + 1], NEXT] = q
    queue[2 * tier + 1] = q
    r[WAITING] += 1
    k.crowd[QUEUED] += 1
    if r[PLAN_END] == NEVER64:
        _call(k, s)
    elif is_head and r[STEPS] > 1 and r[RUNNING] < r[MOST_SEQUENCES]:
        steps = _steps_within(r[FIRST_PS], r[GROWTH_PS], after_ps - r[PLAN_START], r[STEPS]) + 1
        if steps < r[STEPS]:
            r[STEPS] = steps
            r[PLAN_END] = r[PLAN_START] + steps * r[FIRST_PS] + r[GROWTH_PS] * (steps * (steps - 1) // 2)
            tree_set(k.ends, s, r[PLAN_END])


@_inlined
def _pick(k: Any, cell: int) -> Any:
    """Return the slot that the router gives the next request of a cell; -1 if none is open to it."""
    candidates = k.entry[cell]
    count = k.entries[cell]
    if not count:
        return -1
    site = 0
    c = k.crowd
    if c[SHARED]:
        found = k.scratch
        weight = k.shares[0]
        credit = k.shares[1]
        sites = 0
        total = 0.0
        for i in range(count):
            here = k.replica[candidates[i], SITE]
            known = weight[here] <= 0.0
            for j in range(sites):
                if found[j] == here:
                    known = True
                    break
            if not known:
                found[sites] = here
                sites += 1
                total += weight[here]
        if not sites:
            return -1
        chosen = found[0]
        for j in range(sites):
            credit[found[j]] += weight[found[j]] / total
        for j in range(1, sites):
            if credit[found[j]] > credit[chosen]:
                chosen = found[j]
        credit[chosen] -= 1.0
        site = chosen + 1
        open_here = 0
        for i in range(count):
            if k.replica[candidates[i], SITE] == chosen:
                found[open_here] = candidates[i]
                open_here += 1
        candidates = found
        count = open_here
    turn = k.turns[cell, site]
    k.turns[cell, site] = turn + 1
    if c[ROUTER] == ROUND_ROBIN:
        return int(candidates[turn % count])
    best = candidates[0]
    least = k.replica[best, LOAD]
    for i in range(1, count):
        load = k.replica[candidates[i], LOAD]
        if load < least:
            least = load
            best = candidates[i]
    return int(best)


@_compiled
def put_last(queue: Any, request: Any, tier: int, q: int) -> None:
    """Put a request at the end of a tier's queue."""
    request[q, NEXT] = -1
    if queue[2 * tier] < 0:
        queue[2 * tier] = q
    else:
        request[queue[2 * tier + 1], NEXT] = q
    queue[2 * tier + 1] = q


@_compiled
def _fits(c: Any, r: Any, tokens: int) -> bool:
    """Return whether a request that has so many tokens in the end could run on a replica alone."""
    if not c[CHUNKED] and tokens > c[BUDGET]:
        return False
    size = c[BLOCK_TOKENS]
    kept = r[WATERMARK] if c[WATERMARK_ALWAYS] else 0
    return bool((tokens + size - 1) // size + kept <= r[BLOCKS])


@_inlined
def _route(k: Any, q: int, after_ps: int) -> None:
    """Send a request to a replica, to the lobby if none is open, or away."""
    c = k.crowd
    request = k.request[q]
    bound = c[MOST_QUEUED]
    cell = request[NUMBER] % c[CELLS] if c[CELLS] > 1 else 0
    s = _pick(k, cell)
    if s < 0:
        if bound >= 0 and c[IN_LOBBY] >= bound:
            end_row(k, q, SHED, -1, -1)
        else:
            request[SLOT] = LOBBY
            put_last(k.doors[0], k.request, request[TIER], q)
            c[IN_LOBBY] += 1
        return
    r = k.replica[s]
    fits = _fits(c, r, request[PROMPT] + request[OUTPUT] - 1)
    if not fits or (bound >= 0 and r[WAITING] >= bound):
        end_row(k, q, SHED, r[REPLICA_ID], r[SITE])
        return
    _enqueue(k, s, q, after_ps)


@_compiled
def begin(request: Any) -> None:
    """Let a request begin from nothing: no token computed, none emitted."""
    request[STARTED] = UNSEEN64
    request[FIRST_TOKEN] = UNSEEN64
    request[EMITTED] = 0
    request[COMPUTED] = 0
    request[TARGET] = request[PROMPT]
    request[TOKEN] = -1
    request[HASHED] = 0
    request[HELD] = 0


@_inlined
def _admit(k: Any, now: int) -> None:
    """Take in the request that arrives now."""
    c = k.crowd
    q = c[FREE_REQUEST]
    request = k.request[q]
    c[FREE_REQUEST] = request[NEXT]
    coming = k.arriving[c[ARRIVAL]]
    c[ARRIVAL] += 1
    request[NUMBER] = coming[0]
    request[ARRIVED] = now
    request[PROMPT] = coming[1]
    request[OUTPUT] = coming[2]
    request[TIER] = coming[3]
    request[PREEMPTIONS] = 0
    request[ATTEMPTS] = 0
    begin(request)
    c[REQUESTS_IN] += 1
    c[PROMPTS_IN] += coming[1]
    c[OUTPUTS_IN] += coming[2]
    _route(k, q, now - 1)


@_compiled
def _deal(k: Any, now: int) -> None:
    """Deal out what waits at the door."""
    c = k.crowd
    lobby = k.doors[0]
    held = k.doors[1]
    for i in range(held.size):
        held[i] = lobby[i]
        lobby[i] = -1
    c[IN_LOBBY] = 0
    for tier in range(held.size // 2):
        q = held[2 * tier]
        while q >= 0:
            following = k.request[q, NEXT]
            _route(k, q, now)
            q = following


@_compiled
def advance(k: Any, what: int, stop_ps: int) -> int:
    """Go on up to all events at `stop_ps`, or to where Python must act; return why it came back.

    Parameters
    ----------
    k
        The state, changed in place.
    what
        ADVANCE; PLAN lets replicas that commands called plan on; DEAL empties the door first.
    """
    c = k.crowd
    if what == DEAL:
        _deal(k, c[NOW])
    if what != ADVANCE:
        c[STAGE] = PLANNING
    while True:
        if c[STAGE] == NEXT_EVENT:
            if c[UNKNOWN]:
                return POWER_UNKNOWN
            if c[DRAINED]:
                return REPLICA_DRAINED
            if what != ADVANCE:
                return REACHED
            if c[ROWS] >= c[ROWS_WANTED]:
                return ROWS_LIMIT
            if c[ARRIVAL] < c[ARRIVALS]:
                arrival = k.arrived[c[ARRIVAL]]
            elif c[KNOWN] < 0:
                return MORE_ARRIVALS
            else:
                arrival = c[KNOWN]
            at = min(k.ends[1], arrival)
            c[EVENT] = at
            if at > stop_ps:
                return REACHED
            c[NOW] = at
            if c[ARRIVAL] >= c[ARRIVALS] and at == c[KNOWN]:
                return NOBODY_KNOWN
            c[STAGE] = ENDS
        now = c[NOW]
        if c[STAGE] == ENDS:
            while k.ends[1] == now:
                s = _tree_first(k.ends)
                if c[ROWS] + k.replica[s, RUNNING] > k.rows.shape[0]:
                    return MORE_ROWS
                _finish(k, s, now)
            c[STAGE] = ARRIVING
        if c[STAGE] == ARRIVING:
            while True:
                if c[ARRIVAL] >= c[ARRIVALS]:
                    if c[KNOWN] < 0:
                        return MORE_ARRIVALS
                    break
                if k.arrived[c[ARRIVAL]] != now:
                    break
                if c[ROWS] >= k.rows.shape[0]:
                    return MORE_ROWS
                if c[FREE_REQUEST] < 0:
                    return MORE_REQUESTS
                _admit(k, now)
            c[STAGE] = PLANNING
        for i in range(c[BOUNDARIES]):
            s = k.boundary[i]
            if not k.replica[s, BOUNDARY]:
                continue
            _schedule(k, s, now)
            tree_set(k.ends, s, k.replica[s, PLAN_END])
            r = k.replica[s]
            if r[PLAN_END] == NEVER64 and r[DRAINING] and not r[LOAD]:
                c[DRAINED] = 1
        c[BOUNDARIES] = 0
        c[STAGE] = NEXT_EVENT
