"""Who is in a replica's batch: tokens come out, requests end, and are preempted."""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.ends import heap_remove, sift_up
from simulator.serving.kernel.prefixes import give, give_up, grow
from simulator.serving.kernel.state import compiled, inlined, rarely


@compiled
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


@inlined
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
    # Without a hint to the optimizer, which Python cannot read: a command ends requests, too.
    if FEATURED and c[PREFIXES] != 0:
        row[12] = max(0, k.prefixes.sharer[q, CACHED])
    k.totals[state, 0] += 1
    k.totals[state, 1] += r[PROMPT]
    k.totals[state, 2] += r[OUTPUT]
    c[PREEMPTED] += r[PREEMPTIONS]
    r[SLOT] = UNUSED
    r[NEXT] = c[FREE_REQUEST]
    c[FREE_REQUEST] = q


@inlined
def call(k: Any, s: int) -> None:
    """Let a replica plan on before time moves."""
    if not k.replica[s, BOUNDARY]:
        k.replica[s, BOUNDARY] = 1
        k.boundary[k.crowd[BOUNDARIES]] = s
        k.crowd[BOUNDARIES] += 1


@compiled
def take(r: Any, blocks: int) -> None:
    """Take blocks from the head of a replica's free queue."""
    r[FREE] -= blocks
    r[TAKEN] += blocks


@inlined
def leave_running(k: Any, s: int, q: int) -> None:
    """Take a request out of the batch."""
    r = k.replica[s]
    last = r[RUNNING] - 1
    r[RUNNING] = last
    place = k.request[q, PLACE]
    if FEATURED and (rarely(k.crowd[PREFIXES] != 0) or rarely(k.crowd[DRAFTS] != 0)):
        # Decodes take blocks and end in order of admission, and which is first matters.
        for after in range(place, last):
            other = k.running[s, after + 1]
            k.running[s, after] = other
            k.request[other, PLACE] = after
        return
    other = k.running[s, last]
    k.running[s, place] = other
    k.request[other, PLACE] = place


@inlined
def leave_decode(k: Any, s: int, q: int) -> None:
    """Let a request decode no more; its blocks are the caller's."""
    r = k.replica[s]
    size = k.crowd[BLOCK_TOKENS]
    r[DECODES] -= 1
    r[CONTEXT] -= k.request[q, BASE] + r[GENERATION]
    r[STALE] = 1
    if FEATURED and rarely(k.crowd[DRAFTS] != 0):
        k.request[q, TOKEN] = -1
        return
    phase = k.request[q, PHASE]
    k.phases[s, phase] -= 1
    k.phases[s, phase + size] -= 1
    at = 0
    while k.heap_request[s, at] != q:
        at += 1
    heap_remove(k.heap_end[s], k.heap_request[s], k.request, r[HEAP], at)
    r[HEAP] -= 1
    k.request[q, TOKEN] = -1


@inlined
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
        leave_running(k, s, q)
        if FEATURED and rarely(k.crowd[PREFIXES] != 0):
            give(k, s, q)
        else:
            r[FREE] += (context + size - 1) // size
        done(k, s, q)
        return
    generation = r[GENERATION]
    request[BASE] = context - generation
    request[END] = generation + remaining
    request[TOKEN] = r[JOINED]
    r[JOINED] += 1
    r[DECODES] += 1
    r[CONTEXT] += context
    if FEATURED and rarely(k.crowd[DRAFTS] != 0):
        request[PHASE] = (context + size - 1) // size
        return
    phase = (generation - context) % size
    request[PHASE] = phase
    k.phases[s, phase] += 1
    k.phases[s, phase + size] += 1
    sift_up(k.heap_end[s], k.heap_request[s], k.request, r[HEAP], request[END], q)
    r[HEAP] += 1


@inlined
def done(k: Any, s: int, q: int) -> None:
    """See a request off whose last token is out."""
    home = k.replica[k.replica[s, HEAD] if FEATURED else s]
    home[LOAD] -= 1
    k.crowd[LOADED] -= 1
    end_row(k, q, OK, home[REPLICA_ID], home[SITE])


@inlined
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


@inlined
def finish_decodes(k: Any, s: int) -> None:
    """Let the tokens of a replica's planned iterations come out: answers end."""
    r = k.replica[s]
    if r[STANDS]:
        return
    steps = r[STEPS]
    decodes = r[DECODES]
    if decodes and not r[NEW_SEQUENCES]:
        more = _growth_blocks(k, s, steps) - r[GROWN]
        if FEATURED and rarely(k.crowd[PREFIXES] != 0):
            if more:
                grow(k, s, r[GENERATION] + steps)
        else:
            take(r, more)
    r[CONTEXT] += steps * decodes
    generation = r[GENERATION] + steps
    r[GENERATION] = generation
    while r[HEAP] and k.heap_end[s, 0] <= generation:
        q = k.heap_request[s, 0]
        if FEATURED and rarely(k.crowd[PREFIXES] != 0):
            give(k, s, q)
        else:
            size = k.crowd[BLOCK_TOKENS]
            r[FREE] += (k.request[q, BASE] + generation + size - 1) // size
        leave_decode(k, s, q)
        leave_running(k, s, q)
        done(k, s, q)


@inlined
def finish_prompts(k: Any, s: int, now: int) -> None:
    """Let prompts whose last chunk is through go on, and the replica stand at the boundary."""
    r = k.replica[s]
    r[ITERATIONS] += r[STEPS]
    r[PLANS] += 1
    for i in range(r[PREFILLED]):
        _prompt_done(k, s, k.prefilled[s, i], now)
    r[PREFILLED] = 0
    r[NEW_SEQUENCES] = 0
    r[STANDS] = 0
    r[GROWN] = 0
    r[PLAN_END] = NEVER64


@compiled
def last_running(k: Any, s: int, decoding: bool) -> Any:
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


@inlined
def short(k: Any, s: int) -> bool:
    """Whether some decode does not get the block that it asks for."""
    r = k.replica[s]
    phase = r[GENERATION] % k.crowd[BLOCK_TOKENS]
    need = k.phases[s, phase]
    if need != r[FREE]:
        return bool(need > r[FREE])
    if not k.crowd[SPARE_BLOCK] or not r[DECODES]:
        return False
    return bool(k.request[last_running(k, s, True), PHASE] != phase)


@compiled
def preempt(k: Any, s: int, ahead: int) -> Any:
    """Send the last of the worst tier back to the front of its queue; return it.

    `ahead` is 1 where decodes have their blocks for the next token already.
    """
    c = k.crowd
    r = k.replica[s]
    size = c[BLOCK_TOKENS]
    q = last_running(k, s, False)
    v = k.request[q]
    if v[TOKEN] >= 0:
        context = v[BASE] + r[GENERATION]
        blocks = v[PHASE] if FEATURED and c[DRAFTS] else (context + size - 1) // size
        v[EMITTED] = v[OUTPUT] - (v[END] - r[GENERATION])
        if r[GROWN] and v[PHASE] == r[GENERATION] % size:
            r[GROWN] -= 1
            blocks += 1
        leave_decode(k, s, q)
        named = context + ahead
    else:
        r[PARTIAL] = -1
        context = named = v[COMPUTED]
        blocks = ((v[TARGET] if c[WHOLE_PROMPT] else context) + size - 1) // size
    if FEATURED and c[PREFIXES]:
        give_up(k, s, q, named)
    else:
        if c[KEEPS_BLOCKS]:
            v[HASHED] = context // size
            v[HELD] = blocks
            v[MARK] = r[TAKEN] + r[FREE]
        r[FREE] += blocks
    v[TARGET] = v[PROMPT] + v[EMITTED]
    v[COMPUTED] = 0
    v[PREEMPTIONS] += 1
    leave_running(k, s, q)
    queue = k.waiting[s]
    tier = v[TIER]
    v[NEXT] = queue[2 * tier]
    if queue[2 * tier] < 0:
        queue[2 * tier + 1] = q
    queue[2 * tier] = q
    r[WAITING] += 1
    c[QUEUED] += 1
    return q
