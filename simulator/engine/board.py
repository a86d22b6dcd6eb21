"""The jobs: what each is doing, at which rate and watts, and when that ends.

A job is a list of phases. A phase ends by work, by time or by a decision. Only rates change;
the next end is then re-armed. Per-job state lies in parallel lists indexed by the submission
index, because a replay of fifty thousand jobs touches each a few times only.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

from simulator.cluster.allocation import Placement
from simulator.engine.behaviour import Behaviour, time_for, work_after
from simulator.engine.clock import Clock
from simulator.engine.pool import Pool
from simulator.foundation.time_grid import Priority, snap, snap_up
from simulator.telemetry.recorder import Recorder
from simulator.telemetry.tables import Phase
from simulator.workload.jobs import JobSpec, JobTable

_RUNNING = int(Phase.RUNNING)
_QUEUED = int(Phase.QUEUED)
_ENDED = int(Phase.ENDED)

#: Phases in which a job holds its GPUs without working.
STALLED = frozenset(
    {
        int(Phase.STARTING),
        int(Phase.DETECTING),
        int(Phase.DIAGNOSING),
        int(Phase.RECOVERING),
        int(Phase.STOPPING),
    }
)


class Board:
    """All jobs of a run."""

    def __init__(
        self,
        clock: Clock,
        jobs: JobTable,
        behaviours: list[Behaviour],
        behaviour_of: list[int],
        pools: list[Pool],
        recorder: Recorder,
    ) -> None:
        self.clock = clock
        self.pools = pools
        self.recorder = recorder
        self.behaviours = behaviours
        lists = jobs.lists()
        # Facts. Lists are copied because replicas are appended while the run goes on.
        self.job_id = list(lists.job_id)
        self.kind = list(lists.kind)
        self.tenant = list(lists.tenant)
        self.queue = list(lists.queue)
        self.gpus = list(lists.gpus)
        self.submitted_s = list(lists.submitted_s)
        self.work = list(lists.work)
        self.requested_run_s = list(lists.requested_run_s)
        self.priority = list(lists.priority)
        self.deadline_s = list(lists.deadline_s)
        self.model = list(lists.model)
        self.gpu_type = list(lists.gpu_type)
        self.minimum_gpus = list(lists.minimum_gpus)
        self.behaviour_of = list(behaviour_of)
        # State.
        count = len(self.job_id)
        self.phase = [_QUEUED] * count
        self.placement: list[Placement | None] = [None] * count
        self.held_gpus = [0] * count
        self.remaining = list(lists.work)
        self.since_durable = [0.0] * count
        self.rate = [0.0] * count
        self.since_s = [0.0] * count
        self.power_w = [0.0] * count
        self.gpu_power_w = [0.0] * count
        self.due_s = [math.inf] * count
        self.clock_fraction = [1.0] * count
        self.link_share = [1.0] * count
        #: How much longer than alone the job's checkpoints take to be written.
        self.storage_stretch = [1.0] * count
        #: Seconds of one unit of work, and GPUs that did it, when the job last ran.
        self.work_s = [0.0] * count
        self.work_gpus = [0] * count
        self.stall_used_s = [0.0] * count
        self.run_since_s = [0.0] * count
        #: What happens when a stop is complete: requeue, hold, end, or move:SITE.
        self.then = [""] * count
        # Outcome.
        self.started_s = [math.nan] * count
        self.finished_s = [math.nan] * count
        self.state = ["queued"] * count
        self.run_s = [0.0] * count
        self.lost_gpu_s = [0.0] * count
        self.stalled_gpu_s = [0.0] * count
        #: job -> GPU-seconds of its steps by `behaviour.UNPRODUCTIVE`, where its profile tells.
        self.unproductive_gpu_s: dict[int, list[float]] = {}
        self.in_steps_gpu_s: dict[int, float] = {}
        self._unproductive: dict[int, tuple[float, ...]] = {}
        #: Watts of a GPU that hangs in a collective, at the clock it last ran at.
        self._waiting_w: dict[int, float] = {}
        self.done = [0.0] * count
        self.restarts = [0] * count
        self.preemptions = [0] * count
        self.last_pool = [-1] * count
        self.holding = 0
        self._ends: list[tuple[float, int]] = []
        self._timer = clock.timer(self._phases_end, Priority.COMPLETION)
        #: Called with a job whose phase ended: (job, phase that ended).
        self.on_phase_end: Callable[[int, int], None] = lambda job, phase: None
        #: What nodes that compute slowly make of a profile; None where all are sound.
        self.slowed: Callable[[int, Placement, Any], Any] | None = None
        self._add = recorder.segments.appenders
        self._cycles: dict[int, tuple[float, float]] = {}
        #: Jobs that wrote a periodic checkpoint since they last lost or saved something.
        self._saved: dict[int, None] = {}
        self.unfinished = count

    def submit(self, spec: JobSpec, behaviour: int) -> int:
        """Append a job that came into being during the run (a replica); return its index."""
        job = len(self.job_id)
        row: tuple[tuple[list[Any], Any], ...] = (
            (self.job_id, spec.job_id),
            (self.kind, spec.kind),
            (self.tenant, spec.tenant),
            (self.queue, spec.queue),
            (self.gpus, spec.gpus),
            (self.submitted_s, spec.submitted_s),
            (self.work, spec.work),
            (self.requested_run_s, spec.requested_run_s),
            (self.priority, spec.priority),
            (self.deadline_s, spec.deadline_s),
            (self.model, spec.model),
            (self.gpu_type, spec.gpu_type),
            (self.minimum_gpus, spec.minimum_gpus),
            (self.behaviour_of, behaviour),
            (self.phase, _QUEUED),
            (self.placement, None),
            (self.held_gpus, 0),
            (self.remaining, spec.work),
            (self.since_durable, 0.0),
            (self.rate, 0.0),
            (self.since_s, spec.submitted_s),
            (self.power_w, 0.0),
            (self.gpu_power_w, 0.0),
            (self.due_s, math.inf),
            (self.clock_fraction, 1.0),
            (self.link_share, 1.0),
            (self.storage_stretch, 1.0),
            (self.work_s, 0.0),
            (self.work_gpus, 0),
            (self.stall_used_s, 0.0),
            (self.run_since_s, 0.0),
            (self.then, ""),
            (self.started_s, math.nan),
            (self.finished_s, math.nan),
            (self.state, "queued"),
            (self.run_s, 0.0),
            (self.lost_gpu_s, 0.0),
            (self.stalled_gpu_s, 0.0),
            (self.done, 0.0),
            (self.restarts, 0),
            (self.preemptions, 0),
            (self.last_pool, -1),
        )
        for column, value in row:
            column.append(value)
        self.unfinished += 1
        return job

    # ------------------------------------------------------------------ phases

    def start(self, job: int, placement: Placement) -> None:
        """Give a queued job its GPUs (already taken from the pool) and start it."""
        now_s = self.clock.environment.now
        behaviour = self.behaviours[self.behaviour_of[job]]
        self.placement[job] = placement
        self.held_gpus[job] = placement.gpus
        self.last_pool[job] = placement.pool
        self.run_since_s[job] = now_s
        self.holding += 1
        first = math.isnan(self.started_s[job])
        if first:
            self.started_s[job] = now_s
        self.state[job] = "running"
        pause_s = behaviour.start_s if first else behaviour.restart_s
        if first and now_s == behaviour.warm_at_s:
            pause_s = 0.0
        if pause_s > 0.0:
            self._stand(job, Phase.STARTING, now_s + pause_s)
        else:
            self._run(job)

    def pause(self, job: int, phase: Phase, for_s: float) -> None:
        """Hold the GPUs without working for `for_s` (inf: until told otherwise)."""
        self.settle(job)
        self._stand(job, phase, self.clock.environment.now + for_s)

    def run(self, job: int) -> None:
        """Let a job that stands work (again)."""
        self.settle(job)
        self._run(job)

    def refresh(self, job: int) -> None:
        """Take up a changed clock, link share or placement without changing the phase."""
        if self.phase[job] == _RUNNING:
            self.settle(job)
            self._run(job)
        elif self.held_gpus[job]:
            due_s = self.due_s[job]
            self.settle(job)
            self._stand(job, Phase(self.phase[job]), due_s)

    def change_placement(self, job: int, placement: Placement) -> None:
        """Let a job go on with other GPUs; the caller settled the pools."""
        self.settle(job)
        self.placement[job] = placement
        self.held_gpus[job] = placement.gpus
        if self.phase[job] == _RUNNING:
            self._run(job)
        else:
            self._stand(job, Phase(self.phase[job]), self.due_s[job])

    def stand_with(self, job: int, placement: Placement, phase: Phase, for_s: float) -> None:
        """Leave a job other GPUs, and let it stand with them for `for_s`."""
        self.settle(job)
        self.placement[job] = placement
        self.held_gpus[job] = placement.gpus
        self._stand(job, phase, self.clock.environment.now + for_s)

    def release(self, job: int) -> Placement:
        """Take the GPUs from a job; return what it held. The caller decides its next phase."""
        self.settle(job)
        placement = self.placement[job]
        if placement is None:
            raise RuntimeError(f"job {self.job_id[job]} holds nothing to release")
        self.run_s[job] += self.clock.environment.now - self.run_since_s[job]
        self.placement[job] = None
        self.held_gpus[job] = 0
        self.rate[job] = 0.0
        self.due_s[job] = math.inf
        self.holding -= 1
        return placement

    def wait(self, job: int) -> None:
        """Mark a job as queued again."""
        self.phase[job] = _QUEUED
        self.state[job] = "queued"

    def end(self, job: int, state: str) -> None:
        """Mark a job as ended: done, failed or killed."""
        self.phase[job] = _ENDED
        self.state[job] = state
        self.due_s[job] = math.inf
        self.finished_s[job] = self.clock.environment.now
        self.unfinished -= 1

    def park(self, job: int, phase: Phase, for_s: float = math.inf) -> None:
        """Let a job without GPUs be moving or suspended for `for_s`."""
        now_s = self.clock.environment.now
        self.phase[job] = int(phase)
        self.state[job] = "held"
        self._arm(job, now_s + for_s)

    # ------------------------------------------------------------------ work

    def lose_unsaved(self, job: int, undetected_s: float = 0.0) -> None:
        """Undo what was done since the last good checkpoint (all, without checkpoints).

        Good is what is durable, and older than `undetected_s`.
        """
        self.settle(job)
        checkpoints = self.behaviours[self.behaviour_of[job]].checkpoints
        lost = self.since_durable[job] if checkpoints else self.done[job]
        since_s = lost * self.work_s[job] + self.stall_used_s[job]
        saved = job in self._saved
        if saved:
            del self._saved[job]
            if checkpoints and since_s < checkpoints.under(self.storage_stretch[job])[2]:
                # The last checkpoint was written but still in flight.
                lost += self._cycles[job][0]
        if checkpoints and undetected_s > since_s and job in self._cycles:
            work, stall_s = self._cycles[job]
            spoilt = math.ceil((undetected_s - since_s) / (work * self.work_s[job] + stall_s))
            lost = max(lost, self.since_durable[job] + spoilt * work)
        lost = min(lost, self.done[job])
        self.since_durable[job] = self.stall_used_s[job] = 0.0
        self.done[job] -= lost
        if self.remaining[job] != math.inf:
            self.remaining[job] += lost
        self.lost_gpu_s[job] += lost * self.work_s[job] * self.work_gpus[job]

    def save(self, job: int) -> None:
        """Make all that was done durable: a checkpoint beside the periodic ones is complete."""
        self.settle(job)
        self.since_durable[job] = self.stall_used_s[job] = 0.0
        self._saved.pop(job, None)

    def power_at(self, job: int, clock_fraction: float) -> float:
        """Return the IT power the job would draw now at another clock. [W]"""
        placement = self.placement[job]
        if placement is None:
            return 0.0
        pool = self.pools[placement.pool]
        if self.phase[job] != _RUNNING:
            return self.power_w[job]
        _, gpu_w = self.profile(job).at(clock_fraction, self.link_share[job])
        return (float(gpu_w) + pool.host_active_w_per_gpu) * placement.gpus

    def profile(self, job: int) -> Any:
        """Return the performance profile of a job that holds GPUs."""
        return self.profile_on(job, self.placement[job])  # type: ignore[arg-type]

    def profile_on(self, job: int, placement: Placement) -> Any:
        """Return the performance profile of a job on GPUs that it holds or may get."""
        found = self.behaviours[self.behaviour_of[job]].profile_for(job, placement, placement.gpus)
        return found if self.slowed is None else self.slowed(job, placement, found)

    def settle(self, job: int) -> None:
        """Write down what has happened since the last change, up to now."""
        now_s = self.clock.environment.now
        since_s = self.since_s[job]
        if now_s > since_s and self.held_gpus[job]:
            gpus = self.held_gpus[job]
            rate = 0.0
            if self.phase[job] == _RUNNING:
                rate = self._settle_work(job, now_s - since_s, gpus)
            placement = self.placement[job]
            assert placement is not None
            pool = placement.pool
            power_w = self.power_w[job]
            if self.kind[job] != "replica" or self.phase[job] != _RUNNING:
                add = self._add
                add[0](job)
                add[1](self.pools[pool].site)
                add[2](pool)
                add[3](since_s)
                add[4](now_s)
                add[5](gpus)
                add[6](self.phase[job])
                add[7](rate)
                add[8](power_w)
                add[9](self.gpu_power_w[job])
                add[10](power_w)
        self.since_s[job] = now_s

    # ------------------------------------------------------------------ inside

    def _settle_work(self, job: int, elapsed_s: float, gpus: int) -> float:
        cycle = self._cycles.get(job)
        if cycle is None:
            rate = self.rate[job]
            done = elapsed_s * rate
            self.since_durable[job] += done
            stalled_s = 0.0
        else:
            since = self.since_durable[job]
            done, self.since_durable[job], self.stall_used_s[job], stalled_s = work_after(
                elapsed_s, self.rate[job], since, self.stall_used_s[job], *cycle
            )
            if done - (self.since_durable[job] - since) > 0.5 * cycle[0]:
                self._saved[job] = None
        remaining = self.remaining[job]
        done = min(done, remaining)
        if remaining != math.inf:
            self.remaining[job] = remaining - done
        self.done[job] += done
        self.stalled_gpu_s[job] += stalled_s * gpus
        shares = self._unproductive.get(job)
        if shares is not None:
            spent = self.unproductive_gpu_s.setdefault(job, [0.0] * len(shares))
            in_steps = (elapsed_s - stalled_s) * gpus
            self.in_steps_gpu_s[job] = self.in_steps_gpu_s.get(job, 0.0) + in_steps
            for part, share in enumerate(shares):
                spent[part] += share * in_steps
        return done / elapsed_s

    def _run(self, job: int) -> None:
        behaviour = self.behaviours[self.behaviour_of[job]]
        placement = self.placement[job]
        assert placement is not None
        pool = self.pools[placement.pool]
        gpus = placement.gpus
        profile = self.profile_on(job, placement)
        step_s, gpu_w = profile.at(self.clock_fraction[job], self.link_share[job])
        rate = profile.unit_per_step / step_s
        self.phase[job] = _RUNNING
        self.rate[job] = rate
        self.work_s[job] = step_s / profile.unit_per_step
        self.work_gpus[job] = gpus
        now_s = self.clock.environment.now
        self.since_s[job] = now_s
        remaining = self.remaining[job]
        checkpoints = behaviour.checkpoints
        if checkpoints is not None:
            # Counted in steps, as training frameworks do: a lower clock stretches the cycle.
            every_s, stall_s, _ = checkpoints.under(self.storage_stretch[job])
            steps = max(1, round(every_s / profile.at(1.0, 1.0)[0]))
            cycle_work = steps * profile.unit_per_step
            self._cycles[job] = (cycle_work, stall_s)
            # After a resize the old position may lie beyond the new cycle: checkpoint at once.
            since = self.since_durable[job] = min(self.since_durable[job], cycle_work)
            cycle = self._cycles[job]
            due_s = time_for(remaining, rate, since, self.stall_used_s[job], *cycle)
            if stall_s:
                stall_w = profile.phase_power.get("checkpoint", pool.loaded_idle_w)
                share = stall_s / (steps * step_s + stall_s)
                gpu_w += (stall_w - gpu_w) * share
        else:
            due_s = remaining / rate
        if behaviour.unproductive is not None:
            self._unproductive[job] = behaviour.unproductive(
                profile, self.clock_fraction[job], self.link_share[job]
            )
        waiting_w = profile.phase_power.get("waiting")
        if waiting_w is not None:
            floor_w = pool.facts.node.gpu_idle_w
            self._waiting_w[job] = profile.curve.power_w(waiting_w, floor_w, self.clock_fraction[job])
        self.gpu_power_w[job] = gpu_w * gpus
        self.power_w[job] = (gpu_w + pool.host_active_w_per_gpu) * gpus
        self._arm(job, snap_up(now_s + due_s) if due_s != math.inf else math.inf)

    def _stand(self, job: int, phase: Phase, until_s: float) -> None:
        placement = self.placement[job]
        assert placement is not None
        pool = self.pools[placement.pool]
        self.phase[job] = int(phase)
        self.rate[job] = 0.0
        self.since_s[job] = self.clock.environment.now
        gpu_w, host_w = pool.loaded_idle_w, pool.host_idle_w_per_gpu
        if phase == Phase.DETECTING and job in self._waiting_w:
            # Nobody has noticed: the others spin in a collective that never ends.
            gpu_w, host_w = self._waiting_w[job], pool.host_active_w_per_gpu
        self.gpu_power_w[job] = gpu_w * placement.gpus
        self.power_w[job] = (gpu_w + host_w) * placement.gpus
        self._arm(job, snap(until_s) if until_s != math.inf else math.inf)

    def _arm(self, job: int, at_s: float) -> None:
        self.due_s[job] = at_s
        if at_s != math.inf:
            heapq.heappush(self._ends, (at_s, job))
            if at_s < self._timer.due_s:
                self._timer.arm(at_s)

    def _phases_end(self) -> None:
        ends, due_s = self._ends, self.due_s
        now_s = self.clock.environment.now
        while ends and ends[0][0] <= now_s:
            at_s, job = heapq.heappop(ends)
            if due_s[job] != at_s:
                continue
            due_s[job] = math.inf
            phase = self.phase[job]
            if phase == _RUNNING:
                self.settle(job)
                # What rounding to the time grid left is not work.
                self.done[job] += self.remaining[job]
                self.remaining[job] = 0.0
            self.on_phase_end(job, phase)
        while ends and due_s[ends[0][1]] != ends[0][0]:
            heapq.heappop(ends)
        if ends:
            self._timer.arm(ends[0][0])
