"""``summary.json`` and ``summary_meta.json``: the run in flat numbers, each with its meaning.

A number that does not apply is None, and its meta entry says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.books import Books
from simulator.accounting.service_account import ServiceAccount, service_accounts
from simulator.accounting.service_power import service_power
from simulator.foundation.units import MEGA
from simulator.results.digest import NOT_QUEUED
from simulator.results.learning import learnings
from simulator.results.occupancy import pool_steps
from simulator.results.percentile import quantile
from simulator.results.training_facts import largest_swing
from simulator.serving.stability import over_the_whole
from simulator.telemetry import Phase, Record, ServiceRecord
from simulator.telemetry.glossary import SERVICE, SUMMARY, TRAINING, Term

FloatArray = NDArray[np.float64]

#: Key -> why it may be None.
_REASONS: Final[Mapping[str, str]] = {
    "mfu_fraction": "no training job with a known model ran",
    "ettr_fraction": "no training job was submitted",
    "link_loss_fraction": "no training job ran",
    "mean_wait_s": "no job besides services' replicas was submitted",
    "p95_wait_s": "no job besides services' replicas was submitted",
    "mean_jct_s": "no job finished",
    "makespan_s": "no job finished",
    "pue": "IT drew no energy",
    "wue_litres_per_kwh": "IT drew no energy, or the plant was given without its water",
    "site_water_m3": "the plant was given without its water",
    "marginal_tco2e": "the grid gives no marginal intensity, and none is guessed",
    "embodied_tco2e": "the books leave embodied carbon out, or a node's is blank in the catalog",
    "cfe_fraction": "the grid gives no clean share",
    "source_water_m3": "the grid gives no water of generation",
    "energy_cost_usd": "no energy price is set",
    "total_cost_usd": "a part has no price: energy, or a node of the catalog",
    "usd_per_productive_gpu_hour": "nothing was productive, or a part has no price",
}

#: Key -> the file it can be recomputed from.
_SOURCES: Final[Mapping[str, str]] = {
    "gpus": "run.json",
    "horizon_s": "run.json",
    "stranded_fraction": "waits.parquet, occupancy.parquet",
    "down_fraction": "occupancy.parquet",
    "mean_wait_s": "jobs.parquet",
    "p95_wait_s": "jobs.parquet",
    "mean_jct_s": "jobs.parquet",
    "makespan_s": "jobs.parquet",
    "mfu_fraction": "jobs.parquet",
    "ettr_fraction": "segments.parquet, jobs.parquet",
    "link_loss_fraction": "links.parquet, segments.parquet",
    "allocated_fraction": "segments.parquet",
    "productive_fraction": "jobs.parquet",
    "peak_facility_power_w": "power.parquet",
    "peak_15min_power_w": "power.parquet",
    "load_factor_fraction": "power.parquet",
    "max_ramp_w_per_s": "power.parquet",
}

#: What became of requests that were not answered -> the counter of it.
_FATES: Final[Mapping[str, str]] = {
    "requests_arrived": "requests_in",
    "requests_in_flight": "in_flight",
    "requests_turned_away": "shed",
    "requests_failed": "failed",
    "requests_retried": "retried",
}


def summary(record: Record, books: Books) -> dict[str, Any]:
    """Return the flat names of ``summary.json``; numbers, a word (stability), or None."""
    found: dict[str, Any] = dict.fromkeys(SUMMARY)
    found.update({name: value for name, value in books.totals.items() if name in SUMMARY})
    found.update(_machines(record))
    found.update(_queue(record))
    found["link_loss_fraction"] = _link_loss(record)
    accounts = service_accounts(record, books)
    for service, account in zip(record.services, accounts, strict=True):
        found.update(_service(record, service, books, account))
    for learned in learnings(record, books):
        found.update({f"training.{learned.job}.{name}": value for name, value in learned.numbers().items()})
    for swings in record.swings:
        own = largest_swing(swings)
        found.update({f"training.{swings.job}.{name}": value for name, value in own.items()})
    return {name: _number(value) for name, value in found.items()}


def summary_meta(
    numbers: Mapping[str, Any], books: Books, ranges: Mapping[str, tuple[float, float]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return unit, boundary, basis, low, high and source of every key of the summary.

    Parameters
    ----------
    numbers
        What :func:`summary` returned.
    books
        For the tags of carbon and money.
    ranges
        Key -> lowest and highest value under other assumptions; others have None: one seed gives
        no range.
    """
    known = ranges or {}
    meta = {}
    for name, value in numbers.items():
        term = _term(name)
        low, high = known.get(name, (None, None))
        meta[name] = {
            "unit": term.unit,
            "boundary": term.boundary,
            "basis": term.basis,
            "meaning": term.meaning,
            "low": low,
            "high": high,
            "source": _source(name, books),
            "reason": None if value is not None else _reason(name),
        }
    return meta


def _term(name: str) -> Term:
    kind, _, rest = name.partition(".")
    if not rest:
        return SUMMARY[name]
    return {"service": SERVICE, "training": TRAINING}[kind][name.rsplit(".", 1)[1]]


def _machines(record: Record) -> dict[str, Any]:
    owned = sum(pool.gpus for pool in record.pools)
    provided = owned * record.horizon_s
    stranded = sum(
        pool_steps(record, code).gpu_seconds("stranded", record.horizon_s)
        for code in range(len(record.pools))
    )

    def share(gpu_seconds: float) -> float | None:
        return gpu_seconds / provided if provided else None

    return {
        "gpus": owned,
        "horizon_s": record.horizon_s,
        "stranded_fraction": share(stranded),
    }


def _queue(record: Record) -> dict[str, Any]:
    jobs = record.jobs
    mine = np.array([kind not in NOT_QUEUED for kind in jobs.kind], dtype=bool)
    wait_s = np.asarray(jobs.wait_s)[mine]
    submitted_s, finished_s = np.asarray(jobs.submitted_s)[mine], np.asarray(jobs.finished_s)[mine]
    ended = ~np.isnan(finished_s)
    spans_s = finished_s[ended] - submitted_s[ended]
    return {
        "mean_wait_s": float(np.mean(wait_s)) if len(wait_s) else None,
        "p95_wait_s": quantile(wait_s, np.ones(len(wait_s)), 0.95),
        "mean_jct_s": float(np.mean(spans_s)) if len(spans_s) else None,
        "makespan_s": float(finished_s[ended].max() - submitted_s.min()) if ended.any() else None,
    }


def _link_loss(record: Record) -> float | None:
    """Return the share of training's running GPU time that shared links cost."""
    segments = record.segments
    training = np.array([kind == "training" for kind in record.jobs.kind], dtype=bool)
    mine = training[np.asarray(segments["job"])] & (np.asarray(segments["phase"]) == Phase.RUNNING)
    width_s = np.asarray(segments["end_s"])[mine] - np.asarray(segments["start_s"])[mine]
    ran_gpu_s = float(np.sum(width_s * np.asarray(segments["gpus"])[mine]))
    lost_gpu_s = math.fsum(loss.lost_gpu_seconds for loss in record.link_losses)
    return lost_gpu_s / ran_gpu_s if ran_gpu_s > 0.0 else None


def _service(record: Record, service: ServiceRecord, books: Books, account: ServiceAccount) -> dict[str, Any]:
    horizon_s = record.horizon_s
    said, rows = service.summary, np.array(service.replica_jobs, dtype=np.int64)
    tokens, requests = float(said.get("tokens_out", 0.0)), float(said.get("requests") or 0.0)

    def per(amount: float, units: float) -> float | None:
        return amount / units if units > 0 else None

    def own(column: str) -> float:
        return float(np.sum(books.jobs[column][rows]))

    numbers = {name: said.get(name) for name in SERVICE}
    if said.get("stability") is not None:
        # Where nobody got as much as a first token, who came waited longer than any backlog.
        counts = service.counters
        unseen = counts.get("requests_in") and not requests and not counts.get("tokens_emitted_in_flight")
        unseen_s = math.inf if unseen else math.nan
        numbers["stability"] = over_the_whole(
            said["stability"],
            float(said.get("ttft_p99_s") or math.nan) if requests else unseen_s,
            headroom=said.get("headroom_fraction") or math.nan,
            turns_away=service.counters.get("shed", 0.0) > 0.0,
        )
    for name, counter in _FATES.items():
        numbers[name] = service.counters.get(counter)
    numbers["tokens_per_s"] = tokens / horizon_s
    if "requests_within_slo" in said:
        numbers["goodput_requests_per_s"] = float(said["requests_within_slo"]) / horizon_s
        numbers["goodput_tokens_per_s"] = float(said["tokens_within_slo"]) / horizon_s
    power = service_power(record, service)
    numbers.update(power.numbers())
    # Where iterations are metered a burst is the largest of them; a flow has none, but a model of one.
    metered = "decode_time_fraction" in said
    burst_w = power.gpu_power_largest_w_per_gpu if metered else said.get("prefill_gpu_power_w")
    decode_w = said.get("decode_gpu_power_w")
    if burst_w is not None and decode_w:
        numbers["prefill_to_decode_power_ratio"] = burst_w / decode_w
    numbers["joules_per_token"] = per(own("it_energy_j"), tokens)
    numbers["tokens_per_joule"] = per(tokens, own("it_energy_j"))
    numbers["gco2e_per_million_tokens"] = per(own("location_gco2e"), tokens / MEGA)
    numbers["usd_per_million_tokens"] = per(own("cost_usd"), tokens / MEGA)
    for boundary, energy_j in account.energy_j.items():
        if boundary != "server":
            numbers[f"{boundary}_joules_per_token"] = per(energy_j, tokens)
        numbers[f"{boundary}_joules_per_request"] = per(energy_j, requests)
    for unit, amount in (("gco2e", account.gco2e), ("litres", account.site_litres), ("usd", account.usd)):
        numbers[f"facility_{unit}_per_million_tokens"] = per(amount, tokens / MEGA)
        numbers[f"facility_{unit}_per_request"] = per(amount, requests)
    return {f"service.{service.name}.{name}": value for name, value in numbers.items()}


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _reason(name: str) -> str:
    if ".swing_" in name:
        return "neither a stop to save the run nor the parts of its step are known"
    if name.startswith("training."):
        return "the scaling law says nothing of such a run, or a part has no price; run.json has the reason"
    if name.startswith("service."):
        return "no request was answered, or nothing of this kind can be said"
    return _REASONS.get(name, "nothing of this kind happened")


def _source(name: str, books: Books) -> str:
    if name in _SOURCES:
        return _SOURCES[name]
    if ".swing_" in name:
        return "run.json, step model"
    if name.startswith("training."):
        return "jobs.parquet, Chinchilla as refitted in arXiv:2404.10102, repetition of arXiv:2305.16264"
    if name.startswith("service."):
        return "requests.parquet, services_hourly.parquet, jobs.parquet"
    tags = books.tags
    if name == "embodied_tco2e":
        return "jobs.parquet, catalog"
    if name == "marginal_tco2e":
        return f"hourly.parquet, grid {tags.get('grid', '')} as given"
    if name.endswith("_tco2e"):
        said = [f"factors {tags['factor_set']}" if tags.get("factor_set") else "intensity as given"]
        said += [f"of {tags['vintage']}"] if tags.get("vintage") else []
        said += [f"contracts {tags['market']}"] if name.startswith("market") and tags.get("market") else []
        return ", ".join(["hourly.parquet", *said])
    if name.endswith("_usd") or "usd_per" in name:
        return f"jobs.parquet, prices of {tags.get('price_year') or 'no stated year'}"
    return "hourly.parquet"
