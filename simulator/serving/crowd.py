"""What a crowd is: a service with all its replicas at all sites, advanced as one.

The engine asks `next_time` when it must look, calls `advance` to move there, hands in commands
with `apply`, and takes rows, power and hourly figures away in blocks. Nothing here knows how a
request is served: the twin, the thinned and the fluid crowd all answer this protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import DatahallError
from simulator.performance.iteration_table import IterationCost
from simulator.workload.requests import RequestTable

FloatArray = NDArray[np.float64]

#: Width of the bins in which power leaves a crowd. [s]
BIN_S: Final = 300.0

Role = Literal["mixed", "prefill", "decode"]


class ServiceError(DatahallError, ValueError):
    """A service cannot be simulated in the mode asked for; the message says why and what would do."""


class Stop(IntEnum):
    """Why `advance` came back."""

    REACHED = 0
    ROWS_FULL = 1
    ARRIVALS_EMPTY = 2
    WATCH = 3


class ReplicaProfile(Protocol):
    """Time and watts of one replica at one clock, as `performance.serving` gives them."""

    @property
    def iteration(self) -> IterationCost:
        """Integer cost of one iteration."""
        ...

    @property
    def idle_power_w(self) -> float:
        """Of one GPU that holds the model and has nothing to do. [W]"""
        ...

    def prompt_power_w(self, new_tokens: float) -> float:
        """Of one GPU over an iteration of so many prompt tokens in all. [W]"""
        ...

    def decode_power_w(self, sequences: float, context_tokens: float = ...) -> float:
        """Of one GPU that decodes `sequences` of `context_tokens` each, in the mean. [W]"""
        ...

    def at_clock(self, clock_fraction: float) -> ReplicaProfile:
        """Return the same replica at another clock."""
        ...


@dataclass(frozen=True)
class Watch:
    """Thresholds that a crowd evaluates on a control period; the engine hears only of a crossing.

    Parameters
    ----------
    every_s
        Control period, whole seconds; instants are multiples of it. [s]
    queue_above
        Fires when more requests than this wait per ready replica.
    load_below
        Fires when fewer requests than this are in flight per ready replica.
    load_above
        Fires when more requests than this are in flight per ready replica.
    kv_above_fraction
        Fires when some replica uses more of its KV blocks than this.
    """

    every_s: float
    queue_above: float = float("inf")
    load_below: float = 0.0
    load_above: float = float("inf")
    kv_above_fraction: float = float("inf")

    def __post_init__(self) -> None:
        if not (self.every_s >= 1.0 and self.every_s == round(self.every_s)):
            raise ValueError(f"control period {self.every_s} s must be a whole number of seconds, at least 1")


@dataclass(frozen=True, slots=True)
class AddReplica:
    """A replica is warm and takes requests from now on.

    `kv_blocks` is its number of KV blocks, from the memory that the model leaves free. `host_w`
    is its host share of IT power, which counts in the hourly figures only: `take_power` speaks
    of GPUs. `cell` is the group that the router keeps it in, where there are several.
    """

    replica_id: int
    site: str
    role: Role
    gpus: int
    profile: ReplicaProfile
    kv_blocks: int
    host_w: float = 0.0
    cell: int = 0


@dataclass(frozen=True, slots=True)
class RemoveReplica:
    """Take a replica away: `drain` finishes what it holds first, `kill` loses it at once.

    Requests on a killed replica start again elsewhere and are counted.
    """

    replica_id: int
    how: Literal["drain", "kill"]


@dataclass(frozen=True, slots=True)
class SetClock:
    """Run replicas at a fraction of the highest clock from their next iteration on."""

    replica_ids: tuple[int, ...]
    clock_fraction: float


@dataclass(frozen=True, slots=True)
class SetWeights:
    """Send shares of new requests to sites; weights need not sum to one. Empty: no preference."""

    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SetTransferBandwidth:
    """Give each prefill replica this much bandwidth for KV, from its next transfer on."""

    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class SetWatch:
    """Replace the thresholds that the crowd watches; None: none."""

    watch: Watch | None


@dataclass(frozen=True, slots=True)
class Limit:
    """Bound a batch (None: the engine's own bound), and who may be or wait at a replica.

    Parameters
    ----------
    max_sequences
        In a batch.
    queued_per_replica
        A request that is routed to a replica where as many wait is shed. None sheds nothing.
    max_concurrency
        A replica with as many requests in flight gets no more: they are held at the door, better
        tiers first, and bound late, to the first replica that has room. None binds each at once.
    queued_at_door
        A request that comes when as many are held at the door is shed. None sheds nothing.

    Notes
    -----
    Holding pays where few, long requests fill a replica and the service is nearly full: whoever is
    bound at once waits for the replica it was given, though another has room first. Azure's
    conversations on eight replicas of Llama 70B (TP4 on H100), p99 of TTFT behind the router
    least-outstanding and with max_concurrency at the batch's size: 4.7 and 3.3 s with 4 sequences
    at 7.5 requests/s, 1.18 and 0.97 s with 16 at 24.5/s, 2.2 and 2.1 s where KV blocks bound the
    batch at about 30 (39/s); below nine tenths of what is sustained, nothing. A bound under what
    the blocks hold starves the batch: 28 in place of 32 in the last case gives 8.1 s.
    """

    max_sequences: int | None = None
    queued_per_replica: int | None = None
    max_concurrency: int | None = None
    queued_at_door: int | None = None

    def __post_init__(self) -> None:
        if self.max_concurrency is None:
            if self.queued_at_door is not None:
                raise ValueError("queued_at_door without max_concurrency: nobody is held at the door")
        elif self.max_concurrency < 1:
            raise ValueError(f"max_concurrency {self.max_concurrency} must be at least 1")
        elif self.queued_per_replica is not None:
            raise ValueError("max_concurrency holds at the door who would wait; not with queued_per_replica")

    @property
    def most_at_door(self) -> int | None:
        """Requests that may stand at the door; those that come later are shed."""
        return self.queued_per_replica if self.max_concurrency is None else self.queued_at_door


Command = AddReplica | RemoveReplica | SetClock | SetWeights | SetTransferBandwidth | SetWatch | Limit


@dataclass(frozen=True, slots=True)
class Fired:
    """What made `advance` answer `Stop.WATCH`."""

    what: Literal["watch", "drained"]
    at_s: float
    replica_id: int = -1


class PowerBins(NamedTuple):
    """GPU power of replicas by bin; ends that a replica's life cuts short are shorter.

    Arrays of equal length, in order of (end, replica).
    """

    replica: NDArray[np.int32]
    bin_start_s: FloatArray
    bin_end_s: FloatArray
    energy_j: FloatArray
    max_w: FloatArray


@dataclass(frozen=True, slots=True)
class Observation:
    """A crowd at an instant, for autoscalers, power policies and the audit.

    All of the whole service: a sample is multiplied by what it stands for.
    """

    now_s: float
    mode: str
    """full, thinned or fluid, with what it means for the rows."""
    queue_length: int
    """Requests that wait for their first iteration (or again, after a preemption)."""
    running: int
    """Requests in a batch."""
    in_flight: float
    """Requests that came and are not over, kept count of as they come and go."""
    transferring: int
    """Requests between prefill and decode."""
    kv_fraction: float
    """Largest share of KV blocks in use over the replicas."""
    replicas_ready: int
    """Replicas that take requests."""
    replicas_draining: int
    power_w: Mapping[int, float]
    """GPU power now, by replica. [W]"""
    tokens_out: float
    """Output tokens of the requests that finished."""


class Crowd(Protocol):
    """A service with all its replicas, behind one front door."""

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act.

        Calling it with t1 and then with t2 gives exactly what calling it with t2 gives.
        """
        ...

    @property
    def now_s(self) -> float:
        """How far the crowd has come. [s since the run's start]"""
        ...

    def next_time(self) -> float:
        """Return a time by which the engine must look (a watch, a drain); inf if none is due."""
        ...

    def apply(self, command: Command, at_s: float) -> None:
        """Change the crowd at `at_s`, which must be `now_s`; acts at the next iteration boundary."""
        ...

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        ...

    def observe(self) -> Observation:
        """Return what there is to see now; changes nothing. Costs in proportion to the replicas."""
        ...

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit, what is in flight counted request by request."""
        ...

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now. [W]"""
        ...

    def fired(self) -> Sequence[Fired]:
        """Return and forget what `Stop.WATCH` was about."""
        ...

    def take_rows(self) -> dict[str, Any]:
        """Return and forget finished requests as columns of `requests`, in completion order."""
        ...

    def take_power(self) -> PowerBins:
        """Return and forget the power bins that ended by now."""
        ...

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, as columns of `services_hourly`."""
        ...

    def histogram(self) -> dict[str, Any]:
        """Return the columns of `latency_histogram` over the whole run."""
        ...

    def summary(self) -> dict[str, Any]:
        """Return percentiles over the run by tier, tokens out, stability and headroom."""
        ...

    def declared_flow_bytes_per_s(self) -> float:
        """Return the KV traffic between prefill and decode in the last control epoch. [B/s]"""
        ...

    def close(self, at_s: float) -> None:
        """End the run at `at_s` (advanced to before): unfinished bins and hours may be taken."""
        ...
