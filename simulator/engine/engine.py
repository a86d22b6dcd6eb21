"""The engine: applies decisions and lets time pass.

Jobs come, queues are asked, decisions are applied or refused, phases end. Everything that is a
subject of its own (failures, services, power, the fabric, the script) is a component with its
own timer and is reached through this object.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from simulator.cluster.allocation import Placement
from simulator.decisions import Decision
from simulator.engine.board import Board
from simulator.engine.clock import Clock
from simulator.engine.enact import Enactor
from simulator.engine.fabric import FabricControl
from simulator.engine.failures import Failures
from simulator.engine.maintenance import MaintenanceWindows
from simulator.engine.pool import Pool
from simulator.engine.power import PowerControl
from simulator.engine.queues import Queue
from simulator.engine.script import Script
from simulator.engine.services import Services
from simulator.engine.slow_nodes import SlowNodes
from simulator.engine.storage_share import StorageControl
from simulator.engine.wait_log import WaitLog
from simulator.engine.world import World
from simulator.foundation.errors import DatahallError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.time_grid import Priority, snap_up
from simulator.telemetry.record import SignalRead
from simulator.telemetry.recorder import Recorder
from simulator.telemetry.tables import Phase


class Engine:
    """One run."""

    def __init__(self, world: World, recorder: Recorder) -> None:
        self.world = world
        self.recorder = recorder
        self.clock = Clock()
        self.signals_read: dict[SignalRead, None] = {}
        self.waits = WaitLog()
        self.pools = [
            Pool(
                code,
                plan.facts,
                host_active_w=plan.host_active_w,
                loaded_idle_w=plan.loaded_idle_w,
                most_gpus=plan.most_gpus,
            )
            for code, plan in enumerate(world.pools)
        ]
        self.board = Board(self.clock, world.jobs, world.behaviours, world.behaviour_of, self.pools, recorder)
        self.board.on_phase_end = self._phase_ended
        site_names = tuple(site.facts.name for site in world.sites)
        self.queues = {
            plan.name: Queue(
                plan.name,
                self.board,
                [self.pools[pool] for pool in plan.pools],
                plan.plan,
                plan.place,
                plan.admits,
                plan.order,
                self.waits,
                self.read_signal,
                site_names,
            )
            for plan in world.queues
        }
        self.queue_list = list(self.queues.values())
        self._queues_per_event = [queue for queue in self.queue_list if queue.pass_per_event]
        #: A pool belongs to one queue at most: scenarios that share one are refused.
        self.queue_of_pool: dict[int, Queue] = {}
        for queue in self.queue_list:
            queue.call_at = self.wake
            for pool in queue.pools:
                self.queue_of_pool[pool.code] = queue
        self.queue_of = [self._queue_named(name, job) for job, name in enumerate(self.board.queue)]
        self._wakes: list[float] = []
        self._next_arrival = 0
        self._scheduled = len(self.board.job_id)
        self._arrivals = self.clock.timer(self._arrive, Priority.ARRIVAL)
        self._decide = self.clock.timer(self._decide_now, Priority.DECIDE)
        self._unfinished = 0
        self.enactor = Enactor(self)
        self.fabric = FabricControl(self)
        self.failures = Failures(self)
        self.slow_nodes = SlowNodes(self)
        self.maintenance = MaintenanceWindows(self)
        self.power = PowerControl(self)
        self.services = Services(self)
        self.storage = StorageControl(self)
        self.script = Script(self)
        self.decisions = 0
        self._holding: list[dict[int, None]] = [{} for _ in self.pools]
        #: Called with every job that got or lost GPUs or changed phase; components listen.
        self.listeners: list[Callable[[int], None]] = [
            component.job_changed
            for component in (self.fabric, self.power, self.storage, self.slow_nodes)
            if component.listens
        ]

    # ------------------------------------------------------------------ the run

    def run(self, progress: Callable[[float], None] | None = None) -> None:
        """Let time pass to the horizon."""
        horizon_s = self.world.horizon_s
        if self._scheduled:
            self._arrivals.arm(self.board.submitted_s[0])
        self.failures.begin()
        self.maintenance.begin()
        self.services.begin()
        self.power.begin()
        self.script.begin()
        before = self.services.advance if self.services.any else None
        stop = self._finished if horizon_s == math.inf else None
        self.clock.run(horizon_s, before, progress, stop)
        if horizon_s == math.inf:
            self._refuse_unfinished()
        end_s = self.clock.now_s if horizon_s == math.inf else horizon_s
        self.world.horizon_s = end_s
        self.clock.advance_to(end_s)
        self.services.close(end_s)
        for job in range(len(self.board.job_id)):
            if self.board.held_gpus[job]:
                self.board.settle(job)
                self.board.run_s[job] += end_s - self.board.run_since_s[job]
        for queue in self.queue_list:
            queue.close(end_s)
        self.failures.close(end_s)
        self.fabric.close(end_s)
        self.recorder.finish()

    def _finished(self) -> bool:
        return self.board.unfinished == 0

    def _refuse_unfinished(self) -> None:
        board = self.board
        left = [job for job in range(len(board.job_id)) if board.state[job] in ("queued", "held")]
        if left:
            job = left[0]
            raise DatahallError(
                f"the run can never be done: {len(left)} jobs can never start, the first is "
                f"{board.job_id[job]!r} ({board.gpus[job]} GPUs in queue "
                f"{self.queue_of[job].name!r} of {self.queue_of[job].view.total_gpus}); "
                "give a larger pool, or a `duration`"
            )

    # ------------------------------------------------------------------ queues

    def read_signal(self, site: str, name: str, reader: str) -> StepSeries:
        """Return a site's signal to a policy, and remember that it was read."""
        for plan in self.world.sites:
            if plan.facts.name == site:
                if name not in plan.signals:
                    raise DatahallError(
                        f"{reader} reads {name} of site {site!r}, which has none; "
                        f"known: {', '.join(plan.signals)}"
                    )
                self.signals_read[SignalRead(site, name, reader)] = None
                return plan.signals[name]
        raise DatahallError(f"{reader} reads {name} of unknown site {site!r}")

    def _queue_named(self, name: str, job: int) -> Queue:
        found = self.queues.get(name)
        if found is None:
            raise DatahallError(
                f"job {self.board.job_id[job]!r} names queue {name!r}; known: {', '.join(self.queues)}"
            )
        return found

    def submit(self, job: int) -> None:
        """Put a job into its queue now and ask the queue."""
        self.queue_of[job].push(job)
        self._decide.arm_by(self.clock.environment.now)

    def decide_soon(self) -> None:
        """Ask every queue that changed, last within this instant."""
        self._decide.arm_by(self.clock.environment.now)

    def wake(self, at_s: float) -> None:
        """Ask the queues again at a time."""
        at_s = snap_up(at_s)
        heapq.heappush(self._wakes, at_s)
        self._decide.arm_by(max(at_s, self.clock.environment.now))

    def pool_changed(self, pool: int) -> None:
        """Tell the queue of a pool that its free GPUs, or who may have them, changed."""
        queue = self.queue_of_pool.get(pool)
        if queue is not None:
            queue.changed()
            self.decide_soon()

    def _arrive(self) -> None:
        board, position = self.board, self._next_arrival
        now_s = self.clock.environment.now
        submitted_s, queue_of = board.submitted_s, self.queue_of
        while position < self._scheduled and submitted_s[position] <= now_s:
            queue = queue_of[position]
            queue.push(position)
            position += 1
            if queue.pass_per_event:
                self._pass(queue)
        self._next_arrival = position
        if position < self._scheduled:
            self._arrivals.arm(submitted_s[position])
        self._decide.arm_by(now_s)

    def _decide_now(self) -> None:
        now_s = self.clock.environment.now
        wakes = self._wakes
        if wakes and wakes[0] <= now_s:
            while wakes and wakes[0] <= now_s:
                heapq.heappop(wakes)
            for queue in self.queue_list:
                queue.dirty = True
        # A round after which fewer jobs are left undoes nothing: jobs without length end so.
        unfinished = self.board.unfinished
        if unfinished >= self._unfinished:
            self.clock.count_round()
        self._unfinished = unfinished
        for queue in self.queue_list:
            if queue.dirty:
                self._pass(queue)
        if wakes:
            self._decide.arm_by(wakes[0])

    def _pass(self, queue: Queue) -> None:
        starts, others = queue.run_pass()
        for job, placement in starts:
            self.start(job, placement)
        for decision in others:
            self.decide(decision, by=type(queue.plan).__name__)

    def decide(self, decision: Decision, by: str) -> None:
        """Apply a decision after its actuation delay, or refuse it with a reason."""
        self.decisions += 1
        self.enactor.enact(decision, by)

    # ------------------------------------------------------------------ jobs

    def start(self, job: int, placement: Placement) -> None:
        """Start a queued job on GPUs that are taken already."""
        self.power.caps.start(job, placement)
        self._holding[placement.pool][job] = None
        self.board.start(job, placement)
        if self.board.kind[job] == "replica" and self.board.phase[job] == Phase.RUNNING:
            # Without a cold start it is warm at once.
            self.services.ready(job)
        elif self.board.kind[job] == "replica":
            self.services.loading(job)
        for tell in self.listeners:
            tell(job)

    def leave(self, job: int) -> None:
        """Take the GPUs from a job and give them back to their pool."""
        placement = self.board.release(job)
        del self._holding[placement.pool][job]
        self.pools[placement.pool].free.give_back(placement)
        queue = self.queue_of[job]
        queue.gave_back(job)
        if queue.waiting:
            self.decide_soon()
        for tell in self.listeners:
            tell(job)
        self.recorder.spill()

    def holders(self, pool: int) -> list[tuple[int, Placement]]:
        """Return the jobs that hold GPUs of a pool with what they hold, by submission."""
        placements = self.board.placement
        found = []
        for job in sorted(self._holding[pool]):
            placement = placements[job]
            if placement is not None:
                found.append((job, placement))
        return found

    def resume(self, job: int) -> None:
        """Let a job that stands work again."""
        self.board.run(job)
        for tell in self.listeners:
            tell(job)

    def requeue(self, job: int) -> None:
        """Let a job without GPUs wait again, in its place by submission."""
        self.board.wait(job)
        self.submit(job)

    def _phase_ended(self, job: int, phase: int) -> None:
        board = self.board
        if phase == Phase.RUNNING:
            self.leave(job)
            board.end(job, "done")
            for queue in self._queues_per_event:
                if queue.dirty:
                    self._pass(queue)
        elif phase in (Phase.STARTING, Phase.RECOVERING):
            board.run(job)
            if board.kind[job] == "replica":
                self.services.ready(job)
            for tell in self.listeners:
                tell(job)
        elif phase == Phase.DETECTING:
            self.failures.diagnose(job)
        elif phase == Phase.DIAGNOSING:
            self.failures.recover(job)
        elif phase == Phase.STOPPING:
            self.enactor.saved(job)
        elif phase == Phase.MOVING:
            self.enactor.moved(job)
