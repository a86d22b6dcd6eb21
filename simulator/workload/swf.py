"""Standard Workload Format: the logs of the Parallel Workloads Archive as jobs.

A line is 18 numbers; -1 means unknown; lines that start with ";" are the header. A
processor becomes one GPU, so a log runs on a pool of one-GPU nodes.

References
----------
Chapin et al., "Benchmarks and standards for the evaluation of parallel job schedulers",
JSSPP 1999; Feitelson, "The Standard Workload Format", Parallel Workloads Archive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from simulator.workload.jobs import JobTable, Labels
from simulator.workload.trace_file import (
    LARGEST_COUNT,
    Floats,
    Rows,
    floats,
    read_lines,
    refuse,
    shown,
)

FIELDS: Final = (
    "job number",
    "submit time",
    "wait time",
    "run time",
    "allocated processors",
    "average CPU time",
    "used memory",
    "requested processors",
    "requested time",
    "requested memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time",
)

#: Columns that may say who a job belongs to.
TENANT_FIELDS: Final = ("user", "group", "executable", "queue", "partition")

_UNKNOWN: Final = -1.0
_EXPECTED: Final = "an SWF log: 18 numbers a line, comments after ';'"
_HEADER: Final = re.compile(r";\s*(\w+)\s*:\s*(.*?)\s*$")


@dataclass(frozen=True)
class SwfHeader:
    """What the header of a log says about the machine; None where it is silent.

    Parameters
    ----------
    computer : str
        The machine's name, "" if there is none.
    maximum_processors, maximum_nodes : int or None
        Size of the machine.
    start_utc : datetime or None
        The moment that the log calls 0.
    timezone : str
        Zone name of the site, "" if there is none.
    """

    computer: str
    maximum_processors: int | None
    maximum_nodes: int | None
    start_utc: datetime | None
    timezone: str


def read_swf(
    path: Path | str,
    *,
    queue: str = "",
    tenant: str = "",
    tenant_field: str | None = None,
) -> JobTable:
    """Read the jobs of an SWF log, plain or gzip.

    GPUs are the requested processors, else the allocated ones; the estimate is the
    requested time, else the run time. Jobs that never ran (run time -1) or name no
    processors are left out and counted in `JobTable.skipped`.

    Parameters
    ----------
    path
        The log.
    queue
        Name of the queue of all jobs.
    tenant
        Who owns all jobs, unless `tenant_field` is given.
    tenant_field
        One of `TENANT_FIELDS`: the tenant is then "user-3" and the like.

    Returns
    -------
    JobTable
        Jobs of kind ``trace``; ids as in the log; work in reference seconds.

    Raises
    ------
    TraceError
        With file and line, for anything that is not a log in ascending submit time.
    """
    rows, ids, table = _rows(Path(path))
    submitted_s = table[:, 1]
    rows.check_range(table[:, 0], FIELDS[0], "a whole number", high=2.0**53, whole=True)
    rows.check_range(submitted_s, FIELDS[1], "seconds, 0 or more")
    rows.check_order(submitted_s, FIELDS[1])
    for column in (3, 8):
        known = np.where(table[:, column] == _UNKNOWN, 0.0, table[:, column])
        rows.check_range(known, FIELDS[column], "seconds, 0 or more, or -1 for unknown")
    for column in (4, 7):
        known = np.where(table[:, column] == _UNKNOWN, 0.0, table[:, column])
        rows.check_range(
            known,
            FIELDS[column],
            "a whole number, 0 or more, or -1 for unknown",
            high=LARGEST_COUNT,
            whole=True,
        )
    rows.check_unique(table[:, 0].astype(np.int64).tolist(), FIELDS[0])

    gpus = np.where(table[:, 7] > 0, table[:, 7], table[:, 4])
    run_s = table[:, 3]
    requested_run_s = np.where(table[:, 8] >= 0, table[:, 8], run_s)
    ran = run_s >= 0
    sized = gpus > 0
    keep = ran & sized
    skipped = {
        reason: int(count)
        for reason, count in (
            ("run time unknown (-1)", np.count_nonzero(~ran)),
            ("no processors named", np.count_nonzero(ran & ~sized)),
        )
        if count
    }
    if not keep.any():
        rows.refuse(
            0, f"neither this nor any later line names a run time and processors; expected {_EXPECTED}"
        )
    kept = np.flatnonzero(keep)
    return JobTable.from_columns(
        job_id=[ids[row] for row in kept.tolist()],
        kind="trace",
        queue=queue,
        tenant=_tenants(table[kept], tenant_field) if tenant_field else tenant,
        gpus=gpus[keep].astype(np.int64),
        submitted_s=submitted_s[keep],
        work=run_s[keep],
        requested_run_s=requested_run_s[keep],
        order_id=table[keep, 0],
        skipped=skipped,
    )


def read_swf_header(path: Path | str) -> SwfHeader:
    """Read what the comment lines of a log say about its machine."""
    path = Path(path)
    said: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(read_lines(path, _EXPECTED), start=1):
        if line.lstrip().startswith(b";"):
            match = _HEADER.match(line.strip().decode("utf-8", errors="replace"))
            if match:
                # Gaia repeats MaxQueues; the first statement is the header's own.
                said.setdefault(match[1], (number, match[2]))

    def count(key: str) -> int | None:
        if key not in said:
            return None
        number, text = said[key]
        first = text.split()[0] if text else ""
        if not re.fullmatch(r"\d{1,15}", first, flags=re.ASCII):
            refuse(path, number, f"{key} {text!r}; expected a whole number")
        return int(first)

    start_s = count("UnixStartTime")
    return SwfHeader(
        computer=said.get("Computer", (0, ""))[1],
        maximum_processors=count("MaxProcs"),
        maximum_nodes=count("MaxNodes"),
        start_utc=None if start_s is None else _moment(path, said["UnixStartTime"][0], start_s),
        timezone=said.get("TimeZoneString", (0, ""))[1],
    )


def _moment(path: Path, number: int, start_s: int) -> datetime:
    """Seconds since 1970 as a moment; a number of milliseconds falls out here."""
    try:
        return datetime.fromtimestamp(start_s, tz=UTC)
    except (ValueError, OverflowError, OSError):
        refuse(path, number, f"UnixStartTime {start_s}; expected seconds since 1970")


def _rows(path: Path) -> tuple[Rows, list[str], Floats]:
    """Return the place, the id and the 18 numbers of every job line."""
    line: list[int] = []
    texts: list[bytes] = []
    for number, text in enumerate(read_lines(path, _EXPECTED), start=1):
        if text and not text.lstrip().startswith(b";") and not text.isspace():
            line.append(number)
            texts.append(text)
    if not texts:
        refuse(path, 1, f"no job lines; expected {_EXPECTED}")
    rows = Rows(path, line)
    table = _table(texts)
    if table is None:
        _refuse_first_bad(rows, texts)
    finite = np.isfinite(table)
    if not finite.all():
        place, column = (int(index) for index in np.argwhere(~finite)[0])
        rows.refuse(place, f"{FIELDS[column]}: {table[place, column]} is not finite; expected {_EXPECTED}")
    return rows, [text.split(None, 1)[0].decode("ascii") for text in texts], table


def _table(texts: list[bytes]) -> Floats | None:
    """Return the 18 numbers of every line, or None if a line holds anything else."""
    joined = b"\n".join(texts)
    if not joined.isascii():
        return None
    try:
        # numpy's reader is three times as fast as splitting here, but cannot name the line.
        table = np.loadtxt(joined.decode("ascii").split("\n"), comments=None, ndmin=2)
    except ValueError:
        return None
    return table if table.shape == (len(texts), len(FIELDS)) else None


def _refuse_first_bad(rows: Rows, texts: list[bytes]) -> NoReturn:
    """Refuse the first line that does not hold 18 numbers."""
    for place, text in enumerate(texts):
        cells = text.split()
        if len(cells) != len(FIELDS):
            rows.refuse(place, f"{len(cells)} columns; expected {_EXPECTED}")
        for name, cell in zip(FIELDS, cells, strict=True):
            if floats([cell.decode("latin-1")]) is None:
                rows.refuse(place, f"{name}: {shown(cell)} is not a number; expected {_EXPECTED}")
    rows.refuse(0, f"from here on no table; expected {_EXPECTED}")


def _tenants(table: Floats, field: str) -> Labels:
    """Return the tenant of every row, from one of the identity columns."""
    if field not in TENANT_FIELDS:
        raise ValueError(f"tenant_field {field!r}; expected one of {', '.join(TENANT_FIELDS)}")
    known, code = np.unique(table[:, FIELDS.index(field)], return_inverse=True)
    names = tuple(f"{field}-{value:g}" if value >= 0 else f"{field}-unknown" for value in known)
    return Labels(code.astype(np.int64), names)
