"""Why jobs waited: raw stretches while the clock runs, told apart by reason afterwards."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.decisions.reasons import BEHIND, CODE

_BEHIND = CODE[BEHIND]
#: Kinds of a raw stretch; a head or a follower gets its reason from the head's log.
_FOLLOWER, _HEAD, _OWN = 0, 1, 2


class WaitLog:
    """Stretches of waiting of all jobs, and every queue's head and its reason over time."""

    def __init__(self) -> None:
        self._columns: tuple[array[Any], ...] = (
            array("i"),
            array("h"),
            array("b"),
            array("b"),
            array("d"),
            array("d"),
        )
        self.heads: list[tuple[array[float], array[int]]] = []

    def queue(self) -> int:
        """Return the code of a new queue."""
        self.heads.append((array("d"), array("b")))
        return len(self.heads) - 1

    def head_reason(self, queue: int, at_s: float, reason: str) -> None:
        """Note that from `at_s` on the queue's head waits for `reason`. [s]"""
        code = CODE[reason]
        times, reasons = self.heads[queue]
        if reasons and reasons[-1] == code:
            return
        if times and times[-1] == at_s:
            reasons[-1] = code
            return
        times.append(at_s)
        reasons.append(code)

    def in_line(self, job: int, queue: int, is_head: bool, start_s: float, end_s: float) -> None:
        """Note a stretch at the head of a queue or behind it. [s]"""
        self._add(job, queue, _HEAD if is_head else _FOLLOWER, 0, start_s, end_s)

    def apart(self, job: int, reason: str, start_s: float, end_s: float) -> None:
        """Note a stretch outside every queue's line, with a reason of the job's own. [s]"""
        self._add(job, 0, _OWN, CODE[reason], start_s, end_s)

    def table(self, gpus: list[int]) -> dict[str, NDArray[Any]]:
        """Return the `waits` table: stretches cut where the head's reason changed."""
        dtypes = (np.int32, np.int16, np.int8, np.int8, np.float64, np.float64)
        job, queue, kind, reason, start_s, end_s = (
            np.frombuffer(column, dtype=dtype).copy() if len(column) else np.empty(0, dtype)
            for column, dtype in zip(self._columns, dtypes, strict=True)
        )
        blocked = reason.copy()
        pieces: list[tuple[NDArray[Any], ...]] = [
            (
                job[kind == _OWN],
                reason[kind == _OWN],
                reason[kind == _OWN],
                start_s[kind == _OWN],
                end_s[kind == _OWN],
            )
        ]
        for code, (times, reasons) in enumerate(self.heads):
            rows = np.flatnonzero((queue == code) & (kind != _OWN))
            if not len(rows):
                continue
            at_s = np.frombuffer(times, dtype=np.float64)
            why = np.frombuffer(reasons, dtype=np.int8)
            first = np.maximum(np.searchsorted(at_s, start_s[rows], side="right") - 1, 0)
            last = np.maximum(np.searchsorted(at_s, end_s[rows], side="left") - 1, first)
            count = last - first + 1
            which = np.repeat(rows, count)
            step = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
            entry = np.repeat(first, count) + step
            begin = np.where(step == 0, start_s[which], at_s[entry])
            following = np.append(at_s[1:], np.inf)
            end = np.minimum(following[entry], end_s[which])
            blocked = why[entry]
            own = np.where(kind[which] == _HEAD, blocked, np.int8(_BEHIND))
            pieces.append((job[which], own, blocked, begin, end))
        columns = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        order = np.lexsort((columns[3], columns[0]))
        job, reason, blocked, start_s, end_s = (column[order] for column in columns)
        return {
            "job": job.astype(np.int32),
            "reason": reason.astype(np.int8),
            "blocked_by": blocked.astype(np.int8),
            "start_s": start_s,
            "end_s": end_s,
            "gpus": np.asarray(gpus, dtype=np.int32)[job] if len(job) else np.empty(0, np.int32),
        }

    def _add(self, job: int, queue: int, kind: int, reason: int, start_s: float, end_s: float) -> None:
        # A stretch without length is no waiting.
        if end_s > start_s:
            for column, value in zip(self._columns, (job, queue, kind, reason, start_s, end_s), strict=True):
                column.append(value)
