"""What a service in full asks of its replicas, whichever form they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from simulator.serving.crowd import AddReplica
from simulator.serving.power_meter import MeterBin
from simulator.serving.saturation import MeanRequest


class FleetForm(Protocol):
    """Replicas by slot. A slot that a replica leaves goes to the next that comes, lowest first."""

    draining: list[int]
    """Slots whose replicas finish what they hold and go."""
    closed: bool
    """Whether the run is over."""
    site_names: list[str]
    """Sites in order of appearance."""

    @property
    def ends(self) -> Sequence[int]:
        """When each slot's plan ends; NEVER if it has none. [ps]"""
        ...

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        ...

    @property
    def running(self) -> int:
        """Requests in a batch."""
        ...

    @property
    def transferring(self) -> int:
        """Requests whose prompt is done and whose KV is not where it is wanted."""
        ...

    def slots(self) -> list[int]:
        """Return the slots that have a replica, ascending."""
        ...

    def find(self, replica_id: int) -> int:
        """Return the slot of a replica; ValueError with what is known if there is none."""
        ...

    def replica_id(self, slot: int) -> int:
        """Return who stands in a slot."""
        ...

    def is_empty(self, slot: int) -> bool:
        """Whether a replica holds no request and does nothing."""
        ...

    def level_mw(self, slot: int) -> int:
        """Return what a replica draws now. [mW]"""
        ...

    def add(self, command: AddReplica, max_sequences: int, at_ps: int) -> int:
        """Take in a replica; return its slot."""
        ...

    def close_door(self, slot: int) -> None:
        """Let no more requests come to a slot."""
        ...

    def drain(self, slot: int) -> None:
        """Mark a replica that finishes what it holds and goes."""
        ...

    def forget(self, slot: int, at_ps: int) -> None:
        """Take the replica out of a slot; its last power bin leaves."""
        ...

    def set_clock(self, slot: int, replica_id: int, clock_fraction: float) -> None:
        """Let a replica run at a fraction of the highest clock from its next boundary on."""
        ...

    def set_most_sequences(self, slot: int, most: int) -> None:
        """Bound a replica's batch from its next boundary on."""
        ...

    def set_max_concurrency(self, most: int | None) -> None:
        """Let a replica with as many requests in flight get no more from the door."""
        ...

    def cut(self, slot: int, at_ps: int) -> None:
        """Make a replica stand at the first boundary after now, so that a command can act there."""
        ...

    def kv_fraction(self, at_ps: int) -> float:
        """Return the largest share of KV blocks in use over the replicas."""
        ...

    def prefix_tokens(self) -> tuple[int, int]:
        """Return the tokens that were looked up in KV blocks at admissions, and those found."""
        ...

    def capacity_per_s(self, request: MeanRequest) -> float:
        """Return requests per second of such lengths that the open replicas sustain. [1/s]"""
        ...

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present."""
        ...

    def read_meters(self, at_ps: int) -> list[MeterBin]:
        """Return and forget the power bins that ended by `at_ps`."""
        ...

    def energy(self, at_ps: int) -> int:
        """Return the GPU energy of all replicas since the start, those that are gone among them. [mW ps]"""
        ...

    def close(self, at_ps: int) -> None:
        """Let unfinished power bins leave: the run is over."""
        ...
