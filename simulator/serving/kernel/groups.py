"""Attention groups of a replica: each has a queue, a batch and blocks, and all keep one pace.

A service with groups gives every replica a row of `State.replica` for itself, its head, and after it
one for each group. Slots are heads: load, boundary, plan, watts and energy of the replica stand there.
Groups hold what a replica without groups does, and the plan of the head, so that whatever looks at one
of them sees when its iterations end. Their watts are levels that add up to the head's; energy is kept
there alone. The readable form is `lockstep.LockstepReplica`.
"""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.power import meter_set
from simulator.serving.kernel.state import compiled

#: A request that waits weighs as much as so many that run, as in `lockstep`.
_WAITING_WEIGHT = 4


@compiled
def least_busy(k: Any, s: int) -> Any:
    """Return the group that a newcomer goes to, the first of equals."""
    best = -1
    least = 0
    for row in range(s + 1, s + 1 + k.crowd[GROUPS]):
        r = k.replica[row]
        busy = _WAITING_WEIGHT * (r[WAITING] + r[DUE] + r[READY]) + r[RUNNING]
        if best < 0 or busy < least:
            least = busy
            best = row
    return best


@compiled
def waiting_in(k: Any, s: int) -> Any:
    """Return the requests in the queues of a replica's groups."""
    waiting = 0
    for row in range(s + 1, s + 1 + k.crowd[GROUPS]):
        waiting += k.replica[row, WAITING]
    return waiting


@compiled
def running_in(k: Any, s: int) -> Any:
    """Return the requests in the batches of a replica's groups."""
    running = 0
    for row in range(s + 1, s + 1 + k.crowd[GROUPS]):
        running += k.replica[row, RUNNING]
    return running


@compiled
def keep_pace(k: Any, s: int) -> None:
    """Let all groups that have something to do keep to the plan of their replica."""
    head = k.replica[s]
    for row in range(s + 1, s + 1 + k.crowd[GROUPS]):
        r = k.replica[row]
        if r[PLAN_END] != NEVER64:
            r[FIRST_PS] = head[FIRST_PS]
            r[GROWTH_PS] = head[GROWTH_PS]
            r[STEPS] = head[STEPS]
            r[PLAN_END] = head[PLAN_END]


@compiled
def passed(k: Any, s: int) -> None:
    """Count the iterations of a replica whose groups have all ended them."""
    head = k.replica[s]
    head[ITERATIONS] += head[STEPS]
    head[PLANS] += 1
    head[PLAN_END] = NEVER64


@compiled
def _new_tokens(c: Any, r: Any) -> Any:
    """Return the new tokens of a group's first planned iteration."""
    return r[NEW_TOKENS] + (0 if r[STANDS] else r[DECODES] * (1 + c[DRAFTS]))


@compiled
def together_mw(k: Any, s: int) -> Any:
    """Return what all groups draw; one without requests goes through a pass beside the others."""
    level = 0
    busy = k.replica[s, PLAN_END] != NEVER64
    for row in range(s + 1, s + 1 + k.crowd[GROUPS]):
        r = k.replica[row]
        level += k.cost[r[COST], BESIDE_MW] if busy and r[PLAN_END] == NEVER64 else r[LEVEL_MW]
    return level


@compiled
def together_doing(k: Any, s: int) -> Any:
    """Return what the groups do, taken together: prompts if any does, decodes if any does."""
    doing = 0
    for row in range(s + 1, s + 1 + k.crowd[GROUPS]):
        doing |= k.replica[row, DOING]
    return doing


@compiled
def pace(k: Any, s: int, now: int) -> None:
    """Let the slowest of the groups that have something to do set the pace of all."""
    head = k.replica[s]
    first_row = s + 1
    last_row = first_row + k.crowd[GROUPS]
    head[BOUNDARY] = 0
    head[PLAN_END] = NEVER64
    head[STEPS] = 0
    together = 0
    for row in range(first_row, last_row):
        if k.replica[row, PLAN_END] != NEVER64:
            together += _new_tokens(k.crowd, k.replica[row])
    first = -1
    growth = 0
    for row in range(first_row, last_row):
        r = k.replica[row]
        if r[PLAN_END] == NEVER64:
            continue
        # Alone, a group was taken to have as many new tokens beside it in every other one.
        mine = _new_tokens(k.crowd, r)
        tokens_ps = k.tokens_ps[r[COST]]
        shared_ps = k.shared_ps[r[COST]]
        own = tokens_ps[mine] - shared_ps[mine * k.crowd[GROUPS]] + shared_ps[together]
        # No iteration is shorter than an empty one: the host's time may hide the GPUs'.
        r[FIRST_PS] += max(tokens_ps[0], own) - tokens_ps[mine]
        if r[FIRST_PS] > first or (r[FIRST_PS] == first and r[GROWTH_PS] > growth):
            first = r[FIRST_PS]
            growth = r[GROWTH_PS]
    if first >= 0:
        steps = NEVER64
        for row in range(first_row, last_row):
            r = k.replica[row]
            if r[PLAN_END] == NEVER64:
                continue
            steps = min(steps, r[STEPS])
            if r[GROWTH_PS] > growth:
                # Its context grows faster: from some step on it is the slowest.
                steps = min(steps, (first - r[FIRST_PS]) // (r[GROWTH_PS] - growth) + 1)
        while steps > 1 and steps * (first + 0.5 * growth * steps) > LONGEST_PS:
            steps //= 2
        head[STEPS] = steps
        head[FIRST_PS] = first
        head[GROWTH_PS] = growth
        head[PLAN_START] = now
        head[PLAN_END] = now + steps * first + growth * (steps * (steps - 1) // 2)
        keep_pace(k, s)
    meter_set(head, now, together_mw(k, s), together_doing(k, s))
