"""``trace.json.gz``: the run as a timeline for https://ui.perfetto.dev or ``chrome://tracing``.

A process is a pool, its lanes hold the jobs (lane by lane, so that slices do not overlap), and
counters show power. Written as text, because a JSON encoder is ten times slower.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulator.accounting import Books
from simulator.telemetry import PHASES, Record

#: Slices that a browser still opens; of more, the ones with most GPU-seconds are kept.
MOST_SLICES: Final = 50_000

#: Counter points kept of each power component.
MOST_POINTS: Final = 2_000


def write_trace(path: Path, record: Record, books: Books) -> None:
    """Write the timeline; the same run gives the same bytes (no time in the gzip header)."""
    text = '{"displayTimeUnit":"ms","traceEvents":[\n' + ",\n".join(_events(record, books)) + "\n]}\n"
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=3, mtime=0))


def _events(record: Record, books: Books) -> Iterator[str]:
    for code, pool in enumerate(record.pools):
        name = json.dumps(f"{record.sites[pool.site].name}.{pool.name} ({pool.gpus} GPUs)")
        yield f'{{"ph":"M","pid":{code + 1},"name":"process_name","args":{{"name":{name}}}}}'
    yield from _slices(record)
    yield from _faults(record)
    for number, account in enumerate(books.sites):
        pid = 1000 + number
        label = json.dumps(f"{account.name}: power")
        yield f'{{"ph":"M","pid":{pid},"name":"process_name","args":{{"name":{label}}}}}'
        for component, series in account.power.items():
            times, values = _thin(series.start_s, series.value)
            for time_s, watts in zip(times.tolist(), values.tolist(), strict=True):
                yield (
                    f'{{"ph":"C","pid":{pid},"name":"{component}","ts":{time_s * 1e6:.0f},'
                    f'"args":{{"kW":{watts / 1e3:.3f}}}}}'
                )


def _slices(record: Record) -> Iterator[str]:
    segments = record.segments
    gpus = np.asarray(segments["gpus"])
    start_s, end_s = np.asarray(segments["start_s"]), np.asarray(segments["end_s"])
    rows = np.flatnonzero(gpus > 0)
    if len(rows) > MOST_SLICES:
        size = (gpus * (end_s - start_s))[rows]
        rows = np.sort(rows[np.argsort(-size, kind="stable")[:MOST_SLICES]])
    rows = rows[np.argsort(start_s[rows], kind="stable")]
    names = [json.dumps(name)[1:-1] for name in record.jobs.job_id]
    lanes = _Lanes()
    columns = (segments[name][rows].tolist() for name in ("job", "pool", "phase", "gpus", "power_w"))
    for job, pool, phase, count, watts, begin_s, until_s in zip(
        *columns, start_s[rows].tolist(), end_s[rows].tolist(), strict=True
    ):
        lane = lanes.of(pool, job, begin_s, until_s)
        yield (
            f'{{"ph":"X","pid":{pool + 1},"tid":{lane},"name":"{names[job]} {PHASES[phase]}",'
            f'"ts":{begin_s * 1e6:.0f},"dur":{(until_s - begin_s) * 1e6:.0f},'
            f'"args":{{"gpus":{count},"kW":{watts / 1e3:.3f}}}}}'
        )


def _faults(record: Record) -> Iterator[str]:
    outages = record.outages
    for pool, node, begin_s, planned in zip(
        *(np.asarray(outages[name]).tolist() for name in ("pool", "node", "start_s", "planned")), strict=True
    ):
        word = "maintenance" if planned else "down"
        yield (
            f'{{"ph":"i","s":"p","pid":{int(pool) + 1},"name":"node {int(node)} {word}",'
            f'"ts":{begin_s * 1e6:.0f}}}'
        )


class _Lanes:
    """Gives every job the lowest lane of its pool that is free, and keeps it while it lasts."""

    def __init__(self) -> None:
        self._free: dict[int, list[int]] = {}
        self._most: dict[int, int] = {}
        self._busy: dict[int, list[tuple[float, int, int]]] = {}
        self._of_job: dict[tuple[int, int], tuple[int, float]] = {}

    def of(self, pool: int, job: int, begin_s: float, until_s: float) -> int:
        """Return the lane of a slice; slices come in order of their beginning."""
        free, busy = self._free.setdefault(pool, []), self._busy.setdefault(pool, [])
        kept = self._of_job.get((pool, job))
        while busy and busy[0][0] <= begin_s:
            end_s, lane, owner = heapq.heappop(busy)
            current = self._of_job.get((pool, owner))
            # A job that goes on at once stays in its lane.
            if current == (lane, end_s) and not (owner == job and end_s == begin_s):
                del self._of_job[pool, owner]
                heapq.heappush(free, lane)
        if kept is not None and self._of_job.get((pool, job)) == kept:
            lane = kept[0]
        elif free:
            lane = heapq.heappop(free)
        else:
            lane = self._most.get(pool, 0) + 1
            self._most[pool] = lane
        self._of_job[pool, job] = (lane, until_s)
        heapq.heappush(busy, (until_s, lane, job))
        return lane


def _thin(time_s: Any, values: Any) -> tuple[Any, Any]:
    if len(time_s) <= MOST_POINTS:
        return time_s, values
    keep = np.unique(np.linspace(0, len(time_s) - 1, MOST_POINTS).astype(int))
    return time_s[keep], values[keep]
