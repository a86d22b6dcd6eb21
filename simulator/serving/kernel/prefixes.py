"""What replicas remember of prompts that begin alike: `prefix_cache.PrefixCache` over plain arrays.

A block in use or in the free queue has neighbours there, and where it is named a place on a shelf:
that of its piece, by name, with a place for each block of a piece. So a piece costs one search, a
block some links. A request's table is not kept: what it found is what stands on the shelves under
its names as long as it holds them, for the first of a name leaves only when it is taken anew; its
own blocks are a chain from the last to the first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.groups import least_busy
from simulator.serving.kernel.state import compiled, inlined


class Cache(NamedTuple):
    """The arrays of one replica, as `state.Prefixes` has them."""

    counts: Any
    block: Any
    shelf: Any
    directory: Any


@compiled
def begin_sharing(sharer: Any) -> None:
    """Let a request begin with no block found or held."""
    sharer[FOUND] = 0
    sharer[NAMED] = 0
    sharer[HOLDS] = 0
    sharer[UNNAMED_BLOCK] = -1
    sharer[LAST_BLOCK] = -1
    sharer[CACHED] = -1


@compiled
def name_home(name: Any, mask: int) -> Any:
    """Return where in a directory of `mask` + 1 places a name is looked for first."""
    return ((name * 0x5851F42D4C957F2D) >> 32) & mask


@inlined
def _cache(k: Any, s: int) -> Any:
    p = k.prefixes
    return Cache(p.counts[s], p.block[s], p.shelf[s], p.directory[s])


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
    row[ON_SHELF] = 0
    row[IN_USE] = 0
    for place in range(FIRST_ON_SHELF, row.size):
        row[place] = -1
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
def _name_up_to(k: Any, s: int, q: int, end: int) -> None:
    """Name a request's own blocks up to, not including, a place in its table."""
    sharer = k.prefixes.sharer[q]
    place = sharer[NAMED]
    if place >= end:
        return
    cache = _cache(k, s)
    block = cache.block
    shared = _shared_blocks(k, q)
    b = sharer[UNNAMED_BLOCK]
    while place < end:
        stop = _group_end(k, place, shared, end)
        shelf = _shelf_for(cache, _name(k, q, place, shared))
        row = cache.shelf[shelf]
        at = place % k.crowd[PIECE_BLOCKS]
        for where in range(at, at + stop - place):
            first = row[FIRST_ON_SHELF + where]
            if first < 0:
                row[FIRST_ON_SHELF + where] = b
                row[ON_SHELF] += 1
                row[IN_USE] += 1
                block[b, ALIKE_BEFORE] = b
                block[b, ALIKE_AFTER] = b
            else:
                last = block[first, ALIKE_BEFORE]
                block[last, ALIKE_AFTER] = b
                block[b, ALIKE_BEFORE] = last
                block[b, ALIKE_AFTER] = first
                block[first, ALIKE_BEFORE] = b
            block[b, SHELF] = shelf
            block[b, SHELF_PLACE] = where
            b = block[b, AFTER]
        place = stop
    sharer[NAMED] = place
    sharer[UNNAMED_BLOCK] = b


@compiled
def _forget(cache: Any, b: int) -> None:
    """Take the name of a block in nobody's use away."""
    block = cache.block
    shelf = block[b, SHELF]
    row = cache.shelf[shelf]
    at = FIRST_ON_SHELF + block[b, SHELF_PLACE]
    following = block[b, ALIKE_AFTER]
    if following == b:
        row[at] = -1
        row[ON_SHELF] -= 1
        if row[ON_SHELF] == 0:
            _clear_shelf(cache, shelf)
        return
    before = block[b, ALIKE_BEFORE]
    block[before, ALIKE_AFTER] = following
    block[following, ALIKE_BEFORE] = before
    if row[at] == b:
        row[at] = following
        if block[following, USERS] > 0:
            row[IN_USE] += 1


@inlined
def room_for_names(k: Any, first: int, last: int) -> Any:
    """Return whether each of some batches has shelves for all names that it can give at one boundary."""
    for s in range(first, last):
        counts = k.prefixes.counts[s]
        if k.prefixes.shelf.shape[1] - counts[SHELVES_USED] < counts[SHELVES_WANTED]:
            return False
    return True


# the free queue ----------------------------------------------------------------------------------


@compiled
def _take_own(k: Any, s: int, q: int, more: int) -> None:
    """Let a request have more blocks of its own, from the head of the free queue."""
    cache = _cache(k, s)
    counts = cache.counts
    block = cache.block
    sharer = k.prefixes.sharer[q]
    last = sharer[LAST_BLOCK]
    for _ in range(more):
        # What was never used stands at the head, in order.
        b = counts[TOUCHED]
        if b < counts[ALL_BLOCKS]:
            counts[TOUCHED] = b + 1
        else:
            b = counts[OLDEST]
            following = block[b, AFTER]
            counts[OLDEST] = following
            if following < 0:
                counts[NEWEST] = -1
            else:
                block[following, BEFORE] = -1
            if block[b, SHELF] >= 0:
                _forget(cache, b)
        block[b, USERS] = 1
        block[b, SHELF] = -1
        block[b, BEFORE] = last
        block[b, AFTER] = -1
        if last >= 0:
            block[last, AFTER] = b
        if sharer[UNNAMED_BLOCK] < 0:
            sharer[UNNAMED_BLOCK] = b
        last = b
    sharer[LAST_BLOCK] = last
    sharer[HOLDS] += more
    k.replica[s, FREE] -= more


@inlined
def _let_go(cache: Any, r: Any, b: int) -> None:
    """Take one user from a block; without any it goes to the end of the free queue."""
    block = cache.block
    counts = cache.counts
    block[b, USERS] -= 1
    if block[b, USERS] > 0:
        return
    last = counts[NEWEST]
    block[b, BEFORE] = last
    block[b, AFTER] = -1
    if last < 0:
        counts[OLDEST] = b
    else:
        block[last, AFTER] = b
    counts[NEWEST] = b
    r[FREE] += 1
    shelf = block[b, SHELF]
    if shelf >= 0 and cache.shelf[shelf, FIRST_ON_SHELF + block[b, SHELF_PLACE]] == b:
        cache.shelf[shelf, IN_USE] -= 1


@compiled
def _take_found(k: Any, s: int, q: int, found: int) -> None:
    """Let a request have the leading blocks that it found."""
    cache = _cache(k, s)
    counts = cache.counts
    block = cache.block
    shared = _shared_blocks(k, q)
    taken = 0
    place = 0
    while place < found:
        stop = _group_end(k, place, shared, found)
        row = cache.shelf[_shelf_of(cache.directory, _name(k, q, place, shared))]
        at = FIRST_ON_SHELF + place % k.crowd[PIECE_BLOCKS]
        for where in range(at, at + stop - place):
            b = row[where]
            if block[b, USERS] == 0:
                before = block[b, BEFORE]
                following = block[b, AFTER]
                if before < 0:
                    counts[OLDEST] = following
                else:
                    block[before, AFTER] = following
                if following < 0:
                    counts[NEWEST] = before
                else:
                    block[following, BEFORE] = before
                row[IN_USE] += 1
                taken += 1
            block[b, USERS] += 1
        place = stop
    k.replica[s, FREE] -= taken
    sharer = k.prefixes.sharer[q]
    sharer[FOUND] = found
    sharer[NAMED] = found
    sharer[HOLDS] = found


# what a replica asks for -------------------------------------------------------------------------


@compiled
def found_blocks(k: Any, s: int, q: int) -> Any:
    """Return how many leading blocks a request would find, and how many of those are in use.

    One token is always left to compute. Changes nothing.
    """
    v = k.request[q]
    cache = _cache(k, s)
    shared = _shared_blocks(k, q)
    whole = k.crowd[PIECE_BLOCKS]
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
        row = cache.shelf[shelf]
        stop = _group_end(k, place, shared, most)
        if stop - place == whole and row[ON_SHELF] == whole:
            used += row[IN_USE]
            place = stop
            continue
        at = FIRST_ON_SHELF - place + place % whole
        while place < stop:
            b = row[at + place]
            if b < 0:
                return place, used
            if cache.block[b, USERS] > 0:
                used += 1
            place += 1
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
    b = sharer[LAST_BLOCK]
    while b >= 0:
        before = cache.block[b, BEFORE]
        _let_go(cache, r, b)
        b = before
    shared = _shared_blocks(k, q)
    size = k.crowd[PIECE_BLOCKS]
    stop = sharer[FOUND]
    while stop:
        place = (stop - 1) // size * size
        if place < shared < stop:
            place = shared
        row = cache.shelf[_shelf_of(cache.directory, _name(k, q, place, shared))]
        at = FIRST_ON_SHELF + place % size
        for where in range(at + stop - place - 1, at - 1, -1):
            _let_go(cache, r, row[where])
        stop = place
    sharer[FOUND] = 0
    sharer[NAMED] = 0
    sharer[HOLDS] = 0
    sharer[UNNAMED_BLOCK] = -1
    sharer[LAST_BLOCK] = -1


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
