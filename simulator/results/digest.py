"""A run in one page of plain data: what the closing print, ``--json`` and the report's words say.

Everything is read from the finished folder, so an opened run says the same as a fresh one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.units import G_PER_T, HOUR_S, J_PER_MWH
from simulator.results.percentile import quantile
from simulator.results.shared_links import shared_links
from simulator.results.watch_list import to_watch

if TYPE_CHECKING:
    import pyarrow as pa

    from simulator.results.finished_run import Run

FloatArray = NDArray[np.float64]

#: Kinds of rows in the jobs that are not jobs somebody queued.
NOT_QUEUED: Final = ("idle", "replica")

#: What is said of a training run's effective time beside the simulated.
_RELIABILITY: Final = (
    "ettr_law_fraction",
    "ettr_first_order_fraction",
    "law_bends",
    "calibration",
    "mean_time_s",
    "interval_s",
    "save_s",
    "lag_s",
    "restart_s",
)

#: A job's GPUs count as a run's idle tail if they are at least this share of the fleet.
_TAIL_SHARE: Final = 0.1

#: They are its tail if they then stood free for this share of the time that was left, ...
_TAIL_KEPT: Final = 0.8
#: ... and if that is this share of all free GPU-hours.
_TAIL_OF_FREE: Final = 0.2
_TAILS_TRIED: Final = 8

#: Limit's name in the scenario -> summary's name, and what the summary's number is multiplied by.
_LIMITED: Final[Mapping[str, tuple[str, float]]] = {
    "p95_wait_s": ("p95_wait_s", 1.0),
    "mean_wait_s": ("mean_wait_s", 1.0),
    "makespan_s": ("makespan_s", 1.0),
    "pue": ("pue", 1.0),
    "wue_litres_per_kwh": ("wue_litres_per_kwh", 1.0),
    "peak_power_w": ("peak_facility_power_w", 1.0),
    "peak_15min_power_w": ("peak_15min_power_w", 1.0),
    "energy_j": ("facility_energy_mwh", J_PER_MWH),
    "carbon_g": ("location_tco2e", G_PER_T),
    "cost_usd": ("total_cost_usd", 1.0),
    "ttft_p99_s": ("service.{service}.ttft_p99_s", 1.0),
    "tpot_p99_s": ("service.{service}.tpot_p99_s", 1.0),
    "slo_missed_fraction": ("service.{service}.slo_attainment_fraction", 1.0),
}


def digest(run: Run) -> dict[str, Any]:
    """Return the run as nested plain data; numbers in the units their names end in, None if n/a."""
    jobs = Jobs(run.table("jobs"))
    limits = _limits(run, jobs)
    found = {
        "title": run.title,
        "question": run.provenance.get("question"),
        "name": run.provenance["name"],
        "scenario": scenario_word(run),
        "scenario_hash": run.hash,
        "sites": list(run.provenance["sites"]),
        "start_utc": run.provenance["start_utc"],
        "timezone": run.timezone,
        "horizon_s": run.horizon_s,
        "seed": run.provenance["seed"],
        "seeds": 1,
        "wall_s": run.host.get("wall_s"),
        "currency": run.provenance["currency"],
        "gpu_hours": _gpu_hours(run, jobs),
        "training": _training(run, jobs),
        "gpu_time": _gpu_time(run),
        "links": shared_links(run),
        "services": _services(run),
        "jobs": _queued_jobs(jobs),
        "power": _power(run),
        "carbon": {
            key: run.summary[key]
            for key in (
                "location_tco2e",
                "market_tco2e",
                "marginal_tco2e",
                "embodied_tco2e",
                "cfe_fraction",
            )
        }
        | {key: run.provenance["books"].get(key) for key in ("factor_set", "market", "factor_set_tco2e")},
        "water": {
            key: run.summary[key] for key in ("site_water_m3", "source_water_m3", "wue_litres_per_kwh")
        },
        "cost": _cost(run),
        "waiting": _waiting(run, jobs),
        "limits": limits,
        "moves": list(run.provenance.get("sensitivity", ())),
        "watch": [],
        "audit": _audit(run),
        "folder": str(run.path),
    }
    found["watch"] = to_watch(run, found)
    answer: dict[str, Any] = _plain(found)
    return answer


def scenario_word(run: Run) -> str:
    """Return what the command line calls the run's scenario: a shipped name, else its run.json."""
    from simulator.scenario import shipped

    name = str(run.provenance["name"])
    return name if name in shipped.names() else os.path.join(shown_path(run.path), "run.json")


def shown_path(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return str(path) if near.startswith("..") else near


class Jobs:
    """The columns of ``jobs`` that a digest looks at, as arrays."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.kind = table.column("kind").to_pylist()
        self.tenant = np.array(table.column("tenant").to_pylist() or [], dtype=object)
        self.state = np.array(table.column("state").to_pylist() or [], dtype=object)
        self.is_real = np.array([kind != "idle" for kind in self.kind], dtype=bool)
        self.is_queued_kind = np.array([kind not in NOT_QUEUED for kind in self.kind], dtype=bool)

    def number(self, name: str) -> FloatArray:
        """Return a numeric column with NaN for null."""
        import pyarrow as pa

        column = self.table.column(name).cast(pa.float64()).combine_chunks()
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _gpu_hours(run: Run, jobs: Jobs) -> dict[str, Any]:
    provided = float(run.summary["gpus"]) * run.horizon_s / HOUR_S
    held, productive, lost = (
        float(np.nansum(jobs.number(name)[jobs.is_real])) / HOUR_S
        for name in ("gpu_seconds", "productive_gpu_seconds", "lost_gpu_seconds")
    )
    states = _state_hours(run, 0.0)
    return {
        "provided": provided,
        "allocated": held,
        "productive": productive,
        "overhead": held - productive - lost,
        "lost": lost,
        "free": states.get("free", 0.0),
        "held": states.get("held", 0.0),
        "down": states.get("down", 0.0),
        "maintenance": states.get("maintenance", 0.0),
        "stranded_fraction": run.summary["stranded_fraction"],
        "idle_tail": _idle_tail(run, jobs, states.get("free", 0.0)),
    }


def _state_hours(run: Run, from_s: float) -> dict[str, float]:
    """Return GPU-hours by state from a moment to the horizon."""
    import pyarrow as pa

    table = run.table("occupancy").combine_chunks()
    if not table.num_rows:
        return {}
    time_s = np.asarray(table.column("time_s").to_numpy(), dtype=np.float64)
    gpus = np.asarray(table.column("gpus").to_numpy(), dtype=np.float64)
    codes: dict[str, Any] = {
        name: pa.chunked_array(table.column(name)).dictionary_encode().combine_chunks()
        for name in ("site", "pool", "tenant", "state")
    }
    same = np.ones(len(time_s) - 1, dtype=bool)
    for column in codes.values():
        code = np.asarray(column.indices.to_numpy(zero_copy_only=False))
        same &= code[1:] == code[:-1]
    until_s = np.append(np.where(same, time_s[1:], run.horizon_s), run.horizon_s)
    width_s = np.maximum(until_s - np.maximum(time_s, from_s), 0.0)
    state = np.asarray(codes["state"].indices.to_numpy(zero_copy_only=False))
    names = codes["state"].dictionary.to_pylist()
    hours = np.bincount(state, gpus * width_s / HOUR_S, len(names))
    return {name: float(value) for name, value in zip(names, hours, strict=True)}


def _idle_tail(run: Run, jobs: Jobs, free_h: float) -> dict[str, Any] | None:
    """Name the large job after whose end its GPUs stood free, so that no average hides it.

    GPUs that others took soon after are no tail of this job, however long the run went on.
    """
    gpus, end_s = jobs.number("gpus"), jobs.number("finished_s")
    large = jobs.is_queued_kind & (gpus >= _TAIL_SHARE * float(run.summary["gpus"])) & ~np.isnan(end_s)
    freed_h = np.where(large, gpus * (run.horizon_s - end_s), 0.0) / HOUR_S
    # The one that freed most first; few are looked at, since a run has at most a few tails.
    for last in np.argsort(-freed_h, kind="stable")[:_TAILS_TRIED].tolist():
        hours = min(freed_h[last], _state_hours(run, float(end_s[last])).get("free", 0.0))
        if hours >= _TAIL_KEPT * freed_h[last] and hours >= _TAIL_OF_FREE * free_h > 0:
            break
    else:
        return None
    return {
        "gpu_hours": float(hours),
        "gpus": int(gpus[last]),
        "job": jobs.table.column("job_id")[last].as_py(),
        "ended_s": float(end_s[last]),
    }


def _gpu_time(run: Run) -> list[dict[str, Any]]:
    """Return GPU-hours by use: of each training run, and of the other jobs by kind."""
    table = run.table("gpu_time")
    found: dict[tuple[str, str], dict[str, float]] = {}
    columns: list[list[Any]] = [
        table.column(name).to_pylist() for name in ("job_id", "kind", "use", "gpu_seconds")
    ]
    for job, kind, use, gpu_s in zip(*columns, strict=True):
        found.setdefault((job, kind), {})[use] = gpu_s / HOUR_S
    return [{"job": job, "kind": kind, "gpu_hours": hours} for (job, kind), hours in found.items()]


def _training(run: Run, jobs: Jobs) -> list[dict[str, Any]]:
    names = ("gpus", "tokens", "finished_s", "wait_s", "run_s", "mfu_fraction", "restarts", "cost_usd")
    columns = {name: jobs.number(name) for name in names}
    gpu_s, it_j, meter_j, grams = (
        jobs.number(name) for name in ("gpu_seconds", "it_energy_j", "facility_energy_j", "location_gco2e")
    )
    convention = jobs.table.column("mfu_convention").to_pylist()
    more = {row["job"]: row for row in run.provenance.get("training", ())}
    given = {
        said["name"]
        for said in run.provenance["scenario"].get("workloads") or ()
        if said.get("power_per_gpu_w") is not None
    }
    found = []
    for row, kind in enumerate(jobs.kind):
        if kind != "training":
            continue
        name = jobs.table.column("job_id")[row].as_py()
        found.append(
            {"job": name, "state": jobs.state[row]}
            | {key: float(values[row]) for key, values in columns.items()}
            | {
                "ettr_fraction": more.get(name, {}).get("ettr_fraction"),
                "reliability": {key: more.get(name, {}).get(key) for key in _RELIABILITY},
                "swing": more.get(name, {}).get("swing"),
                "mfu_convention": convention[row],
                "facility_energy_mwh": float(meter_j[row]) / J_PER_MWH,
                "location_tco2e": float(grams[row]) / G_PER_T,
                # Of the GPU and its share of the host, while it was held.
                "it_w_per_gpu": float(it_j[row] / gpu_s[row]) if gpu_s[row] > 0 else None,
                "watts": "given" if name in given else "modelled",
            }
        )
    return found


def _services(run: Run) -> list[dict[str, Any]]:
    found = []
    for service in run.provenance["services"]:
        prefix = f"service.{service['name']}."
        numbers = {
            key.removeprefix(prefix): value for key, value in run.summary.items() if key.startswith(prefix)
        }
        tiers = [
            {"tier": tier, "ttft_slo_s": ttft_s, "tpot_slo_s": tpot_s}
            | dict(service.get("by_tier", {}).get(tier, {}))
            for tier, ttft_s, tpot_s in zip(
                service["tiers"],
                service["ttft_slo_s"],
                service.get("tpot_slo_s") or [None] * len(service["tiers"]),
                strict=True,
            )
        ]
        found.append(
            {"name": service["name"], "model": service["model"]}
            | numbers
            | {"tiers": tiers, "late_hours": _late_hours(run, service)}
        )
    return found


def _late_hours(run: Run, service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, for each tier that had any, the hours whose p99 of TTFT or of TPOT was above its promise."""
    table = run.table("services_hourly")
    names = ("service", "tier", "hour_start_s", "ttft_p99_s", "tpot_p99_s")
    columns: list[list[Any]] = [table.column(name).to_pylist() for name in names]
    unsaid = [None] * len(service["tiers"])
    promised = {
        tier: {"TTFT": ttft_s, "TPOT": tpot_s}
        for tier, ttft_s, tpot_s in zip(
            service["tiers"], service["ttft_slo_s"], service.get("tpot_slo_s") or unsaid, strict=True
        )
        if ttft_s is not None or tpot_s is not None
    }
    found: dict[str, dict[str, Any]] = {}
    for name, tier, begin, ttft_s, tpot_s in zip(*columns, strict=True):
        if name != service["name"] or tier not in promised or ttft_s is None:
            continue
        late = found.setdefault(tier, {"of": 0, "of_day": [], "TTFT": 0, "TPOT": 0})
        late["of"] += 1
        broken = [
            metric
            for metric, value in (("TTFT", ttft_s), ("TPOT", tpot_s))
            if value is not None and (bound := promised[tier][metric]) is not None and value > bound
        ]
        for metric in broken:
            late[metric] += 1
        if broken:
            late["of_day"].append(run.calendar.local(begin).hour)
    return [
        {
            "tier": tier,
            "hours": len(late["of_day"]),
            "of": late["of"],
            "by_metric": {metric: late[metric] for metric in ("TTFT", "TPOT") if late[metric]},
            "first_hour": min(late["of_day"]),
            "last_hour": max(late["of_day"]) + 1,
        }
        for tier, late in found.items()
        if late["of_day"]
    ]


def _queued_jobs(jobs: Jobs) -> list[dict[str, Any]]:
    wait_s = jobs.number("wait_s")
    found = []
    for kind in dict.fromkeys(jobs.kind):
        if kind in (*NOT_QUEUED, "training"):
            continue
        mine = np.array([other == kind for other in jobs.kind], dtype=bool)
        ones = np.ones(int(mine.sum()))
        states = jobs.state[mine].tolist()
        found.append(
            {
                "kind": kind,
                "jobs": len(states),
                "done": states.count("done"),
                "running": states.count("running"),
                "queued": states.count("queued") + states.count("held"),
                "wait_p50_s": quantile(wait_s[mine], ones, 0.5),
                "wait_p95_s": quantile(wait_s[mine], ones, 0.95),
            }
        )
    return found


def _power(run: Run) -> dict[str, Any]:
    names = (
        "it_energy_mwh",
        "facility_energy_mwh",
        "pue",
        "peak_facility_power_w",
        "peak_15min_power_w",
        "load_factor_fraction",
        "max_ramp_w_per_s",
    )
    limits = [site["limit_w"] for site in run.provenance["sites"]]
    known = bool(limits) and all(limit is not None for limit in limits)
    return {name: run.summary[name] for name in names} | {
        "limit_w": sum(limits) if known else None,
        "by_site": _energy_by_site(run),
    }


def _energy_by_site(run: Run) -> list[dict[str, Any]]:
    hourly = run.table("hourly")
    name = np.array(hourly.column("site").to_pylist() or [], dtype=object)
    it_j, meter_j = (
        np.asarray(hourly.column(column).to_numpy(), dtype=np.float64)
        for column in ("it_energy_j", "facility_energy_j")
    )
    return [
        {
            "name": site["name"],
            "it_energy_mwh": float(it_j[name == site["name"]].sum()) / J_PER_MWH,
            "facility_energy_mwh": float(meter_j[name == site["name"]].sum()) / J_PER_MWH,
        }
        for site in run.provenance["sites"]
    ]


def _cost(run: Run) -> dict[str, Any]:
    total = run.summary["total_cost_usd"]
    allocated_h = float(run.summary["gpus"]) * run.horizon_s / HOUR_S * run.summary["allocated_fraction"]
    return {
        "total_cost_usd": total,
        "parts_usd": dict(run.provenance["books"]["cost_usd"]),
        "usd_per_allocated_gpu_hour": total / allocated_h if total is not None and allocated_h else None,
        "usd_per_productive_gpu_hour": run.summary["usd_per_productive_gpu_hour"],
        "price_year": run.provenance["books"].get("price_year"),
    }


def _waiting(run: Run, jobs: Jobs) -> dict[str, Any]:
    waits = run.table("waits")
    job = np.asarray(waits.column("job").to_numpy(), dtype=np.int64)
    width_s, gpus = (
        np.asarray(waits.column("end_s").to_numpy()) - np.asarray(waits.column("start_s").to_numpy()),
        np.asarray(waits.column("gpus").to_numpy(), dtype=np.float64),
    )
    hours = width_s * gpus / HOUR_S
    return {
        "gpu_hours": float(hours.sum()),
        "by_tenant": _shares([str(jobs.tenant[row]) or "no tenant" for row in job], hours),
        "by_reason": _shares([str(reason) for reason in waits.column("reason").to_pylist()], hours),
    }


def _shares(names: list[str], hours: FloatArray) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, value in zip(names, hours.tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + value
    total = sum(sums.values())
    return {
        name: value / total
        for name, value in sorted(sums.items(), key=lambda item: (-item[1], item[0]))
        if total > 0
    }


def _limits(run: Run, jobs: Jobs) -> list[dict[str, Any]]:
    found = []
    for said in run.provenance["scenario"].get("limits") or ():
        metric = next(name for name in _LIMITED if said.get(name) is not None)
        tenant, service = said.get("tenant"), said.get("service")
        key, factor = _LIMITED[metric]
        if tenant is not None:
            mine = jobs.is_queued_kind & (jobs.tenant == tenant)
            wait_s = jobs.number("wait_s")[mine]
            share = quantile(wait_s, np.ones(len(wait_s)), 0.95)
            mean = float(np.mean(wait_s)) if len(wait_s) else math.nan
            value: float | None = share if metric == "p95_wait_s" else mean
        else:
            value = run.summary.get(key.format(service=service))
            value = None if value is None else factor * float(value)
        if metric == "slo_missed_fraction" and value is not None:
            value = 1.0 - value
        known = value is not None and not math.isnan(value)
        bound = float(said[metric])
        found.append(
            {
                "metric": metric,
                "of": tenant or service,
                "bound": bound,
                "value": value,
                "passed": bool(value <= bound) if known and value is not None else None,
            }
        )
    return found


def _audit(run: Run) -> dict[str, Any]:
    entries = list(run.provenance["audit"])
    worst = max(entries, key=lambda entry: float(entry["relative_difference"]), default=None)
    return {
        "accounts": len(entries),
        "worst_relative_difference": 0.0 if worst is None else float(worst["relative_difference"]),
        "worst": None if worst is None else worst["name"],
    }


def _plain(value: Any) -> Any:
    """Return JSON's own types, with None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
