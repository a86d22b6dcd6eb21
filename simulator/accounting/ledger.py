"""IT power and held GPUs of a record as step series: what no grid, climate or tariff changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.step_series import StepSeries
from simulator.telemetry.record import Record

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Share of the largest level below which a level is rounding; far below the audit's tolerance.
_CRUMB: Final = 1e-12


@dataclass(frozen=True, slots=True)
class PoolLedger:
    """GPUs of one pool that jobs hold."""

    code: int
    held_gpus: StepSeries
    gpus: int
    idle_w_per_gpu: float
    off_gpus: StepSeries | None = None
    """GPUs of nodes that are down and switched off; None: down nodes draw their idle power."""

    def idle_energy_j(self, edges_s: FloatArray) -> FloatArray:
        """Return the IT energy of what nobody held, between neighbouring edges. (m-1,) [J]"""
        drawing = self.idle_gpu_seconds(edges_s)
        if self.off_gpus is not None:
            drawing = np.maximum(drawing - self.off_gpus.integrals_between(edges_s), 0.0)
        return np.asarray(drawing * self.idle_w_per_gpu)

    def idle_gpu_seconds(self, edges_s: FloatArray) -> FloatArray:
        """Return GPU-seconds that nobody held, between neighbouring edges. (m-1,)"""
        idle = self.gpus * np.diff(edges_s) - self.held_gpus.integrals_between(edges_s)
        # Rounding of a full pool must not make negative GPUs.
        return np.asarray(np.maximum(idle, 0.0))


@dataclass(frozen=True, slots=True)
class SiteLedger:
    """One site's IT and the segments behind it."""

    code: int
    node_w: StepSeries
    """All nodes, held and idle, with their hosts. [W]"""
    gpu_w: StepSeries
    """The GPUs' part, on the same steps. [W]"""
    bound_w: StepSeries
    """All nodes if every segment drew its maximum at once. [W]"""
    pools: tuple[PoolLedger, ...]
    rows: IntArray
    """Rows of the record's segments at this site."""
    job: IntArray
    start_s: FloatArray
    end_s: FloatArray
    power_w: FloatArray
    gpus: FloatArray
    pool: IntArray


@dataclass(frozen=True, slots=True)
class Ledger:
    """A record's power and GPU time, measured once."""

    record: Record
    sites: tuple[SiteLedger, ...]


def measure(record: Record) -> Ledger:
    """Return the ledger of a record.

    Idle GPUs draw their pool's idle power with their share of the host; a node that is down
    draws it too, unless its pool switches such nodes off.
    """
    return Ledger(record, tuple(_site(record, code) for code in range(len(record.sites))))


def _site(record: Record, code: int) -> SiteLedger:
    columns = record.segments
    rows = np.flatnonzero(np.asarray(columns["site"]) == code)
    start_s, end_s = (_float(columns, name, rows) for name in ("start_s", "end_s"))
    gpus, power_w, gpu_power_w, max_power_w = (
        _float(columns, name, rows) for name in ("gpus", "power_w", "gpu_power_w", "max_power_w")
    )
    pool = np.asarray(columns["pool"])[rows].astype(np.intp)
    own = [(index, facts) for index, facts in enumerate(record.pools) if facts.site == code]
    idle_w = np.array([facts.idle_w_per_gpu for facts in record.pools])
    gpu_idle_w = np.array([facts.node.gpu_idle_w for facts in record.pools])
    # A held GPU adds its power and takes away what it would have drawn idle.
    idle_instead_w = gpus * idle_w[pool] if len(rows) else gpus
    deltas = np.stack(
        [
            power_w - idle_instead_w,
            gpu_power_w - (gpus * gpu_idle_w[pool] if len(rows) else gpus),
            max_power_w - idle_instead_w,
        ]
    )
    base_w = [
        sum(facts.gpus * facts.idle_w_per_gpu for _, facts in own),
        sum(facts.gpus * facts.node.gpu_idle_w for _, facts in own),
        sum(facts.gpus * facts.idle_w_per_gpu for _, facts in own),
    ]
    off = {index: _outages(record, index) for index, facts in own if facts.off_when_down}
    begins, ends = [start_s], [end_s]
    for index, (off_start_s, off_end_s, off_gpus) in off.items():
        # A node that is switched off only takes away what it would have drawn idle.
        begins.append(off_start_s)
        ends.append(off_end_s)
        away_w = np.stack(
            [-off_gpus * idle_w[index], -off_gpus * gpu_idle_w[index], -off_gpus * idle_w[index]]
        )
        deltas = np.concatenate((deltas, away_w), axis=1)
    node_w, gpu_w, bound_w = _steps(
        np.concatenate(begins), np.concatenate(ends), deltas, base_w, record.horizon_s
    )
    pools = []
    for index, facts in own:
        mine = pool == index
        (held,) = _steps(start_s[mine], end_s[mine], gpus[None, mine], [0.0], record.horizon_s)
        switched_off = None
        if index in off:
            off_start_s, off_end_s, off_gpus = off[index]
            (switched_off,) = _steps(off_start_s, off_end_s, off_gpus[None, :], [0.0], record.horizon_s)
        pools.append(PoolLedger(index, held, facts.gpus, facts.idle_w_per_gpu, switched_off))
    return SiteLedger(
        code=code,
        node_w=node_w,
        gpu_w=gpu_w,
        bound_w=bound_w,
        pools=tuple(pools),
        rows=rows,
        job=np.asarray(columns["job"])[rows].astype(np.intp),
        start_s=start_s,
        end_s=end_s,
        power_w=power_w,
        gpus=gpus,
        pool=pool,
    )


def _outages(record: Record, pool: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return begins [s], ends [s] and GPUs of a pool's outages."""
    rows = np.flatnonzero(np.asarray(record.outages["pool"]) == pool)
    start_s, end_s, gpus = (_float(record.outages, name, rows) for name in ("start_s", "end_s", "gpus"))
    return start_s, end_s, gpus


def _steps(
    start_s: FloatArray, end_s: FloatArray, deltas: FloatArray, base: list[float], horizon_s: float
) -> list[StepSeries]:
    """Return base plus the sum of what is between start and end, for each row of deltas.

    All series share their steps, so the sorting is done once.
    """
    times = np.concatenate((start_s, end_s))
    order = np.argsort(times, kind="stable")
    times = times[order]
    new = np.append(True, times[1:] != times[:-1]) if times.size else np.zeros(0, dtype=bool)
    starts = times[new]
    inside = starts < horizon_s
    from_zero = bool(starts.size) and starts[0] == 0.0
    edges = starts[inside] if from_zero else np.concatenate(([0.0], starts[inside]))
    found = []
    for row, value in zip(deltas, base, strict=True):
        jumps = np.concatenate((row, -row))[order]
        merged = np.add.reduceat(jumps, np.flatnonzero(new)) if times.size else jumps
        levels = value + np.cumsum(merged)[inside]
        # What rounding leaves of a sum that came back to nil is nil.
        levels[np.abs(levels) <= _CRUMB * np.abs(levels).max(initial=0.0)] = 0.0
        found.append(StepSeries(edges, levels if from_zero else np.concatenate(([value], levels)), horizon_s))
    return found


def _float(columns: Any, name: str, rows: IntArray) -> FloatArray:
    return np.asarray(columns[name])[rows].astype(np.float64)
