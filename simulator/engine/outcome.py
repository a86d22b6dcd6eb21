"""The record of a run: what the engine knows at the horizon, as arrays."""

from __future__ import annotations

import numpy as np

from simulator.engine.behaviour import UNPRODUCTIVE
from simulator.engine.engine import Engine
from simulator.telemetry.record import FloatArray, JobOutcome, Record
from simulator.telemetry.recorder import BLOCK_ROWS


def record_of(engine: Engine) -> Record:
    """Return the record of an engine that has run."""
    world = engine.world
    waits = engine.waits.table(engine.board.gpus)
    for start in range(0, len(waits["job"]), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        engine.recorder.rows("waits", {name: column[block] for name, column in waits.items()})
    segments = engine.recorder.all_segments()
    return Record(
        horizon_s=world.horizon_s,
        calendar=world.calendar,
        sites=tuple(site.facts for site in world.sites),
        pools=tuple(pool.facts for pool in world.pools),
        jobs=_jobs(engine, waits),
        segments=segments,
        waits=waits,
        outages=engine.failures.table(),
        services=engine.services.records(),
        storage=engine.power.storage_series(),
        limits=engine.power.limit_series(),
        thermal=engine.power.thermal_series(),
        signals_read=tuple(engine.signals_read),
        events=engine.clock.events,
        counts={
            "events": engine.clock.events,
            "passes": sum(queue.passes for queue in engine.queue_list),
            "candidate_tests": sum(queue.tests for queue in engine.queue_list),
            "decisions": engine.decisions,
            "segments": len(segments["job"]),
        },
        notes=list(dict.fromkeys(world.notes)),
        layouts=world.layouts,
        link_losses=engine.fabric.log.losses(),
        learning=world.learning,
        reliability=world.reliability,
        swings=world.swings,
    )


def _jobs(engine: Engine, waits: dict[str, np.ndarray]) -> JobOutcome:
    board = engine.board
    count = len(board.job_id)
    wait_s = np.zeros(count)
    np.add.at(wait_s, waits["job"], waits["end_s"] - waits["start_s"])
    behaviours = [board.behaviours[code] for code in board.behaviour_of]
    work_done = np.array(board.done)
    tokens = np.where(
        np.array([behaviour.unit_is_tokens for behaviour in behaviours], dtype=bool),
        work_done,
        np.nan,
    )
    pool = np.array(board.last_pool, dtype=np.int16)
    site_of = np.array([plan.site for plan in engine.pools], dtype=np.int16)
    site = np.where(pool >= 0, site_of[np.maximum(pool, 0)], -1).astype(np.int16)
    shares = _unproductive_shares(engine)
    return JobOutcome(
        job_id=board.job_id,
        kind=board.kind,
        tenant=board.tenant,
        queue=[queue.name for queue in engine.queue_of],
        model=board.model,
        site=site,
        pool=pool,
        gpus=np.array(board.gpus, dtype=np.int32),
        tokens=_with_served(tokens, engine),
        work_done=work_done,
        priority=np.array(board.priority, dtype=np.int32),
        submitted_s=np.array(board.submitted_s),
        started_s=np.array(board.started_s),
        finished_s=np.array(board.finished_s),
        state=board.state,
        wait_s=wait_s,
        run_s=np.array(board.run_s),
        requested_run_s=_or_nan(board.requested_run_s),
        deadline_s=_or_nan(board.deadline_s),
        lost_gpu_seconds=np.array(board.lost_gpu_s),
        stalled_gpu_seconds=np.array(board.stalled_gpu_s),
        bubble_share=shares[0],
        communication_share=shares[1],
        straggler_share=shares[2],
        recompute_share=shares[3],
        restarts=np.array(board.restarts, dtype=np.int32),
        preemptions=np.array(board.preemptions, dtype=np.int32),
        flop_per_unit=np.array([behaviour.flop_per_unit for behaviour in behaviours]),
        peak_flop_per_s=np.array([behaviour.peak_flop_per_s for behaviour in behaviours]),
        mfu_convention=[behaviour.mfu_convention for behaviour in behaviours],
    )


def _unproductive_shares(engine: Engine) -> FloatArray:
    """Return the parts of the steps' GPU-seconds by `UNPRODUCTIVE`, one row a part."""
    board = engine.board
    shares = np.zeros((len(UNPRODUCTIVE), len(board.job_id)))
    for job, spent in board.unproductive_gpu_s.items():
        in_steps = board.in_steps_gpu_s[job]
        if in_steps > 0.0:
            shares[:, job] = np.array(spent) / in_steps
    return shares


def _or_nan(values: list[float]) -> np.ndarray:
    found = np.array(values, dtype=np.float64)
    found[np.isinf(found)] = np.nan
    return found


def _with_served(tokens: FloatArray, engine: Engine) -> FloatArray:
    """Return the tokens with what each replica answered."""
    for service in engine.services.services.values():
        for job, served in service.tokens_of.items():
            tokens[job] = served
    return tokens
