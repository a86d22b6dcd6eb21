"""Orders in which a queue is examined; every key ends in the submission index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.decisions import JobView, QueueView, Validity
from simulator.scheduling.protocols import Key


@dataclass(frozen=True)
class Submission:
    """By submission, then by job id as a number (the submission index holds both)."""

    validity: ClassVar[Validity] = Validity.STATIC

    def key(self, job: JobView, view: QueueView) -> Key:
        """Return the submission index alone."""
        return (float(job.index),)


@dataclass(frozen=True)
class ShortestRequest:
    """By requested run time, then submission; never by the true run time."""

    validity: ClassVar[Validity] = Validity.STATIC

    def key(self, job: JobView, view: QueueView) -> Key:
        """Return requested time and submission index."""
        return (job.requested_run_s, float(job.index))


@dataclass(frozen=True)
class HighestPriority:
    """By priority, larger first, then submission."""

    validity: ClassVar[Validity] = Validity.STATIC

    def key(self, job: JobView, view: QueueView) -> Key:
        """Return negated priority and submission index."""
        return (-float(job.priority), float(job.index))
