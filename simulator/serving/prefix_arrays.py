"""The arrays of a compiled crowd whose requests share prefixes: how they begin, and how they grow.

The kernel changes them in place and comes back where one is too small. What no replica has used yet
is neither written nor copied, so that it takes no memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.serving import kernel
from simulator.serving.batch_rule import BatchRule
from simulator.serving.kernel import Prefixes

Ints = NDArray[np.int64]


def no_prefixes() -> Prefixes:
    """Return arrays without rows."""
    return Prefixes(
        counts=np.zeros((0, kernel.CACHE_COUNTS), np.int64),
        span=np.zeros((0, 0, kernel.SPAN_COLUMNS), np.int32),
        shelf=np.zeros((0, 0, kernel.SHELF_COLUMNS), np.int32),
        directory=np.zeros((0, 1, 2), np.int64),
        sharer=np.zeros((0, kernel.SHARER_COLUMNS), np.int64),
        hold=np.zeros((0, kernel.HOLD_COLUMNS), np.int64),
        piece=np.zeros(0, np.int64),
        arriving=np.zeros(1, np.int64),
    )


def more_slots(p: Prefixes, slots: int) -> Prefixes:
    """Return the arrays with places for so many replicas."""
    counts = np.zeros((slots, kernel.CACHE_COUNTS), np.int64)
    counts[: len(p.counts)] = p.counts
    return _widened(p, slots, p.span.shape[1], p.shelf.shape[1])._replace(counts=counts)


def add_replica(p: Prefixes, slot: int, blocks: int, rule: BatchRule, piece_blocks: int) -> Prefixes:
    """Return the arrays with an empty cache of so many blocks in a slot; pieces are `piece_blocks` long."""
    # At one boundary: a budget of new tokens, and whatever all that run hold of their own. Each
    # request may begin and end within a piece, and its own pieces begin within a shared one.
    wanted = (
        blocks // piece_blocks
        + rule.token_budget // (piece_blocks * rule.block_tokens)
        + 5 * (rule.max_sequences + 1)
    )
    p = _widened(
        p, len(p.counts), max(blocks, p.span.shape[1]), max(_power_of_two(2 * wanted), p.shelf.shape[1])
    )
    p.directory[slot, :, 1] = 0
    p.counts[slot] = 0
    p.counts[slot, kernel.ALL_BLOCKS] = blocks
    p.counts[slot, kernel.SHELVES_WANTED] = wanted
    for column in (kernel.OLDEST, kernel.NEWEST, kernel.FREE_SPAN, kernel.FREE_SHELF):
        p.counts[slot, column] = -1
    return p


def more_shelves(p: Prefixes) -> Prefixes:
    """Return the arrays with twice the shelves."""
    return _widened(p, len(p.counts), p.span.shape[1], 2 * p.shelf.shape[1])


def more_requests(p: Prefixes, count: int) -> Prefixes:
    """Return the arrays with places for so many requests."""
    sharer = np.zeros((count, kernel.SHARER_COLUMNS), np.int64)
    sharer[: len(p.sharer)] = p.sharer
    hold = np.zeros((2 * count, kernel.HOLD_COLUMNS), np.int64)
    hold[: len(p.hold)] = p.hold
    return p._replace(sharer=sharer, hold=hold)


def name_arrivals(p: Prefixes, flying: NDArray[np.bool_], edges: Ints, names: Ints) -> Prefixes:
    """Return the arrays with the names of other arrivals' pieces, and those of requests in flight.

    Parameters
    ----------
    flying : (requests,) bool
        Which places hold a request.
    edges : (arrivals + 1,) int
        Arrival i begins with names edges[i] up to, not including, edges[i + 1].
    names : (pieces,) int
        Of the arrivals.
    """
    begins, counts = p.sharer[flying, kernel.PIECE], p.sharer[flying, kernel.PIECES]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    kept = p.piece[np.repeat(begins - (ends - counts), counts) + np.arange(total)]
    p.sharer[flying, kernel.PIECE] = ends - counts
    return p._replace(piece=np.concatenate((kept, names)), arriving=edges + total)


def _widened(p: Prefixes, slots: int, blocks: int, shelves: int) -> Prefixes:
    old = len(p.counts)
    span, shelf, directory = p.span, p.shelf, p.directory
    if (slots, blocks) != span.shape[:2]:
        touched = int(p.counts[:, kernel.SPANS_TOUCHED].max(initial=0))
        # A block each, at worst.
        span = np.zeros((slots, blocks, kernel.SPAN_COLUMNS), np.int32)
        span[:old, :touched] = p.span[:, :touched]
    if (slots, shelves) != shelf.shape[:2]:
        touched = int(p.counts[:, kernel.SHELVES_TOUCHED].max(initial=0))
        shelf = np.zeros((slots, shelves, kernel.SHELF_COLUMNS), np.int32)
        shelf[:old, :touched] = p.shelf[:, :touched]
        # Half of a directory stays empty, so that a search is short.
        places = max(2, _power_of_two(2 * shelves))
        directory = np.zeros((slots, places, 2), np.int64)
        if places == p.directory.shape[1]:
            directory[:old] = p.directory
        else:
            for slot in range(old):
                _spread(p.directory[slot], directory[slot], shelf[slot])
    return p._replace(span=span, shelf=shelf, directory=directory)


def _spread(narrow: Ints, wide: Ints, shelf: NDArray[np.int32]) -> None:
    """Put the names of a directory into a wider, empty one."""
    named = narrow[narrow[:, 1] != 0]
    mask = len(wide) - 1
    with np.errstate(over="ignore"):
        homes = kernel.plain(kernel.name_home)(named[:, 0], mask)
    for at, (name, held) in zip(homes.tolist(), named.tolist(), strict=True):
        while wide[at, 1]:
            at = (at + 1) & mask  # noqa: PLW2901
        wide[at] = name, held
        shelf[held - 1, kernel.DIRECTORY_PLACE] = at


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()
