"""The queues: who waits in which order and why, and the pass that starts them."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable

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
from simulator.decisions.reasons import (
    CAPACITY,
    DOWN,
    FRAGMENTATION,
    NO_SUCH_GPU,
    POWER_CAP,
    RESERVED,
)
from simulator.decisions.views import ReadSignal
from simulator.engine.board import Board
from simulator.engine.pool import Pool
from simulator.engine.wait_log import WaitLog
from simulator.foundation.errors import PolicyError
from simulator.scheduling.orders import Submission
from simulator.scheduling.protocols import Admit, Order, Place, Plan


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
        #: Submission order is the order of the indexes, which need no keys.
        self._by_index = type(self.order) is Submission
        self.pass_per_event = plan.pass_per == "event"
        self._keys: list[tuple[tuple[float, ...], int]] = []
        self._claims: dict[int, Placement] = {}
        self.ceiling_gpus: int | None = None
        #: Promises by decision: job -> (from when [s], GPUs).
        self._reserved: dict[int, tuple[float, int]] = {}
        self._promise_ended = False
        #: Held jobs by when they are asked again, and since when, until when and why each is.
        self._retries: list[tuple[float, int]] = []
        self._held: dict[int, tuple[float, float, str]] = {}
        #: Since when a waiting job is a follower (or, for the head, the head, or held).
        self._since_s: dict[int, float] = {}
        self._head = -1
        #: Expected ends of running and claimed jobs. [s since the run's start]
        self._end_of: dict[int, float] = {}
        #: The first job refused in this pass and why; -1 if none was.
        self._refused = -1
        self._refusal = ""
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

    def waits(self, job: int) -> bool:
        """Return whether a job waits here, in line or held."""
        return job in self._since_s

    def hold(self, job: int, until_s: float, reason: str) -> None:
        """Keep a waiting job out of the line until `until_s`, whatever held it before. [s]"""
        now_s = self.board.clock.environment.now
        self._step_out(job)
        self._held[job] = now_s, until_s, reason
        self.board.state[job] = "held"
        if until_s < math.inf:
            heapq.heappush(self._retries, (until_s, job))
            if until_s > now_s:
                self.call_at(until_s)

    def unhold(self, job: int) -> str:
        """Let a held job compete again now; return why not."""
        if job not in self._held:
            return "the job is neither held nor suspended"
        self._end_hold(job)
        self._enter(job)
        self.dirty = True
        return ""

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
        self._step_out(job)
        del self._since_s[job]
        self._end_promise(job)
        self.dirty = True

    def gave_back(self, job: int) -> None:
        """Note that a running job of this queue released its GPUs."""
        ends = self.view.ends
        del ends[bisect_left(ends, (self._end_of.pop(job), job))]
        self.changed()

    def changed(self) -> None:
        """Note that free GPUs or a ceiling changed, other than by what this queue started."""
        self.view.freed = True
        self.dirty = True

    def could_hold(self, job: int) -> bool:
        """Return whether some pool of the queue is large enough for a job, and of its GPU type."""
        gpus, wanted = self.board.gpus[job], self.board.gpu_type[job]
        return any(pool.most_gpus >= gpus and wanted in ("", pool.gpu_type) for pool in self.pools)

    @property
    def waiting(self) -> int:
        """Return how many jobs wait, held ones included."""
        return len(self._since_s)

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
            return [], []
        self.passes += 1
        if self.order.validity is not Validity.STATIC:
            self._resort()
        if self._by_index:
            view.arrived.sort()
        elif len(view.arrived) > 1:
            came = set(view.arrived)
            view.arrived = [job for job in waiting if job in came]
        view.free_gpus = self._free_gpus()
        starts: list[tuple[int, Placement]] = []
        others: list[Decision] = []
        self._refused = -1
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
        view.arrived = []
        view.freed = False
        return starts, others

    def close(self, at_s: float) -> None:
        """Note the stretches of the jobs that still wait at the horizon."""
        for job in self.view.waiting:
            self._note(job)
        for job, (since_s, _, reason) in self._held.items():
            self.log.apart(job, reason, since_s, at_s)

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
                break
        if placement is None:
            if self._refused < 0:
                self._refused = job
                self._refusal = POWER_CAP if bounded else self._why_not(job, gpus)
            return None
        if job in self._claims or job not in self._since_s:
            raise PolicyError(
                f"{self.plan} cannot claim GPUs for {board.job_id[job]!r} at {view.now_s} s: it "
                f"{'has claimed some already' if job in self._claims else 'does not wait here'}"
            )
        pool.free.take(placement)
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
        suitable, free, lost = False, 0, 0
        for pool in self.pools:
            if not wanted or pool.gpu_type == wanted:
                suitable = True
                free += pool.free.free_gpus
                if pool.free.down:
                    lost += pool.free.lost_gpus
        if not suitable:
            return NO_SUCH_GPU
        if gpus <= min(free, self.view.free_gpus):
            promised = self._reserved and self._breaks_promise(job, gpus)
            return RESERVED if promised else FRAGMENTATION
        if gpus <= free:
            return POWER_CAP
        return DOWN if gpus <= free + lost else CAPACITY

    def _started(self, starts: list[tuple[int, Placement]], now_s: float) -> None:
        waiting = self.view.waiting
        if len(starts) == 1 and waiting[0] == starts[0][0]:
            del waiting[0]
            self.view.line.delete(0)
            if not self._by_index:
                del self._keys[0]
        elif len(starts) <= 4:
            for job, _ in starts:
                where = waiting.index(job)
                del waiting[where]
                self.view.line.delete(where)
                if not self._by_index:
                    del self._keys[where]
        else:
            gone = {job for job, _ in starts}
            waiting[:] = [job for job in waiting if job not in gone]
            self.view.line.forget()
            if not self._by_index:
                self._keys = [key for key in self._keys if key[1] not in gone]
        for job, _ in starts:
            self._end_promise(job)
            since_s = self._since_s.pop(job)
            self.log.in_line(job, self.code, job == self._head, since_s, now_s)
            if job == self._head:
                self._head = -1

    def _note_head(self, now_s: float) -> None:
        view = self.view
        head = view.waiting[0]
        if self._refused == head:
            reason = self._refusal
        elif head == self._head:
            return
        else:
            reason = self._why_not(head, self.board.gpus[head])
            if reason == FRAGMENTATION:
                # It fits and was not refused a place: the policy kept the GPUs for others.
                reason = RESERVED
        if head != self._head:
            if self._head >= 0:
                self._note(self._head)
            self._note(head)
            self._head = head
        self.log.head_reason(self.code, now_s, reason)

    def _note(self, job: int) -> None:
        """Close a job's stretch in line, and begin another."""
        now_s = self.board.clock.environment.now
        self.log.in_line(job, self.code, job == self._head, self._since_s[job], now_s)
        self._since_s[job] = now_s

    def _enter(self, job: int) -> None:
        view = self.view
        waiting = view.waiting
        if self._by_index:
            where = len(waiting)
            if waiting and waiting[-1] > job:
                where = bisect_left(waiting, job)
        else:
            view.now_s = self.board.clock.environment.now
            entry = (self.order.key(view.job(job), view), job)
            where = bisect_left(self._keys, entry)
            self._keys.insert(where, entry)
        waiting.insert(where, job)
        view.line.insert(where, job)
        view.arrived.append(job)

    def _step_out(self, job: int) -> None:
        """Take a waiting job out of the line, or out of the hold it is in."""
        if job in self._held:
            self._end_hold(job)
            return
        self._note(job)
        if job == self._head:
            # What a policy remembers of its head is of no use any more.
            self._head, self.view.freed = -1, True
        where = self.view.waiting.index(job)
        del self.view.waiting[where]
        self.view.line.delete(where)
        if not self._by_index:
            del self._keys[where]
        if job in self.view.arrived:
            self.view.arrived.remove(job)

    def _resort(self) -> None:
        view = self.view
        self._keys = sorted((self.order.key(view.job(job), view), job) for job in view.waiting)
        view.waiting[:] = [job for _, job in self._keys]
        view.line.forget()

    def _end_hold(self, job: int) -> None:
        now_s = self.board.clock.environment.now
        since_s, _, reason = self._held.pop(job)
        self.log.apart(job, reason, since_s, now_s)
        self._since_s[job] = now_s
        self.board.state[job] = "queued"

    def _retry(self, now_s: float) -> None:
        retries = self._retries
        while retries and retries[0][0] <= now_s:
            until_s, job = heapq.heappop(retries)
            # A hold that was lifted or replaced leaves its entry behind.
            if job in self._held and self._held[job][1] == until_s:
                self._end_hold(job)
                self._enter(job)

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
                    # Asked again at the next pass, whenever that is.
                    self.hold(job, -math.inf, answer.reason)
                    break
