"""What was asked for and what became of it: scenario, GPUs, training, services, tenants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.chapters.material import Material
from analysis.chapters.training_step import layouts, learning
from analysis.chapters.trust import assumption_rows, value_text
from analysis.columns import coded, numbers, words
from analysis.numerals import count_text, digits, known, percent, seconds_text
from analysis.page import folded, paragraphs, table
from simulator.foundation.units import HOUR_S, J_PER_MWH, render
from simulator.results.percentile import quantile

if TYPE_CHECKING:
    pass

#: Boundary of a service's energy -> its name for people, narrowest first.
BOUNDARY_NAMES: Final = {
    "chip": "chip: GPUs of the replicas",
    "server": "server: and their hosts",
    "idle": "and a share of idle machines",
    "facility": "facility: and network, losses, cooling",
}

#: Rows of a table that are shown before the rest is left to the Parquet file.
_MOST_ROWS: Final = 25


def scenario(material: Material) -> str:
    """Return what was asked for, on one page."""
    run = material.run
    sites = table(
        ["Site", "Zone", "Grid", "Climate", "Cooling", "GPUs", "Limit at the meter"],
        [
            [
                site["name"],
                site["timezone"],
                site.get("grid", ""),
                site.get("climate", ""),
                site.get("plant", ""),
                f"{site['gpus']:,}",
                "none" if site["limit_w"] is None else render(site["limit_w"], "W"),
            ]
            for site in run.provenance["sites"]
        ],
        text_columns=5,
    )
    pools = table(
        ["Pool", "Site", "Node", "GPU", "Nodes", "GPUs"],
        [
            [pool["name"], pool["site"], pool["node"], pool["gpu"], f"{pool['nodes']:,}", f"{pool['gpus']:,}"]
            for pool in run.provenance["pools"]
        ],
        text_columns=4,
    )
    start = run.calendar.local(0.0)
    facts = paragraphs(
        [
            f"{start:%A, %Y-%m-%d %H:%M} {run.timezone}, for {render(run.horizon_s, 's')}; seed "
            f"{run.provenance['seed']}. Money is shown in {material.digest['currency']}."
        ]
    )
    said = [row for row in assumption_rows(run) if row.get("origin") == "you"]
    own = folded(
        f"What the scenario says itself ({len(said)} values)",
        table(["Key", "Value"], [[row["key"], value_text(row)] for row in said], text_columns=2),
    )
    return facts + sites + pools + own


def machines(material: Material) -> str:
    """GPUs and queue."""
    failures = _failures(material)
    return (
        material.figure("occupancy")
        + material.figure("waterfall")
        + material.figure("queue")
        + (f"<h3>Failures and decisions</h3>{failures}" if failures else "")
    )


def training(material: Material) -> str:
    """Every training job."""
    jobs = material.digest["training"]
    if not jobs:
        return '<div class="missing">The scenario has no training job.</div>'
    rows = [
        [
            job["job"],
            f"{job['gpus']:,.0f}",
            "n/a" if job["tokens"] is None else render(job["tokens"], ""),
            job["state"]
            if job["finished_s"] is None
            else f"{job['state']} {material.local(job['finished_s'])}",
            f"{percent(job['mfu_fraction'])} {job['mfu_convention']}".strip(),
            percent(job["ettr_fraction"]),
            f"{job['restarts'] or 0:.0f}",
            render(job["wait_s"] or 0.0, "s"),
            render(job["run_s"] or 0.0, "s"),
        ]
        for job in jobs[:_MOST_ROWS]
    ]
    columns = ["Job", "GPUs", "Tokens", "State", "MFU", "ETTR", "Restarts", "Waited", "Ran"]
    drawn = [
        [
            job["job"],
            job["watts"],
            "n/a" if job["it_w_per_gpu"] is None else f"{job['it_w_per_gpu']:.0f}",
            digits(job["facility_energy_mwh"]),
            digits(job["location_tco2e"]),
            material.money(job["cost_usd"]),
        ]
        for job in jobs[:_MOST_ROWS]
    ]
    heads = ["Job", "Watts", "IT W per GPU", "Meter MWh", "t CO2e", "Cost"]
    said = [
        "MFU is the model's FLOP over the dense peak while running; model-full lets every query meet every "
        "key, model-causal half of them. ETTR is useful time over time held and waited; bubbles and "
        "communication inside a step lower MFU, not ETTR. Energy at the meter holds the job's part of "
        "network, losses and cooling; IT W per GPU is the GPU and its share of the host while held.",
        *_left_out(len(jobs)),
    ]
    return (
        table(columns, rows)
        + table(heads, drawn, text_columns=2)
        + paragraphs(said)
        + material.figure("gpu_time")
        + _reliability(material)
        + _swings(material)
        + layouts(material)
        + learning(material)
    )


def _reliability(material: Material) -> str:
    """Return effective time as simulated and by the laws, and what goes into them."""
    rows, bends = [], []
    for job in material.digest["training"][:_MOST_ROWS]:
        law = job["reliability"]
        if law["interval_s"] is None:
            continue
        rows.append(
            [
                job["job"],
                law["calibration"] or "nothing fails",
                percent(job["ettr_fraction"]),
                percent(law["ettr_law_fraction"]),
                percent(law["ettr_first_order_fraction"]),
                "never" if law["mean_time_s"] is None else seconds_text(law["mean_time_s"]),
                seconds_text(law["restart_s"]),
                seconds_text(law["interval_s"]),
                seconds_text(law["save_s"]),
                seconds_text(law["lag_s"]),
            ]
        )
        if law["law_bends"]:
            bends.append(f"{job['job']}: the laws hardly apply, {'; '.join(law['law_bends'])}.")
    if not rows:
        return ""
    heads = ["Job", "Rates", "ETTR simulated", "ETTR, renewal law", "ETTR, first order", "Failure every",
             "Back after", "Saves every", "Stop", "Durable after"]  # fmt: skip
    said = [
        "The renewal law holds to all orders for exponential failures, one restart after another; the first "
        "order, 1 - N r (u + dt/2), is left out where a failure costs more than a fifth of the time to the "
        "next. Rates: `infrastructure` counts parts that failed, `observed` jobs that stopped.",
        *bends,
    ]
    return "<h3>Effective time beside the laws</h3>" + table(heads, rows, text_columns=2) + paragraphs(said)


def _swings(material: Material) -> str:
    """Return how far and how fast each job's power swings."""
    rows = []
    for job in material.digest["training"][:_MOST_ROWS]:
        swing = job["swing"]
        if swing is None:
            continue

        def watts(name: str, swing: dict[str, float | None] = swing, unit: str = "W") -> str:
            value = swing[name]
            return "n/a" if value is None else render(value, unit)

        rows.append(
            [
                job["job"],
                watts("step_w"),
                seconds_text(swing["step_period_s"]),
                watts("step_ramp_w_per_s", unit="W/s"),
                watts("save_w"),
                seconds_text(swing["save_period_s"]),
                watts("stop_w"),
            ]
        )
    if not rows:
        return ""
    heads = ["Job", "Swing in a step", "Every", "Ramp", "At a checkpoint", "Every", "At a failure"]
    said = [
        "IT watts of all its GPUs together, at full clock: from the busy part of a step to its end, where "
        "all ranks wait, exchange and update at once. Nothing is smoothed but by the nodes' own supplies."
    ]
    return "<h3>Power swings</h3>" + table(heads, rows) + paragraphs(said)


def services(material: Material) -> str:
    """Every service, by tier."""
    found = material.digest["services"]
    if not found:
        return material.figure("latency")
    rows, tiers = [], []
    for service in found:
        rows.append(
            [
                service["name"],
                service["model"],
                str(service.get("stability") or "no request"),
                percent(service.get("headroom_fraction")),
                count_text(service.get("requests")),
                count_text(service.get("tokens_out")),
                _met(service),
                digits(service.get("joules_per_token"), 3),
                digits(service.get("gco2e_per_million_tokens"), 3),
                material.money(service.get("usd_per_million_tokens"), 3),
            ]
        )
        tiers += [
            [
                f"{service['name']}, {tier['tier']}",
                *(
                    seconds_text(tier.get(f"{metric}_{share}_s"))
                    for metric in ("ttft", "tpot", "e2e")
                    for share in ("p50", "p99")
                ),
                *(
                    "none" if (bound := tier.get(f"{metric}_slo_s")) is None else seconds_text(bound)
                    for metric in ("ttft", "tpot")
                ),
                percent(tier.get("slo_attainment_fraction")) if _promised(tier) else "no promise",
            ]
            for tier in service["tiers"]
        ]
    columns = ["Service", "Model", "State", "Headroom", "Requests", "Tokens out", "Promises met, goodput",
               "J per token", "g CO2e per M tokens", "Cost per M tokens"]  # fmt: skip
    heads = ["Tier", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "E2E p50", "E2E p99", "TTFT promise",
             "TPOT promise", "met both"]  # fmt: skip
    said = (
        "J per token is that of the servers (GPUs and their share of the hosts); carbon and cost are the "
        "replicas' own share at the meter, per output token."
    )
    words = (
        "TTFT is the time to the first token, queue and prefill included; TPOT the mean time of each token "
        "after it; E2E that of the whole answer. Requests a second that kept every promise are the goodput."
    )
    return (
        table(columns, rows, text_columns=3)
        + table(heads, tiers)
        + _fates(found)
        + material.figure("distribution")
        + material.figure("latency")
        + paragraphs([said, words])
        + _quality(material)
        + _by_boundary(material)
        + _peaks(material)
    )


def _promised(tier: Mapping[str, Any]) -> bool:
    return tier.get("ttft_slo_s") is not None or tier.get("tpot_slo_s") is not None


def _met(service: Mapping[str, Any]) -> str:
    """Return the share of requests that met every promise, and how many a second; or that none was made."""
    if not any(map(_promised, service["tiers"])):
        return "no promise"
    rate = digits(service.get("goodput_requests_per_s"), 3)
    return f"{percent(service.get('slo_attainment_fraction'))}, {rate}/s"


def _fates(services: Sequence[Mapping[str, Any]]) -> str:
    """Return what became of every request."""
    names = ("requests_arrived", "requests", "requests_in_flight", "requests_turned_away", "requests_failed",
             "requests_retried")  # fmt: skip
    return table(
        ["Requests", "Arrived", "Answered", "In flight", "Turned away", "Failed", "Begun again"],
        [[service["name"], *(count_text(service.get(name)) for name in names)] for service in services],
    )


def _quality(material: Material) -> str:
    """Return what is published of the quality of narrow weights and smaller models that are used."""
    rows = [
        [row["key"].removeprefix("workloads.").removesuffix(".quality"), row["value"]]
        for row in assumption_rows(material.run)
        if row["key"].startswith("workloads.") and row["key"].endswith(".quality")
    ]
    if not rows:
        return ""
    return "<h3>Quality, as published and not computed</h3>" + table(
        ["Of", "What is known"], rows, text_columns=2
    )


def _peaks(material: Material) -> str:
    """Return peaks of GPU power apart from means, for breakers and supplies."""
    found = [
        service
        for service in material.digest["services"]
        if service.get("gpu_power_mean_w_per_gpu") is not None
    ]
    if not found:
        return ""
    each = table(
        ["Service", "Mean W", "Idle W", "Decode W", "Mixed W", "Prefill W", "Largest W"],
        [
            [
                service["name"],
                digits(service.get("gpu_power_mean_w_per_gpu"), 3),
                *(_in_phase(service, phase) for phase in ("idle", "decode", "mixed", "prefill")),
                digits(service.get("gpu_power_largest_w_per_gpu"), 3),
            ]
            for service in found
        ],
    )
    together = table(
        ["Service", "Largest to decode", "Largest to mean", "All GPUs, mean", "Top 5 min", "Top to mean"],
        [
            [
                service["name"],
                digits(service.get("prefill_to_decode_power_ratio"), 3),
                digits(service.get("gpu_power_largest_to_mean_ratio"), 3),
                _kilowatts(service.get("gpu_power_mean_w")),
                _kilowatts(service.get("gpu_power_peak_5min_w")),
                digits(service.get("gpu_power_peak_to_mean_ratio"), 3),
            ]
            for service in found
        ],
    )
    said = [
        "Boundary: the GPUs of its replicas alone. Prefill comes in bursts of an iteration, so breakers and "
        "supplies see more than any mean; replicas do not read prompts at the same instant, so all together "
        "are smoother than one. Watts are those of one GPU by what its iterations held, with shares of the "
        "replicas' time, both metered; a flow has no iterations: its watts are modelled at the mean batch.",
        "Published for an H100 that serves: prefill bursts of 2.4 times the average, to hold against largest "
        "to mean (InferenceX, issue 828); for A100s that answer one prompt at a time, peaks of 1.4 (two "
        "GPUs) to 2.3 times the average (eight) (Splitwise's measurements of Llama 2 70B).",
    ]
    return "<h3>Peaks of power</h3>" + each + together + paragraphs(said)


def _in_phase(service: Mapping[str, Any], phase: str) -> str:
    """Return watts of a GPU in a phase, and the phase's share of the time where that is metered."""
    watts = digits(service.get(f"{phase}_gpu_power_w"), 3)
    share = service.get(f"{phase}_time_fraction")
    return watts if share is None else f"{watts} ({percent(share)})"


def _kilowatts(watts: float | None) -> str:
    return digits(None, 3) if watts is None else f"{digits(watts / 1000.0, 3)} kW"


def _by_boundary(material: Material) -> str:
    """Return what a request and a million tokens use, on each boundary."""
    energy, books = [], []
    for service in material.digest["services"]:
        if service.get("facility_joules_per_request") is None:
            continue
        for boundary, name in BOUNDARY_NAMES.items():
            token = "joules_per_token" if boundary == "server" else f"{boundary}_joules_per_token"
            request_j = service[f"{boundary}_joules_per_request"]
            energy.append(
                [service["name"], name, digits(request_j / HOUR_S, 3), digits(service.get(token), 3)]
            )
        books += [
            [
                service["name"],
                unit.replace("_", " output "),
                digits(service[f"facility_gco2e_per_{unit}"], 3),
                digits(service[f"facility_litres_per_{unit}"], 3),
                material.money(service[f"facility_usd_per_{unit}"], 3),
            ]
            for unit in ("request", "million_tokens")
        ]
    if not energy:
        return ""
    said = [
        "Each boundary holds the one before. Idle machines of the service's pools are shared by GPU-hours "
        "held there; the facility's boundary over all jobs is the meter.",
        "Published for a median text prompt: 0.10 Wh on the accelerators alone, 0.24 Wh with hosts, idle "
        "machines and overhead (Google 2025, arXiv:2508.15734). Compare models of like size only.",
    ]
    return (
        "<h3>What a request and a token use</h3>"
        + table(["Service", "Boundary", "Wh per request", "J per output token"], energy, text_columns=2)
        + table(["Service", "Per", "g CO2e", "L at the site", "Cost"], books, text_columns=2)
        + paragraphs(said)
    )


def tenants(material: Material) -> str:
    """Who got what, and who waited."""
    jobs = material.run.table("jobs")
    kind, kinds = coded(jobs, "kind")
    tenant, names = coded(jobs, "tenant")
    real = np.array([name != "idle" for name in kinds], dtype=bool)[kind] if len(kind) else kind > 0
    waits = (
        np.array([name not in ("idle", "replica") for name in kinds], dtype=bool)[kind] if len(kind) else real
    )
    columns = {
        name: numbers(jobs, name)
        for name in ("gpu_seconds", "facility_energy_j", "location_gco2e", "cost_usd", "wait_s")
    }
    held = columns["gpu_seconds"][real].sum() or 1.0
    queued = material.digest["waiting"]["by_tenant"]
    rows = []
    for code_, name in enumerate(names):
        mine = real & (tenant == code_)
        if not mine.any():
            continue
        asked = mine & waits
        ones = np.ones(int(asked.sum()))
        rows.append(
            (
                -columns["gpu_seconds"][mine].sum(),
                [
                    name or "no tenant",
                    f"{int(mine.sum()):,}",
                    digits(columns["gpu_seconds"][mine].sum() / HOUR_S),
                    percent(columns["gpu_seconds"][mine].sum() / held),
                    percent(queued.get(name or "no tenant", 0.0)),
                    render(quantile(columns["wait_s"][asked], ones, 0.5), "s"),
                    render(quantile(columns["wait_s"][asked], ones, 0.95), "s"),
                    digits(known(columns["facility_energy_j"][mine].sum() / J_PER_MWH), 3),
                    digits(known(columns["location_gco2e"][mine].sum() / 1e6), 3),
                    material.money(known(columns["cost_usd"][mine].sum())),
                ],
            )
        )
    rows.sort(key=lambda row: (row[0], row[1][0]))
    heads = ["Tenant", "Jobs", "GPU-h held", "Share held", "Share of queued GPU-h", "Wait p50", "Wait p95",
             "MWh", "t CO2e", "Cost"]  # fmt: skip
    return table(heads, [row for _, row in rows[:_MOST_ROWS]]) + paragraphs(_left_out(len(rows)))


def _failures(material: Material) -> str:
    events = material.run.table("events")
    counted: dict[tuple[str, str, str], int] = {}
    for key in zip(words(events, "kind"), words(events, "what"), words(events, "outcome"), strict=True):
        counted[key] = counted.get(key, 0) + 1
    rows = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return table(
        ["Kind", "What", "Outcome", "Times"],
        [[*key, f"{count:,}"] for key, count in rows[:_MOST_ROWS]],
        text_columns=3,
    )


def _left_out(count: int) -> Sequence[str]:
    return [] if count <= _MOST_ROWS else [f"{count - _MOST_ROWS:,} more are in jobs.parquet."]
