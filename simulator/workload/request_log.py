"""Logs of requests: our own CSV, the Azure LLM inference traces, and Mooncake's JSON lines.

Mooncake's prefix hashes are not read: requests of a log share no prefix here.

References
----------
Patel et al., "Splitwise", ISCA 2024 (the Azure traces of 2023; those of 2024 have the same
columns); Qin et al., "Mooncake", FAST 2025.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from simulator.foundation.names import hint
from simulator.foundation.units import MILLI
from simulator.workload.jobs import IntColumn
from simulator.workload.moments import snap_all
from simulator.workload.requests import RequestTable
from simulator.workload.trace_file import (
    LARGEST_COUNT,
    LONGEST_S,
    Cells,
    Floats,
    Rows,
    read_csv,
    read_lines,
    refuse,
    shown,
)

OWN: Final = ("arrived_s", "prompt_tokens", "output_tokens")
TIERED: Final = (*OWN, "tier")
AZURE: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE: Final = ("timestamp", "input_length", "output_length")

_EXPECTED: Final = "requests: a CSV with arrived_s, prompt_tokens, output_tokens, or an Azure or Mooncake log"
_AZURE_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,9})?(?:\+00:00|Z)?", flags=re.ASCII
)


def read_requests(path: Path | str, tiers: Sequence[str] = ()) -> RequestTable:
    """Read a log of requests, plain or gzip; its form is told by its first line.

    Azure's and Mooncake's clocks begin at the first request. Requests without a prompt
    or without output are left out and counted.

    Parameters
    ----------
    path
        The log.
    tiers
        The service's tiers; with two or more, our own form with a column `tier` must name
        the tier of each request.

    Raises
    ------
    TraceError
        With file and line, for anything else than a log in ascending order of arrival.
    """
    path = Path(path)
    rows, arrived_s, prompt, output, tier = _columns(path, tiers)
    rows.check_order(arrived_s, "arrival")
    rows.check_range(arrived_s, "arrival", "seconds, 0 or more")
    for name, tokens in (("prompt tokens", prompt), ("output tokens", output)):
        rows.check_range(tokens, name, "a whole number, 0 or more", high=LARGEST_COUNT, whole=True)
    keep = (prompt > 0) & (output > 0)
    if not keep.any():
        rows.refuse(0, "neither this nor any later request has a prompt and output; expected some")
    counts = {
        "no prompt tokens": np.count_nonzero(prompt == 0),
        "no output tokens": np.count_nonzero((prompt > 0) & (output == 0)),
    }
    return RequestTable(
        arrived_s=snap_all(arrived_s[keep]),
        prompt_tokens=prompt[keep].astype(np.int64),
        output_tokens=output[keep].astype(np.int64),
        tier=tier[keep],
        skipped={reason: int(count) for reason, count in counts.items() if count},
    )


def _columns(path: Path, tiers: Sequence[str]) -> tuple[Rows, Floats, Floats, Floats, IntColumn]:
    """Return places, arrivals, lengths and tiers of a log of any form."""
    if read_lines(path, _EXPECTED)[0].lstrip().startswith(b"{"):
        _refuse_untold_tiers(path, tiers)
        rows, (stamp_ms, prompt, output) = _json_rows(path)
        rows.check_range(stamp_ms, MOONCAKE[0], "milliseconds, 0 or more", high=LONGEST_S / MILLI)
        return rows, (stamp_ms - stamp_ms[0]) * MILLI, prompt, output, np.zeros(len(rows), dtype=np.int64)
    which, cells = read_csv(path, (TIERED, OWN, AZURE), _EXPECTED)
    if which != 0:
        _refuse_untold_tiers(path, tiers)
    tier = np.zeros(len(cells), dtype=np.int64)
    if which == 2:
        arrived_s, names = _azure_clock(cells), AZURE
    else:
        arrived_s, names = cells.numbers("arrived_s", "seconds, 0 or more"), OWN
        if which == 0:
            tier = _tiers(cells, tiers)
    prompt, output = (cells.parse(cells.columns[name], name, "a whole number") for name in names[1:])
    return cells, arrived_s, prompt, output, tier


def _refuse_untold_tiers(path: Path, tiers: Sequence[str]) -> None:
    """Refuse a log that cannot say which of several tiers a request belongs to."""
    if len(tiers) > 1:
        refuse(path, None, f"no column tier, but tiers {', '.join(tiers)}; expected the column, or one tier")


def _azure_clock(cells: Cells) -> Floats:
    """Return seconds since the first request from dates with fractions of a second."""
    whole_s = np.empty(len(cells), dtype=np.int64)
    fraction_s = np.empty(len(cells))
    for row, text in enumerate(cells.columns["TIMESTAMP"]):
        match = _AZURE_MOMENT.fullmatch(text)
        try:
            moment = np.datetime64(match[1], "s") if match else None
        except ValueError:
            moment = None
        if match is None or moment is None:
            cells.refuse(row, f"TIMESTAMP: {shown(text)}; expected YYYY-MM-DD HH:MM:SS.fffffff")
        whole_s[row] = moment.astype(np.int64)
        fraction_s[row] = float(match[2] or 0.0)
    return np.asarray((whole_s - whole_s[0]) + (fraction_s - fraction_s[0]), dtype=np.float64)


def _tiers(cells: Cells, tiers: Sequence[str]) -> IntColumn:
    """Return the index of each named tier."""
    index = {name: place for place, name in enumerate(tiers)}
    for row, name in enumerate(cells.columns["tier"]):
        if name not in index:
            cells.refuse(row, f"tier: {shown(name)}; expected one of the service's; {hint(name, tiers)}")
    return np.asarray([index[name] for name in cells.columns["tier"]], dtype=np.int64)


def _json_rows(path: Path) -> tuple[Rows, tuple[Floats, Floats, Floats]]:
    """Return the three numbers of every JSON line."""
    line: list[int] = []
    values: list[tuple[float, ...]] = []
    for number, text in enumerate(read_lines(path, _EXPECTED), start=1):
        if text.isspace() or not text:
            continue
        line.append(number)
        values.append(_json_numbers(Rows(path, line), text))
    columns = np.asarray(values, dtype=np.float64).T
    return Rows(path, line), (columns[0], columns[1], columns[2])


def _json_numbers(rows: Rows, text: bytes) -> tuple[float, ...]:
    """Return the three numbers of the newest line, or refuse it."""
    row = len(rows) - 1
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        rows.refuse(row, f"no JSON object ({type(error).__name__}); expected {', '.join(MOONCAKE)}")
    if not isinstance(record, dict):
        rows.refuse(row, f"{shown(text)} is no JSON object; expected {', '.join(MOONCAKE)}")
    numbers = []
    for name in MOONCAKE:
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LONGEST_S / MILLI:
            said = "is missing" if name not in record else f"is {shown(str(value))}"
            rows.refuse(row, f"{name} {said}; expected a number")
        numbers.append(float(value))
    return tuple(numbers)
