"""The flat names of `summary.json`: unit, boundary and basis, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Term:
    """A summary number's unit, boundary and usual basis."""

    unit: str
    boundary: str
    basis: str
    meaning: str


#: Summary key -> what it means.
SUMMARY: Final[dict[str, Term]] = {
    "gpus": Term("", "GPUs owned", "measured", "GPUs in all pools"),
    "horizon_s": Term("s", "run", "measured", "simulated time"),
    "allocated_fraction": Term("", "GPU-seconds owned", "modelled", "held by jobs"),
    "productive_fraction": Term("", "GPU-seconds owned", "modelled", "held for useful, durable work"),
    "stranded_fraction": Term(
        "", "GPU-seconds owned", "modelled", "free while a job that fits by count waits"
    ),
    "down_fraction": Term("", "GPU-seconds owned", "modelled", "failed or in maintenance"),
    "mfu_fraction": Term(
        "",
        "training jobs while running",
        "modelled",
        "model FLOP over dense peak, GPU-second weighted; model-full: every query meets every key",
    ),
    "link_loss_fraction": Term(
        "",
        "training jobs while running",
        "modelled",
        "GPU time that steps took longer than with the links to themselves",
    ),
    "ettr_fraction": Term(
        "", "training jobs since submission", "modelled", "productive over run, queue, lost and restart time"
    ),
    "mean_wait_s": Term(
        "s", "jobs without replicas", "modelled", "mean wait; queued jobs count until the horizon"
    ),
    "p95_wait_s": Term("s", "jobs without replicas", "modelled", "95th percentile of wait"),
    "mean_jct_s": Term("s", "finished jobs", "modelled", "mean completion time since submission"),
    "makespan_s": Term("s", "finished jobs", "modelled", "last completion minus first submission"),
    "it_energy_mwh": Term("MWh", "IT equipment input", "modelled", "energy of IT"),
    "facility_energy_mwh": Term("MWh", "utility meter", "modelled", "energy at the meter"),
    "pue": Term("", "facility over IT, whole run", "modelled", "ratio of sums"),
    "wue_litres_per_kwh": Term("L/kWh", "site water over IT energy", "modelled", "ratio of sums"),
    "peak_facility_power_w": Term(
        "W", "utility meter", "modelled", "largest power, sites added as they coincide"
    ),
    "peak_15min_power_w": Term("W", "utility meter", "modelled", "largest 15-minute mean"),
    "load_factor_fraction": Term("", "utility meter", "modelled", "mean over largest 15-minute mean"),
    "max_ramp_w_per_s": Term("W/s", "utility meter, 5-minute means", "modelled", "largest change"),
    "location_tco2e": Term("t", "facility energy", "modelled", "location-based carbon"),
    "market_tco2e": Term("t", "facility energy", "modelled", "market-based carbon"),
    "marginal_tco2e": Term("t", "facility energy", "modelled", "marginal carbon as given"),
    "embodied_tco2e": Term("t", "nodes, amortised", "modelled", "embodied carbon of the time span"),
    "cfe_fraction": Term("", "facility energy by hour", "modelled", "carbon-free share"),
    "site_water_m3": Term("m3", "site", "modelled", "water used on site"),
    "source_water_m3": Term("m3", "power generation", "modelled", "water used to generate the electricity"),
    "energy_cost_usd": Term("USD", "utility bill", "modelled", "energy and network charge"),
    "total_cost_usd": Term(
        "USD", "site", "modelled", "hardware, building, energy, network, water, carbon price"
    ),
    "usd_per_productive_gpu_hour": Term(
        "USD/h", "total cost over productive GPU-hours", "modelled", "unit cost"
    ),
}

#: The part after `training.<name>.` -> what it means.
TRAINING: Final[dict[str, Term]] = {
    "tokens": Term("", "trained on and kept", "modelled", "tokens by the end of the run"),
    "expected_loss_nats": Term(
        "nats", "scaling law of dense models", "calibrated", "loss a token expected at those tokens"
    ),
    "reducible_loss_nats": Term(
        "nats", "scaling law of dense models", "calibrated", "expected loss above the floor of the law"
    ),
    "next_halving_parameters": Term(
        "", "cheapest run with half the reducible loss", "calibrated", "its parameters"
    ),
    "next_halving_tokens": Term("", "cheapest run with half the reducible loss", "calibrated", "its tokens"),
    "next_halving_mwh": Term(
        "MWh", "utility meter, at this run's energy per operation", "calibrated", "energy of that run"
    ),
    "next_halving_usd": Term(
        "USD", "site, at this run's cost per operation", "calibrated", "cost of that run"
    ),
    "swing_w": Term(
        "W", "GPUs of the run, behind their supplies", "modelled", "largest periodic swing at full clock"
    ),
    "swing_ramp_w_per_s": Term(
        "W/s", "GPUs of the run, behind their supplies", "modelled", "steepest change within that swing"
    ),
    "swing_period_s": Term("s", "run", "modelled", "how often it comes: a step, or a stop for a checkpoint"),
}

#: The part after `service.<name>.` -> what it means.
SERVICE: Final[dict[str, Term]] = {
    "requests": Term("", "finished requests, weighted", "modelled", "requests answered"),
    "requests_arrived": Term("", "whole run, weighted", "modelled", "requests that came"),
    "requests_in_flight": Term("", "end of the run, weighted", "modelled", "requests waiting or served then"),
    "requests_turned_away": Term(
        "", "whole run, weighted", "modelled", "too long for the engine, or more than admission allows"
    ),
    "requests_failed": Term(
        "", "whole run, weighted", "modelled", "lost more replicas than they had retries"
    ),
    "requests_retried": Term("", "whole run, weighted", "modelled", "began again after losing a replica"),
    "tokens_out": Term("", "finished requests, weighted", "modelled", "output tokens"),
    "tokens_per_s": Term("1/s", "finished requests over the run", "modelled", "output tokens per second"),
    "goodput_requests_per_s": Term(
        "1/s",
        "finished requests over the run",
        "modelled",
        "requests that met every promise of their tier; all, where nothing is promised",
    ),
    "goodput_tokens_per_s": Term(
        "1/s",
        "finished requests over the run",
        "modelled",
        "output tokens of requests that met every promise",
    ),
    "ttft_mean_s": Term("s", "arrival to first token", "modelled", "mean"),
    "ttft_p50_s": Term("s", "arrival to first token", "modelled", "median"),
    "ttft_p90_s": Term("s", "arrival to first token", "modelled", "90th percentile"),
    "ttft_p95_s": Term("s", "arrival to first token", "modelled", "95th percentile"),
    "ttft_p99_s": Term("s", "arrival to first token", "modelled", "99th percentile"),
    "tpot_mean_s": Term("s", "between output tokens", "modelled", "mean"),
    "tpot_p50_s": Term("s", "between output tokens", "modelled", "median"),
    "tpot_p90_s": Term("s", "between output tokens", "modelled", "90th percentile"),
    "tpot_p95_s": Term("s", "between output tokens", "modelled", "95th percentile"),
    "tpot_p99_s": Term("s", "between output tokens", "modelled", "99th percentile"),
    "e2e_mean_s": Term("s", "arrival to last token", "modelled", "mean"),
    "e2e_p50_s": Term("s", "arrival to last token", "modelled", "median"),
    "e2e_p90_s": Term("s", "arrival to last token", "modelled", "90th percentile"),
    "e2e_p95_s": Term("s", "arrival to last token", "modelled", "95th percentile"),
    "e2e_p99_s": Term("s", "arrival to last token", "modelled", "99th percentile"),
    "slo_attainment_fraction": Term(
        "", "finished, shed and failed requests", "modelled", "met every promise of their tier (TTFT, TPOT)"
    ),
    "stability": Term("", "whole run", "modelled", "stable, backlogged or overloaded"),
    "headroom_fraction": Term(
        "",
        "whole run",
        "modelled",
        "capacity left at the busiest hour, of the replicas at the end; of the most where something scales",
    ),
    "joules_per_token": Term(
        "J", "server: replicas' IT energy over output tokens", "modelled", "energy per output token"
    ),
    "tokens_per_joule": Term(
        "1/J", "server: output tokens over replicas' IT energy", "modelled", "output tokens per joule"
    ),
    "gpu_power_mean_w": Term("W", "chip: all GPUs of its replicas together", "modelled", "mean over the run"),
    "gpu_power_peak_5min_w": Term(
        "W", "chip: all GPUs of its replicas together", "modelled", "largest mean of five minutes"
    ),
    "gpu_power_peak_to_mean_ratio": Term(
        "", "chip: all GPUs of its replicas together", "modelled", "largest five minutes over the mean"
    ),
    "gpu_power_largest_w_per_gpu": Term(
        "W", "chip: one GPU of a replica", "modelled", "largest of any iteration, for breakers and UPS"
    ),
    "gpu_power_mean_w_per_gpu": Term("W", "chip: one GPU of a replica", "modelled", "mean while held"),
    "gpu_power_largest_to_mean_ratio": Term(
        "", "chip: one GPU of a replica", "modelled", "largest of any iteration over the mean while held"
    ),
    "prefill_gpu_power_w": Term(
        "W", "chip: one GPU of a replica", "modelled", "mean over iterations of prompts alone"
    ),
    "mixed_gpu_power_w": Term(
        "W", "chip: one GPU of a replica", "modelled", "mean over iterations of prompts and decodes"
    ),
    "decode_gpu_power_w": Term(
        "W",
        "chip: one GPU of a replica",
        "modelled",
        "mean over iterations of decodes alone; of a flow, at its mean batch",
    ),
    "idle_gpu_power_w": Term("W", "chip: one GPU of a replica", "modelled", "mean with nothing to do"),
    "prefill_time_fraction": Term("", "replicas' time", "modelled", "share in iterations of prompts alone"),
    "mixed_time_fraction": Term(
        "", "replicas' time", "modelled", "share in iterations of prompts and decodes"
    ),
    "decode_time_fraction": Term("", "replicas' time", "modelled", "share in iterations of decodes alone"),
    "idle_time_fraction": Term("", "replicas' time", "modelled", "share with nothing to do"),
    "prefill_to_decode_power_ratio": Term(
        "",
        "chip: one GPU of a replica",
        "modelled",
        "largest of any iteration over the mean of decodes alone; of a flow, prompts over decodes",
    ),
    "chip_joules_per_token": Term("J", "chip: replicas' GPUs", "modelled", "energy per output token"),
    "idle_joules_per_token": Term(
        "J", "server and a share of idle machines", "modelled", "energy per output token"
    ),
    "facility_joules_per_token": Term(
        "J", "facility: meter, idle machines included", "modelled", "energy per output token"
    ),
    "chip_joules_per_request": Term("J", "chip: replicas' GPUs", "modelled", "energy per request"),
    "server_joules_per_request": Term("J", "server: replicas' IT energy", "modelled", "energy per request"),
    "idle_joules_per_request": Term(
        "J", "server and a share of idle machines", "modelled", "energy per request"
    ),
    "facility_joules_per_request": Term(
        "J", "facility: meter, idle machines included", "modelled", "energy per request"
    ),
    "gco2e_per_million_tokens": Term(
        "g", "replicas' own energy at the meter, location-based, over output tokens", "modelled", "carbon"
    ),
    "usd_per_million_tokens": Term(
        "USD", "replicas' own cost over output tokens", "modelled", "cost of what it held"
    ),
    "facility_gco2e_per_million_tokens": Term(
        "g", "facility, location-based, idle machines included", "modelled", "carbon"
    ),
    "facility_litres_per_million_tokens": Term(
        "L", "facility, water at the site, idle machines included", "modelled", "water"
    ),
    "facility_usd_per_million_tokens": Term("USD", "facility, idle machines included", "modelled", "cost"),
    "facility_gco2e_per_request": Term(
        "g", "facility, location-based, idle machines included", "modelled", "carbon"
    ),
    "facility_litres_per_request": Term(
        "L", "facility, water at the site, idle machines included", "modelled", "water"
    ),
    "facility_usd_per_request": Term("USD", "facility, idle machines included", "modelled", "cost"),
}
