"""Run folders made by hand (invented numbers, no engine), for the figures and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simulator.foundation import StepSeries
from simulator.results.finished_run import SCHEMA_VERSION, Run
from simulator.results.occupancy import occupancy_rows
from simulator.results.parquet import ParquetSink
from simulator.serving.ledger import PHASE_COLUMNS
from simulator.telemetry import TABLES, WAIT_REASONS, NodeFacts, Phase, PoolFacts, SiteFacts
from simulator.telemetry.glossary import SERVICE, SUMMARY

HOUR = 3600.0
DAY = 86400.0

#: How the training run of the sample is cut, beside the layout that came next.
LAYOUT = {
    "workload": "pretrain-8b",
    "layout": "tp2 dp64 mb1 zero1",
    "reasons": ["tp2 dp64 mb1 zero1: 2 s a step", "tp4 dp32 mb1 zero1: 5 % slower, tensor parallel +0.1 s"],
    "step_s": {"compute_s": 1.6, "tp_comm_s": 0.2, "dp_exposed_s": 0.1, "straggler_s": 0.1},
    "runners_up": {"tp4 dp32 mb1 zero1": {"compute_s": 1.7, "tp_comm_s": 0.3, "straggler_s": 0.1}},
}

#: What it learns.
LEARNING = {
    "job": "pretrain-8b",
    "parameters": 8.03e9,
    "unique_tokens": 1e11,
    "has_experts": False,
    "tokens": 1.8e11,
    "expected_loss_nats": 2.15,
    "reducible_nats": 0.333,
    "said": "",
    "next_halving_parameters": 6.1e10,
    "next_halving_tokens": 1.1e12,
    "next_halving_mwh": 342.0,
    "next_halving_usd": None,
}


class Rows:
    """Rows of one table, by column name; what is not given is empty, 0 or NaN."""

    def __init__(self, table: str) -> None:
        self.table = TABLES[table]
        self.rows: list[dict[str, Any]] = []

    def add(self, **values: Any) -> int:
        self.rows.append(values)
        return len(self.rows) - 1

    def columns(self) -> dict[str, Any]:
        blank = {"str": "", "float64": np.nan}
        found: dict[str, Any] = {}
        for column in self.table.columns:
            values = [row.get(column.name, blank.get(column.dtype, 0)) for row in self.rows]
            found[column.name] = values if column.dtype == "str" else np.array(values, column.dtype)
        return found


class Campus:
    """A 512-GPU campus: one training run, one chat service, small jobs."""

    def __init__(self, days: float, *, training: bool, service: bool, research: bool) -> None:
        self.rng = np.random.default_rng(7)
        self.horizon_s = days * DAY
        self.jobs = Rows("jobs")
        self.segments = Rows("segments")
        self.waits = Rows("waits")
        self.events = Rows("events")
        self.outages: list[tuple[int, int, float, float, int, int]] = []
        if training:
            self.train()
        if service:
            self.serve()
        if research:
            self.small_jobs()

    def segment(self, job: int, start: float, end: float, gpus: int, phase: Phase, watts: float) -> None:
        start, end = min(start, self.horizon_s), min(end, self.horizon_s)
        if end > start:
            self.segments.add(
                job=job,
                site=0,
                pool=0,
                start_s=start,
                end_s=end,
                gpus=gpus,
                phase=int(phase),
                rate=1.0,
                power_w=watts * gpus,
                gpu_power_w=0.82 * watts * gpus,
                max_power_w=watts * gpus,
            )

    def train(self) -> None:
        start, end = 6 * HOUR, min(9.4 * DAY, self.horizon_s)
        job = self.jobs.add(
            job_id="pretrain-8b",
            kind="training",
            tenant="pretrain-8b",
            queue="default",
            model="llama-3.1-8b",
            gpu_type="h100-sxm",
            gpus=384,
            tokens=2.5e12,
            submitted_s=start,
            started_s=start,
            finished_s=end if end < self.horizon_s else np.nan,
            state="done" if end < self.horizon_s else "running",
            wait_s=0.0,
            run_s=end - start,
            mfu_fraction=0.406,
            share=0.91,
        )
        self.segment(job, start, start + 300, 384, Phase.STARTING, 300)
        now = start + 300
        while True:
            failure = now + self.rng.exponential(1.7 * DAY)
            self.segment(job, now, min(failure, end), 384, Phase.RUNNING, 930)
            if failure > end:
                break
            self.segment(job, failure, failure + 600, 384, Phase.DETECTING, 250)
            self.segment(job, failure + 600, failure + 1700, 384, Phase.RECOVERING, 250)
            node = int(self.rng.integers(64))
            self.outages.append((0, node, failure + 600, min(failure + 20 * HOUR, self.horizon_s), 8, 0))
            self.events.add(
                time_s=failure, kind="failure", what="gpu", target=f"frankfurt.h100.{node}", outcome="began"
            )
            now = failure + 1700
        self.outages.append((0, 3, 10 * DAY, 10.5 * DAY, 8, 1))

    def serve(self) -> None:
        for replica in range(4):
            day = 0.0
            while day < self.horizon_s / DAY:
                start, end = (day + 8 / 24, day + 18 / 24) if replica > 1 else (day, day + 1)
                if replica < 2 and day > 0:
                    break
                start, end = start * DAY, end * DAY if replica > 1 else self.horizon_s
                job = self.jobs.add(
                    job_id=f"chat/{replica}@{int(day)}",
                    kind="replica",
                    tenant="chat",
                    queue="default",
                    model="llama-3.3-70b",
                    gpu_type="h100-sxm",
                    gpus=4,
                    submitted_s=start,
                    started_s=start,
                    finished_s=end,
                    state="done",
                    wait_s=0.0,
                    run_s=end - start,
                    share=1.0,
                )
                self.segment(job, start, start + 120, 4, Phase.STARTING, 250)
                self.segment(job, start + 120, end, 4, Phase.RUNNING, 640)
                day += 1

    def small_jobs(self) -> None:
        running: list[tuple[float, int]] = []
        now = 0.0
        number = 0
        queue_free = 0.0
        while True:
            now += self.rng.exponential(DAY / 88)
            if now > self.horizon_s:
                return
            gpus = int(self.rng.choice([1, 2, 4, 8, 16, 32], p=[0.4, 0.2, 0.15, 0.15, 0.07, 0.03]))
            run = float(np.exp(self.rng.normal(np.log(2.2 * HOUR), 1.2)))
            start = max(now, queue_free)
            running = [(end, held) for end, held in running if end > now]
            room_now = 112 if now < 9.4 * DAY else 480
            while sum(held for end, held in running if end > start) + gpus > room_now:
                start = min(end for end, _ in running if end > start) + 1.0
            queue_free = start
            tenant = ["vision", "speech", "small-lab"][number % 3]
            started = start < self.horizon_s
            job = self.jobs.add(
                job_id=f"research-{number}",
                kind="research",
                tenant=tenant,
                queue="default",
                gpus=gpus,
                submitted_s=now,
                started_s=start if started else np.nan,
                finished_s=start + run if start + run < self.horizon_s else np.nan,
                state="done" if start + run < self.horizon_s else "running" if started else "queued",
                wait_s=min(start, self.horizon_s) - now,
                run_s=max(0.0, min(run, self.horizon_s - start)),
                requested_run_s=run * 1.5,
                gpu_type="h100-sxm",
                share=0.97,
            )
            if start > now:
                until = min(start, self.horizon_s)
                middle = now + 0.7 * (until - now)
                reason = ["capacity", "behind", "fragmentation", "carbon-hold"][number % 4]
                for a, b, why in ((now, middle, reason), (middle, until, "capacity")):
                    self.waits.add(
                        job=job, reason=WAIT_REASONS.index(why), blocked_by=0, start_s=a, end_s=b, gpus=gpus
                    )
            if started:
                running.append((start + run, gpus))
                self.segment(job, start, start + run, gpus, Phase.RUNNING, 720)
            number += 1

    def record(self) -> Any:
        jobs = self.jobs.columns()
        n = len(self.jobs.rows)
        jobs["pool"] = np.where(np.isnan(jobs["started_s"]), -1, 0).astype(np.int16)
        jobs["productive_share"] = np.array([row["share"] for row in self.jobs.rows])
        outages = np.array(self.outages or np.empty((0, 6)), dtype=float).reshape(-1, 6).T
        node = NodeFacts("hgx-h100-8", "h100-sxm", 8, 75.0, 900.0, 300_000.0, 1.3e6, 989e12)
        return SimpleNamespace(
            horizon_s=self.horizon_s,
            sites=(SiteFacts("frankfurt", "Europe/Berlin", 12_000.0, 900_000.0),),
            pools=(PoolFacts("h100", 0, 64, node),),
            jobs=SimpleNamespace(**jobs, __len__=lambda: n),
            segments=self.segments.columns(),
            waits=self.waits.columns(),
            outages=dict(zip(("pool", "node", "start_s", "end_s", "gpus", "planned"), outages, strict=True)),
            services=(),
        )


def power_rows(campus: Campus, occupancy: dict[str, Any]) -> tuple[Rows, np.ndarray, dict[str, np.ndarray]]:
    """Power per component on a common grid: change points and hours."""
    segments = campus.segments.columns()
    hours = np.arange(0, campus.horizon_s, HOUR)
    grid = np.unique(np.concatenate([[0.0], hours, segments["start_s"], segments["end_s"]]))
    grid = grid[grid < campus.horizon_s]

    def level(values: np.ndarray) -> np.ndarray:
        jump = np.zeros(len(grid) + 1)
        np.add.at(jump, np.searchsorted(grid, segments["start_s"]), values)
        np.add.at(jump, np.searchsorted(grid, segments["end_s"]), -values)
        return np.cumsum(jump)[: len(grid)]

    held = level(segments["gpus"].astype(float))
    idle = 512 - held
    gpu = level(segments["gpu_power_w"]) + 75 * idle
    host = level(segments["power_w"] - segments["gpu_power_w"]) + 110 * idle
    it = gpu + host + 12_000
    hour = np.floor(grid / HOUR) % 24
    components = {
        "gpu": gpu,
        "host": host,
        "network": np.full(len(grid), 12_000.0),
        "conversion": 9_000 + 0.045 * it,
        "cooling": it * (0.075 + 0.045 * np.sin((hour - 9) / 24 * 2 * np.pi)),
        "other": np.full(len(grid), 5_000.0),
    }
    rows = Rows("power")
    for name, watts in components.items():
        keep = np.append(True, watts[1:] != watts[:-1])
        for t, w in zip(grid[keep], watts[keep], strict=True):
            rows.add(site="frankfurt", component=name, time_s=float(t), power_w=float(w))
    return rows, grid, components


def write_campus(
    folder: Path,
    *,
    days: float = 14.0,
    training: bool = True,
    service: bool = True,
    research: bool = True,
    marginal: bool = True,
    grid_factor: float = 1.0,
) -> Run:
    """Write a run folder of invented but consistent numbers and open it."""
    folder.mkdir(parents=True)
    campus = Campus(days, training=training, service=service, research=research)
    record = campus.record()
    horizon_s = campus.horizon_s
    occupancy = occupancy_rows(record)
    power, grid, components = power_rows(campus, occupancy)
    facility = sum(components.values())
    it = components["gpu"] + components["host"] + components["network"]
    edges = np.append(np.arange(0, horizon_s, HOUR), horizon_s)
    widths = np.diff(np.append(grid, horizon_s))
    of_hour = np.searchsorted(edges, grid, side="right") - 1

    def per_hour(watts: np.ndarray) -> np.ndarray:
        return np.bincount(of_hour, watts * widths, len(edges) - 1)

    hours = np.arange(len(edges) - 1)
    local = (hours % 24 + 1) % 24
    intensity = grid_factor * (380 + 120 * np.cos((local - 19) / 24 * 2 * np.pi) - 90 * np.sin(hours / 40))
    price = 0.07 + 0.03 * np.cos((local - 19) / 24 * 2 * np.pi)
    energy = per_hour(facility)
    hourly = Rows("hourly")
    for i in hours:
        kwh = energy[i] / 3.6e6
        hourly.add(
            site="frankfurt",
            start_s=edges[i],
            end_s=edges[i + 1],
            it_energy_j=per_hour(it)[i],
            facility_energy_j=energy[i],
            pue=energy[i] / per_hour(it)[i],
            site_water_litres=kwh * 0.12,
            source_water_litres=kwh * 1.6,
            intensity_g_per_kwh=intensity[i],
            location_gco2e=kwh * intensity[i],
            market_gco2e=kwh * intensity[i],
            marginal_gco2e=kwh * 520.0 if marginal else np.nan,
            price_usd_per_kwh=price[i],
            energy_cost_usd=kwh * price[i],
            clean_matched_j=energy[i] * 0.5,
            limit_w=900_000.0,
            peak_15min_power_w=facility[of_hour == i].max(),
            peak_power_w=facility[of_hour == i].max(),
            storage_energy_j=0.0,
            onsite_energy_j=0.0,
            dry_bulb_c=8 + 5 * np.sin((local[i] - 9) / 24 * 2 * np.pi),
            wet_bulb_c=6.0,
        )

    segments = campus.segments.columns()
    seconds = segments["gpus"] * (segments["end_s"] - segments["start_s"])
    n = len(campus.jobs.rows)
    held = np.bincount(segments["job"], seconds, n)
    it_job = np.bincount(segments["job"], segments["power_w"] * (segments["end_s"] - segments["start_s"]), n)
    running = segments["phase"] == Phase.RUNNING
    useful = np.bincount(segments["job"][running], seconds[running], n)
    provided = 512 * horizon_s
    total_it, total = per_hour(it).sum(), energy.sum()
    idle_it = total_it - it_job.sum()
    campus.jobs.add(
        job_id="idle/frankfurt/h100",
        kind="idle",
        tenant="",
        gpus=512,
        state="idle",
        share=0.0,
    )
    held, it_job = np.append(held, provided - held.sum()), np.append(it_job, idle_it)
    share = np.array([row["share"] for row in campus.jobs.rows])
    useful = np.append(useful, 0.0) * share
    tonnes = (energy / 3.6e6 * intensity).sum()
    costs = {
        "hardware": 0.62 * provided / HOUR,
        "building": 0.1 * provided / HOUR,
        "energy": float((energy / 3.6e6 * price).sum()),
        "network charge": 4100.0 * days / 14,
        "water": 60.0,
        "staff": 1800.0 * days / 14,
    }
    for i, row in enumerate(campus.jobs.rows):
        part = it_job[i] / it_job.sum()
        row.update(
            site="frankfurt",
            pool="h100",
            gpu_seconds=held[i],
            productive_gpu_seconds=0.98 * useful[i],
            lost_gpu_seconds=0.02 * useful[i] if row["kind"] == "training" else 0.0,
            it_energy_j=it_job[i],
            facility_energy_j=part * total,
            location_gco2e=part * tonnes,
            market_gco2e=part * tonnes,
            marginal_gco2e=part * total / 3.6e6 * 520.0 if marginal else np.nan,
            embodied_gco2e=held[i] / provided * 21e6 * days / 14,
            cost_usd=held[i] / provided * sum(costs.values()),
            water_litres=part * 25_000,
            wait_reason="capacity" if row.get("wait_s") else "",
        )

    stamp = {"scenario_hash": "3f9a2c7d5e1b4a60" * 4, "datahall": "0.1.0"}
    sink = ParquetSink(folder, ["frankfurt"], ["h100"], stamp)
    for name, rows in (("jobs", campus.jobs), ("segments", campus.segments), ("waits", campus.waits)):
        sink.write(name, rows.columns())
    sink.write("events", campus.events.columns())
    sink.write("occupancy", occupancy)
    parts = (("productive", 0.7), ("communication", 0.1), ("lost", 0.05), ("bubble", 0.15))
    uses = [
        (row["job_id"], use, share * row["gpu_seconds"])
        for row in campus.jobs.rows
        if row["kind"] == "training"
        for use, share in parts
    ]
    sink.write(
        "gpu_time",
        {
            "job_id": [row[0] for row in uses],
            "kind": ["training"] * len(uses),
            "use": [row[1] for row in uses],
            "gpu_seconds": np.array([row[2] for row in uses]),
        },
    )
    sink.write("power", power.columns())
    sink.write("hourly", hourly.columns())
    services: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    if service:
        services.append(
            {
                "name": "chat",
                "model": "llama-3.3-70b",
                "tiers": ["premium", "standard"],
                "ttft_slo_s": [1.0, 5.0],
                "by_tier": {
                    "premium": {"ttft_p50_s": 0.21, "ttft_p99_s": 0.74},
                    "standard": {"ttft_p50_s": 0.33, "ttft_p99_s": 4.6},
                },
            }
        )
        summary |= write_requests(sink, campus)
    sink.close()

    jobs = campus.jobs.columns()
    quarters = np.arange(0.0, horizon_s + 1, 900.0)
    quarter_j = StepSeries(grid, facility, horizon_s).integrals_between(quarters)
    useful_hours = jobs["productive_gpu_seconds"].sum() / HOUR
    summary = {
        "gpus": 512,
        "horizon_s": horizon_s,
        "allocated_fraction": held[:-1].sum() / provided,
        "productive_fraction": useful_hours * HOUR / provided,
        "stranded_fraction": 0.011,
        "down_fraction": 0.004,
        "mfu_fraction": 0.406 if training else None,
        "ettr_fraction": 0.968,
        "mean_wait_s": 1900.0,
        "p95_wait_s": 11_000.0,
        "mean_jct_s": 15_000.0,
        "makespan_s": horizon_s,
        "it_energy_mwh": total_it / 3.6e9,
        "facility_energy_mwh": total / 3.6e9,
        "pue": total / total_it,
        "wue_litres_per_kwh": 0.1,
        "peak_facility_power_w": facility.max(),
        "peak_15min_power_w": quarter_j.max() / 900.0,
        "load_factor_fraction": 0.78,
        "max_ramp_w_per_s": 900.0,
        "location_tco2e": tonnes / 1e6,
        "market_tco2e": tonnes / 1e6,
        "marginal_tco2e": total / 3.6e6 * 520 / 1e6 if marginal else None,
        "embodied_tco2e": 21.0 * days / 14,
        "cfe_fraction": 0.5,
        "site_water_m3": 25.0,
        "source_water_m3": 240.0,
        "energy_cost_usd": costs["energy"] + costs["network charge"],
        "total_cost_usd": sum(costs.values()),
        "usd_per_productive_gpu_hour": sum(costs.values()) / max(useful_hours, 1),
    } | summary
    summary = {key: None if value is None else value for key, value in summary.items()}
    meta = {
        key: asdict(SERVICE[key.rsplit(".", 1)[1]] if key.startswith("service.") else SUMMARY[key])
        | {
            "low": None,
            "high": None,
            "source": "hourly.parquet",
            "reason": "nothing to average" if value is None else None,
        }
        for key, value in summary.items()
    }
    run = {
        "format": "datahall-run",
        "schema_version": SCHEMA_VERSION,
        "name": "quickstart",
        "title": "Two weeks at a 512-GPU campus",
        "question": "What do training, chat and research jobs cost, emit and wait for on 64 H100 nodes?",
        "scenario_hash": stamp["scenario_hash"],
        "seed": 1,
        "start_utc": "2024-03-03T23:00:00Z",
        "timezone": "Europe/Berlin",
        "currency": "EUR",
        "horizon_s": horizon_s,
        "sites": [
            {
                "name": "frankfurt",
                "timezone": "Europe/Berlin",
                "limit_w": 900_000.0,
                "gpus": 512,
                "grid": "DE",
            }
        ],
        "pools": [
            {
                "name": "h100",
                "site": "frankfurt",
                "nodes": 64,
                "gpus": 512,
                "node": "hgx-h100-8",
                "gpu": "h100-sxm",
            }
        ],
        "services": services,
        "versions": {"datahall": "0.1.0", "python": "3.11.7", "numpy": "2.4.6"},
        "events": 12345,
        "counts": {"passes": 900},
        "signals_read": [],
        "audit": [
            {
                "name": "GPU-seconds given = given back",
                "left": provided,
                "right": provided,
                "relative_difference": 0.0,
            },
            {
                "name": "meter = sum over rows",
                "left": total,
                "right": total * (1 + 2e-13),
                "relative_difference": 2e-13,
            },
        ],
        "notes": ["chat: 0.4 % of steps outside the measured batch range of llama-3.3-70b fp8 TP4 on H100"],
        "books": {
            "cost_usd": costs,
            "factor_set": "ipcc-ar5-lifecycle",
            "factor_set_tco2e": {"ipcc-ar5-lifecycle": tonnes / 1e6, "direct": tonnes / 1.2e6},
            "price_year": 2024,
        },
        "training": [{"job": "pretrain-8b", "ettr_fraction": 0.968}] if training else [],
        "layouts": [LAYOUT] if training else [],
        "learning": [LEARNING] if training else [],
        "sensitivity": [
            {
                "assumption": "GPU life 3-6 yr",
                "number": "cost",
                "low_fraction": 0.57,
                "high_fraction": -0.14,
            }
        ],
        "scenario": {
            "title": "Two weeks at a 512-GPU campus",
            "duration_s": horizon_s,
            "limits": [{"p95_wait_s": 14400.0, "tenant": "small-lab"}, {"pue": 1.1}],
        },
    }
    for name, value in (("summary", summary), ("summary_meta", meta), ("run", run)):
        (folder / f"{name}.json").write_text(json.dumps(value, default=float))
    (folder / "host.json").write_text(json.dumps({"wall_s": 14.2, "date_utc": "2026-01-02T03:04:05Z"}))
    (folder / "assumptions.csv").write_text(
        "key,value,unit,origin,source,date\n"
        "sites.frankfurt.pools.h100.nodes,64,,you,,\n"
        "books.cost.gpu_life,5,yr,default,estimate,2025-01-01\n"
        "sites.frankfurt.cooling.supply_temperature,32,C,preset,plant data sheet,2024-06-01\n"
    )
    return Run(folder)


def write_requests(sink: ParquetSink, campus: Campus) -> dict[str, Any]:
    rng = np.random.default_rng(11)
    n = int(2500 * campus.horizon_s / DAY)
    day = rng.integers(0, max(1, int(campus.horizon_s / DAY)), n)
    hour = np.clip(rng.normal(13, 4.2, n), 0, 23.99)
    arrived = np.clip(np.sort((day + (hour - 1) / 24) * DAY), 0, campus.horizon_s - 300)
    local = (arrived / HOUR + 1) % 24
    busy = np.exp(-(((local - 14) / 3.0) ** 2))
    premium = rng.random(n) < 0.1
    ttft = np.exp(rng.normal(np.log(0.2), 0.3, n)) * (
        1 + busy * np.where(premium, 0.6, 6 * rng.random(n) ** 2)
    )
    output = np.clip(np.exp(rng.normal(6.8, 0.7, n)), 2, 8000).astype(int)
    tpot = np.exp(rng.normal(np.log(0.032), 0.12, n)) * (1 + 0.5 * busy)
    order = np.argsort(arrived + ttft + tpot * output)
    tier = np.where(premium, "premium", "standard")
    columns: dict[str, Any] = {
        "request_id": order,
        "service": (np.zeros(n, int), ("chat",)),
        "site": (np.zeros(n, int), ("frankfurt",)),
        "replica": np.zeros(n),
        "tenant": ["chat"] * n,
        "tier": list(tier),
        "state": ["ok"] * n,
        "weight": np.ones(n),
        "arrived_s": arrived,
        "prefill_started_s": arrived + 0.5 * ttft,
        "first_token_s": arrived + ttft,
        "finished_s": arrived + ttft + tpot * (output - 1),
        "prompt_tokens": np.full(n, 700),
        "output_tokens": output,
        "cached_tokens": np.zeros(n),
        "ttft_s": ttft,
        "tpot_s": tpot,
        "e2e_s": ttft + tpot * (output - 1),
        "preemptions": np.zeros(n),
    }
    sink.write(
        "requests",
        {
            name: values if isinstance(values, tuple) else [values[i] for i in order]
            for name, values in columns.items()
        },
    )
    histogram = Rows("latency_histogram")
    for name in ("premium", "standard"):
        for metric in ("ttft", "tpot", "e2e"):
            bins = np.floor(24 * np.log10(columns[f"{metric}_s"][tier == name])).astype(int)
            for bin_, count in zip(*np.unique(bins, return_counts=True), strict=True):
                low_s, high_s = 10.0 ** (bin_ / 24), 10.0 ** ((bin_ + 1) / 24)
                histogram.add(
                    service="chat",
                    tier=name,
                    metric=metric,
                    low_s=low_s,
                    high_s=high_s,
                    requests=float(count),
                )
    sink.write("latency_histogram", histogram.columns())
    hourly = Rows("services_hourly")
    of_hour = (columns["finished_s"] / HOUR).astype(int)
    for h in range(int(campus.horizon_s / HOUR)):
        for name in ("all", "premium", "standard"):
            mine = (of_hour == h) & ((tier == name) | (name == "all"))
            if not mine.any():
                continue
            hourly.add(
                service="chat",
                tier=name,
                hour_start_s=h * HOUR,
                requests=float(mine.sum()),
                prompt_tokens=700.0 * mine.sum(),
                output_tokens=float(output[mine].sum()),
                replicas=3.0 if name == "all" else np.nan,
                ttft_p50_s=np.quantile(ttft[mine], 0.5),
                ttft_p99_s=np.quantile(ttft[mine], 0.99),
                tpot_p50_s=np.quantile(tpot[mine], 0.5),
                tpot_p99_s=np.quantile(tpot[mine], 0.99),
                power_w=6000.0 if name == "all" else np.nan,
                joules_per_token=2.0 if name == "all" else np.nan,
                **dict.fromkeys(PHASE_COLUMNS, 0.0 if name == "all" else np.nan),
            )
    sink.write("services_hourly", hourly.columns())
    e2e = columns["e2e_s"]
    return {
        f"service.chat.{key}": value
        for key, value in {
            "requests": float(n),
            "tokens_out": float(output.sum()),
            "ttft_p50_s": np.quantile(ttft, 0.5),
            "ttft_p99_s": np.quantile(ttft, 0.99),
            "tpot_p50_s": np.quantile(tpot, 0.5),
            "tpot_p99_s": np.quantile(tpot, 0.99),
            "e2e_p50_s": np.quantile(e2e, 0.5),
            "slo_attainment_fraction": 0.991,
            "stability": "stable",
            "headroom_fraction": 0.18,
            "joules_per_token": 2.1,
            "gco2e_per_million_tokens": 250.0,
            "usd_per_million_tokens": 2.25,
        }.items()
    }


@pytest.fixture(scope="session")
def campus_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two weeks with everything."""
    return write_campus(tmp_path_factory.mktemp("campus") / "quickstart-3f9a2c")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Write another campus: ``make_run(name, days=2, service=False)``."""
    return lambda name, **options: write_campus(tmp_path / name, **options)
