"""Tables of cases: read whole with every mistake told by line, written with what was predicted."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from simulator.foundation.errors import DatahallError, TraceError
from simulator.foundation.names import hint

Row = Mapping[str, str]
Prediction = Mapping[str, str | float]

#: Where a row says why it was not predicted.
REFUSED: Final = "refused"


def read_rows(path: Path, required: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Return (columns, rows) of a CSV file, plain or gzipped; cells without blanks around them.

    Raises
    ------
    TraceError
        If it is no such table; the message gives the line and what was expected.
    """
    try:
        packed = path.read_bytes()
        raw = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: byte {error.start} is not UTF-8; expected a CSV file in UTF-8, plain or gzipped"
        ) from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: a broken gzip file: {error}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, str]] = []
    columns: list[str] = []
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not columns:
                columns = [cell.strip() for cell in cells]
                _check_columns(columns, required, where)
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise TraceError(
                    f"{where}: {len(cells)} cells, expected {len(columns)} as the header has; "
                    "a cell with a comma must stand in quotes"
                )
            rows.append(dict(zip(columns, (cell.strip() for cell in cells), strict=True)))
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num}: {error}") from None
    if not columns:
        raise TraceError(f"{path}: empty; expected a header line with {', '.join(required)}")
    return columns, rows


def _check_columns(columns: Sequence[str], required: Sequence[str], where: str) -> None:
    for column in required:
        if column not in columns:
            raise TraceError(f"{where}: no column {column!r}\n    {hint(column, columns)}")
    for place, column in enumerate(columns):
        if column in columns[:place]:
            raise TraceError(f"{where}: column {column!r} stands twice")


def predict_rows(rows: Sequence[Row], predict: Callable[[Row], Prediction]) -> list[Prediction]:
    """Return the prediction of each row, or its refusal."""
    found: list[Prediction] = []
    for row in rows:
        try:
            found.append(predict(row))
        except DatahallError as error:
            found.append({REFUSED: " ".join(str(error).split())})
    return found


def as_csv(
    columns: Sequence[str], rows: Sequence[Row], added: Sequence[str], predictions: Sequence[Prediction]
) -> str:
    """Return the rows with what was predicted as CSV, in the order in which they came.

    A column that is there already, from an earlier estimate, is replaced.
    """
    kept = [column for column in columns if column not in (*added, REFUSED)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*kept, *added, REFUSED])
    for row, found in zip(rows, predictions, strict=True):
        cells = [_cell(found.get(column, "")) for column in (*added, REFUSED)]
        writer.writerow([*(row[column] for column in kept), *cells])
    return text.getvalue()


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
