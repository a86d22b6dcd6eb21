"""Batches of the first serving engines, as `serving.static_batch` has them: formed, and run to the end."""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.batch import done, leave_running
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.ends import heap_remove, sift_up
from simulator.serving.kernel.state import compiled


@compiled
def form(k: Any, s: int, now: int) -> None:
    """Take waiting requests, in order, into a new batch, whose prompts are padded to the longest."""
    c = k.crowd
    r = k.replica[s]
    size = c[BLOCK_TOKENS]
    queue = k.waiting[s]
    prompt = 0
    output = 0
    count = 0
    for tier in range(queue.size // 2):
        while queue[2 * tier] >= 0:
            q = queue[2 * tier]
            v = k.request[q]
            longest = max(prompt, v[PROMPT])
            most = max(output, v[OUTPUT])
            crowded = count == r[MOST_SEQUENCES] or (count + 1) * longest > c[BUDGET]
            if crowded or (count + 1) * ((longest + most - 1 + size - 1) // size) > r[BLOCKS]:
                break
            prompt = longest
            output = most
            queue[2 * tier] = v[NEXT]
            k.running[s, count] = q
            v[PLACE] = count
            v[STARTED] = now
            k.prefilled[s, count] = q
            count += 1
        if queue[2 * tier] >= 0:
            break
    r[WAITING] -= count
    c[QUEUED] -= count
    r[RUNNING] = count
    r[PREFILLED] = count
    r[PLACES] = count
    r[LONGEST] = prompt
    r[NEW_SEQUENCES] = count
    r[NEW_TOKENS] = count * prompt
    r[NEW_PAIRS] = count * (prompt * (prompt + 1) // 2)
    r[FREE] -= count * ((prompt + output - 1 + size - 1) // size)


@compiled
def finish_batch(k: Any, s: int, now: int) -> None:
    """Let tokens come out; the batch goes when its last request is over."""
    r = k.replica[s]
    filled = r[NEW_SEQUENCES] > 0
    generation = r[GENERATION] + r[STEPS]
    r[GENERATION] = generation
    r[CONTEXT] += r[STEPS] * r[DECODES]
    while r[HEAP] and k.heap_end[s, 0] <= generation:
        q = k.heap_request[s, 0]
        heap_remove(k.heap_end[s], k.heap_request[s], k.request, r[HEAP], 0)
        r[HEAP] -= 1
        k.request[q, TOKEN] = -1
        leave_running(k, s, q)
        done(k, s, q)
    for i in range(r[PREFILLED]):
        q = k.prefilled[s, i]
        v = k.request[q]
        if v[FIRST_TOKEN] == UNSEEN64:
            v[FIRST_TOKEN] = now
        v[EMITTED] += 1
        remaining = v[OUTPUT] - v[EMITTED]
        if not remaining:
            leave_running(k, s, q)
            done(k, s, q)
            continue
        v[BASE] = r[LONGEST] - generation
        v[END] = generation + remaining
        v[TOKEN] = r[JOINED]
        r[JOINED] += 1
        sift_up(k.heap_end[s], k.heap_request[s], k.request, r[HEAP], v[END], q)
        r[HEAP] += 1
    r[PREFILLED] = 0
    if not r[RUNNING]:
        r[DECODES] = 0
        r[CONTEXT] = 0
        r[FREE] = r[BLOCKS]
        r[STALE] = 1
    elif filled:
        r[DECODES] = r[PLACES]
        r[CONTEXT] = r[PLACES] * r[LONGEST]
