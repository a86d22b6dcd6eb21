"""How calibration writes a catalog file: readable YAML, numbers rounded, one line a month."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CATALOG = Path(__file__).resolve().parents[2] / "simulator" / "catalog"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def data_folder(given: str | None = None) -> Path:
    """Return the folder of measured data: as given, else $DATAHALL_DATA, else ``../shared/data``."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(given or os.environ.get("DATAHALL_DATA") or default)
    if not folder.is_dir():
        raise SystemExit(f"no data in {folder}: give --data DIR or set DATAHALL_DATA")
    return folder


def number(value: float, digits: int = 3) -> str:
    """Return `value` with `digits` decimals, without a trailing dot or zeros."""
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def quoted(text: str) -> str:
    """Return `text` as a double-quoted YAML scalar."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def value_line(indent: int, key: str, value: str, **facts: str) -> str:
    """Return ``key: {value: ..., source: ...}`` on one line."""
    inside = ", ".join([f"value: {value}", *(f"{name}: {fact}" for name, fact in facts.items())])
    return f"{' ' * indent}{key}: {{{inside}}}"


def table_lines(
    indent: int, key: str, table: NDArray[np.float64], digits: int = 3, **facts: str
) -> list[str]:
    """Return a (rows, columns) table as one quoted line of numbers a row."""
    pad = " " * indent
    lines = [f"{pad}{key}:"]
    lines += [f"{pad}  {name}: {fact}" for name, fact in facts.items()]
    lines.append(f"{pad}  value:")
    lines += [f'{pad}    - "{" ".join(number(x, digits) for x in row)}"' for row in np.atleast_2d(table)]
    return lines


def map_line(indent: int, key: str, values: Mapping[str, float], digits: int = 4) -> str:
    """Return ``key: {a: 1, b: 2}`` on one line."""
    inside = ", ".join(f"{name}: {number(value, digits)}" for name, value in values.items())
    return f"{' ' * indent}{key}: {{{inside}}}"


def file_text(header: Iterable[str], lines: Iterable[str]) -> str:
    """Return a catalog file with its header as comments."""
    return "\n".join([*(f"# {line}".rstrip() for line in header), *lines]) + "\n"


def run(name: str, purpose: str, text: Callable[[Path], str]) -> None:
    """Fit, print, and write the file when asked: the command line of every script here."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--data", help="folder of measured data")
    parser.add_argument("--write", action="store_true", help=f"rewrite {name}")
    options = parser.parse_args()
    written = text(data_folder(options.data))
    if options.write:
        (CATALOG / name).write_text(written, encoding="utf-8", newline="\n")
        print(f"wrote {name}: {len(written)} bytes")
