"""Hourly (or finer) series of a real grid from a CSV file, plain or gzip."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import TraceError
from simulator.foundation.names import hint
from simulator.foundation.step_series import StepSeries
from simulator.grid.signals import GridSignals

FloatArray = NDArray[np.float64]

TIME_COLUMN: Final = "time_utc"
#: Looked for, in this order, when no column is named.
_INTENSITY_COLUMNS: Final = ("intensity_g_per_kwh", "ci_lca", "ci_direct")
_MARGINAL_COLUMNS: Final = ("marginal_g_per_kwh", "marginal_intensity_g_per_kwh")
_PRICE_COLUMNS: Final = ("price_usd_per_kwh", "price_usd_per_mwh", "price_usd_mwh")
#: End of a price column's name -> USD/kWh in its unit.
_PRICE_UNITS: Final = {
    "usd_per_kwh": 1.0,
    "usd_kwh": 1.0,
    "usd_per_mwh": 1e-3,
    "usd_mwh": 1e-3,
}
#: The dirtiest power station is below this; more is another unit. [g/kWh]
_LARGEST_G_PER_KWH: Final = 5000.0
#: Prices have spiked to about 20 USD/kWh; more is another unit. [USD/kWh]
_LARGEST_USD_PER_KWH: Final = 100.0


class _Table(NamedTuple):
    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    """Line of each row in the file."""
    epoch_s: FloatArray
    """Begin of each step, shifted where labels tell its end. [s since 1970-01-01 UTC]"""
    step_s: float


def read_trace(
    path: Path,
    calendar: Calendar,
    horizon_s: float,
    *,
    intensity_column: str | None = None,
    marginal_column: str | None = None,
    price_column: str | None = None,
    label: Literal["begin", "end"] = "begin",
) -> GridSignals:
    """Return the signals in a file, over the run's span.

    The file has a column ``time_utc`` (ISO 8601; without an offset it is UTC) in steps of equal
    length, a column of intensity in g/kWh, and perhaps one of price whose name ends in its unit
    (``_usd_per_kwh``, ``_usd_per_mwh``). Columns not named are looked for under usual names.

    Parameters
    ----------
    path
        The file.
    calendar, horizon_s
        The run's span; all of it must be covered. [s]
    intensity_column, marginal_column, price_column
        Which columns to read.
    label
        Whether a time labels the begin of its step or its end; labels at the end are shifted,
        and the notes say so.

    Raises
    ------
    TraceError
        The file cannot be read, times do not go up in equal steps, a value inside the span is
        blank or impossible, or the span is not covered. The message gives the file and line,
        or both spans.
    """
    table = _read_table(path, label)
    intensity = _choose(table, "intensity", intensity_column, _INTENSITY_COLUMNS)
    if intensity is None:
        raise TraceError(
            f"{path}:1: no column of carbon intensity; expected one of {', '.join(_INTENSITY_COLUMNS)}, "
            f"or name it with `intensity_column` (columns: {', '.join(table.columns)})"
        )
    marginal = _choose(table, "marginal", marginal_column, _MARGINAL_COLUMNS)
    price = _choose(table, "price", price_column, _PRICE_COLUMNS)
    inside = _span(table, calendar, horizon_s)
    starts_s = table.epoch_s[inside] - calendar.start_epoch_s

    def series(column: str, factor: float, low: float, high: float) -> StepSeries:
        values = _values(table, column, inside, low / factor, high / factor) * factor
        return StepSeries(starts_s, values, starts_s[-1] + table.step_s).cut(0.0, horizon_s)

    notes: tuple[str, ...] = ()
    if label == "end":
        notes = (
            f"{path.name}: times label the end of their step; shifted by {table.step_s:g} s to its begin",
        )
    first, last = (
        datetime.fromtimestamp(table.epoch_s[i], UTC).year for i in (inside.start, inside.stop - 1)
    )
    return GridSignals(
        name=path.name,
        intensity_g_per_kwh=series(intensity, 1.0, 0.0, _LARGEST_G_PER_KWH),
        price_usd_per_kwh=(
            None
            if price is None
            else series(price, _price_unit(table, price), -_LARGEST_USD_PER_KWH, _LARGEST_USD_PER_KWH)
        ),
        marginal_g_per_kwh=None if marginal is None else series(marginal, 1.0, 0.0, _LARGEST_G_PER_KWH),
        basis={"ci_lca": "lifecycle", "ci_direct": "direct"}.get(intensity, "as given"),
        vintage=f"{first}" if first == last else f"{first}-{last}",
        notes=notes,
    )


def _read_table(path: Path, label: str) -> _Table:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not a text file in UTF-8: byte {error.start} cannot be read") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num}: not a CSV file: {error}") from None
    if not columns:
        raise TraceError(f"{path}: the file is empty")
    if TIME_COLUMN not in columns:
        raise TraceError(f"{path}:1: no column '{TIME_COLUMN}'; {hint(TIME_COLUMN, columns)}")
    if len(rows) < 2:
        raise TraceError(f"{path}: {len(rows)} rows of data; at least 2 are needed to tell their step")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise TraceError(f"{path}:{line}: {len(row)} fields; the header has {len(columns)}")
    where = columns.index(TIME_COLUMN)
    epoch_s = _times(path, [row[where] for row in rows], lines)
    step_s = _step(path, epoch_s, lines)
    return _Table(path, columns, rows, lines, epoch_s - (step_s if label == "end" else 0.0), step_s)


def _times(path: Path, texts: list[str], lines: list[int]) -> FloatArray:
    """Return moments as seconds since 1970 in UTC."""
    plain = [text.strip().removesuffix("Z").removesuffix("+00:00") for text in texts]
    # The usual spellings, all at once; other offsets and mistakes go one by one below.
    if not any("+" in text or "-" in text[10:] for text in plain):
        try:
            moments_ms = np.array(plain, dtype="datetime64[ms]")
        except ValueError:
            moments_ms = np.array(["NaT"], dtype="datetime64[ms]")
        if not np.isnat(moments_ms).any():
            return np.asarray(moments_ms.astype(np.int64) / 1000.0)
    moments = np.empty(len(texts))
    for index, text in enumerate(texts):
        try:
            moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
            moments[index] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise TraceError(
                f"{path}:{lines[index]}: {TIME_COLUMN}: '{text}' is not a moment like 2024-03-04 06:00"
            ) from None
    return moments


def _step(path: Path, epoch_s: FloatArray, lines: list[int]) -> float:
    """Return the common step; refuse times that do not go up by it."""
    steps = np.diff(epoch_s)
    if np.any(steps <= 0.0):
        first = int(np.flatnonzero(steps <= 0.0)[0]) + 1
        raise TraceError(
            f"{path}:{lines[first]}: {_said(epoch_s[first])} does not come after "
            f"{_said(epoch_s[first - 1])} in the row before"
        )
    lengths, counts = np.unique(steps, return_counts=True)
    step_s = float(lengths[np.argmax(counts)])
    uneven = np.flatnonzero(steps != step_s)
    if uneven.size:
        first = int(uneven[0])
        gaps = "1 gap" if uneven.size == 1 else f"{uneven.size} gaps"
        raise TraceError(
            f"{path}:{lines[first + 1]}: {gaps} in steps of {step_s:g} s; the first is after "
            f"{_said(epoch_s[first])}, the next row is {_said(epoch_s[first + 1])}"
        )
    return step_s


def _choose(table: _Table, what: str, named: str | None, usual: tuple[str, ...]) -> str | None:
    if named is not None:
        if named not in table.columns:
            raise TraceError(
                f"{table.path}:1: {what}_column: no column '{named}'; {hint(named, table.columns)}"
            )
        return named
    return next((name for name in usual if name in table.columns), None)


def _price_unit(table: _Table, column: str) -> float:
    for ending, factor in _PRICE_UNITS.items():
        if column.lower().endswith(ending):
            return factor
    raise TraceError(
        f"{table.path}:1: the unit of the price column '{column}' cannot be told; "
        f"let its name end in one of {', '.join('_' + ending for ending in _PRICE_UNITS)}"
    )


def _span(table: _Table, calendar: Calendar, horizon_s: float) -> slice:
    """Return the rows that the run needs; refuse a file that is too short."""
    begin_s, end_s = calendar.start_epoch_s, calendar.start_epoch_s + horizon_s
    covered_s = table.epoch_s[-1] + table.step_s
    if begin_s < table.epoch_s[0] or end_s > covered_s:
        raise TraceError(
            f"{table.path}: covers {_said(table.epoch_s[0])} to {_said(covered_s)}, "
            f"but the run is {_said(begin_s)} to {_said(end_s)}"
        )
    first = int(np.searchsorted(table.epoch_s, begin_s, side="right")) - 1
    return slice(first, int(np.searchsorted(table.epoch_s, end_s, side="left")))


def _values(table: _Table, column: str, inside: slice, low: float, high: float) -> FloatArray:
    where = table.columns.index(column)
    texts = [row[where].strip() for row in table.rows[inside]]
    values = _numbers(texts, lambda index: f"{table.path}:{table.lines[inside][index]}: {column}")
    blank = np.flatnonzero(np.isnan(values))
    if blank.size:
        first = int(blank[0])
        raise TraceError(
            f"{table.path}:{table.lines[inside][first]}: {column} is blank in {blank.size} of "
            f"{len(values)} steps that the run needs; the first is {_said(table.epoch_s[inside][first])}"
        )
    outside = np.flatnonzero(~((values >= low) & (values <= high)))
    if outside.size:
        first = int(outside[0])
        raise TraceError(
            f"{table.path}:{table.lines[inside][first]}: {column} is {texts[first]}; "
            f"expected {low:g} to {high:g} (is the unit right?)"
        )
    return values


def _numbers(texts: list[str], place: Callable[[int], str]) -> FloatArray:
    """Return texts as numbers, NaN where one is blank."""
    values = np.empty(len(texts))
    for index, text in enumerate(texts):
        try:
            values[index] = float(text) if text else math.nan
        except ValueError:
            raise TraceError(f"{place(index)}: '{text}' is not a number") from None
    return values


def _said(epoch_s: float) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(epoch_s))
    return moment.strftime("%Y-%m-%d %H:%MZ")
