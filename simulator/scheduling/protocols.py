"""The four small protocols of scheduling: order, admit, place, plan.

Each plug-in is a frozen dataclass that reads a view and answers; none keeps state, none
touches the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from simulator.cluster.allocation import Placement, PoolFree
from simulator.decisions import Admission, Decision, JobView, QueueView, Validity

#: A sort key; it must end in the submission index, so that ties are broken by meaning.
Key = tuple[float, ...]


class Order(Protocol):
    """In which order a queue is examined."""

    @property
    def validity(self) -> Validity:
        """How long a key stays true."""

    def key(self, job: JobView, view: QueueView) -> Key:
        """Return the sort key of a waiting job; smaller goes first."""


class Admit(Protocol):
    """Whether a job may be examined at all now."""

    def gate(self, job: JobView, view: QueueView) -> Admission:
        """Answer yes, no with a reason, or retry at a time with a reason."""


class Place(Protocol):
    """On which nodes of a pool a job would run."""

    def find(self, gpus: int, free: PoolFree) -> Placement | None:
        """Return a placement of `gpus` on free GPUs, or None if there is none."""


class Plan(Protocol):
    """Who starts now; sees the whole queue."""

    @property
    def order(self) -> Order:
        """The order in which `view.waiting` is sorted."""

    @property
    def pass_per(self) -> Literal["instant", "event"]:
        """One pass after all events of an instant, or one after each completion and submission."""

    @property
    def reserve(self) -> Literal["counts", "machines", "nothing"]:
        """What a reservation promises."""

    @property
    def blocks_at_head(self) -> bool:
        """Whether jobs behind the first refused one are not examined for their own sake."""

    def step(self, view: QueueView) -> Iterable[Decision]:
        """Answer with decisions; a Start must carry the placement that `view.claim` gave."""
