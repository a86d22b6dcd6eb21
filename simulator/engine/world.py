"""What the engine is given: machines, queues, jobs, services and what will befall them.

Plain values, made from a scenario by `build`; the engine knows neither YAML nor the catalog.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.engine.behaviour import Behaviour
from simulator.facility.site import SitePhysics
from simulator.facility.storage import Battery
from simulator.facility.thermal import ThermalLimits
from simulator.facility.weather import Weather
from simulator.foundation.calendar import Calendar
from simulator.foundation.step_series import StepSeries
from simulator.foundation.streams import Streams
from simulator.scheduling.protocols import Admit, Order, Place, Plan
from simulator.serving.crowd import AddReplica, Crowd, Role
from simulator.serving.full_crowd import Form
from simulator.telemetry.record import (
    LayoutFacts,
    LearningFacts,
    PoolFacts,
    ReliabilityFacts,
    SiteFacts,
    SwingFacts,
)
from simulator.workload.jobs import JobTable

if TYPE_CHECKING:
    # networkx comes with it; a run without a fabric does not load it.
    from simulator.network.topology import Fabric


@dataclass(slots=True)
class PoolPlan:
    """A pool and its watts beyond idle."""

    facts: PoolFacts
    host_active_w: float
    """Power of a node without its GPUs, in use. [W]"""
    loaded_idle_w: float
    """Power of a GPU that is held but does not compute. [W]"""
    hot_spares: int = 0

    @property
    def most_gpus(self) -> int:
        """What one job can get: spares are for jobs that lost a node."""
        return self.facts.gpus - self.hot_spares * self.facts.node.gpus_per_node


@dataclass(slots=True)
class SitePlan:
    """A site: what limits, cools, stores and connects it."""

    facts: SiteFacts
    physics: SitePhysics
    rated_nodes_w: float
    """Every node at its rating. [W]"""
    weather: Weather
    signals: Mapping[str, StepSeries]
    """Signals that policies may read, by name."""
    fabric: Fabric | None = None
    first_node: Mapping[int, int] = field(default_factory=dict)
    """Pool code -> number of its first node in the fabric."""
    battery: Battery | None = None
    power_policy: Any = None
    thermal: ThermalLimits = field(default_factory=ThermalLimits)


@dataclass(slots=True)
class QueuePlan:
    """A queue over pools."""

    name: str
    pools: tuple[int, ...]
    plan: Plan
    place: Place
    admits: tuple[Admit, ...] = ()
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of failures in one pool."""

    name: str
    scope: str
    """`node` takes a node down; `job` only stops the job that runs there."""
    per_gpu_s: float
    """Rate of each GPU. [1/s]"""
    detect_s: float
    recover_s: float
    """Restart of the job once it is known what broke; below 0: the job's own. [s]"""
    repair_s: float
    """Mean time until the node is back. [s]"""
    planned: bool = False
    diagnose_s: float = 0.0
    """From noticing to knowing which part it was. [s]"""
    undetected_s: float = 0.0
    """Results were wrong for this long before: its checkpoints are worth nothing. [s]"""


@dataclass(frozen=True, slots=True)
class Lemons:
    """A few nodes of every pool that break more often than the others."""

    share_fraction: float
    """Of a pool's nodes, rounded to whole ones."""
    rate_scale: float
    """How much oftener a lemon breaks; the pool's mean stays as published."""


@dataclass(frozen=True, slots=True)
class Ejection:
    """Nodes that broke too often leave, and sound ones come in their place."""

    incidents: int
    """A node leaves at this failure ..."""
    within_s: float
    """... of the last so many seconds. [s]"""
    replacement_s: float
    """Until a sound node stands in its place. [s]"""


@dataclass(frozen=True, slots=True)
class SlowNodeRules:
    """Nodes that do not break but compute slowly."""

    share_fraction: float
    """Chance of each node to be one."""
    slowdown_fraction: float
    """How much longer its arithmetic takes."""
    ejected_after_s: float
    """A training run finds and replaces it when it computed with it for so long; inf: never. [s]"""
    replacement_s: float
    """Until a sound node stands in its place. [s]"""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Windows in which nodes are taken out on purpose, some of each pool in turn."""

    first_s: float
    every_s: float
    lasts_s: float
    share_fraction: float
    """Of a pool's nodes in one window."""


@dataclass(slots=True)
class ServicePlan:
    """A service: its crowd, and how its replicas become jobs."""

    name: str
    crowd: Crowd
    form: Form
    """What the crowd runs on, and why."""
    queues: tuple[str, ...]
    """Queues that its replicas are dealt to in turn, one for each site."""
    tenant: str
    model: str
    tiers: tuple[str, ...]
    ttft_slo_s: tuple[float, ...]
    tpot_slo_s: tuple[float, ...]
    gpus_per_replica: int
    minimum: int
    maximum: int
    autoscaler: Any
    behaviour: int
    """Position of the replicas' behaviour (cold start) in `World.behaviours`."""
    add_command: Callable[[int, int, str, Role, int], AddReplica]
    """(replica number, pool code, site, role, gpus) -> the crowd's AddReplica."""
    origin_s: float
    """The UTC hour at or before the start, from which the crowd counts its bins. [s]"""
    roles: tuple[Role, ...] = ()
    """Role of each replica where prefill and decode are apart; empty: all mixed."""
    flows: bool = False
    transfer_bytes_per_s: float = math.inf
    """Of one replica's ports, for KV. [B/s]"""
    priority: int = 0
    mode: str = "full"
    cold_phases: tuple[tuple[str, float], ...] = ()
    """Name and length of what a replica does before it takes requests; empty: not told. [s]"""
    last_arrival_s: float = math.inf
    """In a run until all is done: when the last request comes. [s]"""


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """Something that happens at a given moment."""

    at_s: float
    kind: str
    values: Mapping[str, Any]


@dataclass(slots=True)
class World:
    """Everything of one run."""

    horizon_s: float
    """inf: until the last job is done."""
    calendar: Calendar
    streams: Streams
    sites: list[SitePlan]
    pools: list[PoolPlan]
    queues: list[QueuePlan]
    jobs: JobTable
    behaviours: list[Behaviour]
    behaviour_of: list[int]
    services: list[ServicePlan] = field(default_factory=list)
    causes: Mapping[int, tuple[Cause, ...]] = field(default_factory=dict)
    """Pool code -> causes of failure."""
    lemons: Lemons | None = None
    ejection: Ejection | None = None
    slow_nodes: SlowNodeRules | None = None
    maintenance: Maintenance | None = None
    script: list[ScriptStep] = field(default_factory=list)
    site_links: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    """(site, site) -> (bandwidth [B/s], latency [s])."""
    cap_delay_s: float = 40.0
    """Actuation delay of a power cap or clock limit set from outside (POLCA). [s]"""
    notes: list[str] = field(default_factory=list)
    layouts: tuple[LayoutFacts, ...] = ()
    learning: tuple[LearningFacts, ...] = ()
    reliability: tuple[ReliabilityFacts, ...] = ()
    swings: tuple[SwingFacts, ...] = ()
