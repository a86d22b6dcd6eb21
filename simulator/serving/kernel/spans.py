"""The named blocks of one replica, as `prefix_cache.PrefixCache` has them, over plain arrays.

Blocks are alike but for their names and their order in the free queue, so what is kept are spans of
them: neighbours in the table of the request that took them, of one piece, with the same users. A span
in use stands in its owner's chain, one in nobody's use in the free queue, its last block ahead; one
that is named stands on the shelf of its piece as well, behind those that were named before. A span is
cut where a request finds a part of it. So prompts cost work by the piece, not by the block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.state import compiled, inlined


class Cache(NamedTuple):
    """The arrays of one replica, as `state.Prefixes` has them."""

    counts: Any
    span: Any
    shelf: Any
    directory: Any


@compiled
def name_home(name: Any, mask: int) -> Any:
    """Return where in a directory of `mask` + 1 places a name is looked for first."""
    return ((name * 0x5851F42D4C957F2D) >> 32) & mask


# names and shelves -------------------------------------------------------------------------------


@compiled
def shelf_of(directory: Any, name: int) -> Any:
    """Return the shelf of a name; -1 if no block has it."""
    mask = directory.shape[0] - 1
    at = name_home(name, mask)
    while directory[at, 1] != 0:
        if directory[at, 0] == name:
            return directory[at, 1] - 1
        at = (at + 1) & mask
    return -1


@compiled
def shelf_for(cache: Any, name: int) -> Any:
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
def span_at(cache: Any, shelf: int, place: int) -> Any:
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
def put_on_shelf(cache: Any, shelf: int, span: int, start: int) -> None:
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


# spans and the free queue ------------------------------------------------------------------------


@compiled
def new_span(cache: Any, count: int, owner: int) -> Any:
    """Return a span of so many blocks that a row of `hold` owns, without a name or neighbours."""
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
def take_oldest(cache: Any, more: int) -> None:
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
            leave_queue(cache, span)
            if row[SHELF] >= 0:
                _take_off_shelf(cache, span)
            row[AFTER] = counts[FREE_SPAN]
            counts[FREE_SPAN] = span


@inlined
def leave_queue(cache: Any, span: int) -> None:
    """Take a span out of the free queue."""
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
def let_go(cache: Any, r: Any, span: int) -> None:
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
def split(cache: Any, holds: Any, span: int, place: int) -> Any:
    """Cut a named span in two; return the part from a place of its piece on.

    `holds` is `state.Prefixes.hold`.
    """
    row = cache.span[span]
    upper = new_span(cache, row[START] + row[COUNT] - place, row[OWNER])
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
            holds[row[OWNER], LAST_SPAN_OWN] = upper
        else:
            cache.span[after, BEFORE] = upper
    return upper
