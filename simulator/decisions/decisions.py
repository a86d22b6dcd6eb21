"""Everything a policy may answer: one list for the whole house.

A decision is a value. The engine applies it after its actuation delay or refuses it with a
reason, and logs both. Power is consumption positive; storage charging positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from simulator.cluster.allocation import Placement


class Start(NamedTuple):
    """Start a waiting job on the GPUs that the view claimed for it."""

    job: int
    placement: Placement


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a job that holds GPUs, or with `then` end any that is not moving.

    `kill` loses what was done since the last durable checkpoint. `checkpoint` writes one first; a
    job that writes none loses all. `suspend` keeps everything and takes no time. `drain` is for
    replicas, which finish their requests.
    """

    job: int
    how: Literal["kill", "checkpoint", "suspend", "drain"]
    then: Literal["requeue", "hold", "end"]


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a held or suspended job compete again."""

    job: int


@dataclass(frozen=True, slots=True)
class Resize:
    """Give a running elastic job another number of GPUs."""

    job: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Give a job another node for the one that failed under it."""

    job: int
    node: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Put a job into a queue (a virtual cluster, a site)."""

    job: int
    queue: str


@dataclass(frozen=True, slots=True)
class Move:
    """Checkpoint a job, move its state to another site and queue it there."""

    job: int
    site: str


@dataclass(frozen=True, slots=True)
class SetPower:
    """Cap a target by clock fraction (0..1] or by watts of each GPU; exactly one is given.

    `target` is ``site:NAME``, ``jobs:SITE`` (all but the replicas of services),
    ``pool:SITE.POOL``, ``job:ID`` or ``service:NAME``. A clock of 1 lifts what the same policy
    set on the same target; of several caps the lowest holds, for jobs that start later too.
    """

    target: str
    clock_fraction: float | None = None
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """Promise a number of GPUs to a waiting job from `start_s` on. [s since the run's start]"""

    job: int
    start_s: float
    gpus: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep a waiting job out of the scanned queue until `until_s`, whatever held it before."""

    job: int
    until_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Ask for a number of replicas of a service; `pool` is ``""``, its queues deal them out."""

    service: str
    pool: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Route:
    """Send shares of a service's requests to sites; weights are normalised."""

    service: str
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Charge (positive) or discharge (negative) a site's storage from now on."""

    storage: str
    power_w: float


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Nothing in the target may grow beyond this; both None lift the ceiling.

    `target` is ``queue:NAME`` or ``service:NAME``, by GPUs, or ``jobs:SITE``, by watts: no job
    starts there that would bring all jobs of the site, at their clocks and above what their GPUs
    draw idle, beyond it.
    """

    target: str
    gpus: int | None = None
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """Ask to be called again at a time."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep a value for the policy's next call; it comes back as `view.memory`."""

    value: Any


Decision = (
    Start
    | Stop
    | Resume
    | Resize
    | Replace
    | Assign
    | Move
    | SetPower
    | Reserve
    | Hold
    | Scale
    | Route
    | Store
    | Ceiling
    | Wake
    | Remember
)
