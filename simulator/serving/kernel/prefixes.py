"""What replicas remember of prompts that begin alike: `prefix_cache.PrefixCache` over plain arrays.

Blocks are alike but for their names and their order in the free queue, so what is kept are spans of
them: neighbours in the table of the request that took them, of one piece, with the same users. A span
in use stands in its owner's chain, one in nobody's use in the free queue, its last block ahead; one
that is named stands on the shelf of its piece as well, behind those that were named before. A span is
cut where a request finds a part of it. So prompts cost work by the piece, not by the block.

A request's table is not kept: what it found is what is found again under its names as long as it
holds them, for the first of a name leaves only when it is taken anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.groups import least_busy
from simulator.serving.kernel.state import compiled, inlined


class Cache(NamedTuple):
    """The arrays of one replica, as `state.Prefixes` has them."""

    counts: Any
    span: Any
    shelf: Any
    directory: Any


@compiled
def begin_sharing(sharer: Any) -> None:
    """Let a request begin with no block found or held."""
    sharer[FOUND] = 0
    sharer[NAMED] = 0
    sharer[HOLDS] = 0
    sharer[LAST_SPAN_OWN] = -1
    sharer[CACHED] = -1


@compiled
def name_home(name: Any, mask: int) -> Any:
    """Return where in a directory of `mask` + 1 places a name is looked for first."""
    return ((name * 0x5851F42D4C957F2D) >> 32) & mask


@inlined
def _cache(k: Any, s: int) -> Any:
    p = k.prefixes
    return Cache(p.counts[s], p.span[s], p.shelf[s], p.directory[s])


# names and shelves -------------------------------------------------------------------------------


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
def _shelf_of(directory: Any, name: int) -> Any:
    """Return the shelf of a name; -1 if no block has it."""
    mask = directory.shape[0] - 1
    at = name_home(name, mask)
    while directory[at, 1] != 0:
        if directory[at, 0] == name:
            return directory[at, 1] - 1
        at = (at + 1) & mask
    return -1


@compiled
def _shelf_for(cache: Any, name: int) -> Any:
    """Return the shelf of a name, an empty one if it had none."""
    counts = cache.counts
    directory = cache.directory
    mask = directory.shape[0] - 1
    at = name_home(name, mask)
    while directory[at, 1] != 0:
        if directory[at, 0] == name:
            return directory[at, 1] - 1
        at = (at + 1) & mask
    shelf = counts[FREE_SHELF]
    if shelf >= 0:
        counts[FREE_SHELF] = cache.shelf[shelf, DIRECTORY_PLACE]
    else:
        shelf = counts[SHELVES_TOUCHED]
        counts[SHELVES_TOUCHED] += 1
    counts[SHELVES_USED] += 1
    directory[at, 0] = name
    directory[at, 1] = shelf + 1
    row = cache.shelf[shelf]
    row[DIRECTORY_PLACE] = at
    row[FIRST_SPAN] = -1
    row[LAST_SPAN] = -1
    return shelf


@compiled
def _clear_shelf(cache: Any, shelf: int) -> None:
    """Forget the name of a shelf on which nothing stands."""
    counts = cache.counts
    directory = cache.directory
    mask = directory.shape[0] - 1
    hole = cache.shelf[shelf, DIRECTORY_PLACE]
    at = (hole + 1) & mask
    # Names that were looked for at the hole or before must not stand behind it.
    while directory[at, 1] != 0:
        home = name_home(directory[at, 0], mask)
        if (at - home) & mask >= (at - hole) & mask:
            directory[hole, 0] = directory[at, 0]
            directory[hole, 1] = directory[at, 1]
            cache.shelf[directory[at, 1] - 1, DIRECTORY_PLACE] = hole
            hole = at
        at = (at + 1) & mask
    directory[hole, 1] = 0
    cache.shelf[shelf, DIRECTORY_PLACE] = counts[FREE_SHELF]
    counts[FREE_SHELF] = shelf
    counts[SHELVES_USED] -= 1


@compiled
def _span_at(cache: Any, shelf: int, place: int) -> Any:
    """Return the span that has a place of a piece, -1 if none, and where it ends or an older one begins.

    Of several that have it, the one that was named first.
    """
    span = cache.shelf[shelf, FIRST_SPAN]
    stop = cache.span.shape[0]
    while span >= 0:
        row = cache.span[span]
        start = row[START]
        if start > place:
            stop = min(stop, start)
        elif start + row[COUNT] > place:
            return span, min(stop, start + row[COUNT])
        span = row[SHELF_AFTER]
    return -1, place


@compiled
def _put_on_shelf(cache: Any, shelf: int, span: int, start: int) -> None:
    """Name the blocks of a span: those of a piece from a place on."""
    row = cache.span[span]
    last = cache.shelf[shelf, LAST_SPAN]
    row[SHELF] = shelf
    row[START] = start
    row[SHELF_BEFORE] = last
    row[SHELF_AFTER] = -1
    if last < 0:
        cache.shelf[shelf, FIRST_SPAN] = span
    else:
        cache.span[last, SHELF_AFTER] = span
    cache.shelf[shelf, LAST_SPAN] = span


@compiled
def _take_off_shelf(cache: Any, span: int) -> None:
    """Forget the name of a span."""
    row = cache.span[span]
    shelf = row[SHELF]
    before = row[SHELF_BEFORE]
    after = row[SHELF_AFTER]
    if before < 0:
        cache.shelf[shelf, FIRST_SPAN] = after
    else:
        cache.span[before, SHELF_AFTER] = after
    if after < 0:
        cache.shelf[shelf, LAST_SPAN] = before
    else:
        cache.span[after, SHELF_BEFORE] = before
    if before < 0 and after < 0:
        _clear_shelf(cache, shelf)


@compiled
def _name_up_to(k: Any, s: int, q: int, end: int) -> None:
    """Name a request's own blocks up to, not including, a place in its table."""
    sharer = k.prefixes.sharer[q]
    place = sharer[NAMED]
    if place >= end:
        return
    cache = _cache(k, s)
    shared = _shared_blocks(k, q)
    # All that has no name is one span, the last.
    rest = sharer[LAST_SPAN_OWN]
    while place < end:
        stop = _group_end(k, place, shared, end)
        shelf = _shelf_for(cache, _name(k, q, place, shared))
        span = rest
        if stop < sharer[HOLDS]:
            span = _new_span(cache, stop - place, q)
            cache.span[rest, COUNT] -= stop - place
            before = cache.span[rest, BEFORE]
            cache.span[span, BEFORE] = before
            cache.span[span, AFTER] = rest
            cache.span[rest, BEFORE] = span
            if before >= 0:
                cache.span[before, AFTER] = span
        _put_on_shelf(cache, shelf, span, place % k.crowd[PIECE_BLOCKS])
        place = stop
    sharer[NAMED] = place


@inlined
def room_for_names(k: Any, first: int, last: int) -> Any:
    """Return whether each of some batches has shelves for all names that it can give at one boundary."""
    for s in range(first, last):
        counts = k.prefixes.counts[s]
        if k.prefixes.shelf.shape[1] - counts[SHELVES_USED] < counts[SHELVES_WANTED]:
            return False
    return True


# spans and the free queue ------------------------------------------------------------------------


@compiled
def _new_span(cache: Any, count: int, owner: int) -> Any:
    """Return a span of so many blocks that a request holds, without a name or neighbours."""
    counts = cache.counts
    span = counts[FREE_SPAN]
    if span >= 0:
        counts[FREE_SPAN] = cache.span[span, AFTER]
    else:
        span = counts[SPANS_TOUCHED]
        counts[SPANS_TOUCHED] += 1
    row = cache.span[span]
    row[COUNT] = count
    row[USERS] = 1
    row[OWNER] = owner
    row[SHELF] = -1
    row[BEFORE] = -1
    row[AFTER] = -1
    return span


@compiled
def _take_oldest(cache: Any, more: int) -> None:
    """Take blocks from the head of the free queue; what stood there is forgotten."""
    counts = cache.counts
    # What was never used stands before all else.
    unused = min(more, counts[ALL_BLOCKS] - counts[TOUCHED])
    counts[TOUCHED] += unused
    more -= unused
    while more > 0:
        span = counts[OLDEST]
        row = cache.span[span]
        # The last places of a span are the first that are taken.
        taken = min(more, row[COUNT])
        row[COUNT] -= taken
        more -= taken
        if row[COUNT] == 0:
            _leave_queue(cache, span)
            if row[SHELF] >= 0:
                _take_off_shelf(cache, span)
            row[AFTER] = counts[FREE_SPAN]
            counts[FREE_SPAN] = span


@inlined
def _leave_queue(cache: Any, span: int) -> None:
    counts = cache.counts
    before = cache.span[span, BEFORE]
    after = cache.span[span, AFTER]
    if before < 0:
        counts[OLDEST] = after
    else:
        cache.span[before, AFTER] = after
    if after < 0:
        counts[NEWEST] = before
    else:
        cache.span[after, BEFORE] = before


@compiled
def _let_go(cache: Any, r: Any, span: int) -> None:
    """Take one user from a span; without any it goes to the end of the free queue."""
    counts = cache.counts
    row = cache.span[span]
    row[USERS] -= 1
    if row[USERS] > 0:
        return
    last = counts[NEWEST]
    row[BEFORE] = last
    row[AFTER] = -1
    if last < 0:
        counts[OLDEST] = span
    else:
        cache.span[last, AFTER] = span
    counts[NEWEST] = span
    r[FREE] += row[COUNT]


@compiled
def _take_own(k: Any, s: int, q: int, more: int) -> None:
    """Let a request have more blocks of its own."""
    cache = _cache(k, s)
    sharer = k.prefixes.sharer[q]
    _take_oldest(cache, more)
    k.replica[s, FREE] -= more
    last = sharer[LAST_SPAN_OWN]
    if sharer[NAMED] < sharer[HOLDS]:
        cache.span[last, COUNT] += more
    else:
        span = _new_span(cache, more, q)
        cache.span[span, BEFORE] = last
        if last >= 0:
            cache.span[last, AFTER] = span
        sharer[LAST_SPAN_OWN] = span
    sharer[HOLDS] += more


@compiled
def _split(cache: Any, sharers: Any, span: int, place: int) -> Any:
    """Cut a named span in two; return the part from a place of its piece on."""
    row = cache.span[span]
    upper = _new_span(cache, row[START] + row[COUNT] - place, row[OWNER])
    other = cache.span[upper]
    row[COUNT] = place - row[START]
    other[START] = place
    other[USERS] = row[USERS]
    other[SHELF] = row[SHELF]
    after = row[SHELF_AFTER]
    other[SHELF_BEFORE] = span
    other[SHELF_AFTER] = after
    row[SHELF_AFTER] = upper
    if after < 0:
        cache.shelf[row[SHELF], LAST_SPAN] = upper
    else:
        cache.span[after, SHELF_BEFORE] = upper
    if row[USERS] == 0:
        before = row[BEFORE]
        other[BEFORE] = before
        other[AFTER] = span
        row[BEFORE] = upper
        if before < 0:
            cache.counts[OLDEST] = upper
        else:
            cache.span[before, AFTER] = upper
    elif row[OWNER] >= 0:
        after = row[AFTER]
        other[BEFORE] = span
        other[AFTER] = after
        row[AFTER] = upper
        if after < 0:
            sharers[row[OWNER], LAST_SPAN_OWN] = upper
        else:
            cache.span[after, BEFORE] = upper
    return upper


@compiled
def _take_found(k: Any, s: int, q: int, found: int) -> None:
    """Let a request have the leading blocks that it found."""
    cache = _cache(k, s)
    sharers = k.prefixes.sharer
    shared = _shared_blocks(k, q)
    place = 0
    while place < found:
        stop = _group_end(k, place, shared, found)
        shelf = _shelf_of(cache.directory, _name(k, q, place, shared))
        base = place - place % k.crowd[PIECE_BLOCKS]
        while place < stop:
            span, end = _span_at(cache, shelf, place - base)
            end = min(end + base, stop)
            if cache.span[span, START] + base < place:
                span = _split(cache, sharers, span, place - base)
            row = cache.span[span]
            if row[START] + row[COUNT] + base > end:
                _split(cache, sharers, span, end - base)
            if row[USERS] == 0:
                _leave_queue(cache, span)
                k.replica[s, FREE] -= row[COUNT]
            row[USERS] += 1
            place = end
    sharers[q, FOUND] = found
    sharers[q, NAMED] = found
    sharers[q, HOLDS] = found


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
        shelf = _shelf_of(cache.directory, _name(k, q, place, shared))
        if shelf < 0:
            break
        stop = _group_end(k, place, shared, most)
        base = place - place % k.crowd[PIECE_BLOCKS]
        while place < stop:
            span, end = _span_at(cache, shelf, place - base)
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
def grow(k: Any, s: int, generation: int) -> None:
    """Let decodes have the blocks that they need up to a generation, in order of admission."""
    size = k.crowd[BLOCK_TOKENS]
    for i in range(k.replica[s, RUNNING]):
        q = k.running[s, i]
        if k.request[q, TOKEN] >= 0:
            more = (k.request[q, BASE] + generation + size - 1) // size - k.prefixes.sharer[q, HOLDS]
            if more:
                _take_own(k, s, q, more)


@compiled
def give(k: Any, s: int, q: int) -> None:
    """Take a request's blocks back, the last first."""
    cache = _cache(k, s)
    r = k.replica[s]
    sharer = k.prefixes.sharer[q]
    span = sharer[LAST_SPAN_OWN]
    while span >= 0:
        before = cache.span[span, BEFORE]
        cache.span[span, OWNER] = -1
        _let_go(cache, r, span)
        span = before
    shared = _shared_blocks(k, q)
    size = k.crowd[PIECE_BLOCKS]
    stop = sharer[FOUND]
    while stop:
        base = (stop - 1) // size * size
        place = shared if base < shared < stop else base
        shelf = _shelf_of(cache.directory, _name(k, q, place, shared))
        while stop > place:
            span, _ = _span_at(cache, shelf, stop - 1 - base)
            stop = base + cache.span[span, START]
            _let_go(cache, r, span)
    sharer[FOUND] = 0
    sharer[NAMED] = 0
    sharer[HOLDS] = 0
    sharer[LAST_SPAN_OWN] = -1


@compiled
def give_up(k: Any, s: int, q: int, tokens: int) -> None:
    """Take the blocks of a preempted request back, with so many tokens; it will look for them."""
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
