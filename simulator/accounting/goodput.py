"""What the held GPU time was good for: productive, overhead, lost; MFU and ETTR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.ledger import Ledger
from simulator.accounting.settlement import by_code
from simulator.foundation.step_series import StepSeries
from simulator.telemetry.record import Record
from simulator.telemetry.tables import Phase

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Goodput:
    """GPU time of a run; one number a job, and sums."""

    gpu_seconds: FloatArray
    """Held. [GPU s]"""
    running_gpu_seconds: FloatArray
    """Held in phase running. [GPU s]"""
    productive_gpu_seconds: FloatArray
    """Running, less checkpoint stalls and undone work, times the productive share of a step."""
    mfu_fraction: FloatArray
    """Model FLOP over dense peak while running; NaN where it has no meaning."""
    by_use: Mapping[str, float]
    """owned, allocated, productive, overhead, lost, down, maintenance, free. [GPU s]"""
    fleet_mfu_fraction: float
    fleet_ettr_fraction: float


def goodput(ledger: Ledger) -> Goodput:
    """Return what a record's GPU time was good for.

    MFU counts the model's FLOP while running, whether or not a failure undid the work later.
    ETTR is, over training jobs, useful running GPU-seconds over held and waited ones; bubbles
    and communication inside a step do not lower it, as they do MFU.
    """
    record = ledger.record
    jobs, segments = record.jobs, record.segments
    count = len(jobs)
    job = np.asarray(segments["job"]).astype(np.intp)
    width_s = np.asarray(segments["end_s"]) - np.asarray(segments["start_s"])
    held = np.asarray(segments["gpus"]) * width_s
    running = np.asarray(segments["phase"]) == int(Phase.RUNNING)
    held_by_job = by_code(job, held, count)
    running_by_job = by_code(job[running], held[running], count)
    executed = by_code(job[running], (np.asarray(segments["rate"]) * width_s)[running], count)

    useful = np.maximum(running_by_job - jobs.stalled_gpu_seconds - jobs.lost_gpu_seconds, 0.0)
    productive = useful * jobs.productive_share
    flop = executed * jobs.flop_per_unit
    possible = running_by_job * jobs.peak_flop_per_s
    mfu = np.divide(flop, possible, out=np.full(count, np.nan), where=possible > 0.0)

    training = np.array([kind == "training" for kind in jobs.kind], dtype=bool)
    counted = training & np.isfinite(mfu)
    wanted = held_by_job + jobs.gpus * np.nan_to_num(jobs.wait_s)
    return Goodput(
        gpu_seconds=held_by_job,
        running_gpu_seconds=running_by_job,
        productive_gpu_seconds=productive,
        mfu_fraction=mfu,
        by_use=_by_use(ledger, held_by_job, productive),
        fleet_mfu_fraction=_ratio(flop[counted].sum(), possible[counted].sum()),
        fleet_ettr_fraction=_ratio(useful[training].sum(), wanted[training].sum()),
    )


def _by_use(ledger: Ledger, held: FloatArray, productive: FloatArray) -> dict[str, float]:
    record = ledger.record
    owned = sum(pool.gpus for pool in record.pools) * record.horizon_s
    allocated = float(held.sum())
    lost = float(np.minimum(record.jobs.lost_gpu_seconds, held).sum())
    down, maintenance = _down(ledger)
    return {
        "owned": owned,
        "allocated": allocated,
        "productive": float(productive.sum()),
        "overhead": allocated - float(productive.sum()) - lost,
        "lost": lost,
        "down": down,
        "maintenance": maintenance,
        "free": owned - allocated - down - maintenance,
    }


def _down(ledger: Ledger) -> tuple[float, float]:
    """Return GPU-seconds of failed and of maintained nodes that no job held."""
    record = ledger.record
    outages = record.outages
    if not len(outages["pool"]):
        return 0.0, 0.0
    totals = np.zeros(2)
    for site in ledger.sites:
        for pool in site.pools:
            out = [_out(record, pool.code, planned) for planned in (0, 1)]
            edges = np.unique(np.concatenate([pool.held_gpus.start_s, *(part.start_s for part in out)]))
            width_s = np.diff(edges, append=record.horizon_s)
            # A GPU still held while its node's failure is being detected counts as the job's.
            room = pool.gpus - pool.held_gpus.at(edges)
            for kind, part in enumerate(out):
                taken = np.minimum(part.at(edges), room)
                room = room - taken
                totals[kind] += float(taken @ width_s)
    return float(totals[0]), float(totals[1])


def _out(record: Record, pool: int, planned: int) -> StepSeries:
    outages = record.outages
    mine = (np.asarray(outages["pool"]) == pool) & ((np.asarray(outages["planned"]) != 0) == bool(planned))
    start_s = np.asarray(outages["start_s"], dtype=float)[mine]
    end_s = np.minimum(np.asarray(outages["end_s"], dtype=float)[mine], record.horizon_s)
    gpus = np.asarray(outages["gpus"], dtype=float)[mine]
    return StepSeries.from_events(
        np.concatenate((start_s, end_s)), np.concatenate((gpus, -gpus)), 0.0, record.horizon_s
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0.0 else float("nan")
