"""Logs of requests: our own CSV, Azure's, BurstGPT's, and Mooncake's JSON lines.

References
----------
Patel et al., "Splitwise", ISCA 2024 (the Azure traces of 2023; those of 2024 have the same
columns); Wang et al., "BurstGPT", arXiv:2401.17644; Qin et al., "Mooncake", FAST 2025.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulator.foundation.names import hint
from simulator.foundation.units import MILLI, YEAR_S
from simulator.workload.jobs import IntColumn
from simulator.workload.moments import snap_all
from simulator.workload.requests import Prefixes, RequestTable
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
BURSTGPT: Final = ("Timestamp", "Request tokens", "Response tokens")
MOONCAKE: Final = ("timestamp", "input_length", "output_length")
#: Tokens of one piece of a prompt in Mooncake's ``hash_ids``.
MOONCAKE_PIECE: Final = 512

_EXPECTED: Final = (
    "requests: a CSV with arrived_s, prompt_tokens, output_tokens, or an Azure, BurstGPT or Mooncake log"
)
#: Names of pieces of prompts are whole numbers below this.
_LARGEST_HASH: Final = 2**53
#: Of a log, as of a scenario.
_LONGEST_S: Final = 100.0 * YEAR_S
_AZURE_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,9})?(?:\+00:00|Z)?", flags=re.ASCII
)


def read_requests(path: Path | str, tiers: Sequence[str] | None = ()) -> RequestTable:
    """Read a log of requests, plain or gzip; its form is told by its first line.

    Azure's, BurstGPT's and Mooncake's clocks begin at the first request. Requests without a
    prompt or without output are left out and counted (in BurstGPT: those that failed).
    Mooncake's ``hash_ids`` become prefixes of pieces of 512 tokens, if all requests have them.

    Parameters
    ----------
    path
        The log.
    tiers
        The service's tiers; with two or more, our own form with a column `tier` must name
        the tier of each request. None: nobody asks, and the column is not looked at.

    Raises
    ------
    TraceError
        With file and line, for anything else than a log in ascending order of arrival.
    """
    path = Path(path)
    rows, arrived_s, prompt, output, tier, prefixes = _columns(path, tiers)
    rows.check_order(arrived_s, "arrival")
    rows.check_range(arrived_s, "arrival", "seconds from 0 to 100 yr", high=_LONGEST_S)
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
        prefixes=None if prefixes is None else prefixes.chosen(keep),
    )


def _columns(
    path: Path, tiers: Sequence[str] | None
) -> tuple[Rows, Floats, Floats, Floats, IntColumn, Prefixes | None]:
    """Return places, arrivals, lengths, tiers and prefixes of a log of any form."""
    if read_lines(path, _EXPECTED)[0].lstrip().startswith(b"{"):
        _refuse_untold_tiers(path, tiers)
        rows, (stamp_ms, prompt, output), prefixes = _json_rows(path)
        rows.check_range(stamp_ms, MOONCAKE[0], "milliseconds, 0 or more", high=LONGEST_S / MILLI)
        arrived_s = (stamp_ms - stamp_ms[0]) * MILLI
        return rows, arrived_s, prompt, output, np.zeros(len(rows), dtype=np.int64), prefixes
    which, cells = read_csv(path, (TIERED, OWN, AZURE, BURSTGPT), _EXPECTED)
    if which != 0:
        _refuse_untold_tiers(path, tiers)
    tier = np.zeros(len(cells), dtype=np.int64)
    names: tuple[str, ...]
    if which == 2:
        arrived_s, names = _azure_clock(cells), AZURE
    elif which == 3:
        arrived_s, names = cells.numbers(BURSTGPT[0], "seconds, 0 or more"), BURSTGPT
        arrived_s = arrived_s - arrived_s[0]
    else:
        arrived_s, names = cells.numbers("arrived_s", "seconds, 0 or more"), OWN
        if arrived_s[0] > YEAR_S:
            cells.refuse(
                0,
                f"arrived_s: the first request comes {arrived_s[0]:.15g} s after the run's start; "
                "expected less than a year (these look like Unix times: subtract the first)",
            )
        if which == 0 and tiers is not None:
            tier = _tiers(cells, tiers)
    prompt, output = (cells.parse(cells.columns[name], name, "a whole number") for name in names[1:])
    return cells, arrived_s, prompt, output, tier, None


def _refuse_untold_tiers(path: Path, tiers: Sequence[str] | None) -> None:
    """Refuse a log that cannot say which of several tiers a request belongs to."""
    if tiers is not None and len(tiers) > 1:
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
    if not index:
        cells.refuse(0, "tier: the service has no tiers; expected `tiers` in the scenario, or no such column")
    for row, name in enumerate(cells.columns["tier"]):
        if name not in index:
            cells.refuse(row, f"tier: {shown(name)}; expected one of the service's; {hint(name, tiers)}")
    return np.asarray([index[name] for name in cells.columns["tier"]], dtype=np.int64)


def _json_rows(path: Path) -> tuple[Rows, tuple[Floats, Floats, Floats], Prefixes | None]:
    """Return the three numbers of every JSON line, and the pieces that prompts begin with."""
    line: list[int] = []
    values: list[tuple[float, ...]] = []
    counts: list[int] = []
    pieces: list[int] = []
    for number, text in enumerate(read_lines(path, _EXPECTED), start=1):
        if text.isspace() or not text:
            continue
        line.append(number)
        rows = Rows(path, line)
        record = _json_record(rows, text)
        values.append(_json_numbers(rows, record))
        if "hash_ids" in record:
            found = _json_pieces(rows, record["hash_ids"], values[-1][1])
            counts.append(len(found))
            pieces.extend(found)
    columns = np.asarray(values, dtype=np.float64).T
    prefixes = None
    if len(counts) == len(line):
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        prefixes = Prefixes(offsets, np.asarray(pieces, dtype=np.int64), MOONCAKE_PIECE)
    return Rows(path, line), (columns[0], columns[1], columns[2]), prefixes


def _json_record(rows: Rows, text: bytes) -> dict[str, Any]:
    """Return the newest line as an object, or refuse it."""
    row = len(rows) - 1
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        rows.refuse(row, f"no JSON object ({type(error).__name__}); expected {', '.join(MOONCAKE)}")
    if not isinstance(record, dict):
        rows.refuse(row, f"{shown(text)} is no JSON object; expected {', '.join(MOONCAKE)}")
    return record


def _json_pieces(rows: Rows, said: object, prompt_tokens: float) -> list[int]:
    """Return the names of a prompt's pieces, or refuse them."""
    row = len(rows) - 1
    expected = f"whole numbers, 0 or more, one for each {MOONCAKE_PIECE} tokens of the prompt at most"
    if not isinstance(said, list):
        rows.refuse(row, f"hash_ids is {shown(str(said))}; expected {expected}")
    for name in said:
        if isinstance(name, bool) or not isinstance(name, int) or not 0 <= name < _LARGEST_HASH:
            rows.refuse(row, f"hash_ids holds {shown(str(name))}; expected {expected}")
    if len(said) > -(-prompt_tokens // MOONCAKE_PIECE):
        rows.refuse(row, f"hash_ids has {len(said)} names for {prompt_tokens:g} tokens; expected {expected}")
    return said


def _json_numbers(rows: Rows, record: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the three numbers of the newest line, or refuse it."""
    row = len(rows) - 1
    numbers = []
    for name in MOONCAKE:
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LONGEST_S / MILLI:
            said = "is missing" if name not in record else f"is {shown(str(value))}"
            rows.refuse(row, f"{name} {said}; expected a number")
        numbers.append(float(value))
    return tuple(numbers)
