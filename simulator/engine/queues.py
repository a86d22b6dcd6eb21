"""The queues: who waits in which order and why, and the pass that starts them."""

from __future__ import annotations

import heapq
import math
from array import array
from bisect import insort
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.cluster.allocation import Placement
from simulator.decisions import (
    Decision,
    No,
    QueueView,
    Remember,
    RetryAt,
    Start,
    Validity,
    Wake,
)
from simulator.decisions.reasons import CAPACITY, CODE, FRAGMENTATION, NO_SUCH_GPU, POWER_CAP, RESERVED
from simulator.decisions.views import ReadSignal
from simulator.engine.board import Board
from simulator.engine.pool import Pool
from simulator.foundation.errors import PolicyError
from simulator.scheduling.protocols import Admit, Order, Place, Plan

_BEHIND = CODE["behind"]
#: Kinds of a raw stretch of waiting; a head or a follower gets its reason from the head's log.
_FOLLOWER, _HEAD, _OWN = 0, 1, 2


class WaitLog:
    """Stretches of waiting, kept raw while the clock runs and told apart by reason afterwards."""

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

    def head_reason(self, queue: int, at_s: float, reason: int) -> None:
        """Note that from now on the queue's head waits for `reason`."""
        times, reasons = self.heads[queue]
        if reasons and reasons[-1] == reason:
            return
        if times and times[-1] == at_s:
            reasons[-1] = reason
            return
        times.append(at_s)
        reasons.append(reason)

    def add(self, job: int, queue: int, kind: int, reason: int, start_s: float, end_s: float) -> None:
        """Note a stretch; nothing is kept of one without length."""
        if end_s > start_s:
            for column, value in zip(self._columns, (job, queue, kind, reason, start_s, end_s), strict=True):
                column.append(value)

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


class Queue:
    """One queue: its pools, its policy, its placement, and the jobs that wait in it."""

    def __init__(
        self,
        name: str,
        board: Board,
        pools: list[Pool],
        plan: Plan,
        place: Place,
        admits: tuple[Admit, ...],
        order: Order | None,
        log: WaitLog,
        read_signal: ReadSignal,
        site_names: tuple[str, ...],
    ) -> None:
        self.name = name
        self.board = board
        self.pools = pools
        self.plan = plan
        self.place = place
        self.admits = admits
        self.order = order or plan.order
        self.log = log
        self.code = log.queue()
        sites = tuple(dict.fromkeys(site_names[pool.site] for pool in pools))
        self.view = QueueView(name, sites, board, self._claim, read_signal)
        self.view.releases = board.held_gpus
        self.view.total_gpus = sum(pool.facts.gpus for pool in pools)
        self._by_index = self.order.__class__.__name__ == "Submission"
        self._keys: list[tuple[tuple[float, ...], int]] = []
        self._claims: dict[int, Placement] = {}
        self.ceiling_gpus: int | None = None
        #: Promises by decision: job -> (from when [s], GPUs).
        self._reserved: dict[int, tuple[float, int]] = {}
        self._promise_ended = False
        #: Held jobs: (retry at, job).
        self._held: list[tuple[float, int]] = []
        #: Jobs that a gate refused without naming a time: asked again at the next pass.
        self._asked_again: list[int] = []
        self._held_reason: dict[int, tuple[float, str]] = {}
        #: Since when a waiting job is a follower (or, for the head, the head).
        self._since_s: dict[int, float] = {}
        self._head = -1
        self._end_of: dict[int, float] = {}
        self._refused_first = False
        self.dirty = False
        self.passes = 0
        self.tests = 0
        self.call_at: Callable[[float], None] = lambda at_s: None

    # ------------------------------------------------------------------ coming and going

    def push(self, job: int) -> None:
        """Let a job wait in this queue."""
        now_s = self.board.clock.environment.now
        self._since_s[job] = now_s
        self._enter(job)
        self.dirty = True

    def hold(self, job: int, until_s: float, reason: str) -> None:
        """Take a waiting job out of the scanned queue until `until_s`."""
        self._leave(job)
        self._note(job, _HEAD if job == self._head else _FOLLOWER)
        if job == self._head:
            self._head = -1
        self._set_held(job, until_s, reason)

    def unhold(self, job: int) -> None:
        """Let a held job compete again now."""
        if job in self._held_reason:
            self._end_hold(job)
            self._enter(job)
            self.dirty = True

    def reserve(self, job: int, start_s: float, gpus: int) -> str:
        """Promise GPUs to a waiting job from `start_s`, by count; return why not.

        Until the job starts, nobody else gets GPUs that would then be short, going by requested
        run times. The job itself may start earlier.
        """
        if job not in self._since_s:
            return "the job is not waiting in this queue"
        if gpus > self.view.total_gpus:
            return f"{gpus} GPUs are more than the queue's {self.view.total_gpus}"
        self._reserved[job] = (start_s, gpus)
        self.call_at(max(start_s, self.board.clock.environment.now))
        self.dirty = True
        return ""

    def remove(self, job: int) -> None:
        """Take a job out for good (moved or killed while it waited)."""
        if job in self._held_reason:
            self._end_hold(job)
        else:
            self._leave(job)
            self._note(job, _HEAD if job == self._head else _FOLLOWER)
            if job == self._head:
                self._head = -1
        self._since_s.pop(job, None)
        self._end_promise(job)
        self.dirty = True

    def gave_back(self, job: int) -> None:
        """Note that a running job of this queue released GPUs."""
        end_s = self._end_of.pop(job, None)
        view = self.view
        if end_s is not None:
            ends = view.ends
            entry = (end_s, job)
            # ends is sorted: bisect to the entry.
            low, high = 0, len(ends)
            while low < high:
                middle = (low + high) // 2
                if ends[middle] < entry:
                    low = middle + 1
                else:
                    high = middle
            del ends[low]
        view.freed = True
        self.dirty = True

    def changed(self) -> None:
        """Note that free GPUs or ceilings changed for another reason (a repair)."""
        self.view.freed = True
        self.dirty = True

    @property
    def waiting(self) -> int:
        """Return how many jobs wait, held ones included."""
        return len(self.view.waiting) + len(self._held_reason)

    # ------------------------------------------------------------------ the pass

    def run_pass(self) -> tuple[list[tuple[int, Placement]], list[Decision]]:
        """Ask the policy once; return what starts (GPUs already taken) and its other answers."""
        self.dirty = False
        board, view = self.board, self.view
        now_s = board.clock.environment.now
        view.now_s = now_s
        self._retry(now_s)
        if self.admits:
            self._gate(now_s)
        if self._promise_ended:
            self._promise_ended, view.freed = False, True
        waiting = view.waiting
        if not waiting:
            view.arrived = []
            view.freed = False
            self._head = -1
            return [], []
        self.passes += 1
        if self.order.validity is Validity.DYNAMIC:
            self._resort()
        view.free_gpus = free = self._free_gpus()
        starts: list[tuple[int, Placement]] = []
        others: list[Decision] = []
        self._refused_first = False
        if free or view.freed or view.arrived:
            for answer in self.plan.step(view):
                if type(answer) is Start:
                    claimed = self._claims.pop(answer.job, None)
                    if claimed is None or claimed is not answer.placement:
                        raise PolicyError(
                            f"{self.plan} cannot start {board.job_id[answer.job]!r} at {now_s} s: "
                            "it holds no claim on that placement"
                        )
                    starts.append((answer.job, claimed))
                elif type(answer) is Remember:
                    view.memory = answer.value
                elif type(answer) is Wake:
                    self.call_at(answer.at_s)
                else:
                    others.append(answer)
        for job, placement in self._claims.items():
            self._unclaim(job, placement)
        self._claims.clear()
        if starts:
            self._started(starts, now_s)
        if waiting:
            self._note_head(now_s)
        else:
            self._head = -1
        view.arrived = []
        view.freed = False
        return starts, others

    def close(self, at_s: float) -> None:
        """Note the stretches of the jobs that still wait at the horizon."""
        for job in list(self.view.waiting):
            self._note(job, _HEAD if job == self._head else _FOLLOWER)
        for job, (since_s, reason) in self._held_reason.items():
            self.log.add(job, self.code, _OWN, CODE[reason], since_s, at_s)

    # ------------------------------------------------------------------ inside

    def _free_gpus(self) -> int:
        if self.ceiling_gpus is None and len(self.pools) == 1:
            return self.pools[0].free.free_gpus
        free = sum(pool.free.free_gpus for pool in self.pools)
        if self.ceiling_gpus is not None:
            held = sum(self.board.held_gpus[job] for job in self._end_of)
            free = max(0, min(free, self.ceiling_gpus - held))
        return free

    def _claim(self, job: int) -> Placement | None:
        self.tests += 1
        board, view = self.board, self.view
        gpus = board.gpus[job]
        placement = None
        bounded = False
        if gpus <= view.free_gpus and not (self._reserved and self._breaks_promise(job, gpus)):
            wanted = board.gpu_type[job]
            for pool in self.pools:
                if wanted and pool.gpu_type != wanted:
                    continue
                placement = self.place.find(gpus, pool.free)
                if placement is None:
                    continue
                if pool.may_start is not None and not pool.may_start(job, placement, self._claims):
                    placement, bounded = None, True
                    continue
                pool.free.take(placement)
                break
        if placement is None:
            if not self._refused_first:
                self._refused_first = True
                view.head = job
                view.head_reason = POWER_CAP if bounded else self._why_not(job, gpus)
            return None
        view.free_gpus -= gpus
        self._claims[job] = placement
        end_s = view.now_s + board.requested_run_s[job]
        self._end_of[job] = end_s
        insort(view.ends, (end_s, job))
        board.held_gpus[job] = gpus
        return placement

    def _end_promise(self, job: int) -> None:
        if self._reserved.pop(job, None) is not None:
            # Whoever it kept out may be tested again, as if GPUs had come free.
            self._promise_ended = self.dirty = True

    def _breaks_promise(self, job: int, gpus: int) -> bool:
        """Return whether GPUs that are promised to others would be short if this job started."""
        board, view = self.board, self.view
        end_s = view.now_s + board.requested_run_s[job]
        for other, (start_s, promised) in self._reserved.items():
            if other == job or end_s <= start_s:
                continue
            back = sum(board.held_gpus[one] for ends_s, one in view.ends if ends_s <= start_s)
            if view.free_gpus + back - gpus < promised:
                return True
        return False

    def _unclaim(self, job: int, placement: Placement) -> None:
        self.pools_by_code(placement.pool).free.give_back(placement)
        self.board.held_gpus[job] = 0
        self.view.ends.remove((self._end_of.pop(job), job))

    def pools_by_code(self, code: int) -> Pool:
        """Return the pool with that code."""
        for pool in self.pools:
            if pool.code == code:
                return pool
        raise KeyError(code)

    def _why_not(self, job: int, gpus: int) -> str:
        wanted = self.board.gpu_type[job]
        if wanted and all(pool.gpu_type != wanted for pool in self.pools):
            return NO_SUCH_GPU
        if gpus <= self.view.free_gpus:
            promised = self._reserved and self._breaks_promise(job, gpus)
            return RESERVED if promised else FRAGMENTATION
        if self.ceiling_gpus is not None and gpus <= sum(pool.free.free_gpus for pool in self.pools):
            return POWER_CAP
        return CAPACITY

    def _started(self, starts: list[tuple[int, Placement]], now_s: float) -> None:
        waiting = self.view.waiting
        if len(starts) == 1 and waiting[0] == starts[0][0]:
            del waiting[0]
            if not self._by_index:
                del self._keys[0]
        elif len(starts) <= 4:
            for job, _ in starts:
                where = waiting.index(job)
                del waiting[where]
                if not self._by_index:
                    del self._keys[where]
        else:
            gone = {job for job, _ in starts}
            waiting[:] = [job for job in waiting if job not in gone]
            if not self._by_index:
                self._keys = [key for key in self._keys if key[1] not in gone]
        for job, _ in starts:
            self._end_promise(job)
            since_s = self._since_s.pop(job)
            if job == self._head:
                self._head = -1
                self.log.add(job, self.code, _HEAD, 0, since_s, now_s)
            else:
                self.log.add(job, self.code, _FOLLOWER, 0, since_s, now_s)

    def _note_head(self, now_s: float) -> None:
        view = self.view
        head = view.waiting[0]
        if self._refused_first and view.head == head:
            reason = view.head_reason
        elif head == self._head:
            return
        else:
            reason = self._why_not(head, self.board.gpus[head])
            if reason == FRAGMENTATION:
                # It fits and was not refused a place: the policy kept the GPUs for others.
                reason = RESERVED
        if head != self._head:
            if self._head in self._since_s:
                self._note(self._head, _HEAD)
            self._note(head, _FOLLOWER)
            self._head = head
        self.log.head_reason(self.code, now_s, CODE[reason])

    def _note(self, job: int, kind: int) -> None:
        now_s = self.board.clock.environment.now
        self.log.add(job, self.code, kind, 0, self._since_s[job], now_s)
        self._since_s[job] = now_s

    def _enter(self, job: int) -> None:
        view = self.view
        waiting = view.waiting
        if self._by_index:
            if waiting and waiting[-1] > job:
                insort(waiting, job)
            else:
                waiting.append(job)
        else:
            entry = (self.order.key(view.job(job), view), job)
            keys = self._keys
            insort(keys, entry)
            waiting.insert(keys.index(entry), job)
        view.arrived.append(job)

    def _leave(self, job: int) -> None:
        where = self.view.waiting.index(job)
        del self.view.waiting[where]
        if not self._by_index:
            del self._keys[where]
        if job in self.view.arrived:
            self.view.arrived.remove(job)

    def _resort(self) -> None:
        view = self.view
        self._keys = sorted((self.order.key(view.job(job), view), job) for job in view.waiting)
        view.waiting[:] = [job for _, job in self._keys]

    def _set_held(self, job: int, until_s: float, reason: str) -> None:
        now_s = self.board.clock.environment.now
        self._held_reason[job] = (now_s, reason)
        self.board.state[job] = "held"
        if until_s < math.inf:
            heapq.heappush(self._held, (until_s, job))
            self.call_at(until_s)

    def _end_hold(self, job: int) -> None:
        now_s = self.board.clock.environment.now
        since_s, reason = self._held_reason.pop(job)
        self.log.add(job, self.code, _OWN, CODE[reason], since_s, now_s)
        self._since_s[job] = now_s
        self.board.state[job] = "queued"

    def _hold_until_next_pass(self, job: int, reason: str) -> None:
        self.hold(job, math.inf, reason)
        self._asked_again.append(job)

    def _retry(self, now_s: float) -> None:
        for job in self._asked_again:
            if job in self._held_reason:
                self._end_hold(job)
                self._enter(job)
        self._asked_again.clear()
        held = self._held
        while held and held[0][0] <= now_s:
            _, job = heapq.heappop(held)
            if job in self._held_reason:
                self._end_hold(job)
                self._enter(job)
        if held:
            self.call_at(held[0][0])

    def _gate(self, now_s: float) -> None:
        view = self.view
        for job in list(view.waiting):
            facade = view.job(job)
            for admit in self.admits:
                answer = admit.gate(facade, view)
                if isinstance(answer, RetryAt):
                    self.hold(job, answer.at_s, answer.reason)
                    break
                if isinstance(answer, No):
                    self._hold_until_next_pass(job, answer.reason)
                    break
