"""Where requests go: which replica takes one, the door where they wait if none is open, and arrivals."""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.batch import begin, call, end_row
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.ends import steps_within, tree_set
from simulator.serving.kernel.groups import keep_pace, least_busy, waiting_in
from simulator.serving.kernel.prefixes import begin_sharing, remembering
from simulator.serving.kernel.state import compiled, inlined, rarely


@inlined
def cut(k: Any, s: int, after_ps: int) -> None:
    """End the leap under way at its first boundary later than `after_ps`."""
    r = k.replica[s]
    if r[STEPS] > 1:
        steps = steps_within(r[FIRST_PS], r[GROWTH_PS], after_ps - r[PLAN_START], r[STEPS]) + 1
        if steps < r[STEPS]:
            r[STEPS] = steps
            r[PLAN_END] = r[PLAN_START] + steps * r[FIRST_PS] + r[GROWTH_PS] * (steps * (steps - 1) // 2)
            if FEATURED and rarely(k.crowd[GROUPS] > 1):
                keep_pace(k, s)
            tree_set(k.ends, s, r[PLAN_END])


@inlined
def line_up(k: Any, s: int, q: int, after_ps: int) -> None:
    """Let a request wait at a replica, and cut the leap under way if it could be admitted sooner."""
    r = k.replica[s]
    at = r[HEAD] if FEATURED else s
    home = k.replica[at]
    request = k.request[q]
    home[LOAD] += 1
    k.crowd[LOADED] += 1
    request[PLACE_ORDER] = home[ORDER]
    home[ORDER] += 1
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
    if home[PLAN_END] == NEVER64:
        call(k, at)
    elif r[PLAN_END] == NEVER64 or (is_head and r[RUNNING] < r[MOST_SEQUENCES]):
        cut(k, at, after_ps)


@compiled
def filled(k: Any, s: int, at: int) -> float:
    """Return the share of a replica's (or a group's) KV blocks that are in use inside its plan."""
    c = k.crowd
    r = k.replica[s]
    used = r[BLOCKS] - r[FREE]
    if r[PLAN_END] != NEVER64 and not r[NEW_SEQUENCES] and not c[UNTIL_DONE] and not c[DRAFTS]:
        begun = r[STEPS]
        if begun > 1:
            begun = min(begun, steps_within(r[FIRST_PS], r[GROWTH_PS], at - r[PLAN_START], begun) + 1)
        if begun > 0:
            size = c[BLOCK_TOKENS]
            start = r[GENERATION] % size
            used += begun // size * r[DECODES] - r[GROWN]
            for phase in range(start, start + begun % size):
                used += k.phases[s, phase]
    return float(used / r[BLOCKS])


@compiled
def emptiest(k: Any, candidates: Any, count: int, at: int) -> int:
    """Return the candidate whose KV blocks are least in use; of equals the least loaded, the lowest slot."""
    best = candidates[0]
    least = 2.0
    for i in range(count):
        s = candidates[i]
        share = 0.0
        if FEATURED and k.crowd[GROUPS] > 1:
            for group in range(s + 1, s + 1 + k.crowd[GROUPS]):
                share = max(share, filled(k, group, at))
        else:
            share = filled(k, s, at)
        if share < least or (share == least and k.replica[s, LOAD] < k.replica[best, LOAD]):
            best = s
            least = share
    return int(best)


@inlined
def pick(k: Any, stage: int, candidates: Any, count: int, q: int) -> Any:
    """Return the slot that the router gives the next request of a stage; -1 if none is open to it.

    Parameters
    ----------
    stage
        A row of `k.turns`.
    candidates, count
        Open slots, ascending, and how many.
    q
        The request; -1 where it does not matter what replicas remember of it.
    """
    if not count:
        return -1
    site = 0
    c = k.crowd
    if rarely(c[SHARED] != 0):
        found = k.scratch[0]
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
    turn = k.turns[stage, site]
    k.turns[stage, site] = turn + 1
    if c[ROUTER] == ROUND_ROBIN:
        return int(candidates[turn % count])
    if FEATURED and rarely(c[ROUTER] == PREFIX_AWARE):
        return remembering(k, candidates, count, q)
    if rarely(c[ROUTER] == LEAST_KV):
        return emptiest(k, candidates, count, c[NOW])
    best = candidates[0]
    least = k.replica[best, LOAD]
    for i in range(1, count):
        load = k.replica[candidates[i], LOAD]
        if load < least:
            least = load
            best = candidates[i]
    return int(best)


@compiled
def put_last(queue: Any, request: Any, tier: int, q: int) -> None:
    """Put a request at the end of a tier's queue."""
    request[q, NEXT] = -1
    if queue[2 * tier] < 0:
        queue[2 * tier] = q
    else:
        request[queue[2 * tier + 1], NEXT] = q
    queue[2 * tier + 1] = q


@compiled
def fits(c: Any, r: Any, prompt: int, output: int) -> bool:
    """Return whether a request of this size could run on a replica alone."""
    tokens = prompt + output - 1 + c[DRAFTS]
    if not c[CHUNKED] and (prompt if c[UNTIL_DONE] else tokens) > c[BUDGET]:
        return False
    size = c[BLOCK_TOKENS]
    kept = r[WATERMARK] if c[WATERMARK_ALWAYS] else 0
    return bool((tokens + size - 1) // size + kept <= r[BLOCKS])


@inlined
def able(k: Any, prompt: int, output: int) -> Any:
    """Note the open decode replicas that could run a request alone in `k.scratch[1]`; return how many."""
    last = k.entries.size - 1
    found = k.scratch[1]
    count = 0
    for i in range(k.entries[last]):
        s = k.entry[last, i]
        if fits(k.crowd, k.replica[s], prompt, output):
            found[count] = s
            count += 1
    return count


@compiled
def _could_go_on(k: Any, prompt: int, output: int) -> bool:
    """Return whether a prompt that a prefill replica reads could be decoded anywhere, as far as is known."""
    return bool(not k.entries[k.entries.size - 1] or able(k, prompt, output) > 0)


@inlined
def _send(k: Any, q: int, s: int, after_ps: int) -> None:
    """Let a request wait at a replica, or send it away if too many do or it never fits."""
    c = k.crowd
    request = k.request[q]
    r = k.replica[s]
    waiting = r[WAITING]
    if FEATURED and rarely(c[GROUPS] > 1):
        waiting = waiting_in(k, s)
    prompt = request[PROMPT]
    output = request[OUTPUT]
    if FEATURED and rarely(r[ROLE] == PREFILL):
        runs = fits(c, r, prompt, 1) and _could_go_on(k, prompt, output)
    else:
        runs = fits(c, r, prompt, output)
    bound = c[MOST_QUEUED]
    if rarely(not runs) or (bound >= 0 and waiting >= bound):
        end_row(k, q, SHED, r[REPLICA_ID], r[SITE])
        return
    if FEATURED and rarely(c[GROUPS] > 1):
        s = least_busy(k, s)
    request[SLOT] = s
    c[QUEUED] += 1
    line_up(k, s, q, after_ps)


@compiled
def _with_room(k: Any, cell: int) -> int:
    """Note the slots of a cell that may get another request in `k.scratch[1]`; return how many."""
    most = k.crowd[MOST_IN_FLIGHT]
    found = k.scratch[1]
    count = 0
    for i in range(k.entries[cell]):
        s = k.entry[cell, i]
        if k.replica[s, LOAD] < most:
            found[count] = s
            count += 1
    return count


@inlined
def _place(k: Any, cell: int, q: int) -> Any:
    """Return the slot that a request of a cell goes to; -1 if none is open to it or has room."""
    candidates = k.entry[cell]
    count = k.entries[cell]
    if k.crowd[MOST_IN_FLIGHT] >= 0:
        candidates = k.scratch[1]
        count = _with_room(k, cell)
    return pick(k, cell, candidates, count, q)


@inlined
def _route(k: Any, q: int, after_ps: int) -> None:
    """Send a request to a replica, to the lobby if none has room, or away."""
    c = k.crowd
    request = k.request[q]
    cell = request[NUMBER] % c[CELLS] if c[CELLS] > 1 else 0
    s = _place(k, cell, q)
    if s >= 0:
        _send(k, q, s, after_ps)
    elif c[MOST_AT_DOOR] >= 0 and c[IN_LOBBY] >= c[MOST_AT_DOOR]:
        end_row(k, q, SHED, -1, -1)
    else:
        request[SLOT] = LOBBY
        put_last(k.doors[0], k.request, request[TIER], q)
        c[IN_LOBBY] += 1


@inlined
def admit(k: Any, now: int) -> None:
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
    if FEATURED and rarely(c[PREFIXES] != 0):
        p = k.prefixes
        sharer = p.sharer[q]
        at = c[ARRIVAL]
        sharer[PIECE] = p.arriving[at - 1]
        sharer[PIECES] = p.arriving[at] - p.arriving[at - 1]
        begin_sharing(p, q)
    c[REQUESTS_IN] += 1
    c[PROMPTS_IN] += coming[1]
    c[OUTPUTS_IN] += coming[2]
    _route(k, q, now - 1)


@compiled
def let_in(k: Any, after_ps: int) -> bool:
    """Let those go that are held at the door, in order, until no replica has room; False: rows are full."""
    c = k.crowd
    door = k.doors[0]
    while c[IN_LOBBY]:
        if c[ROWS] >= k.rows.shape[0]:
            return False
        tier = 0
        while door[2 * tier] < 0:
            tier += 1
        q = door[2 * tier]
        s = _place(k, 0, q)
        if s < 0:
            break
        door[2 * tier] = k.request[q, NEXT]
        c[IN_LOBBY] -= 1
        _send(k, q, s, after_ps)
    return True


@compiled
def deal(k: Any, now: int) -> None:
    """Deal out what waits at the door."""
    c = k.crowd
    if rarely(c[MOST_IN_FLIGHT] >= 0):
        let_in(k, now)
        return
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
