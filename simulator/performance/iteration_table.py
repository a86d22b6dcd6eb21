"""Measured times of an iteration in place of the roofline: grids that are read, not fitted.

An iteration is a sum of three looks: what its new tokens cost, what its decoding sequences
read, and what its prompt chunks attend to. A measured point stands for everything up to it,
so a look rounds up to the next one. Prompts and decodes are keyed as Vidur keys them, so that
its tables plug in unchanged.

References
----------
Agrawal et al., "Vidur: a large-scale simulation framework for LLM inference", MLSys 2024.
arXiv:2405.05465
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import TraceError
from simulator.foundation.names import nearest

_PS_PER_MS: Final = 1e9

#: Operations of one layer that depend on the number of new tokens alone, in Vidur's names; an
#: all-reduce follows attention and the feed-forward layer and is counted apart.
_TOKEN_OPERATIONS: Final = (
    "attn_pre_proj",
    "attn_post_proj",
    "attn_rope",
    "attn_kv_cache_save",
    "mlp_up_proj",
    "mlp_down_proj",
    "mlp_act",
    "input_layernorm",
    "post_attention_layernorm",
    "add",
)

#: Vidur rounds new tokens up to this before it looks anything up. [tokens]
_TOKEN_STEP: Final = 8

#: What Vidur adds where several sequences share one attention call; and to each all-reduce.
_BATCHED_ATTENTION: Final = 1.1
_REDUCE_LAUNCH_MS: Final = 0.02

#: Columns of a CSV table, and the parts its rows may be of.
COLUMNS: Final = ("part", "first", "second", "ms")
PARTS: Final = ("tokens", "decode", "prefill")


class IterationCost(Protocol):
    """What the engine asks of a cost: modelled or measured."""

    linear_in_context: ClassVar[bool]

    @property
    def most_tokens(self) -> int:
        """Widest iteration known. [tokens]"""
        ...

    def step_ps(self, decodes: int, context_tokens: int, chunks: Sequence[tuple[int, int]] = ()) -> int:
        """Time of one iteration: decoding sequences, what they remember in all, prompt chunks. [ps]"""
        ...


@dataclass(frozen=True, eq=False)
class Grid:
    """Milliseconds at the points of two rising axes.

    Parameters
    ----------
    first, second
        (m,) and (n,) int64 - the measured points.
    ms
        (m, n) float64; NaN where nothing was measured. [ms]
    """

    name: str
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    ms: NDArray[np.float64]

    def at(self, first: int, second: int) -> float:
        """Return the measurement at the next point up on both axes. [ms]"""
        i = int(np.searchsorted(self.first, first))
        j = int(np.searchsorted(self.second, second))
        if i == len(self.first) or j == len(self.second):
            raise TraceError(
                f"iteration table: {self.name} at ({first}, {second}) is beyond the widest measured "
                f"point ({self.first[-1]}, {self.second[-1]}); lower max_sequences or the token budget, "
                "or measure further"
            )
        found = float(self.ms[i, j])
        if math.isnan(found):
            raise TraceError(
                f"iteration table: {self.name} has no value at ({self.first[i]}, {self.second[j]})"
            )
        return found


@dataclass(frozen=True, eq=False)
class IterationTable:
    """Measured cost of an iteration of one replica.

    Parameters
    ----------
    tokens_ms
        (n,) float64 - cost of an iteration with i new tokens, attention apart. [ms]
    decode
        By (decoding sequences, mean tokens each remembers).
    prefill
        By (earlier tokens of all chunks, root of the sum of squared chunk lengths).
    batched_attention
        Factor on either where several sequences share the call.
    stretch
        Factor on everything: a lower clock.
    own_token
        1 where the mean counts the token that a sequence decodes from, too, as Vidur does.
    """

    tokens_ms: NDArray[np.float64]
    decode: Grid
    prefill: Grid
    batched_attention: float = 1.0
    stretch: float = 1.0
    source: str = ""
    own_token: int = 0

    #: A mean over the batch, rounded up: no closed form over several iterations.
    linear_in_context: ClassVar[bool] = False

    @property
    def most_tokens(self) -> int:
        """Return the widest iteration the table knows. [tokens]"""
        return len(self.tokens_ms) - 1

    def slowed(self, stretch: float) -> IterationTable:
        """Return this table with every time multiplied."""
        return replace(self, stretch=self.stretch * stretch)

    def step_ps(self, decodes: int, context_tokens: int, chunks: Sequence[tuple[int, int]] = ()) -> int:
        """Return the time of one iteration. [ps]

        Parameters
        ----------
        decodes
            Sequences that decode one token. [count]
        context_tokens
            Tokens that they remember in all, before this iteration. [tokens]
        chunks
            Of each prompt chunk: new tokens, and earlier ones of the same prompt. [tokens]

        Raises
        ------
        TraceError
            If the iteration is wider than what was measured.
        """
        new_tokens = decodes + sum(new for new, _ in chunks)
        if new_tokens > self.most_tokens:
            raise TraceError(
                f"iteration table: {new_tokens} new tokens; the widest measured iteration has "
                f"{self.most_tokens}; lower the token budget"
            )
        total_ms = float(self.tokens_ms[new_tokens])
        if decodes:
            factor = self.batched_attention if decodes > 1 else 1.0
            total_ms += factor * self.decode.at(decodes, context_tokens // decodes + self.own_token)
        if chunks:
            step = int(self.prefill.first[1] - self.prefill.first[0]) if len(self.prefill.first) > 1 else 1
            earlier = sum(-(-before // step) * step for _, before in chunks)
            root = round(math.sqrt(sum(new * new for new, _ in chunks)))
            factor = self.batched_attention if len(chunks) > 1 else 1.0
            total_ms += factor * self.prefill.at(earlier, root)
        return round(total_ms * self.stretch * _PS_PER_MS)


def read_iteration_table(path: Path, *, layers: int, tensor_parallel: int) -> IterationTable:
    """Return the measured table in a file.

    Parameters
    ----------
    path
        ``.npz`` with Vidur's arrays of one layer (``NAME__tokens`` or ``NAME__keys`` and
        ``NAME__ms``), or ``.csv`` (also ``.csv.gz``) of whole iterations with the columns
        ``part,first,second,ms``: part ``tokens`` (first: new tokens), ``decode`` (sequences,
        mean context) or ``prefill`` (earlier tokens, root of summed squares).
    layers, tensor_parallel
        Of the model: what an npz of one layer is multiplied with, and whether its
        all-reduces count. [count]

    Raises
    ------
    TraceError
        If a part is missing or a number is bad.
    """
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return _of_layers(
                {name: arrays[name] for name in arrays.files}, str(path), layers, tensor_parallel
            )
    if path.suffix == ".csv" or path.name.endswith(".csv.gz"):
        return _of_rows(path)
    raise TraceError(f"{path}: an iteration table is an .npz, .csv or .csv.gz file")


def _of_layers(
    arrays: Mapping[str, NDArray[np.float64]], where: str, layers: int, tensor_parallel: int
) -> IterationTable:
    """Return the table of a model from the operations of one layer."""

    def array(name: str) -> NDArray[np.float64]:
        if name not in arrays:
            near = nearest(name, arrays)
            hint = f"; did you mean {near!r}?" if near else ""
            raise TraceError(f"{where}: no array {name!r}{hint}")
        return arrays[name]

    widest = int(array("attn_pre_proj__tokens").max())
    rounded = np.minimum(-(-np.arange(widest + 1) // _TOKEN_STEP) * _TOKEN_STEP, widest)

    def by_token(name: str) -> NDArray[np.float64]:
        tokens, ms = array(f"{name}__tokens").astype(np.int64), array(f"{name}__ms")
        return np.asarray(ms[np.searchsorted(tokens, np.maximum(rounded, tokens[0]))], dtype=np.float64)

    total = np.sum([by_token(name) for name in _TOKEN_OPERATIONS], axis=0)
    if tensor_parallel > 1:
        total = total + 2.0 * (by_token("all_reduce") + _REDUCE_LAUNCH_MS)
    total[0] = 0.0

    def grid(name: str, *, squared: bool) -> Grid:
        keys, ms = array(f"{name}__keys").astype(np.int64), array(f"{name}__ms") * layers
        if squared:
            keys = np.stack([keys[:, 0], np.rint(np.sqrt(keys[:, 1])).astype(np.int64)], axis=1)
        return _grid(name, keys, ms)

    return IterationTable(
        tokens_ms=total * layers,
        decode=grid("attn_decode", squared=False),
        prefill=grid("attn_prefill", squared=True),
        batched_attention=_BATCHED_ATTENTION,
        source=where,
        own_token=1,
    )


def _of_rows(path: Path) -> IterationTable:
    """Return the table in a CSV of whole iterations."""
    found: dict[str, list[tuple[int, int, float]]] = {part: [] for part in PARTS}
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt", newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise TraceError(f"{path}: column {missing[0]!r} is missing; expected {', '.join(COLUMNS)}")
        for line, row in enumerate(reader, start=2):
            part = row["part"]
            if part not in found:
                raise TraceError(f"{path}:{line}: part is {part!r}; expected {', '.join(PARTS)}")
            try:
                first, second, ms = int(row["first"]), int(row["second"] or 0), float(row["ms"])
            except ValueError as error:
                raise TraceError(f"{path}:{line}: {error}") from None
            if not math.isfinite(ms) or ms < 0.0 or first < 0 or second < 0:
                raise TraceError(f"{path}:{line}: {first}, {second}, {ms}: expected numbers of at least 0")
            found[part].append((first, second, ms))
    for part in PARTS:
        if not found[part]:
            raise TraceError(f"{path}: no rows of part {part!r}")

    def arrays(part: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rows = found[part]
        return (
            np.array([(first, second) for first, second, _ in rows], dtype=np.int64),
            np.array([ms for _, _, ms in rows]),
        )

    tokens = _grid("tokens", *arrays("tokens"))
    widest = int(tokens.first[-1])
    by_token = tokens.ms[np.searchsorted(tokens.first, np.arange(widest + 1)), 0]
    return IterationTable(
        tokens_ms=by_token,
        decode=_grid("decode", *arrays("decode")),
        prefill=_grid("prefill", *arrays("prefill")),
        source=str(path),
    )


def _grid(name: str, keys: NDArray[np.int64], ms: NDArray[np.float64]) -> Grid:
    first, i = np.unique(keys[:, 0], return_inverse=True)
    second, j = np.unique(keys[:, 1], return_inverse=True)
    table = np.full((len(first), len(second)), np.nan)
    table[i, j] = ms
    return Grid(name, first, second, table)
