"""Step series of a run, cut to as many points as a picture can show."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.columns import coded, numbers
from simulator.foundation import StepSeries

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = NDArray[np.float64]

#: More steps than this are drawn as means over equal spans: finer than a pixel is not seen.
MOST_POINTS: Final = 840


@dataclass(frozen=True)
class Steps:
    """Equally cut series: ``edges_s`` has one more entry than each of ``means``.

    ``exact`` tells whether the cuts are the series' own changes, so that means are the values.
    """

    edges_s: FloatArray
    means: Mapping[str, FloatArray]
    exact: bool

    @property
    def start_s(self) -> FloatArray:
        """Begin of every span. [s]"""
        return self.edges_s[:-1]

    @property
    def span_s(self) -> float:
        """Width of the spans, of the widest one if they are the series' own. [s]"""
        return float(np.diff(self.edges_s).max())

    def sentence(self) -> str:
        """Say how the time axis was cut."""
        return "Every change is drawn." if self.exact else f"Means over {span_text(self.span_s)}."


def series_by(
    table: pa.Table,
    key: Callable[[Sequence[str]], str],
    keys: Sequence[str],
    value: str,
    horizon_s: float,
) -> dict[str, StepSeries]:
    """Return step series of a table with ``time_s``, summed into groups.

    Parameters
    ----------
    table
        Rows say from when a value of one series holds; a series is zero before its first row.
    key
        Turns a series' key texts into the name of its group.
    keys
        Columns that together tell the series apart.
    value
        Column of the values.
    horizon_s
        Where every series ends. [s]

    Returns
    -------
    dict
        Group name to series, in order of first appearance of sorted keys.
    """
    codes = np.zeros(table.num_rows, dtype=np.int64)
    names: list[list[str]] = []
    for column in keys:
        code, known = coded(table, column)
        codes = codes * max(1, len(known)) + code
        names.append(known)
    time_s, values = numbers(table, "time_s"), numbers(table, value)
    order = np.lexsort((time_s, codes))
    codes, time_s, values = codes[order], time_s[order], values[order]
    first = np.append(True, codes[1:] != codes[:-1]) if len(codes) else np.zeros(0, dtype=bool)
    before = np.where(first, 0.0, np.roll(values, 1))
    jumps = values - before
    borders = [*np.flatnonzero(first).tolist(), len(codes)]
    members: dict[str, list[tuple[int, int]]] = {}
    for start, stop in itertools.pairwise(borders):
        rest, parts = int(codes[start]), []
        for known in reversed(names):
            rest, place = divmod(rest, len(known))
            parts.append(known[place])
        members.setdefault(key(parts[::-1]), []).append((start, stop))
    return {
        group: StepSeries.from_events(
            np.concatenate([time_s[a:b] for a, b in spans]),
            np.concatenate([jumps[a:b] for a, b in spans]),
            0.0,
            horizon_s,
        )
        for group, spans in members.items()
    }


def cut(series: Mapping[str, StepSeries], horizon_s: float, most: int = MOST_POINTS) -> Steps:
    """Cut series at their own changes if these are few, else into equal spans with exact means."""
    edges = np.unique(np.concatenate([[0.0], *(one.start_s for one in series.values())]))
    exact = len(edges) <= most
    edges = np.append(edges, horizon_s) if exact else np.linspace(0.0, horizon_s, most + 1)
    widths = np.diff(edges)
    means = {name: one.integrals_between(edges) / widths for name, one in series.items()}
    return Steps(edges, means, exact)


def extremes(series: StepSeries, edges_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and highest value inside each span, so that cutting hides no peak."""
    starts = series.start_s
    inner = edges_s[:-1]
    # Each span sees the value carried in, then every change before its end.
    grid = np.unique(np.concatenate([starts, inner]))
    values = series.at(grid)
    first = np.searchsorted(grid, inner)
    return np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)


def span_text(span_s: float) -> str:
    """Return a length of time for people: ``28 min``, ``10.4 h``, ``3 d``."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if span_s >= 2 * size or (span_s >= size and unit == "min"):
            return f"{span_s / size:.3g} {unit}"
    return f"{span_s:.3g} s"
