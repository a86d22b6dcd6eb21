"""What requests hold of a replica's named blocks, and what they would find of them.

A request's table is not kept: what it found is what is found again under its names as long as it
holds them, for the first of a name leaves only when it is taken anew. While its KV is on its way a
request holds blocks on two replicas; `Prefixes.sharer` says which of its two rows of `Prefixes.hold` is
that of the replica where it is.
"""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.groups import least_busy
from simulator.serving.kernel.spans import (
    Cache,
    leave_queue,
    let_go,
    new_span,
    put_on_shelf,
    shelf_for,
    shelf_of,
    span_at,
    split,
    take_oldest,
)
from simulator.serving.kernel.state import compiled, inlined


@compiled
def _let_hold_nothing(hold: Any) -> None:
    hold[FOUND] = 0
    hold[NAMED] = 0
    hold[HOLDS] = 0
    hold[LAST_SPAN_OWN] = -1


@compiled
def begin_sharing(p: Any, q: int) -> None:
    """Let a request begin with no block found or held."""
    sharer = p.sharer[q]
    sharer[CACHED] = -1
    sharer[HOLD] = 2 * q
    # Without a call, which Python could not make: a command begins requests anew, too.
    hold = p.hold[2 * q]
    hold[FOUND] = 0
    hold[NAMED] = 0
    hold[HOLDS] = 0
    hold[LAST_SPAN_OWN] = -1


@compiled
def turn(k: Any, q: int) -> None:
    """Let what a request holds on the other of two replicas be what is meant."""
    k.prefixes.sharer[q, HOLD] ^= 1


@inlined
def _cache(k: Any, s: int) -> Any:
    p = k.prefixes
    return Cache(p.counts[s], p.span[s], p.shelf[s], p.directory[s])


# names -------------------------------------------------------------------------------------------


@inlined
def _shared_blocks(k: Any, q: int) -> Any:
    """Return how many leading blocks of a request others may find: those of named pieces."""
    return min(
        k.request[q, PROMPT] // k.crowd[BLOCK_TOKENS], k.prefixes.sharer[q, PIECES] * k.crowd[PIECE_BLOCKS]
    )


@inlined
def _name(k: Any, q: int, place: int, shared: int) -> Any:
    """Return the name of the piece that a block of a request belongs to: shared, or its own."""
    group = place // k.crowd[PIECE_BLOCKS]
    if place < shared:
        return k.prefixes.piece[k.prefixes.sharer[q, PIECE] + group]
    return -1 - (k.request[q, NUMBER] << 24 | group)


@inlined
def _group_end(k: Any, place: int, shared: int, end: int) -> Any:
    """Return the end of the run of blocks, `end` at most, whose piece has one name."""
    size = k.crowd[PIECE_BLOCKS]
    end = min(end, (place // size + 1) * size)
    return min(end, shared) if place < shared else end


@compiled
def _name_up_to(k: Any, s: int, q: int, end: int) -> None:
    """Name a request's own blocks up to, not including, a place in its table."""
    hold = k.prefixes.hold[k.prefixes.sharer[q, HOLD]]
    place = hold[NAMED]
    if place >= end:
        return
    cache = _cache(k, s)
    shared = _shared_blocks(k, q)
    # All that has no name is one span, the last.
    rest = hold[LAST_SPAN_OWN]
    while place < end:
        stop = _group_end(k, place, shared, end)
        shelf = shelf_for(cache, _name(k, q, place, shared))
        span = rest
        if stop < hold[HOLDS]:
            span = new_span(cache, stop - place, k.prefixes.sharer[q, HOLD])
            cache.span[rest, COUNT] -= stop - place
            before = cache.span[rest, BEFORE]
            cache.span[span, BEFORE] = before
            cache.span[span, AFTER] = rest
            cache.span[rest, BEFORE] = span
            if before >= 0:
                cache.span[before, AFTER] = span
        put_on_shelf(cache, shelf, span, place % k.crowd[PIECE_BLOCKS])
        place = stop
    hold[NAMED] = place


@inlined
def room_for_names(k: Any, first: int, last: int) -> Any:
    """Return whether each of some batches has shelves for all names that it can give at one boundary."""
    for s in range(first, last):
        counts = k.prefixes.counts[s]
        # Of prompts that come from elsewhere any number may get blocks, each a name more than fill pieces.
        wanted = counts[SHELVES_WANTED] + (k.replica[s, WAITING] if k.crowd[APART] else 0)
        if k.prefixes.shelf.shape[1] - counts[SHELVES_USED] < wanted:
            return False
    return True


# what a request holds ----------------------------------------------------------------------------


@compiled
def _take_own(k: Any, s: int, q: int, more: int) -> None:
    """Let a request have more blocks of its own."""
    cache = _cache(k, s)
    hold = k.prefixes.hold[k.prefixes.sharer[q, HOLD]]
    take_oldest(cache, more)
    k.replica[s, FREE] -= more
    last = hold[LAST_SPAN_OWN]
    if hold[NAMED] < hold[HOLDS]:
        cache.span[last, COUNT] += more
    else:
        span = new_span(cache, more, k.prefixes.sharer[q, HOLD])
        cache.span[span, BEFORE] = last
        if last >= 0:
            cache.span[last, AFTER] = span
        hold[LAST_SPAN_OWN] = span
    hold[HOLDS] += more


@compiled
def _take_found(k: Any, s: int, q: int, found: int) -> None:
    """Let a request have the leading blocks that it found."""
    cache = _cache(k, s)
    holds = k.prefixes.hold
    shared = _shared_blocks(k, q)
    place = 0
    while place < found:
        stop = _group_end(k, place, shared, found)
        shelf = shelf_of(cache.directory, _name(k, q, place, shared))
        base = place - place % k.crowd[PIECE_BLOCKS]
        while place < stop:
            span, end = span_at(cache, shelf, place - base)
            end = min(end + base, stop)
            if cache.span[span, START] + base < place:
                span = split(cache, holds, span, place - base)
            row = cache.span[span]
            if row[START] + row[COUNT] + base > end:
                split(cache, holds, span, end - base)
            if row[USERS] == 0:
                leave_queue(cache, span)
                k.replica[s, FREE] -= row[COUNT]
            row[USERS] += 1
            place = end
    hold = k.prefixes.hold[k.prefixes.sharer[q, HOLD]]
    hold[FOUND] = found
    hold[NAMED] = found
    hold[HOLDS] = found


# what a replica asks for -------------------------------------------------------------------------


@compiled
def found_blocks(k: Any, s: int, q: int) -> Any:
    """Return how many leading blocks a request would find, and how many of those are in use.

    One token is always left to compute. Changes nothing.
    """
    v = k.request[q]
    cache = _cache(k, s)
    shared = _shared_blocks(k, q)
    most = (v[TARGET] - 1) // k.crowd[BLOCK_TOKENS]
    if not v[PREEMPTIONS]:
        # Its own are named where it was preempted.
        most = min(most, shared)
    place = 0
    used = 0
    while place < most:
        shelf = shelf_of(cache.directory, _name(k, q, place, shared))
        if shelf < 0:
            break
        stop = _group_end(k, place, shared, most)
        base = place - place % k.crowd[PIECE_BLOCKS]
        while place < stop:
            span, end = span_at(cache, shelf, place - base)
            if span < 0:
                return place, used
            end = min(end + base, stop)
            if cache.span[span, USERS] > 0:
                used += end - place
            place = end
    return place, used


@compiled
def enter(k: Any, s: int, q: int, found: int, blocks: int, tokens: int) -> None:
    """Let a request have its first blocks, those it found among them, as `PrefixCache.admit`."""
    sharer = k.prefixes.sharer[q]
    if sharer[CACHED] < 0:
        sharer[CACHED] = found * k.crowd[BLOCK_TOKENS]
    if found:
        _take_found(k, s, q, found)
    extend(k, s, q, blocks - found, tokens)


@compiled
def extend(k: Any, s: int, q: int, more: int, tokens: int) -> None:
    """Let a request have more blocks, and name those of its shared pieces that `tokens` fill."""
    if more:
        _take_own(k, s, q, more)
    _name_up_to(k, s, q, min(tokens // k.crowd[BLOCK_TOKENS], _shared_blocks(k, q)))


@compiled
def receive(k: Any, s: int, q: int) -> None:
    """Let a prompt have its blocks where it will be decoded, beside those where it was read."""
    v = k.request[q]
    turn(k, q)
    _let_hold_nothing(k.prefixes.hold[k.prefixes.sharer[q, HOLD]])
    size = k.crowd[BLOCK_TOKENS]
    extend(k, s, q, (v[TARGET] + size - 1) // size, v[COMPUTED])
    turn(k, q)


@compiled
def grow(k: Any, s: int, generation: int) -> None:
    """Let decodes have the blocks that they need up to a generation, in order of admission."""
    size = k.crowd[BLOCK_TOKENS]
    for i in range(k.replica[s, RUNNING]):
        q = k.running[s, i]
        if k.request[q, TOKEN] >= 0:
            held = k.prefixes.hold[k.prefixes.sharer[q, HOLD], HOLDS]
            blocks = (k.request[q, BASE] + generation + size - 1) // size
            if blocks > held:
                _take_own(k, s, q, blocks - held)


@compiled
def give(k: Any, s: int, q: int) -> None:
    """Take a request's blocks back, the last first."""
    cache = _cache(k, s)
    r = k.replica[s]
    hold = k.prefixes.hold[k.prefixes.sharer[q, HOLD]]
    span = hold[LAST_SPAN_OWN]
    while span >= 0:
        before = cache.span[span, BEFORE]
        cache.span[span, OWNER] = -1
        let_go(cache, r, span)
        span = before
    shared = _shared_blocks(k, q)
    size = k.crowd[PIECE_BLOCKS]
    stop = hold[FOUND]
    while stop:
        base = (stop - 1) // size * size
        place = shared if base < shared < stop else base
        shelf = shelf_of(cache.directory, _name(k, q, place, shared))
        while stop > place:
            span, _ = span_at(cache, shelf, stop - 1 - base)
            stop = base + cache.span[span, START]
            let_go(cache, r, span)
    _let_hold_nothing(hold)


@compiled
def give_up(k: Any, s: int, q: int, tokens: int) -> None:
    """Take the blocks of a request back, with so many tokens; it may come again and look for them."""
    _name_up_to(k, s, q, tokens // k.crowd[BLOCK_TOKENS])
    give(k, s, q)


@compiled
def remembering(k: Any, candidates: Any, count: int, q: int) -> Any:
    """Return the candidate that remembers most of a request, of those not much busier than another.

    Of equals the least loaded, of those the lowest slot.
    """
    calm = k.replica[candidates[0], LOAD]
    for i in range(1, count):
        calm = min(calm, k.replica[candidates[i], LOAD])
    calm += k.crowd[MOST_AHEAD]
    best = -1
    most = 0
    least = 0
    for i in range(count):
        s = candidates[i]
        load = k.replica[s, LOAD]
        if load > calm:
            continue
        found = 0
        if k.crowd[PREFIXES] and q >= 0:
            found, _ = found_blocks(k, least_busy(k, s) if k.crowd[GROUPS] > 1 else s, q)
        if best < 0 or found > most or (found == most and load < least):
            best = s
            most = found
            least = load
    return int(best)
