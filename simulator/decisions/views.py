"""What a policy sees: read-only facades over the engine's live arrays.

A view is valid during the call it is handed to. Nothing is copied per pass; lists that are
exposed here must not be changed by a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from simulator.cluster.allocation import Placement
from simulator.decisions.line import Line
from simulator.foundation.step_series import StepSeries


class Validity(Enum):
    """How long an order's key stays true."""

    STATIC = "static"
    ON_CHARGE = "on charge"
    CROSSING = "at a crossing"
    DYNAMIC = "dynamic"


class JobArrays(Protocol):
    """The engine's live per-job lists, indexed by the job's submission index."""

    @property
    def job_id(self) -> Sequence[str]:
        """Identity as in the scenario or the log."""

    @property
    def kind(self) -> Sequence[str]:
        """Training, trace, research or replica."""

    @property
    def tenant(self) -> Sequence[str]:
        """Who asked."""

    @property
    def gpus(self) -> Sequence[int]:
        """GPUs asked for."""

    @property
    def submitted_s(self) -> Sequence[float]:
        """Submission. [s since the run's start]"""

    @property
    def requested_run_s(self) -> Sequence[float]:
        """Run time told to the scheduler; inf if none. [s]"""

    @property
    def priority(self) -> Sequence[int]:
        """Larger goes first where a policy looks."""

    @property
    def deadline_s(self) -> Sequence[float]:
        """Deadline; inf if none. [s since the run's start]"""

    @property
    def minimum_gpus(self) -> Sequence[int]:
        """Elastic floor; 0 for a rigid job."""

    @property
    def held_gpus(self) -> Sequence[int]:
        """GPUs held now."""

    @property
    def remaining(self) -> Sequence[float]:
        """Work left, as of the last change of phase or rate."""


class JobView:
    """One job; reads the live arrays."""

    __slots__ = ("_arrays", "index")

    def __init__(self, arrays: JobArrays, index: int) -> None:
        self._arrays = arrays
        self.index = index

    @property
    def job_id(self) -> str:
        """Identity as in the scenario or the log."""
        return self._arrays.job_id[self.index]

    @property
    def kind(self) -> str:
        """Training, trace, research or replica."""
        return self._arrays.kind[self.index]

    @property
    def tenant(self) -> str:
        """Who asked."""
        return self._arrays.tenant[self.index]

    @property
    def gpus(self) -> int:
        """GPUs asked for."""
        return self._arrays.gpus[self.index]

    @property
    def held_gpus(self) -> int:
        """GPUs held now."""
        return self._arrays.held_gpus[self.index]

    @property
    def submitted_s(self) -> float:
        """Submission. [s since the run's start]"""
        return self._arrays.submitted_s[self.index]

    @property
    def requested_run_s(self) -> float:
        """Run time told to the scheduler; inf if none. [s]"""
        return self._arrays.requested_run_s[self.index]

    @property
    def priority(self) -> int:
        """Larger goes first where a policy looks."""
        return self._arrays.priority[self.index]

    @property
    def deadline_s(self) -> float:
        """Deadline; inf if none. [s since the run's start]"""
        return self._arrays.deadline_s[self.index]

    @property
    def minimum_gpus(self) -> int:
        """Elastic floor; 0 for a rigid job."""
        return self._arrays.minimum_gpus[self.index]


#: (site, signal, reader) -> the whole series; the engine logs the read.
ReadSignal = Callable[[str, str, str], StepSeries]


class QueueView:
    """A queue at an instant: what waits, what runs, what is free."""

    __slots__ = (
        "arrived",
        "claim",
        "ends",
        "free_gpus",
        "freed",
        "jobs",
        "line",
        "memory",
        "name",
        "now_s",
        "read_signal",
        "releases",
        "sites",
        "total_gpus",
        "waiting",
    )

    def __init__(
        self,
        name: str,
        sites: tuple[str, ...],
        jobs: JobArrays,
        claim: Callable[[int], Placement | None],
        read_signal: ReadSignal,
    ) -> None:
        self.name = name
        self.sites = sites
        """Sites of its pools, in order."""
        self.jobs = jobs
        self.claim = claim
        """Find a place for a waiting job by the queue's placement and hold it until the pass
        ends, or return None. The reason for the first refusal of a pass is why the head waits."""
        self.read_signal = read_signal
        self.now_s = 0.0
        self.waiting: list[int] = []
        """Admitted waiting jobs in the queue's order."""
        self.line = Line(jobs)
        """What they ask for, as arrays: `line.read(waiting)`, for policies that scan long queues."""
        self.arrived: list[int] = []
        """Those of `waiting` that came since the last pass, in the same order."""
        self.freed = True
        """Whether GPUs came free since the last pass, the free ones changed in another way than
        by what this queue started, or its head went away without a start."""
        self.ends: list[tuple[float, int]] = []
        """(expected end, job) of the queue's running and claimed jobs, sorted; the end may be
        past (overdue). [s since the run's start]"""
        self.releases: Sequence[int] = ()
        """GPUs by job index that come free at those ends."""
        self.free_gpus = 0
        """Free GPUs by count, less the claims of this pass."""
        self.total_gpus = 0
        self.memory: Any = None
        """What the policy last answered as Remember."""

    def job(self, index: int) -> JobView:
        """Return the facade of a job."""
        return JobView(self.jobs, index)

    def signal(self, name: str, reader: str, site: str = "") -> StepSeries:
        """Return a site's signal (`intensity_g_per_kwh`, ...), past and forecast.

        The read is recorded, because it ties the run to that signal.
        """
        return self.read_signal(site or self.sites[0], name, reader)


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as its autoscaler sees it at a control instant."""

    name: str
    pool: str
    now_s: float
    queue_length: int
    """Requests that wait for their first iteration."""
    running: int
    """Requests in a batch."""
    kv_fraction: float
    """Largest share of KV blocks in use over its replicas."""
    replicas_ready: int
    replicas_asked: int
    """Ready, starting and queued replicas, less those draining."""
    replicas_minimum: int
    replicas_maximum: int
    ceiling_replicas: int | None
    """Most replicas that a power policy allows now; None if it says nothing."""
    since_change_s: float
    """Time since the last change of replicas. [s]"""
    memory: Any = None


@dataclass(frozen=True, slots=True)
class LoadView:
    """One job or service that holds GPUs, as a power policy sees it.

    Watts are IT power, GPUs and host share, and the most that it may come to draw: a job that
    still starts will run, and what a service draws is up to its requests.
    """

    key: str
    """``job:ID`` or ``service:NAME``."""
    index: int
    """Job index; -1 for a service."""
    kind: str
    gpus: int
    power_w: float
    """At its present clock. [W]"""
    power_at_lowest_clock_w: float
    lowest_clock_fraction: float
    priority: int
    clock_fraction: float = 1.0
    """Clock now."""
    power_when_stopped_w: float = 0.0
    """What its GPUs draw once nobody holds them. [W]"""
    saves: bool = False
    """Whether stopping it by checkpoint loses no work."""
    gpus_per_replica: int = 0
    replicas: int = 0
    """Replicas of a service that are to stay; those that drain still draw, and are not counted."""


@dataclass(frozen=True, slots=True)
class CallView:
    """A limit that the grid called: known from `announced_s`, in force from `start_s`."""

    announced_s: float
    start_s: float
    end_s: float
    limit_w: float


@dataclass(frozen=True, slots=True)
class PowerView:
    """A site as its power policy sees it."""

    site: str
    now_s: float
    calls: tuple[CallView, ...]
    """Calls announced so far and not over."""
    limit_w: float | None
    """Limit in force now, the lower of interconnection and calls; None if there is none. [W]"""
    facility_power_w: float
    """Most that the meter may come to show as things stand, storage apart. [W]"""
    it_power_w: float
    """The IT's part of it. [W]"""
    facility_per_it: float
    """What one more watt of IT costs at the meter, about. [W/W]"""
    storage_charge_j: float
    """What it can still give at the meter. [J]"""
    storage_capacity_j: float
    """The same when full. [J]"""
    storage_power_w: float
    """Largest charge or discharge power. [W]"""
    storage_dispatch_w: float
    """Dispatch now: charging positive. [W]"""
    loads: tuple[LoadView, ...]
    cap_delay_s: float
    """How long a clock or cap takes to act. [s]"""
    checkpoint_s: float
    """How long stopping a training job by checkpoint takes, about. [s]"""
    memory: Any = None
