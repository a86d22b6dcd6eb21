"""All that a compiled crowd is, as arrays, and how functions over them are compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped,unused-ignore]
from numba import config, njit, types  # type: ignore[import-untyped,unused-ignore]
from numba.extending import intrinsic  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

Ints = NDArray[np.int64]


#: How all of the kernel is compiled. Nothing in it makes an array, so nothing needs counting of
#: references; counting those of the whole state at every call would take nine tenths of the time.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
#: Without the form that Python calls: handing it the state takes half of the time to compile.
_INNER: Final[dict[str, Any]] = {**_OPTIONS, "no_cpython_wrapper": True}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that others of the kernel call; a call hands the state over word by word."""
    return njit(**_INNER)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into those that call it: on a frequent path calls took half of the time."""
    return njit(**_INNER, forceinline=True)(function)


def entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, with all that it calls, or load it from the disk cache.

    The cache sees edits of the function's own file and what its closure holds, so the function
    must close over the `digest` of every file that it reaches.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined,unused-ignore]
        # As compiled, whole numbers wrap without a word.
        return np.errstate(over="ignore")(function)
    return njit(**_OPTIONS, cache=True)(function)


def compiled_like(example: Any, function: Callable[..., Any]) -> Any:
    """Compile a function as another one of the kernel is."""
    if plain(example) is example:
        return function
    return njit(**{name: said for name, said in example.targetoptions.items() if name != "nopython"})(
        function
    )


def _rarely(holds: bool) -> bool:
    return holds


def _expected_not(typing_context: Any, holds: Any) -> Any:
    """Type and write `rarely`: the optimizer moves what follows out of the way of the rest."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bit = arguments[0].type
        expect = builder.module.declare_intrinsic("llvm.expect", [bit], ir.FunctionType(bit, [bit, bit]))
        return builder.call(expect, [arguments[0], bit(0)])

    return types.boolean(types.boolean), write


#: Return a condition that hardly ever holds, such as one of a feature that most services lack. Left
#: to itself the optimizer takes a flag to be set, and every call hands the state over word by word.
rarely: Final[Any] = _rarely if config.DISABLE_JIT else intrinsic(_expected_not)  # type: ignore[attr-defined,unused-ignore]


def plain(function: Any) -> Any:
    """Return the Python function of a compiled one, for a single call from outside.

    Only for one that calls none of the others, `rarely` among them: they have no form for Python.
    """
    return getattr(function, "py_func", function)


class Prefixes(NamedTuple):
    """What replicas remember of prompts that begin alike; without rows where requests share nothing.

    Neighbouring blocks of one piece of a prompt are a span; the spans of a piece stand on a shelf, which
    a directory finds by the piece's name. What only its own request can find is named when that is
    preempted, by pieces of its own.
    """

    counts: Ints
    """(slots, CACHE_COUNTS) of each batch: blocks, ends of its free queue, spans, shelves."""
    span: NDArray[np.int32]
    """(slots, blocks, SPAN_COLUMNS) first place in its piece; blocks; users; the row of `hold` of who took
    them; neighbours in the free queue, or in that one's table; shelf, -1 without a name; neighbours there."""
    shelf: NDArray[np.int32]
    """(slots, shelves, SHELF_COLUMNS) place in the directory; first and last span, in order of naming."""
    directory: Ints
    """(slots, power of two, 2) a hash table: the name of a piece, and its shelf + 1; 0 where empty."""
    sharer: Ints
    """(requests, SHARER_COLUMNS) of each request in flight: where its pieces' names are, and how many;
    tokens found at first; its row of `hold`."""
    hold: Ints
    """(2 requests, HOLD_COLUMNS) blocks found, named and held on a replica, the last span of its own."""
    piece: Ints
    """(pieces,) names of the pieces of requests in flight and of those that arrive."""
    arriving: Ints
    """(arrivals + 1,) where in `piece` those of each arrival begin."""


class State(NamedTuple):
    """All that a crowd is, as arrays of whole numbers, where nothing else is said."""

    crowd: Ints
    """(CROWD_FIELDS,) of the crowd as a whole."""
    replica: Ints
    """(slots, REPLICA_COLUMNS); with attention groups a slot is several rows, see `groups`."""
    request: Ints
    """(requests, REQUEST_COLUMNS) those in flight; the rest are a chain of free places."""
    waiting: Ints
    """(slots, 2 tiers) first and last of each tier's queue."""
    running: Ints
    """(slots, sequences) requests in the batch, in order of admission where they share prefixes."""
    prefilled: Ints
    """(slots, sequences) whose prompt is done when the plan ends."""
    heap_end: Ints
    """(slots, sequences) a heap of ends on the replica's token clock."""
    heap_request: Ints
    """(slots, sequences) whose end it is."""
    phases: Ints
    """(slots, 2 block tokens) decodes that need a block at this generation modulo block size, twice."""
    ends: Ints
    """(2 width,) a tree of minima over `replica[PLAN_END]`: leaves from `width` on, its root at 1."""
    boundary: Ints
    """(slots,) slots whose replicas plan on before time moves."""
    doors: Ints
    """(2, 2 tiers) first and last of the queues at the door, and of those that are being dealt out."""
    entry: Ints
    """(cells + 1, slots) open slots of each cell, and those that only decode."""
    entries: Ints
    """(cells + 1,) how many."""
    turns: Ints
    """(cells + 1, sites + 1) requests routed by cell and site; without shares the site is 0."""
    scratch: Ints
    """(2, slots or sites) for picking."""
    shares: NDArray[np.float64]
    """(2, sites) weight and credit by site."""
    links: Ints
    """(2 width,) a tree like `ends` of when each sender's transfer of KV ends."""
    lines: Ints
    """(slots, 4) first and last of the KV that a replica has to send, and of requests whose KV has come."""
    flow: NDArray[np.float64]
    """(4,) KV of a token, bandwidth of a sender, and KV sent in the last two epochs. [B, B/s, B, B]"""
    cost: Ints
    """(costs, COST_COLUMNS)"""
    tokens_ps: Ints
    """(costs, budget + 1)"""
    shared_ps: Ints
    """(costs, groups x budget + 1) the part of `tokens_ps` that goes with the tokens of all groups; with
    one group (costs, 0)."""
    prompt_mw: Ints
    """(costs, budget + 1) by new tokens, watts of an iteration all of whose tokens are of prompts."""
    power_key: Ints
    """A hash table of decode watts: (cost, sequences, bucket) packed, 0 where empty."""
    power_mw: Ints
    unknown: Ints
    """(slots, 7) plans whose watts Python must look up: slot, cost, sequences, bucket, tokens, own ps, ps."""
    arrived: Ints
    """(arrivals,) the block of arrivals that is at hand."""
    arriving: Ints
    """(arrivals, 4) number, prompt, output, tier."""
    rows: Ints
    """(rows, 12) of requests that are over; 13 where they share prefixes."""
    totals: Ints
    """(4, 3) requests, prompt and output tokens that ended, by state."""
    prefixes: Prefixes
    draft_bits: NDArray[np.uint64]
    """(1 + drafts,) the seed of drafts; greatest 64 bits that accept at least 1, 2, ... of them."""


def digest(folder: Path) -> int:
    """Return a whole number of 63 bits that stands for all sources of a folder.

    Parameters
    ----------
    folder
        With Python modules; what lies deeper is not read.
    """
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return int.from_bytes(found.digest()[:8], "big") >> 1
