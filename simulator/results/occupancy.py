"""Who held how many GPUs, in which state, as step series: segments, waits and outages counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.telemetry import WAIT_REASONS, Phase, Record

#: States of a GPU, in the order they are stacked.
STATES: Final = (
    "productive",
    "overhead",
    "allocated idle",
    "held",
    "maintenance",
    "down",
    "free",
)

#: Reasons that keep GPUs free although a job could start: a policy holds them back.
HOLD_REASONS: Final = ("carbon-hold", "price-hold", "power-cap", "quota", "decision-hold")

_OVERHEAD_PHASES: Final = (
    Phase.STARTING,
    Phase.STOPPING,
    Phase.DETECTING,
    Phase.DIAGNOSING,
    Phase.RECOVERING,
    Phase.MOVING,
    Phase.SUSPENDED,
)

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PoolSteps:
    """GPUs of one pool by use, on one common time grid; values hold until the next time.

    ``time_s`` begins at 0; all columns have its length. A GPU that a job holds while its node is
    being detected as failed counts as the job's, not as down.
    """

    time_s: FloatArray
    allocated: IntArray
    down: IntArray
    maintenance: IntArray
    held: IntArray
    stranded: IntArray
    """Free while a job waits whose GPU count fits and no placement does."""
    free: IntArray
    """Neither allocated, down, in maintenance nor held; stranded GPUs are among them."""

    def gpu_seconds(self, column: str, horizon_s: float) -> float:
        """Return the integral of a column from 0 to the horizon. [GPU s]"""
        widths = np.diff(np.append(self.time_s, horizon_s))
        return float(np.dot(getattr(self, column), widths))


def occupancy_rows(record: Record) -> dict[str, Any]:
    """Return the columns of the table ``occupancy``, sorted by pool, state, tenant and time.

    A series begins with its first row and is zero before it.
    """
    tenants = sorted(set(record.jobs.tenant))
    tenant_code = {name: code for code, name in enumerate(tenants)}
    tenant_of_job = np.array([tenant_code[name] for name in record.jobs.tenant], dtype=np.int64)
    rows: list[tuple[int, int, int, FloatArray, IntArray]] = []
    for pool, (groups, time_s, series) in enumerate(_by_tenant(record, tenant_of_job)):
        for state, values in series.items():
            for group, start, stop in groups:
                rows.append((pool, STATES.index(state), group, time_s[start:stop], values[start:stop]))
        steps = pool_steps(record, pool)
        rows.extend(
            (pool, STATES.index(state), -1, steps.time_s, getattr(steps, state))
            for state in ("held", "maintenance", "down", "free")
        )
    rows.sort(key=lambda row: row[:3])

    pools: list[str] = []
    sites: list[str] = []
    states: list[str] = []
    whose: list[str] = []
    times: list[FloatArray] = [np.empty(0)]
    gpus: list[IntArray] = [np.empty(0, dtype=np.int64)]
    for code, place, group, time_s, values in rows:
        keep = _changes(values) & (time_s < record.horizon_s)
        count = int(np.count_nonzero(keep))
        facts = record.pools[code]
        pools += [facts.name] * count
        sites += [record.sites[facts.site].name] * count
        states += [STATES[place]] * count
        whose += [tenants[group] if group >= 0 else ""] * count
        times.append(time_s[keep])
        gpus.append(values[keep])
    return {
        "site": sites,
        "pool": pools,
        "tenant": whose,
        "state": states,
        "time_s": np.concatenate(times),
        "gpus": np.concatenate(gpus).astype(np.int32),
    }


def pool_steps(record: Record, pool: int) -> PoolSteps:
    """Return how the GPUs of one pool (by its code) were used, whoever held them."""
    facts = record.pools[pool]
    segments = record.segments
    mine = np.asarray(segments["pool"]) == pool
    outages = record.outages
    out = np.asarray(outages["pool"]) == pool
    planned = np.asarray(outages["planned"]) != 0
    waiting_pool = _pool_of_waiting(record)
    waits = record.waits
    reason = np.asarray(waits["reason"])
    here = waiting_pool[np.asarray(waits["job"], dtype=np.int64)] == pool
    holds = np.isin(reason, [WAIT_REASONS.index(name) for name in HOLD_REASONS])
    stuck = reason == WAIT_REASONS.index("fragmentation")
    time_s, columns = _levels(
        [
            _changes_of(segments, mine),
            _changes_of(outages, out & ~planned),
            _changes_of(outages, out & planned),
            _changes_of(waits, here & holds),
            _changes_of(waits, here & stuck),
        ]
    )
    allocated, failed, repaired, wanted_held, wanted_stuck = columns
    room = facts.gpus - allocated
    down = np.minimum(failed, room)
    maintenance = np.minimum(repaired, room - down)
    idle = room - down - maintenance
    held = np.minimum(wanted_held, idle)
    free = idle - held
    return PoolSteps(time_s, allocated, down, maintenance, held, np.minimum(wanted_stuck, free), free)


def _by_tenant(
    record: Record, tenant_of_job: IntArray
) -> list[tuple[list[tuple[int, int, int]], FloatArray, dict[str, IntArray]]]:
    segments = record.segments
    pool_of = np.asarray(segments["pool"])
    job = np.asarray(segments["job"], dtype=np.int64)
    phase = np.asarray(segments["phase"])
    gpus = np.asarray(segments["gpus"], dtype=np.int64)
    share = np.asarray(record.jobs.productive_share, dtype=np.float64)
    answer = []
    for pool in range(len(record.pools)):
        mine = np.flatnonzero((pool_of == pool) & (gpus > 0))
        count = gpus[mine]
        of_phase = phase[mine]
        running = of_phase == Phase.RUNNING
        productive = np.where(running, count * share[job[mine]], 0.0)
        overhead = np.where(running | np.isin(of_phase, _OVERHEAD_PHASES), count, 0)
        idle = np.where(of_phase == Phase.IDLE, count, 0)
        tenant = tenant_of_job[job[mine]]
        start = np.asarray(segments["start_s"])[mine]
        end = np.asarray(segments["end_s"])[mine]
        group = np.concatenate([tenant, tenant])
        time_s = np.concatenate([start, end])
        order = np.lexsort((time_s, group))
        group, time_s = group[order], time_s[order]
        last = np.append((group[1:] != group[:-1]) | (time_s[1:] != time_s[:-1]), True)
        if not len(group):
            last = np.zeros(0, dtype=bool)
        group, time_s = group[last], time_s[last]
        # Whole GPUs: the running ones are split into productive and overhead by their jobs' own
        # breakdown, rounded on the sum, so the two always add up to what is held.
        levels = [
            np.cumsum(np.concatenate([values, -values])[order])[last]
            for values in (productive, overhead, idle)
        ]
        whole = np.rint(levels[0]).astype(np.int64)
        busy = levels[1].astype(np.int64)
        borders = [0, *(np.flatnonzero(group[1:] != group[:-1]) + 1).tolist(), len(group)]
        groups = [(int(group[start]), start, stop) for start, stop in pairwise(borders) if stop > start]
        answer.append(
            (
                groups,
                time_s,
                {
                    "productive": whole,
                    "overhead": busy - whole,
                    "allocated idle": levels[2].astype(np.int64),
                },
            )
        )
    return answer


def _pool_of_waiting(record: Record) -> IntArray:
    """Return the pool each job ran in; for one that never ran, the usual pool of its queue."""
    pool = np.asarray(record.jobs.pool, dtype=np.int64).copy()
    never = np.flatnonzero(pool < 0)
    if not len(never):
        return pool
    queues = record.jobs.queue
    votes = Counter((queue, code) for queue, code in zip(queues, pool.tolist(), strict=True) if code >= 0)
    usual: dict[str, int] = {}
    for queue, code in votes:
        best = usual.get(queue)
        if best is None or (-votes[queue, code], code) < (-votes[queue, best], best):
            usual[queue] = code
    for row in never.tolist():
        pool[row] = usual.get(queues[row], 0)
    return pool


def _changes_of(table: Any, rows: NDArray[np.bool_]) -> tuple[FloatArray, IntArray]:
    start = np.asarray(table["start_s"], dtype=np.float64)[rows]
    end = np.asarray(table["end_s"], dtype=np.float64)[rows]
    gpus = np.asarray(table["gpus"], dtype=np.int64)[rows]
    return np.concatenate([start, end]), np.concatenate([gpus, -gpus])


def _levels(
    changes: list[tuple[FloatArray, IntArray]],
) -> tuple[FloatArray, list[IntArray]]:
    """Return one common time grid from 0 on, and the running sum of each kind of change on it."""
    grid = np.unique(np.concatenate([[0.0], *(time_s for time_s, _ in changes)]))
    levels = []
    for time_s, delta in changes:
        jump = np.zeros(len(grid), dtype=np.int64)
        np.add.at(jump, np.searchsorted(grid, time_s), delta)
        levels.append(np.cumsum(jump))
    return grid, levels


def _changes(values: IntArray) -> NDArray[np.bool_]:
    """Mark the first row and every row whose value differs from the one before."""
    if not len(values):
        return np.zeros(0, dtype=bool)
    return np.append(True, values[1:] != values[:-1])
