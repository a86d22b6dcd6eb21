"""Small records made by hand: no engine, no scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from simulator.accounting import SiteBooks
from simulator.facility.chain import PowerChain, Stage
from simulator.facility.constant_pue import ConstantPue, NoPlant
from simulator.facility.site import SitePhysics
from simulator.facility.weather import constant_weather
from simulator.foundation.calendar import Calendar
from simulator.foundation.units import HOUR_S
from simulator.grid import constant_signals
from simulator.telemetry import JobOutcome, NodeFacts, Phase, PoolFacts, Record, SiteFacts

CALENDAR = Calendar.from_text("2024-03-04T00:00Z")

#: Eight GPUs of 60 W idle and a host of 400 W idle: 880 W a node, 110 W a GPU.
NODE = NodeFacts("node", "gpu", 8, 60.0, 400.0, price_usd=80_000.0, embodied_gco2e=1.6e6)


@dataclass
class Segment:
    job: int
    start_s: float
    end_s: float
    gpus: int = 8
    power_w: float = 5000.0
    pool: int = 0
    site: int = 0
    phase: Phase = Phase.RUNNING
    rate: float = 1.0
    gpu_power_w: float | None = None
    max_power_w: float | None = None


@dataclass
class World:
    """What the factory fixture needs; every field has a plain default."""

    segments: Sequence[Segment] = ()
    horizon_s: float = 4 * HOUR_S
    sites: Sequence[SiteFacts] = (SiteFacts("here", "UTC", 1000.0, None),)
    pools: Sequence[PoolFacts] = (PoolFacts("pool", 0, 4, NODE),)
    calendar: Calendar = CALENDAR
    outages: Sequence[tuple[int, float, float, int, int]] = ()
    """(pool, start_s, end_s, gpus, planned)."""
    jobs: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


def make_record(world: World) -> Record:
    rows = list(world.segments)
    count = max((row.job for row in rows), default=-1) + 1
    columns = {
        "job": np.array([row.job for row in rows], dtype=np.int32),
        "site": np.array([row.site for row in rows], dtype=np.int16),
        "pool": np.array([row.pool for row in rows], dtype=np.int16),
        "start_s": np.array([row.start_s for row in rows], dtype=float),
        "end_s": np.array([row.end_s for row in rows], dtype=float),
        "gpus": np.array([row.gpus for row in rows], dtype=np.int32),
        "phase": np.array([int(row.phase) for row in rows], dtype=np.int8),
        "rate": np.array([row.rate for row in rows], dtype=float),
        "power_w": np.array([row.power_w for row in rows], dtype=float),
        "gpu_power_w": np.array(
            [0.8 * row.power_w if row.gpu_power_w is None else row.gpu_power_w for row in rows], dtype=float
        ),
        "max_power_w": np.array(
            [row.power_w if row.max_power_w is None else row.max_power_w for row in rows], dtype=float
        ),
    }
    nil = np.zeros(count)
    values: dict[str, Any] = {
        "job_id": [str(i) for i in range(count)],
        "kind": ["training"] * count,
        "tenant": ["t"] * count,
        "queue": ["q"] * count,
        "model": [""] * count,
        "site": np.zeros(count, dtype=np.int16),
        "pool": np.zeros(count, dtype=np.int16),
        "gpus": np.full(count, 8, dtype=np.int32),
        "tokens": np.full(count, np.nan),
        "work_done": nil,
        "priority": np.zeros(count, dtype=np.int32),
        "submitted_s": nil,
        "started_s": nil,
        "finished_s": np.full(count, np.nan),
        "state": ["running"] * count,
        "wait_s": nil,
        "run_s": nil,
        "requested_run_s": np.full(count, np.inf),
        "deadline_s": np.full(count, np.inf),
        "lost_gpu_seconds": nil,
        "stalled_gpu_seconds": nil,
        "bubble_share": np.zeros(count),
        "communication_share": np.zeros(count),
        "straggler_share": np.zeros(count),
        "recompute_share": np.zeros(count),
        "restarts": np.zeros(count, dtype=np.int32),
        "preemptions": np.zeros(count, dtype=np.int32),
        "flop_per_unit": np.full(count, np.nan),
        "peak_flop_per_s": np.full(count, np.nan),
        "mfu_convention": [""] * count,
    }
    outages = list(world.outages)
    return Record(
        horizon_s=world.horizon_s,
        calendar=world.calendar,
        sites=tuple(world.sites),
        pools=tuple(world.pools),
        jobs=JobOutcome(**{**values, **world.jobs}),
        segments=columns,
        waits={},
        outages={
            "pool": np.array([row[0] for row in outages], dtype=np.int16),
            "start_s": np.array([row[1] for row in outages], dtype=float),
            "end_s": np.array([row[2] for row in outages], dtype=float),
            "gpus": np.array([row[3] for row in outages], dtype=np.int32),
            "planned": np.array([row[4] for row in outages], dtype=np.int8),
        },
        **world.more,
    )


@pytest.fixture(scope="session")
def segment() -> type[Segment]:
    """One row of the segments."""
    return Segment


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Make a record: `record([Segment(...), ...], horizon_s=..., ...)`."""

    def make(segments: Sequence[Segment] = (), **options: Any) -> Record:
        return make_record(World(segments=segments, **options))

    return make


@pytest.fixture(scope="session")
def site_books() -> Callable[..., SiteBooks]:
    """Make books of a site with constant everything: PUE 1.25 through a constant plant."""

    def make(horizon_s: float = 4 * HOUR_S, **options: Any) -> SiteBooks:
        values: dict[str, Any] = {
            "physics": SitePhysics(ConstantPue(pue=1.25).sized_for(1e9), network_w=1000.0),
            "weather": constant_weather(15.0, 10.0, horizon_s),
            "signals": constant_signals(horizon_s, 400.0, price_usd_per_kwh=0.05, marginal_g_per_kwh=600.0),
        }
        return SiteBooks(**{**values, **options})

    return make


@pytest.fixture(scope="session")
def bare() -> SitePhysics:
    """A site without overhead."""
    return SitePhysics(NoPlant())


@pytest.fixture(scope="session")
def chained() -> SitePhysics:
    """A site whose only overhead is a chain with fixed and quadratic losses."""
    return SitePhysics(
        NoPlant(), PowerChain((Stage("ups", 300.0, 0.02, 1e-6),)), network_w=1000.0, other_w=200.0
    )
