"""What happened in a run, as arrays: the only thing the books are made from.

No prices, carbon or weather here: those are applied afterwards, so that one record serves
many grids, climates and tariffs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.calendar import Calendar

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node's idle power, price and embodied carbon, shared evenly over its GPUs."""

    node_type: str
    gpu_type: str
    gpus_per_node: int
    gpu_idle_w: float
    """Power of one GPU that nobody holds. [W]"""
    host_idle_w: float
    """Power of the node without its GPUs, idle. [W per node]"""
    price_usd: float | None
    embodied_gco2e: float | None
    peak_flop_per_s: float | None = None
    """Dense bf16 (or fp16) peak of one GPU, for reports. [flop/s]"""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A pool of equal nodes at one site; the code of a pool is its position in the record."""

    name: str
    site: int
    nodes: int
    node: NodeFacts
    off_when_down: bool = False
    """Whether nodes that are down draw nothing instead of their idle power."""

    @property
    def gpus(self) -> int:
        """GPUs of the pool."""
        return self.nodes * self.node.gpus_per_node

    @property
    def idle_w_per_gpu(self) -> float:
        """IT power of a GPU nobody holds, with its share of the host. [W]"""
        return self.node.gpu_idle_w + self.node.host_idle_w / self.node.gpus_per_node

    @property
    def host_idle_w_per_gpu(self) -> float:
        """Host part of `idle_w_per_gpu`. [W]"""
        return self.node.host_idle_w / self.node.gpus_per_node


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """A site; its code is its position in the record."""

    name: str
    timezone: str
    network_power_w: float
    """Switches and other IT that draws constantly. [W]"""
    limit_w: float | None
    """Interconnection limit at the meter. [W]"""


@dataclass(frozen=True, slots=True)
class SignalRead:
    """A decision read a signal: re-accounting with another one would be wrong."""

    site: str
    signal: str
    reader: str


@dataclass(frozen=True, slots=True)
class LayoutFacts:
    """How a training job is cut, why so, and where a step's time goes when it runs alone.

    Parameters
    ----------
    workload
        Its name.
    layout
        Degrees that differ from 1.
    reasons
        What was taken, then the runners-up if it was chosen.
    step_s
        Seconds of one step by part, on nodes beside each other. [s]
    runners_up
        The same of the layouts that came next, for as many tokens. [s]
    """

    workload: str
    layout: str
    reasons: tuple[str, ...]
    step_s: Mapping[str, float]
    runners_up: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LearningFacts:
    """What a scaling law needs to know of a training run.

    Parameters
    ----------
    job
        Its name.
    parameters
        Of the model, all of them. [count]
    unique_tokens
        Data at hand; inf without end. [tokens]
    has_experts
        Whether the model has experts, of which the law says nothing.
    """

    job: str
    parameters: float
    unique_tokens: float
    has_experts: bool


@dataclass(frozen=True, slots=True)
class ReliabilityFacts:
    """What a training run expects of failures and checkpoints, by which laws are evaluated.

    Parameters
    ----------
    job
        Its name.
    calibration
        What the preset counted: infrastructure or observed; empty if nothing fails.
    mean_time_s
        Between unplanned failures of the run on all its GPUs; inf if there are none. [s]
    interval_s, save_s, lag_s
        Work between two checkpoints, the stop of each, and how long after it a checkpoint is not
        durable yet, alone on the site's storage. [s]
    restarts
        (share of the failures, noticing + diagnosis + restart) of each cause. [., s]
    undetected_s
        For how long results were wrong before a failure was noticed, mean over failures. [s]
    planned_per_s, planned_s
        Rate and length of announced stops. [1/s], [s]
    bends
        What of the scenario lies outside the laws, in words; empty if nothing does.
    """

    job: str
    calibration: str
    mean_time_s: float
    interval_s: float
    save_s: float
    lag_s: float
    restarts: tuple[tuple[float, float], ...]
    undetected_s: float
    planned_per_s: float
    planned_s: float
    bends: tuple[str, ...] = ()

    @property
    def restart_s(self) -> float:
        """Mean time from an unplanned failure to full speed. [s]"""
        return sum(share * restart_s for share, restart_s in self.restarts)


@dataclass(frozen=True, slots=True)
class LinkLoss:
    """What shared links cost one job, and how it stood when they cost it most.

    Parameters
    ----------
    job
        Its name.
    lost_gpu_seconds, running_gpu_seconds
        GPU time that its steps took longer than with the links to itself, of all that it ran. [s]
    worst_slowdown_fraction
        Largest share of a step that was due to the links.
    link, exchange
        The link that held it up most then, and which of its exchanges.
    part, part_grows_s
        Part of its step that grew most then, and by how much. [s]
    step_alone_s
        Its step with the links to itself. [s]
    """

    job: str
    lost_gpu_seconds: float
    running_gpu_seconds: float
    worst_slowdown_fraction: float
    link: str
    exchange: str
    part: str
    part_grows_s: float
    step_alone_s: float


@dataclass(frozen=True, slots=True)
class SwingFacts:
    """How far a training run's IT power swings on all its GPUs, at full clock.

    Parameters
    ----------
    job
        Its name.
    step_w, step_period_s, step_ramp_w_per_s
        From the busy part of a step to its end, how often, and how steep; NaN where the parts of
        the step are not known. [W], [s], [W/s]
    save_w, save_period_s
        From mean power to that of a checkpoint's stop, and how often; NaN without stops. [W], [s]
    stop_w
        From mean power to that of GPUs that hold a model and stand: what a failure does. [W]
    """

    job: str
    step_w: float
    step_period_s: float
    step_ramp_w_per_s: float
    save_w: float
    save_period_s: float
    stop_w: float


@dataclass(slots=True)
class JobOutcome:
    """Per-job columns, all of length n; text columns are lists."""

    job_id: list[str]
    kind: list[str]
    tenant: list[str]
    queue: list[str]
    model: list[str]
    site: NDArray[np.int16]
    """Site code of the last stint; -1 if it never started."""
    pool: NDArray[np.int16]
    gpus: NDArray[np.int32]
    tokens: FloatArray
    """Work done in tokens; NaN for jobs counted in reference seconds."""
    work_done: FloatArray
    priority: NDArray[np.int32]
    submitted_s: FloatArray
    started_s: FloatArray
    """First start; NaN if it never started."""
    finished_s: FloatArray
    """NaN if still running or queued."""
    state: list[str]
    wait_s: FloatArray
    run_s: FloatArray
    requested_run_s: FloatArray
    deadline_s: FloatArray
    lost_gpu_seconds: FloatArray
    """GPU-seconds of work that a failure undid."""
    stalled_gpu_seconds: FloatArray
    """GPU-seconds spent writing checkpoints while in phase running."""
    bubble_share: FloatArray
    """Of the GPU-seconds in steps: waiting in the pipeline; 0 where unknown, as the next three."""
    communication_share: FloatArray
    """Exposed communication."""
    straggler_share: FloatArray
    """Waiting for the slowest rank."""
    recompute_share: FloatArray
    """Arithmetic done a second time."""
    restarts: NDArray[np.int32]
    preemptions: NDArray[np.int32]
    flop_per_unit: FloatArray
    """Model FLOP per unit of work (per token); NaN where MFU has no meaning."""
    peak_flop_per_s: FloatArray
    """Dense peak of one GPU at the precision used; NaN where MFU has no meaning."""
    mfu_convention: list[str]
    """Which FLOP `flop_per_unit` counts, as `llm.flops.FlopConvention` names it; empty where none."""

    @property
    def productive_share(self) -> FloatArray:
        """Share of the GPU-seconds in steps that is useful work by the job's own breakdown."""
        return 1.0 - (
            self.bubble_share + self.communication_share + self.straggler_share + self.recompute_share
        )

    def __len__(self) -> int:
        """Jobs."""
        return len(self.job_id)


@dataclass(slots=True)
class ServiceRecord:
    """What a service leaves beside its replicas' jobs."""

    name: str
    tiers: tuple[str, ...]
    ttft_slo_s: tuple[float, ...]
    tpot_slo_s: tuple[float, ...]
    model: str
    replica_jobs: list[int] = field(default_factory=list)
    """Rows of its replicas in the jobs."""
    counters: dict[str, float] = field(default_factory=dict)
    """Weighted: requests_in, requests_out, in_flight, shed, retried, failed, tokens_in,
    tokens_out, prompt_tokens_out; and in-flight and shed tokens."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Percentiles, stability, headroom."""
    hourly: dict[str, Any] = field(default_factory=dict)
    """Columns of `services_hourly`."""
    histogram: dict[str, Any] = field(default_factory=dict)
    """Columns of `latency_histogram`."""
    form: tuple[str, str] = ("", "")
    """What simulated it (compiled, twin or flow), and why: a matter of speed, not of results."""


@dataclass(slots=True)
class Record:
    """Everything that the engine knows at the horizon."""

    horizon_s: float
    calendar: Calendar
    sites: tuple[SiteFacts, ...]
    pools: tuple[PoolFacts, ...]
    jobs: JobOutcome
    segments: Mapping[str, NDArray[Any]]
    """Columns of `segments`; site, pool and phase as codes."""
    waits: Mapping[str, NDArray[Any]]
    """Columns of `waits`; reasons as codes."""
    outages: Mapping[str, NDArray[Any]]
    """pool, node, start_s, end_s, gpus, planned (0/1): nodes that were down."""
    services: tuple[ServiceRecord, ...] = ()
    storage: Mapping[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    """Site code -> (times_s, power_w) dispatch of online storage at the meter: charging
    positive, discharging negative; holds until the next time."""
    limits: Mapping[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    """Site code -> (times_s, limit_w) of called limits at the meter."""
    thermal: Mapping[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    """Site code -> (times_s, capacity fraction) of cooling capacity lost by faults."""
    signals_read: tuple[SignalRead, ...] = ()
    events: int = 0
    """Events that the clock handled."""
    counts: dict[str, int] = field(default_factory=dict)
    """Passes, candidate tests, decisions, crowd steps: what CI gates on."""
    notes: list[str] = field(default_factory=list)
    """What a reader must be told (steps outside the measured range, skipped trace rows)."""
    layouts: tuple[LayoutFacts, ...] = ()
    link_losses: tuple[LinkLoss, ...] = ()
    """Jobs that shared links held up."""
    learning: tuple[LearningFacts, ...] = ()
    reliability: tuple[ReliabilityFacts, ...] = ()
    """Of training runs that save themselves."""
    swings: tuple[SwingFacts, ...] = ()
    """Of training runs."""
