"""Tables to Parquet files: rows arrive in blocks, leave in row groups of one fixed size.

Columns, units and meanings come from ``telemetry.tables`` and travel in the files. The same rows
give the same bytes however they were cut into blocks: row groups are filled exactly, every option
is fixed here, and no date is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.telemetry import PHASES, TABLES, WAIT_REASONS, Table
from simulator.telemetry.coded_text import CodedText

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Rows of a row group; the last one of a file is shorter.
ROW_GROUP_ROWS: Final = 131_072

#: Columns that are small numbers in memory and names in the file.
_NAMED_BY_CODE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("segments", "phase"): PHASES,
    ("waits", "reason"): WAIT_REASONS,
    ("waits", "blocked_by"): WAIT_REASONS,
}


class ParquetSink:
    """Writes each table to ``FOLDER/TABLE.parquet`` while the run goes on.

    Parameters
    ----------
    folder
        An existing folder.
    sites, pools
        Names in code order, for the columns that hold codes in memory.
    stamp
        Written into every file's metadata (scenario hash, version).
    """

    def __init__(
        self,
        folder: Path,
        sites: Sequence[str] = (),
        pools: Sequence[str] = (),
        stamp: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._names = dict(_NAMED_BY_CODE)
        self._names["segments", "site"] = tuple(sites)
        self._names["segments", "pool"] = tuple(pools)
        self._stamp = dict(stamp or {})
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.Table]] = {}
        self._rows_waiting: dict[str, int] = {}
        self.rows: dict[str, int] = {}

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        """Take a block of rows: column name -> array, list of text, coded text, or (codes, names).

        Raises
        ------
        ValueError
            If a column is missing, unknown, or of another length than the others.
        """
        import pyarrow as pa

        declared = TABLES[table]
        if set(columns) != set(declared.names):
            missing = [name for name in declared.names if name not in columns]
            unknown = [name for name in columns if name not in declared.names]
            raise ValueError(f"{table}: missing columns {missing}, unknown columns {unknown}")
        schema = arrow_schema(declared, self._stamp)
        arrays = [self._arrow(table, name, columns[name], schema.field(name).type) for name in declared.names]
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            counts = {name: len(array) for name, array in zip(declared.names, arrays, strict=True)}
            raise ValueError(f"{table}: columns of different lengths: {counts}")
        block = pa.Table.from_arrays(arrays, schema=schema)
        self.rows[table] = self.rows.get(table, 0) + block.num_rows
        self._waiting.setdefault(table, []).append(block)
        self._rows_waiting[table] = self._rows_waiting.get(table, 0) + block.num_rows
        if self._rows_waiting[table] >= ROW_GROUP_ROWS:
            self._spill(table, everything=False)

    def close(self) -> None:
        """Write what is left; tables without a row become files without a row."""
        for name, declared in TABLES.items():
            self._writer(name, declared)
            self._spill(name, everything=True)
        self.abandon()

    def abandon(self) -> None:
        """Close the files as they are (after a failure, before the folder is removed)."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _arrow(self, table: str, name: str, values: Any, kind: pa.DataType) -> Any:
        import pyarrow as pa

        if isinstance(values, CodedText):
            return _named(values.codes, values.names)
        names = self._names.get((table, name))
        if names is not None and not _is_text(values):
            values = (np.asarray(values), names)
        if isinstance(values, tuple) and len(values) == 2:
            codes, names = values
            return _named(np.asarray(codes), names)
        if pa.types.is_string(kind):
            return pa.array(list(values), type=kind)
        array = np.asarray(values)
        if array.dtype.kind == "f":
            # NaN and inf inside mean "does not apply"; a file says so with null.
            finite = np.isfinite(array)
            return pa.array(array, type=kind, mask=None if finite.all() else ~finite)
        return pa.array(array, type=kind)

    def _spill(self, table: str, *, everything: bool) -> None:
        import pyarrow as pa

        blocks = self._waiting.get(table)
        if not blocks:
            return
        rows = pa.concat_tables(blocks)
        whole = rows.num_rows if everything else rows.num_rows - rows.num_rows % ROW_GROUP_ROWS
        writer = self._writer(table, TABLES[table])
        if whole:
            writer.write_table(rows.slice(0, whole), row_group_size=ROW_GROUP_ROWS)
        rest = rows.slice(whole)
        self._waiting[table] = [rest] if rest.num_rows else []
        self._rows_waiting[table] = rest.num_rows

    def _writer(self, table: str, declared: Table) -> pq.ParquetWriter:
        import pyarrow.parquet as pq

        writer = self._writers.get(table)
        if writer is None:
            text = [column.name for column in declared.columns if _is_name(table, column.name)]
            floats = [column.name for column in declared.columns if column.dtype.startswith("float")]
            options: dict[str, Any] = {
                "version": "2.6",
                "data_page_version": "1.0",
                "compression": "zstd",
                "compression_level": 3,
                "use_dictionary": text,
                "column_encoding": dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
                "write_statistics": True,
            }
            writer = pq.ParquetWriter(
                self._folder / f"{table}.parquet",
                arrow_schema(declared, self._stamp),
                **options,
            )
            self._writers[table] = writer
        return writer


def arrow_schema(table: Table, stamp: Mapping[str, str] | None = None) -> pa.Schema:
    """Return a table's Arrow schema: types, and unit and meaning of each column as metadata."""
    import pyarrow as pa

    fields = [
        pa.field(
            column.name,
            pa.string() if _is_name(table.name, column.name) else pa.from_numpy_dtype(np.dtype(column.dtype)),
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in table.columns
    ]
    about: dict[str | bytes, str | bytes] = {"table": table.name, "meaning": table.meaning}
    about.update((stamp or {}).items())
    return pa.schema(fields, metadata=about)


def read_table(folder: Path, name: str) -> pa.Table:
    """Return a table of a finished run folder as Arrow.

    Raises
    ------
    RunFolderError
        If there is no such table, or its file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from simulator.foundation.errors import RunFolderError
    from simulator.foundation.names import nearest

    path = folder / f"{name}.parquet"
    if name not in TABLES:
        near = nearest(name, TABLES)
        hint = f"; did you mean {near!r}?" if near else ""
        raise RunFolderError(f"{folder}: no table {name!r}{hint} known: {', '.join(TABLES)}")
    if not path.exists():
        raise RunFolderError(f"{path}: is missing; the run folder is damaged")
    try:
        return pq.read_table(path, memory_map=False)
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error}") from error


def _is_name(table: str, column: str) -> bool:
    declared = TABLES[table].column(column)
    return (
        declared.dtype == "str"
        or (table, column) in _NAMED_BY_CODE
        or (table == "segments" and column in ("site", "pool"))
    )


def _is_text(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "UO"
    return isinstance(values, list) and (not values or isinstance(values[0], str))


def _named(codes: np.ndarray[Any, Any], names: Sequence[str]) -> Any:
    import pyarrow as pa

    known = (codes >= 0) & (codes < len(names))
    if np.any(codes >= len(names)):
        worst = int(codes.max())
        raise ValueError(f"code {worst} has no name; {len(names)} are known")
    chosen: Any = pa.array(np.where(known, codes, 0).astype(np.int32), mask=~known)
    return pa.array(list(names), type=pa.string()).take(chosen)
