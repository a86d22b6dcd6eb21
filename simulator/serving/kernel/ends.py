"""What ends first: a tree of minima over replicas' plans, and a heap of decodes in each replica."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.state import compiled


@compiled
def tree_set(tree: Any, slot: int, value: int) -> None:
    """Put a time at a leaf of a tree of minima."""
    at = tree.size // 2 + slot
    tree[at] = value
    at >>= 1
    while at:
        least = min(tree[2 * at], tree[2 * at + 1])
        if tree[at] == least:
            break
        tree[at] = least
        at >>= 1


@compiled
def tree_first(tree: Any) -> Any:
    """Return the lowest slot that has the least time."""
    width = tree.size // 2
    least = tree[1]
    at = 1
    while at < width:
        at *= 2
        if tree[at] != least:
            at += 1
    return at - width


@compiled
def steps_within(first_ps: int, growth_ps: int, span_ps: int, most: int) -> Any:
    """Return `leap.steps_within`, `most` at most (whose time fits 64 bits)."""
    if span_ps < first_ps:
        return 0
    if growth_ps == 0:
        return min(span_ps // first_ps if first_ps else most, most)
    half = first_ps - 0.5 * growth_ps
    guess = int(2.0 * span_ps / (half + np.sqrt(half * half + 2.0 * growth_ps * span_ps)))
    steps = max(0, min(guess, most))
    # The float is off by a step or two at most; whole numbers decide.
    while steps * first_ps + growth_ps * (steps * (steps - 1) // 2) > span_ps:
        steps -= 1
    while steps < most and (steps + 1) * first_ps + growth_ps * ((steps + 1) * steps // 2) <= span_ps:
        steps += 1
    return steps


@compiled
def sift_up(heap_end: Any, heap_request: Any, request: Any, at: int, end: int, q: int) -> None:
    """Put a decode at a free place of the heap of ends, or above it; ties by who joined first."""
    while at:
        up = (at - 1) // 2
        above = heap_end[up]
        if above < end or (above == end and request[heap_request[up], TOKEN] < request[q, TOKEN]):
            break
        heap_end[at] = above
        heap_request[at] = heap_request[up]
        at = up
    heap_end[at] = end
    heap_request[at] = q


@compiled
def heap_remove(heap_end: Any, heap_request: Any, request: Any, size: int, at: int) -> None:
    """Take the decode at a place out of a heap of `size`."""
    last = size - 1
    end = heap_end[last]
    q = heap_request[last]
    # The hole goes down to the bottom along the lesser ends, then the last one rises from there.
    down = 2 * at + 1
    while down < last:
        other = down + 1
        if other < last:
            below, beside = heap_end[down], heap_end[other]
            tie = below == beside
            if beside < below or (
                tie and request[heap_request[other], TOKEN] < request[heap_request[down], TOKEN]
            ):
                down = other
        heap_end[at] = heap_end[down]
        heap_request[at] = heap_request[down]
        at = down
        down = 2 * at + 1
    if at < last:
        sift_up(heap_end, heap_request, request, at, end, q)
