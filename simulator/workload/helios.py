"""Logs of the Helios clusters, in the published form and in fleetsim's, as jobs by virtual cluster.

Each virtual cluster is a queue and a tenant of its own. Jobs without GPUs and jobs that
never started are left out and counted.

References
----------
Hu et al., "Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU
Datacenters", SC 2021, DOI 10.1145/3458817.3476223; data CC-BY-4.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.names import hint
from simulator.foundation.units import DAY_S, MICRO
from simulator.workload.jobs import IntColumn, JobTable, Labels
from simulator.workload.trace_file import LARGEST_COUNT, Cells, Floats, read_csv, refuse, shown

Truths: TypeAlias = NDArray[np.bool_]

PUBLISHED: Final = ("job_id", "vc", "gpu_num", "submit_time", "duration")
FLEETSIM: Final = ("job_id", "tenant", "num_chips", "submit_time", "duration_s", "walltime_limit_s")

_EXPECTED: Final = "a Helios log: cluster_log.csv, or fleetsim's CSV of it"
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", flags=re.ASCII)


class _Columns(NamedTuple):
    """What both forms of the log say, one row a job; NaN where a job never started."""

    submitted_s: Floats
    gpus: Floats
    run_s: Floats
    requested_run_s: Floats
    virtual_cluster: list[str]


def read_helios(
    path: Path | str,
    *,
    virtual_clusters: Sequence[str] = (),
    start: str = "",
    end: str = "",
    queue: str = "",
) -> JobTable:
    """Read the GPU jobs of a Helios log, plain or gzip.

    The estimate of the run time is fleetsim's limit; the published form holds none, so
    the run time itself stands in (as the SC'21 paper's SJF does).

    Parameters
    ----------
    path
        The log; its form is told by its header.
    virtual_clusters
        Only these; all if empty.
    start, end
        Only jobs submitted in [start, end), as "2020-09-01" or "2020-09-01 12:00:00" on the
        log's own clock; `start` becomes second 0. Without it second 0 is the midnight
        before the first job. Only the published form has dates.
    queue
        One queue for all jobs; "" gives each virtual cluster its own, of its name.

    Returns
    -------
    JobTable
        Jobs of kind ``trace``, ids as in the log, work in reference seconds.

    Raises
    ------
    TraceError
        With file and line, for anything else than such a log.
    """
    path = Path(path)
    which, cells = read_csv(path, (PUBLISHED, FLEETSIM), _EXPECTED)
    order_id = cells.numbers("job_id", "a whole number", high=2.0**53, whole=True)
    cells.check_unique(order_id.astype(np.int64).tolist(), "job_id")
    if which == 0:
        columns, window = _published(cells, start, end)
    else:
        if start or end:
            refuse(path, None, "start and end have no effect: this form of the log holds no dates")
        columns, window = _fleetsim(cells), np.ones(len(cells), dtype=np.bool_)
    cells.check_order(columns.submitted_s, "submit_time")

    chosen = _chosen(path, columns.virtual_cluster, virtual_clusters)
    started = ~np.isnan(columns.run_s)
    sized = columns.gpus > 0
    keep = window & chosen & started & sized
    if not keep.any():
        refuse(path, None, "no GPU job is left after the choice of dates and virtual clusters")
    counts = {
        "outside the dates asked for": np.count_nonzero(~window),
        "in another virtual cluster": np.count_nonzero(window & ~chosen),
        "no GPUs (a CPU job)": np.count_nonzero(window & chosen & ~sized),
        "never started": np.count_nonzero(window & chosen & sized & ~started),
    }
    rows = np.flatnonzero(keep)
    ids = cells.columns["job_id"]
    cluster = Labels.of([columns.virtual_cluster[row] for row in rows.tolist()])
    return JobTable.from_columns(
        job_id=[ids[row] for row in rows.tolist()],
        kind="trace",
        queue=queue or cluster,
        tenant=cluster,
        gpus=columns.gpus[rows].astype(np.int64),
        submitted_s=columns.submitted_s[rows],
        work=columns.run_s[rows],
        requested_run_s=columns.requested_run_s[rows],
        order_id=order_id[rows],
        skipped={reason: int(count) for reason, count in counts.items() if count},
    )


def _fleetsim(cells: Cells) -> _Columns:
    """Read fleetsim's form: microseconds from the window's start, and a limit."""
    submitted_us = cells.numbers("submit_time", "microseconds, 0 or more", high=2.0**52)
    run_s = cells.numbers("duration_s", "seconds, 0 or more")
    limits = cells.columns["walltime_limit_s"]
    limited = np.asarray([text != "" for text in limits])
    limit_s = cells.parse([text or "0" for text in limits], "walltime_limit_s", "seconds or blank")
    cells.check_range(limit_s, "walltime_limit_s", "seconds, 0 or more")
    return _Columns(
        submitted_s=submitted_us * MICRO,
        gpus=cells.numbers("num_chips", "a whole number", high=LARGEST_COUNT, whole=True),
        run_s=run_s,
        requested_run_s=np.where(limited, limit_s, run_s),
        virtual_cluster=_names(cells, "tenant"),
    )


def _published(cells: Cells, start: str, end: str) -> tuple[_Columns, Truths]:
    """Read the published form: dates on the site's clock; blank duration if never started."""
    texts = cells.columns["submit_time"]
    for row, text in enumerate(texts):
        if not _MOMENT.fullmatch(text):
            cells.refuse(row, f"submit_time: {shown(text)}; expected YYYY-MM-DD HH:MM:SS")
    moment = _moments(cells, texts)
    zero = _date(cells, "start", start) if start else moment[0] - moment[0] % int(DAY_S)
    window = moment >= zero
    if end:
        window &= moment < _date(cells, "end", end)
    durations = cells.columns["duration"]
    blank = np.asarray([text in {"", "None"} for text in durations])
    run_s = cells.parse(["0" if text == "None" else text or "0" for text in durations], "duration", "seconds")
    cells.check_range(run_s, "duration", "seconds, 0 or more")
    run_s = np.where(blank, np.nan, run_s)
    columns = _Columns(
        submitted_s=(moment - zero).astype(np.float64),
        gpus=cells.numbers("gpu_num", "a whole number", high=LARGEST_COUNT, whole=True),
        run_s=run_s,
        requested_run_s=run_s,
        virtual_cluster=_names(cells, "vc"),
    )
    return columns, window


def _moments(cells: Cells, texts: list[str]) -> IntColumn:
    """Return dates as seconds since 1970; the error names the first impossible one."""
    try:
        return np.asarray(texts, dtype="datetime64[s]").astype(np.int64)
    except ValueError:
        for row, text in enumerate(texts):
            try:
                np.datetime64(text, "s")
            except ValueError:
                cells.refuse(row, f"submit_time: {shown(text)} is no date; expected YYYY-MM-DD HH:MM:SS")
        raise


def _date(cells: Cells, name: str, text: str) -> int:
    """Return a moment given by the caller as seconds since 1970."""
    try:
        moment = np.datetime64(text, "s") if _MOMENT.fullmatch(text) else None
    except ValueError:
        moment = None
    if moment is None:
        refuse(cells.path, None, f"{name} {text!r}; expected YYYY-MM-DD, with HH:MM:SS if need be")
    return int(moment.astype(np.int64))


def _names(cells: Cells, column: str) -> list[str]:
    """Return a column of names, none of them blank."""
    names = cells.columns[column]
    if "" in names:
        cells.refuse(names.index(""), f"{column}: it is blank; expected the virtual cluster's name")
    return names


def _chosen(path: Path, present: list[str], wanted: Sequence[str]) -> Truths:
    """Return which rows lie in the wanted virtual clusters, every one of which must be there."""
    if not wanted:
        return np.ones(len(present), dtype=np.bool_)
    known = sorted(set(present))
    for name in wanted:
        if name not in known:
            refuse(path, None, f"no virtual cluster {name!r}; {hint(name, known)}")
    return np.asarray([name in wanted for name in present])
