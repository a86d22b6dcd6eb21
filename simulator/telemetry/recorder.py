"""Columns that grow while the clock runs and leave in blocks to a sink."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.telemetry.tables import TABLES, Table

#: Rows held in memory before a block goes to the sink.
BLOCK_ROWS: Final = 65536

_TYPECODES: Final[dict[str, str]] = {
    "float64": "d",
    "float32": "f",
    "int64": "q",
    "int32": "i",
    "int16": "h",
    "int8": "b",
}


class Sink(Protocol):
    """Where finished blocks of rows go (a Parquet file, or memory)."""

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        """Take a block: column name -> array of equal lengths (text as list of str)."""


class MemorySink:
    """Keeps every block; for small runs, tests and the library."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[Mapping[str, Any]]] = {}

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        """Keep the block."""
        self._blocks.setdefault(table, []).append(columns)

    def columns(self, table: str) -> dict[str, Any]:
        """Return all rows of `table`: arrays, or lists for text; empty columns if none came."""
        blocks = self._blocks.get(table, [])
        found: dict[str, Any] = {}
        for column in TABLES[table].columns:
            if column.dtype == "str":
                found[column.name] = [text for block in blocks for text in block[column.name]]
            elif blocks:
                found[column.name] = np.concatenate([np.asarray(block[column.name]) for block in blocks])
            else:
                found[column.name] = np.empty(0, dtype=column.dtype)
        return found


class ColumnBuffer:
    """Rows of one table as typed columns; `add` takes the values in column order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._columns: list[Any] = [
            [] if column.dtype == "str" else array(_TYPECODES[column.dtype]) for column in table.columns
        ]
        #: One a column; they stay good when rows are taken away, so writers may keep them.
        self.appenders = tuple(column.append for column in self._columns)

    def clear(self) -> None:
        """Forget all rows."""
        for column in self._columns:
            del column[:]

    def add(self, *values: Any) -> None:
        """Append one row."""
        for append, value in zip(self.appenders, values, strict=True):
            append(value)

    def __len__(self) -> int:
        """Rows held."""
        return len(self._columns[0])

    def take(self) -> dict[str, Any]:
        """Return the rows as name -> array (list for text) and forget them."""
        taken: dict[str, Any] = {}
        for column, values in zip(self.table.columns, self._columns, strict=True):
            taken[column.name] = (
                list(values)
                if column.dtype == "str"
                else np.frombuffer(values, dtype=column.dtype).copy()
                if len(values)
                else np.empty(0, dtype=column.dtype)
            )
        self.clear()
        return taken


class Recorder:
    """Collects the tables that the engine writes row by row."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.segments = ColumnBuffer(TABLES["segments"])
        self.events = ColumnBuffer(TABLES["events"])
        self.links = ColumnBuffer(TABLES["links"])
        #: The books need the segments again when the run ends.
        self._segments: list[dict[str, Any]] = []

    def spill(self) -> None:
        """Send every buffer that is full to the sink."""
        for buffer in (self.segments, self.events, self.links):
            if len(buffer) >= BLOCK_ROWS:
                self._send(buffer)

    def rows(self, table: str, columns: Mapping[str, Any]) -> None:
        """Send a whole block (a crowd's requests, say) straight to the sink."""
        self.sink.write(table, columns)

    def finish(self) -> None:
        """Send what is left."""
        for buffer in (self.segments, self.events, self.links):
            if len(buffer):
                self._send(buffer)

    def all_segments(self) -> dict[str, NDArray[Any]]:
        """Return all rows of `segments`, once `finish` has been called."""
        if len(self.segments):
            raise RuntimeError("segments: finish() before reading the table")
        return {
            column.name: (
                np.concatenate([block[column.name] for block in self._segments])
                if self._segments
                else np.empty(0, dtype=column.dtype)
            )
            for column in TABLES["segments"].columns
        }

    def _send(self, buffer: ColumnBuffer) -> None:
        block = buffer.take()
        if buffer is self.segments:
            self._segments.append(block)
        self.sink.write(buffer.table.name, block)
