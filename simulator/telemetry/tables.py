"""Every table and column a run leaves, with unit and meaning, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Phase(IntEnum):
    """What a job is doing; the code stored in ``segments.phase``."""

    QUEUED = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3
    DETECTING = 4
    RECOVERING = 5
    MOVING = 6
    SUSPENDED = 7
    ENDED = 8
    IDLE = 9
    DIAGNOSING = 10


#: Phase names in code order.
PHASES: Final[tuple[str, ...]] = tuple(phase.name.lower() for phase in Phase)

#: Why a job waits; the code stored in ``waits.reason`` is the position.
WAIT_REASONS: Final[tuple[str, ...]] = (
    "capacity",
    "fragmentation",
    "behind",
    "reserved",
    "carbon-hold",
    "price-hold",
    "power-cap",
    "quota",
    "decision-hold",
    "no-such-gpu",
    "down",
    "moving",
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: numpy dtype text (``str`` for text), unit and meaning."""

    name: str
    dtype: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the run folder."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column called `name`; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


_SEGMENTS = Table(
    "segments",
    "One phase of one job with constant GPUs, rate and power; everything per job follows.",
    (
        Column("job", "int32", "", "row of the job in `jobs`"),
        Column("site", "int16", "", "site; name in the file, code in memory"),
        Column("pool", "int16", "", "pool; name in the file, code in memory"),
        Column("start_s", "float64", "s", "begin, since the run's start"),
        Column("end_s", "float64", "s", "end, since the run's start"),
        Column("gpus", "int32", "", "GPUs held"),
        Column("phase", "int8", "", "what the job is doing"),
        Column("rate", "float64", "1/s", "work per second (tokens/s or reference seconds/s)"),
        Column("power_w", "float64", "W", "mean IT power of the held GPUs and their host share"),
        Column("gpu_power_w", "float64", "W", "the GPUs' part of power_w"),
        Column("max_power_w", "float64", "W", "largest IT power inside the segment"),
    ),
)

_JOBS = Table(
    "jobs",
    "One row a job, and rows of kind `idle` that hold what nobody used.",
    (
        Column("job_id", "str", "", "identity as in the scenario or the log"),
        Column("kind", "str", "", "training, trace, research, replica or idle"),
        Column("tenant", "str", "", "who asked"),
        Column("queue", "str", "", "queue the job was assigned to"),
        Column("site", "str", "", "site of the last stint"),
        Column("pool", "str", "", "pool of the last stint"),
        Column("model", "str", "", "model trained or served"),
        Column("gpu_type", "str", "", "GPU of the last stint"),
        Column("gpus", "int32", "", "GPUs asked for"),
        Column("tokens", "float64", "", "tokens trained or served; null for trace jobs"),
        Column("priority", "int32", "", "larger goes first where a policy looks"),
        Column("submitted_s", "float64", "s", "submission"),
        Column("started_s", "float64", "s", "first start; null if it never started"),
        Column("finished_s", "float64", "s", "end; null if still running or queued"),
        Column("state", "str", "", "done, failed, killed, running, queued, held"),
        Column("wait_s", "float64", "s", "time queued, summed over stints"),
        Column("run_s", "float64", "s", "time holding GPUs, summed over stints"),
        Column("requested_run_s", "float64", "s", "run time told to the scheduler; null if none"),
        Column("deadline_s", "float64", "s", "deadline; null if none"),
        Column("wait_reason", "str", "", "reason of most of the wait"),
        Column("gpu_seconds", "float64", "s", "GPU-seconds held"),
        Column("productive_gpu_seconds", "float64", "s", "held while useful, durable work was done"),
        Column("lost_gpu_seconds", "float64", "s", "held for work that a failure undid"),
        Column("restarts", "int32", "", "restarts after failures"),
        Column("preemptions", "int32", "", "stops by decision"),
        Column("mfu_fraction", "float64", "", "model FLOP over dense peak while running; null if n/a"),
        Column("mfu_convention", "str", "", "FLOP that mfu_fraction counts: model-full; empty if n/a"),
        Column("it_energy_j", "float64", "J", "IT energy of the held GPUs and their host share"),
        Column("facility_energy_j", "float64", "J", "energy at the meter, overhead shared"),
        Column("location_gco2e", "float64", "g", "location-based carbon of facility energy"),
        Column("market_gco2e", "float64", "g", "market-based carbon of facility energy"),
        Column("marginal_gco2e", "float64", "g", "marginal carbon of facility energy; null if unknown"),
        Column("embodied_gco2e", "float64", "g", "amortised embodied carbon of held hardware"),
        Column("cost_usd", "float64", "USD", "energy, network charge, hardware, building, water, carbon"),
        Column("water_litres", "float64", "L", "site water"),
    ),
)

_WAITS = Table(
    "waits",
    "One stretch of waiting with one reason.",
    (
        Column("job", "int32", "", "row of the job in `jobs`"),
        Column("reason", "int8", "", "why; name in the file"),
        Column("blocked_by", "int8", "", "for `behind`: the head's own reason; else as reason"),
        Column("start_s", "float64", "s", "begin"),
        Column("end_s", "float64", "s", "end"),
        Column("gpus", "int32", "", "GPUs asked for"),
    ),
)

_OCCUPANCY = Table(
    "occupancy",
    "GPUs by state as step series: the value holds until the next row of the same key.",
    (
        Column("site", "str", "", "site"),
        Column("pool", "str", "", "pool"),
        Column("tenant", "str", "", "tenant; empty for free and down"),
        Column("state", "str", "", "productive, overhead, allocated idle, free, held, maintenance, down"),
        Column("time_s", "float64", "s", "from when"),
        Column("gpus", "int32", "", "GPUs in that state from then on"),
    ),
)

_GPU_TIME = Table(
    "gpu_time",
    "Where GPU time went, by job and use; all uses but `waiting` sum to what was held.",
    (
        Column("job_id", "str", "", "training run; empty for all other jobs of a kind together"),
        Column("kind", "str", "", "training, trace, research or replica"),
        Column(
            "use",
            "str",
            "",
            "productive, recompute, communication, bubble, straggler, checkpoint, lost, detecting, "
            "diagnosing, restarting, stopping, other, waiting",
        ),
        Column("gpu_seconds", "float64", "s", "GPU-seconds; of `waiting`: GPUs asked for times the wait"),
    ),
)

_REQUESTS = Table(
    "requests",
    "One request (or `weight` requests) of a service, in completion order.",
    (
        Column("request_id", "int64", "", "position in the service's arrivals"),
        Column("service", "str", "", "service"),
        Column("site", "str", "", "site that answered"),
        Column("replica", "int32", "", "replica that answered"),
        Column("tenant", "str", "", "who asked"),
        Column("tier", "str", "", "tier"),
        Column("state", "str", "", "ok, shed, failed or retried"),
        Column("weight", "float64", "", "requests this row stands for"),
        Column("arrived_s", "float64", "s", "arrival"),
        Column("prefill_started_s", "float64", "s", "first iteration with a token of it"),
        Column("first_token_s", "float64", "s", "first output token"),
        Column("finished_s", "float64", "s", "last output token"),
        Column("prompt_tokens", "int32", "", "tokens in"),
        Column("output_tokens", "int32", "", "tokens out"),
        Column("cached_tokens", "int32", "", "prompt tokens found in the prefix cache"),
        Column("ttft_s", "float64", "s", "first token minus arrival; queue and prefill included"),
        Column("tpot_s", "float64", "s", "(e2e - ttft) / (output - 1); null for one token"),
        Column("e2e_s", "float64", "s", "last token minus arrival"),
        Column("preemptions", "int32", "", "times recomputed"),
    ),
)

#: What an iteration of a service holds, in the order of `serving.power_meter.PHASES`.
_BATCHES: Final = {
    "idle": "without anything to do",
    "prefill": "in iterations of prompts alone",
    "decode": "in iterations of decodes alone",
    "mixed": "in iterations of both",
}

_SERVICES_HOURLY = Table(
    "services_hourly",
    "A service by hour of completion.",
    (
        Column("service", "str", "", "service"),
        Column("tier", "str", "", "tier; `all` for the whole service"),
        Column("hour_start_s", "float64", "s", "begin of the hour (UTC hours)"),
        Column("requests", "float64", "", "finished requests, weighted"),
        Column("prompt_tokens", "float64", "", "tokens in"),
        Column("output_tokens", "float64", "", "tokens out"),
        Column("replicas", "float64", "", "mean ready replicas; on the row of tier `all`"),
        Column("ttft_p50_s", "float64", "s", "median TTFT"),
        Column("ttft_p99_s", "float64", "s", "99th percentile of TTFT"),
        Column("tpot_p50_s", "float64", "s", "median TPOT"),
        Column("tpot_p99_s", "float64", "s", "99th percentile of TPOT"),
        Column("power_w", "float64", "W", "mean IT power of the replicas; on the row of tier `all`"),
        Column("joules_per_token", "float64", "J", "IT energy per output token; row of tier `all`"),
        *(
            Column(f"{phase}_s", "float64", "s", f"replicas' time {what}; row of tier `all`")
            for phase, what in _BATCHES.items()
        ),
        *(
            Column(f"{phase}_gpu_j", "float64", "J", f"energy of their GPUs {what}; row of tier `all`")
            for phase, what in _BATCHES.items()
        ),
    ),
)

_LATENCY_HISTOGRAM = Table(
    "latency_histogram",
    "Weighted counts of requests by latency bin (24 bins a decade).",
    (
        Column("service", "str", "", "service"),
        Column("tier", "str", "", "tier"),
        Column("metric", "str", "", "ttft, tpot or e2e"),
        Column("low_s", "float64", "s", "bin's lower edge, included"),
        Column("high_s", "float64", "s", "bin's upper edge, excluded"),
        Column("requests", "float64", "", "weighted count"),
    ),
)

_POWER = Table(
    "power",
    "Power by site and component as step series: the value holds until the next row.",
    (
        Column("site", "str", "", "site"),
        Column("component", "str", "", "gpu, host, network, conversion, cooling, other"),
        Column("time_s", "float64", "s", "from when"),
        Column("power_w", "float64", "W", "power from then on"),
    ),
)

_HOURLY = Table(
    "hourly",
    "A site by hour (beginning-of-hour UTC).",
    (
        Column("site", "str", "", "site"),
        Column("start_s", "float64", "s", "begin of the hour"),
        Column("end_s", "float64", "s", "end of the hour (the first and last may be short)"),
        Column("it_energy_j", "float64", "J", "IT energy"),
        Column("facility_energy_j", "float64", "J", "energy at the meter, import positive"),
        Column("pue", "float64", "", "facility over IT energy of the hour"),
        Column("site_water_litres", "float64", "L", "water used on site"),
        Column("source_water_litres", "float64", "L", "water used to generate the electricity"),
        Column("intensity_g_per_kwh", "float64", "g/kWh", "average carbon intensity"),
        Column("location_gco2e", "float64", "g", "location-based carbon"),
        Column("market_gco2e", "float64", "g", "market-based carbon"),
        Column("marginal_gco2e", "float64", "g", "marginal carbon; null if unknown"),
        Column("price_usd_per_kwh", "float64", "USD/kWh", "energy price"),
        Column("energy_cost_usd", "float64", "USD", "energy price times metered energy"),
        Column("clean_matched_j", "float64", "J", "carbon-free energy matched in the hour; null if unknown"),
        Column("limit_w", "float64", "W", "lowest site limit in the hour; null if none"),
        Column("peak_15min_power_w", "float64", "W", "largest 15-minute mean at the meter"),
        Column("peak_power_w", "float64", "W", "largest power at the meter"),
        Column("storage_energy_j", "float64", "J", "storage: charged positive, discharged negative"),
        Column("onsite_energy_j", "float64", "J", "on-site generation, negative"),
        Column("dry_bulb_c", "float64", "C", "mean outside dry bulb"),
        Column("wet_bulb_c", "float64", "C", "mean outside wet bulb"),
    ),
)

_EVENTS = Table(
    "events",
    "Failures, repairs, scaling, caps, calls and decisions, in the order they happened.",
    (
        Column("time_s", "float64", "s", "when it took effect or was refused"),
        Column("kind", "str", "", "failure, repair, decision, cold start, call, thermal, fabric, script"),
        Column("what", "str", "", "cause, or the decision's name"),
        Column("target", "str", "", "job, node, service or site"),
        Column("outcome", "str", "", "applied, refused, exceeded; announced, began, ended; full, empty"),
        Column("delay_s", "float64", "s", "actuation delay between decision and effect"),
        Column("reason", "str", "", "why it was refused, or details"),
        Column("value", "float64", "", "the number that goes with it; null if none"),
    ),
)

_LINKS = Table(
    "links",
    "Who crossed a link that held somebody up, from when to when, and what each got there.",
    (
        Column("site", "str", "", "site"),
        Column("link", "str", "", "link: leaf-N, pod-N, router-N, group-A-group-B, node-N-along-K"),
        Column("start_s", "float64", "s", "begin"),
        Column("end_s", "float64", "s", "end"),
        Column("job", "str", "", "job, or service:NAME"),
        Column("exchange", "str", "", "data-parallel, pipeline, experts, context, tensor or kv"),
        Column("capacity_bytes_per_s", "float64", "B/s", "what the link carries, one direction"),
        Column("offered_bytes_per_s", "float64", "B/s", "what this exchange puts on it, mean over a step"),
        Column("peak_bytes_per_s", "float64", "B/s", "what it would put there while it talks, unhindered"),
        Column("share", "float64", "", "part of that which it gets while it talks, here or elsewhere"),
        Column("tightest", "int8", "", "1 if no other link holds this exchange up more"),
    ),
)

#: Name -> table, in the order the run folder lists them.
TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (
        _SEGMENTS,
        _JOBS,
        _WAITS,
        _OCCUPANCY,
        _GPU_TIME,
        _REQUESTS,
        _SERVICES_HOURLY,
        _LATENCY_HISTOGRAM,
        _POWER,
        _HOURLY,
        _EVENTS,
        _LINKS,
    )
}
