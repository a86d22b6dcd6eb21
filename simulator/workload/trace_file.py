"""A text file with one record a line: opened, decompressed and refused with its name and line.

It leaves out what the columns mean; the readers (swf, helios, request_log) say that.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import TraceError
from simulator.foundation.names import known_list, nearest

#: The largest moment or span a trace may hold, about 136 years: beyond 2**33 s a float no
#: longer carries the 2**-20 s grid, and a number that large is a slip of units.
LONGEST_S: Final = 2.0**32
#: No trace of one cluster has more GPUs in one job, or tokens in one request.
LARGEST_COUNT: Final = 1e8
#: A log larger than this is no log of one cluster, but may be a decompression bomb.
MAXIMUM_BYTES: Final = 4 << 30

Floats: TypeAlias = NDArray[np.float64]

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 1 << 20


def refuse(path: Path, line: int | None, message: str) -> NoReturn:
    """Raise the one error of a bad trace: `file:line: message`."""
    place = f"{path}:{line}" if line is not None else f"{path}"
    raise TraceError(f"{place}: {message}")


def shown(text: str | bytes, longest: int = 40) -> str:
    """Return a cell of the file as it may be quoted in a message."""
    if isinstance(text, bytes):
        text = text.decode("ascii", errors="backslashreplace")
    return repr(text if len(text) <= longest else text[:longest] + "...")


def read_lines(path: Path | str, expected: str) -> list[bytes]:
    """Return the lines of a plain or gzip file, without their line ends.

    Parameters
    ----------
    path
        The file; gzip is recognised by its first bytes, not by its name.
    expected
        What the file should have been, for the messages ("an SWF log").

    Raises
    ------
    TraceError
        If the file is missing, not a file, unreadable, empty, damaged or not text;
        damage is named with the line at which the readable part ends.
    """
    path = Path(path)
    data = _read_bytes(path, expected)
    if data.startswith(_GZIP_MAGIC):
        data = _decompress(path, data)
    elif path.suffix == ".gz":
        refuse(path, 1, f"the name ends in .gz but the content is not gzip; expected {expected}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(path, 1, f"the text is UTF-16; expected {expected} in UTF-8 or ASCII")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        refuse(path, 1, f"the file is empty; expected {expected}")
    zero = data.find(b"\0")
    if zero >= 0:
        line = data.count(b"\n", 0, zero) + 1
        refuse(path, line, f"binary data (a zero byte) instead of text; expected {expected}")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")


def _read_bytes(path: Path, expected: str) -> bytes:
    """Return the raw content, or say why there is none."""
    if path.is_dir():
        refuse(path, None, f"this is a directory; expected {expected}")
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAXIMUM_BYTES:
            refuse(path, None, f"{size_bytes} bytes; expected at most {MAXIMUM_BYTES}")
        return path.read_bytes()
    except FileNotFoundError:
        guess = None
        if path.parent.is_dir():
            guess = nearest(path.name, sorted(entry.name for entry in path.parent.iterdir()))
        near = f" (is {guess} meant?)" if guess else ""
        refuse(path, None, f"no such file{near}; expected {expected}")
    except (OSError, ValueError) as error:
        # ValueError: a path with a zero byte in it.
        reason = getattr(error, "strerror", None) or str(error)
        refuse(path, None, f"cannot be read ({reason}); expected {expected}")


def _decompress(path: Path, data: bytes) -> bytes:
    """Unpack gzip members one after another; say how far the text goes if they are damaged."""
    parts: list[bytes] = []
    total_bytes = 0
    problem = ""
    while data and not problem:
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            while data and not unpacker.eof:
                part = unpacker.decompress(data, _CHUNK_BYTES)
                data = unpacker.unconsumed_tail or unpacker.unused_data
                parts.append(part)
                total_bytes += len(part)
                if total_bytes > MAXIMUM_BYTES:
                    problem = f"unpacks to more than {MAXIMUM_BYTES} bytes"
                    break
                if not part and not unpacker.eof and not unpacker.unconsumed_tail:
                    break
        except zlib.error:
            problem = "the gzip data is damaged"
        else:
            if not unpacker.eof and not problem:
                problem = "the gzip data ends early (a truncated download?)"
        # Zero padding after the last member is allowed by gzip itself.
        if unpacker.eof and not data.strip(b"\0"):
            break
        if unpacker.eof and not data.startswith(_GZIP_MAGIC):
            problem = "something that is not gzip follows the gzip data"
    text = b"".join(parts)
    if problem:
        line = text.count(b"\n") + 1
        refuse(path, line, f"{problem}; expected an intact gzip file, readable up to this line")
    return text


@dataclass(frozen=True)
class Rows:
    """The records of one file: each with the line on which it stands, for the messages."""

    path: Path
    line: Sequence[int]

    def __len__(self) -> int:
        """Count of records."""
        return len(self.line)

    def refuse(self, row: int, message: str) -> NoReturn:
        """Raise the error of one record."""
        refuse(self.path, self.line[row], message)

    def parse(self, texts: Sequence[str], name: str, expected: str) -> Floats:
        """Return texts as floats, one a record; the error names the first that is no number."""
        values = floats(texts)
        if values is None:
            row = next(row for row, text in enumerate(texts) if floats([text]) is None)
            found = f"{shown(texts[row])} is not a number" if texts[row].strip() else "it is blank"
            self.refuse(row, f"{name}: {found}; expected {expected}")
        return values

    def check_range(
        self,
        values: Floats,
        name: str,
        expected: str,
        *,
        low: float = 0.0,
        high: float = LONGEST_S,
        whole: bool = False,
    ) -> None:
        """Refuse the first value that is not finite, outside [low, high] or, if asked, not whole."""
        good = (values >= low) & (values <= high)
        if whole:
            good &= values == np.floor(values)
        if good.all():
            return
        row = int(np.argmin(good))
        value = float(values[row])
        if not np.isfinite(value):
            why = "is not finite"
        elif value < low:
            why = f"is below {low:g}"
        elif value > high:
            why = f"is above {high:g}"
        else:
            why = "is not a whole number"
        self.refuse(row, f"{name}: {value:.15g} {why}; expected {expected}")

    def check_order(self, moments_s: Floats, name: str) -> None:
        """Refuse the first moment that lies before the one above it."""
        back = np.flatnonzero(np.diff(moments_s) < 0)
        if len(back):
            row = int(back[0]) + 1
            self.refuse(
                row,
                f"{name}: {moments_s[row]:.15g} comes after {moments_s[row - 1]:.15g} on line "
                f"{self.line[row - 1]}; expected rows in ascending {name}",
            )

    def check_unique(self, ids: Sequence[object], name: str) -> None:
        """Refuse the first id that stands twice, naming both lines."""
        if len(set(ids)) == len(ids):
            return
        seen: dict[object, int] = {}
        for row, found in enumerate(ids):
            if found in seen:
                first = self.line[seen[found]]
                self.refuse(row, f"{name}: {found} stands on line {first} too; expected each once")
            seen[found] = row


@dataclass(frozen=True)
class Cells(Rows):
    """The columns of a CSV file as texts."""

    columns: dict[str, list[str]]

    def numbers(
        self,
        name: str,
        expected: str,
        *,
        low: float = 0.0,
        high: float = LONGEST_S,
        whole: bool = False,
    ) -> Floats:
        """Return one column as finite floats within [low, high]."""
        values = self.parse(self.columns[name], name, expected)
        self.check_range(values, name, expected, low=low, high=high, whole=whole)
        return values


def floats(texts: Sequence[str]) -> Floats | None:
    """Return texts as numbers, or None if one of them is not a plain decimal number."""
    # Python would also read "1_000" and digits of other scripts; in a log both are damage.
    joined = "".join(texts)
    if "_" in joined or not joined.isascii():
        return None
    try:
        return np.fromiter(map(float, texts), dtype=np.float64, count=len(texts))
    except ValueError:
        return None


def read_csv(
    path: Path | str, schemas: Sequence[Sequence[str]], expected: str, *, comment: str = "#"
) -> tuple[int, Cells]:
    """Read a CSV file whose header holds all names of one of the `schemas`.

    Returns
    -------
    tuple of int and Cells
        Which schema matched, and its columns as texts. Other columns are not kept.

    Raises
    ------
    TraceError
        If the header lacks a column or names it twice, a row has another count of
        cells than the header, or there is no row.
    """
    path = Path(path)
    raw = read_lines(path, expected)
    texts: list[str] = []
    for number, part in enumerate(raw, start=1):
        try:
            texts.append(part.decode("utf-8"))
        except UnicodeDecodeError:
            refuse(path, number, f"bytes that are not UTF-8 text; expected {expected}")
    lines: list[int] = []
    rows: list[list[str]] = []
    for number, text in enumerate(texts, start=1):
        if text.startswith(comment) or not text.strip():
            continue
        lines.append(number)
        # One record is one line in every log we read, so a quote left open stays a local error.
        try:
            rows.append(next(csv.reader([text], strict=True)) if '"' in text else text.split(","))
        except csv.Error as error:
            refuse(path, number, f"broken quoting ({error}); expected {expected}")
    if not rows:
        refuse(path, 1, f"only comments; expected {expected}")
    header = [name.strip() for name in rows[0]]
    which = _matching_schema(path, lines[0], header, schemas)
    if len(rows) == 1:
        refuse(path, lines[0], f"a header without rows; expected {expected}")
    width = len(header)
    for number, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != width:
            refuse(path, number, f"{len(row)} cells; expected {width} as in the header")
    columns = {}
    for name in schemas[which]:
        place = header.index(name)
        columns[name] = [row[place].strip() for row in rows[1:]]
    return which, Cells(path, lines[1:], columns)


def _matching_schema(path: Path, line: int, header: list[str], schemas: Sequence[Sequence[str]]) -> int:
    """Return the schema whose columns are all there; else refuse, speaking of the closest."""
    for name in header:
        if header.count(name) > 1:
            refuse(path, line, f"column {shown(name)} stands twice in the header; expected it once")
    missing = [[name for name in schema if name not in header] for schema in schemas]
    which = min(
        range(len(schemas)),
        key=lambda index: (len(missing[index]) / len(schemas[index]), len(missing[index])),
    )
    if missing[which]:
        gone = missing[which][0]
        guess = nearest(gone, header)
        near = f" (is {shown(guess)} meant?)" if guess else ""
        if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
            near = " (columns are parted by commas)"
        refuse(
            path,
            line,
            f"no column {gone!r}{near}; expected {', '.join(schemas[which])}; "
            f"found {known_list([shown(name) for name in header])}",
        )
    return which
