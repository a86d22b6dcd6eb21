"""What the waiting jobs of a queue ask for, as arrays in the queue's order.

A policy that scans a long line reads these instead of one job after the other. They are built
when first read and then follow the queue's every change, so that a scan costs no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROOM = 1024


class Asked(NamedTuple):
    """(n,) each - GPUs and requested run time [s] of the waiting jobs in order; do not write."""

    gpus: NDArray[np.int64]
    requested_s: NDArray[np.float64]


class Line:
    """The live arrays; only the queue that owns it calls anything but `read`."""

    __slots__ = ("_gpus", "_jobs", "_live", "_requested_s", "_size")

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self._live = False
        self._size = 0
        self._gpus: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._requested_s: NDArray[np.float64] = np.empty(0, dtype=np.float64)

    def read(self, waiting: Sequence[int]) -> Asked:
        """Return what `waiting`, the queue's own list, asks for now."""
        if not self._live:
            self._build(waiting)
        return Asked(self._gpus[: self._size], self._requested_s[: self._size])

    def insert(self, where: int, job: int) -> None:
        """Follow a job that joins before position `where`."""
        if not self._live:
            return
        size = self._size
        if size == len(self._gpus):
            self._gpus = np.concatenate((self._gpus, np.empty_like(self._gpus)))
            self._requested_s = np.concatenate((self._requested_s, np.empty_like(self._requested_s)))
        if where < size:
            self._gpus[where + 1 : size + 1] = self._gpus[where:size]
            self._requested_s[where + 1 : size + 1] = self._requested_s[where:size]
        self._gpus[where] = self._jobs.gpus[job]
        self._requested_s[where] = self._jobs.requested_run_s[job]
        self._size = size + 1

    def delete(self, where: int) -> None:
        """Follow the job at position `where` that leaves."""
        if not self._live:
            return
        size = self._size = self._size - 1
        if where < size:
            self._gpus[where:size] = self._gpus[where + 1 : size + 1]
            self._requested_s[where:size] = self._requested_s[where + 1 : size + 1]

    def forget(self) -> None:
        """Build anew at the next read: the order changed."""
        self._live = False

    def _build(self, waiting: Sequence[int]) -> None:
        size = self._size = len(waiting)
        gpus, requested_s = self._jobs.gpus, self._jobs.requested_run_s
        self._gpus = np.empty(max(_ROOM, 2 * size), dtype=np.int64)
        self._requested_s = np.empty(max(_ROOM, 2 * size), dtype=np.float64)
        self._gpus[:size] = [gpus[job] for job in waiting]
        self._requested_s[:size] = [requested_s[job] for job in waiting]
        self._live = True
