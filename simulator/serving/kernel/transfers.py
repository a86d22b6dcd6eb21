"""Prefill apart from decode: prompts that are handed over, and their KV on its way.

The readable forms are `twin.TwinCrowd` and `kv_transfers.KvTransfers`. A prompt that was read counts
at two replicas: its blocks stay on the one that read it, its sender, while it waits at the one that
will decode, its receiver. There it gets blocks in its turn; only then is its KV sent, one prompt of
a sender after the other. Services that are not apart come here never.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.serving.kernel.batch import call, end_row, leave_running, take
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.ends import tree_first, tree_set
from simulator.serving.kernel.groups import least_busy
from simulator.serving.kernel.prefixes import give_up, receive, room_for_names, turn
from simulator.serving.kernel.routing import able, cut, line_up, pick, put_last
from simulator.serving.kernel.state import compiled, inlined

#: A transfer that takes longer ends later than can be counted: 92 days. [ps]
FAR_PS = 8e18


@inlined
def _send_next(k: Any, s: int, now: int) -> None:
    """Begin the transfer of what a replica has to send first, if there is something."""
    q = k.lines[s, 2 * LINK]
    end = NEVER64
    if q >= 0:
        span_ps = k.request[q, TARGET] * k.flow[KV_BYTES] / k.flow[BYTES_PER_S] * 1e12
        end = now + int(np.rint(span_ps)) if span_ps < FAR_PS else NEVER64 - 1
    tree_set(k.links, s, end)


@inlined
def _count_flow(k: Any, sent_bytes: float, now: int) -> None:
    """Count what is sent into its epoch; the one before is remembered."""
    c = k.crowd
    flow = k.flow
    epoch = now // c[EPOCH_PS]
    if not c[EPOCHS] or epoch != c[EPOCH]:
        follows = c[EPOCHS] > 0 and epoch == c[EPOCH] + 1
        flow[SENT_BEFORE] = flow[SENT]
        flow[SENT] = 0.0
        c[EPOCHS] = 2 if follows else 1
        c[EPOCH] = epoch
    flow[SENT] += sent_bytes


@compiled
def reserve(k: Any, s: int, q: int, now: int) -> None:
    """Give a prompt its blocks where it will be decoded, and queue its KV at its sender."""
    v = k.request[q]
    r = k.replica[s]
    if k.crowd[PREFIXES]:
        receive(k, s, q)
    else:
        take(r, (v[TARGET] + k.crowd[BLOCK_TOKENS] - 1) // k.crowd[BLOCK_TOKENS])
    v[TOKEN] = COMING
    v[COMING_PLACE] = r[JOINED]
    r[JOINED] += 1
    r[DUE] += 1
    _count_flow(k, v[TARGET] * k.flow[KV_BYTES], now)
    # A group's cache lies on its own GPUs, which have ports of their own.
    sender = v[SLOT]
    idle = k.lines[sender, 2 * LINK] < 0
    put_last(k.lines[sender], k.request, LINK, q)
    if idle:
        _send_next(k, sender, now)


@inlined
def _release(k: Any, s: int, q: int) -> None:
    """Give a prompt's blocks back where it was read."""
    at = k.replica[s, HEAD]
    home = k.replica[at]
    if k.crowd[PREFIXES]:
        give_up(k, s, q, k.request[q, TARGET])
    else:
        k.replica[s, FREE] += (k.request[q, TARGET] + k.crowd[BLOCK_TOKENS] - 1) // k.crowd[BLOCK_TOKENS]
    home[LOAD] -= 1
    k.crowd[LOADED] -= 1
    if home[PLAN_END] == NEVER64:
        call(k, at)


@compiled
def arrive(k: Any, now: int) -> bool:
    """Let every request whose KV has come by now go on where it came; False: a sender lacks shelves."""
    c = k.crowd
    while k.links[1] == now:
        sender = tree_first(k.links)
        if c[PREFIXES] and not room_for_names(k, sender, sender + 1):
            return False
        q = k.lines[sender, 2 * LINK]
        v = k.request[q]
        k.lines[sender, 2 * LINK] = v[NEXT]
        _send_next(k, sender, now)
        c[UNDER_WAY] -= 1
        _release(k, v[SLOT], q)
        if c[PREFIXES]:
            turn(k, q)
        s = v[RECEIVER]
        r = k.replica[s]
        at = r[HEAD]
        v[TOKEN] = -1
        v[SLOT] = s
        put_last(k.lines[s], k.request, CAME, q)
        r[DUE] -= 1
        r[READY] += 1
        c[QUEUED] += 1
        c[BETWEEN] -= 1
        if k.replica[at, PLAN_END] == NEVER64:
            call(k, at)
        elif r[PLAN_END] == NEVER64 or r[RUNNING] < r[MOST_SEQUENCES]:
            cut(k, at, now - 1)
    return True


@compiled
def forgo(k: Any) -> bool:
    """Take back the blocks that wait for KV which was lost; False: names need more shelves.

    It is that of the request in `crowd[LOST]`. What stands in no block yet is named all the same, as
    it was when the blocks were taken.
    """
    q = k.crowd[LOST]
    s = k.request[q, RECEIVER]
    if not room_for_names(k, s, s + 1):
        return False
    turn(k, q)
    give_up(k, s, q, k.request[q, COMPUTED])
    turn(k, q)
    return True


@compiled
def _hand_over(k: Any, q: int, after_ps: int) -> None:
    """Let a decode replica wait for a prompt that was read; without one the prompt is parked."""
    c = k.crowd
    v = k.request[q]
    # Its prompt is remembered; the first token comes from one decode step over the last one.
    v[COMPUTED] = v[TARGET] - 1
    v[RECEIVER] = -1
    stage = k.entries.size - 1
    count = able(k, v[PROMPT], v[OUTPUT])
    s = pick(k, stage, k.scratch[1], count, -1)
    if s >= 0:
        if c[GROUPS] > 1:
            s = least_busy(k, s)
        v[RECEIVER] = s
        c[BETWEEN] += 1
        line_up(k, s, q, after_ps)
    elif k.entries[stage] and not count:
        c[UNDER_WAY] -= 1
        _release(k, v[SLOT], q)
        end_row(k, q, FAILED, -1, -1)
    else:
        put_last(c[PARKED : LAST_PARKED + 1], k.request, 0, q)


@compiled
def deal_parked(k: Any, now: int) -> None:
    """Hand over again what no decode replica was there for."""
    c = k.crowd
    q = c[PARKED]
    c[PARKED] = -1
    while q >= 0:
        following = k.request[q, NEXT]
        _hand_over(k, q, now)
        q = following


@compiled
def finish_reading(k: Any, s: int, now: int) -> None:
    """End the planned iteration of a prefill replica, or a group of one; what it has read is handed over."""
    r = k.replica[s]
    r[ITERATIONS] += r[STEPS]
    r[PLANS] += 1
    r[GENERATION] += r[STEPS]
    count = r[PREFILLED]
    r[PREFILLED] = 0
    r[NEW_SEQUENCES] = 0
    r[STANDS] = 0
    r[GROWN] = 0
    r[PLAN_END] = NEVER64
    for i in range(count):
        q = k.prefilled[s, i]
        leave_running(k, s, q)
        k.request[q, TOKEN] = HANDED
        k.crowd[UNDER_WAY] += 1
        k.request[q, HANDED_PLACE] = r[JOINED]
        r[JOINED] += 1
        _hand_over(k, q, now - 1)


@compiled
def in_order(slots: Any, count: int) -> None:
    """Sort the first slots, a handful: of several that give blocks at one instant the lowest sends first."""
    for i in range(1, count):
        slot = slots[i]
        at = i
        while at and slots[at - 1] > slot:
            slots[at] = slots[at - 1]
            at -= 1
        slots[at] = slot
