"""One service while the clock runs: its crowd, and its replicas as jobs like others.

Replicas start cold, drain and fail through the phases of the board; the crowd knows only those
that are warm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.cluster.allocation import Placement
from simulator.decisions import Remember, Scale, ServiceView
from simulator.engine.cold_starts import ColdStarts
from simulator.engine.world import ServicePlan
from simulator.foundation.time_grid import Priority, snap_up
from simulator.serving.crowd import (
    BIN_S,
    Command,
    RemoveReplica,
    ReplicaProfile,
    Role,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.power_meter import PHASES
from simulator.telemetry.record import ServiceRecord
from simulator.telemetry.tables import Phase
from simulator.workload.jobs import JobSpec

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: How often a service without autoscaler, whose last request came, looks whether all are answered. [s]
_LAST_LOOK_S: Final = 1.0
#: Fewer requests in flight per replica than this: none.
_NOTHING: Final = 1e-9

#: KV traffic is declared anew when it differs by more than this from what was declared: below,
#: it is the chance of a few minutes' arrivals, and every change makes the fabric settle again.
REDECLARE_FRACTION: Final = 0.1


class LiveService:
    """One service while the clock runs."""

    def __init__(self, engine: Engine, plan: ServicePlan) -> None:
        self.engine = engine
        self.plan = plan
        self.crowd = plan.crowd
        self.asked = plan.minimum
        self.ceiling: int | None = None
        self.memory: Any = None
        self.changed_s = 0.0
        self.transfer_share = 1.0
        self.declared_bytes_per_s = 0.0
        #: Jobs of replicas that wait, start or serve, oldest first; draining ones are apart.
        self.wanted: list[int] = []
        self.serving: dict[int, None] = {}
        self.number_of: dict[int, int] = {}
        self.job_of: dict[int, int] = {}
        self.role_of: dict[int, Role] = {}
        self.of_job: dict[int, LiveService] = {}
        self._next_number = 0
        self._watching: Any = None
        self._watch_fired = False
        #: Serving jobs that the crowd let go, until the engine takes their GPUs.
        self._drained: list[int] = []
        self._timer = engine.clock.timer(self._control, Priority.CONTROL)
        self._epoch = engine.clock.timer(self._declare, Priority.CONTROL)
        self.cold_starts = ColdStarts(engine, plan.cold_phases, self.wanted)
        self._all_came = engine.clock.timer(self._watch_for_the_end, Priority.CONTROL)
        self._ending = False
        #: Output tokens of the requests that a replica finished, by job; only where every request
        #: stands for itself.
        self.tokens_of: dict[int, float] = {}
        #: Of the first replica, and replica-seconds served so far, for the watts by phase.
        self._first: ReplicaProfile | None = None
        self._served_s = 0.0
        self.record = ServiceRecord(
            plan.name, plan.tiers, plan.ttft_slo_s, plan.tpot_slo_s, plan.model, form=plan.form
        )

    def begin(self) -> None:
        """Ask for the first replicas."""
        self._grow()
        self._watch()
        if self.plan.flows:
            self._epoch.arm(self._next_epoch_s())
        self._all_came.arm(self.plan.last_arrival_s)

    # ------------------------------------------------------------------ time

    def advance(self, until_s: float) -> bool:
        """Advance the crowd; True if it wants the engine at its present."""
        crowd = self.crowd
        while crowd.now_s < until_s:
            stop = crowd.advance(until_s)
            if stop is Stop.ROWS_FULL:
                self._take_rows()
            elif stop is Stop.WATCH:
                for event in crowd.fired():
                    if event.what == "drained":
                        self._drained.append(self.job_of[event.replica_id])
                    else:
                        self._watch_fired = True
                self._timer.arm_by(crowd.now_s)
                return True
            else:
                break
        return False

    def close(self, at_s: float) -> None:
        """End the crowd and take what is left."""
        self.crowd.close(at_s)
        self._take_rows()
        self._take_power()
        self.record.hourly = self.crowd.take_hourly()
        self.record.counters = self.crowd.counters()
        self.record.summary = dict(self.crowd.summary())
        self.record.summary |= self._headroom() | self._phase_watts()
        self.record.histogram = dict(self.crowd.histogram())

    def _headroom(self) -> dict[str, float]:
        """Return what is left of the most replicas at the busiest hour, where their number changes.

        A crowd knows the replicas that are there at the end: at night one may be left of many.
        """
        left = self.record.summary.get("headroom_fraction")
        ready = self.crowd.observe().replicas_ready
        if left is None or not ready or self.plan.minimum == self.plan.maximum:
            return {}
        return {"headroom_fraction": 1.0 - (1.0 - left) * ready / self.plan.maximum}

    def _phase_watts(self) -> dict[str, float]:
        """Return watts of one GPU by what its iterations held, and shares of the time, as metered.

        [W], fractions. A flow has no iterations: see `_modelled_watts`.
        """
        metered: Mapping[str, float] = self.record.summary.get("phases", {})
        times_s = {name: metered[f"{name}_s"] for name in PHASES} if metered else {}
        held_s = sum(times_s.values())
        if not held_s:
            return self._modelled_watts()
        found = {f"{name}_time_fraction": time_s / held_s for name, time_s in times_s.items()}
        for name, time_s in times_s.items():
            if time_s:
                found[f"{name}_gpu_power_w"] = metered[f"{name}_gpu_j"] / time_s / self.plan.gpus_per_replica
        return found

    def _modelled_watts(self) -> dict[str, float]:
        """Return watts of one GPU while it reads a mean prompt, and while it decodes the mean batch. [W]

        At full clock, of the first replica. Little's law gives the batch: the time that requests
        spent after their first token, over the time that replicas served.
        """
        said, counts = self.record.summary, self.record.counters
        if self._first is None or not self._served_s or not said["requests"]:
            return {}
        # A flow knows no mean of the first token, but its median.
        first_s = said.get("ttft_mean_s", said["ttft_p50_s"])
        batch = said["requests"] * max(0.0, said["e2e_mean_s"] - first_s) / self._served_s
        prompt = counts["prompt_tokens_out"] / said["requests"]
        context = prompt + 0.5 * counts["tokens_out"] / said["requests"]
        return {
            "prefill_gpu_power_w": self._first.prompt_power_w(min(prompt, self._first.iteration.most_tokens)),
            "decode_gpu_power_w": self._first.decode_power_w(max(1.0, batch), context),
        }

    def _command(self, command: Command) -> None:
        """Apply a command to the crowd at its present (which is the clock's)."""
        self.advance(self.engine.clock.environment.now)
        self.crowd.apply(command, self.crowd.now_s)

    def _control(self) -> None:
        for job in self._drained[:]:
            self._let_go(job)
        if self._watch_fired and self._ending and not self._in_flight():
            self._end()
        elif self._watch_fired:
            self._watch_fired = False
            for decision in self.plan.autoscaler.step(self._view()):
                if isinstance(decision, Scale):
                    self.engine.decide(decision, by=type(self.plan.autoscaler).__name__)
                elif isinstance(decision, Remember):
                    self.memory = decision.value
            self._watch()
        self._take_power()

    def _watch(self) -> None:
        """Let the crowd watch what the autoscaler now wants to hear of."""
        wanted = self.plan.autoscaler.watch(self._view())
        if self._ending:
            wanted = Watch(_LAST_LOOK_S) if wanted is None else wanted
            wanted = replace(wanted, load_below=max(wanted.load_below, _NOTHING))
        if wanted != self._watching:
            self._watching = wanted
            self._command(SetWatch(wanted))

    def _watch_for_the_end(self) -> None:
        """Notice from now on when nothing is left to answer: the last request has come."""
        self._ending = True
        self._watch()

    def _in_flight(self) -> float:
        return self.crowd.observe().in_flight

    def _end(self) -> None:
        """Let all replicas go: every request is answered."""
        self._watch_fired = self._ending = False
        self._watching = None
        self._command(SetWatch(None))
        self._epoch.arm(math.inf)
        self.asked = 0
        while self.wanted:
            self._remove(self.wanted[-1], "drain")

    def _view(self) -> ServiceView:
        seen = self.crowd.observe()
        plan, now_s = self.plan, self.engine.clock.environment.now
        return ServiceView(
            name=plan.name,
            pool="",
            now_s=now_s,
            queue_length=seen.queue_length,
            running=seen.running,
            kv_fraction=seen.kv_fraction,
            replicas_ready=seen.replicas_ready,
            replicas_asked=self.asked,
            replicas_minimum=plan.minimum,
            replicas_maximum=plan.maximum,
            ceiling_replicas=self.ceiling,
            since_change_s=now_s - self.changed_s,
            memory=self.memory,
        )

    # ------------------------------------------------------------------ how many replicas

    def scale_to(self, replicas: int) -> None:
        """Ask for more replicas, or let the newest go."""
        self.changed_s = self.engine.clock.environment.now
        self.asked = replicas
        self._grow()
        while len(self.wanted) > replicas:
            self._remove(self._least_wanted(), "drain")
        self._watch()

    def set_ceiling(self, replicas: int | None) -> None:
        """Let there be no more replicas than this; None lifts the bound.

        A ceiling may lie below the service's own minimum, which comes back as far as it allows.
        """
        self.ceiling = replicas
        most = self.asked if replicas is None else min(self.asked, replicas)
        least = self.plan.minimum if replicas is None else min(self.plan.minimum, replicas)
        if max(most, least) != self.asked:
            self.scale_to(max(most, least))
        self._watch()

    def stop(self, job: int, how: str, then: str) -> str:
        """Stop one replica; with `then` requeue another takes its place. Return why not."""
        if job not in self.wanted:
            return "the replica is going already"
        if self.plan.mode == "thinned" and (how != "kill" or then != "requeue"):
            return "a thinned service keeps its replicas: cells of unequal size would be biased"
        if then != "requeue":
            self.asked -= 1
            self.changed_s = self.engine.clock.environment.now
        self._remove(job, "kill" if how == "kill" else "drain")
        self._grow()
        self._watch()
        return ""

    def _grow(self) -> None:
        while len(self.wanted) < self.asked:
            self._submit()

    def _submit(self) -> None:
        engine, plan = self.engine, self.plan
        number = self._next_number
        self._next_number += 1
        queue = self._shortest_queue()
        spec = JobSpec(
            job_id=f"{plan.name}/{number}",
            kind="replica",
            tenant=plan.tenant,
            queue=queue,
            gpus=plan.gpus_per_replica,
            submitted_s=engine.clock.environment.now,
            work=math.inf,
            priority=plan.priority,
            model=plan.model,
        )
        job = engine.board.submit(spec, plan.behaviour)
        engine.queue_of.append(engine.queues[queue])
        self.number_of[job] = number
        self.job_of[number] = job
        self.role_of[job] = self._missing_role()
        self.of_job[job] = self
        self.wanted.append(job)
        self.record.replica_jobs.append(job)
        engine.submit(job)

    def _shortest_queue(self) -> str:
        """Return the queue with the fewest replicas of this service, the first of equals."""
        held = dict.fromkeys(self.plan.queues, 0)
        for job in self.wanted:
            held[self.engine.queue_of[job].name] += 1
        return min(held, key=held.__getitem__)

    def _missing_role(self) -> Role:
        """Return the role that a new replica takes: the first that is not filled."""
        roles = self.plan.roles
        filled = [self.role_of[job] for job in self.wanted]
        for role in dict.fromkeys(roles):
            if filled.count(role) < roles.count(role):
                return role
        return "mixed"

    def _least_wanted(self) -> int:
        """Return the replica to let go first: the newest, of the commonest role."""
        filled = [self.role_of[job] for job in self.wanted]
        most = max(filled.count(role) for role in filled)
        return next(job for job in reversed(self.wanted) if filled.count(self.role_of[job]) == most)

    # ------------------------------------------------------------------ one replica

    def ready(self, job: int) -> None:
        """Let a warm replica take requests."""
        self.cold_starts.end(job)
        board, number = self.engine.board, self.number_of[job]
        placement = board.placement[job]
        assert placement is not None
        pool = self.engine.pools[placement.pool]
        site = self.engine.world.sites[pool.site].facts.name
        command = self.plan.add_command(number, placement.pool, site, self.role_of[job], placement.gpus)
        self._first = self._first or command.profile
        self._command(command)
        self.serving[job] = None
        if board.clock_fraction[job] != 1.0:
            self._command(SetClock((number,), board.clock_fraction[job]))

    def failed(self, job: int) -> None:
        """Lose a replica to a failure and ask for another if it was still wanted."""
        if job in self._drained:
            # It had nothing left to lose at the very instant at which it failed.
            self._let_go(job)
            return
        if job in self.serving:
            self._command(RemoveReplica(self.number_of[job], "kill"))
        if job in self.wanted:
            self.wanted.remove(job)
        self._release(job, "failed")
        self._grow()

    def set_clock(self, job: int, clock_fraction: float) -> None:
        """Run a replica at another clock."""
        if job in self.serving and job not in self._drained:
            self._command(SetClock((self.number_of[job],), clock_fraction))

    def power_w(self, job: int) -> float:
        """Return the IT power of a replica now. [W]"""
        board = self.engine.board
        if job not in self.serving or job in self._drained:
            return board.power_w[job]
        placement = board.placement[job]
        assert placement is not None
        pool = self.engine.pools[placement.pool]
        gpu_w = float(self.crowd.power_w(self.number_of[job]))
        return gpu_w + pool.host_active_w_per_gpu * placement.gpus

    def _remove(self, job: int, how: str) -> None:
        """Let a wanted replica go: at once if it does not serve yet, else as `how` says."""
        engine, board = self.engine, self.engine.board
        self.wanted.remove(job)
        if not board.held_gpus[job]:
            engine.queue_of[job].remove(job)
            board.end(job, "killed")
        elif job not in self.serving:
            self._release(job, "killed")
        elif how == "drain":
            self._command(RemoveReplica(self.number_of[job], "drain"))
        else:
            self._command(RemoveReplica(self.number_of[job], "kill"))
            self._release(job, "killed")

    def _let_go(self, job: int) -> None:
        """Give back the GPUs of a replica that has drained."""
        self._drained.remove(job)
        self._release(job, "done")

    def _release(self, job: int, state: str) -> None:
        self._take_power()
        self.serving.pop(job, None)
        self.engine.leave(job)
        self.engine.board.end(job, state)

    # ------------------------------------------------------------------ sites and the fabric

    def sites(self) -> tuple[str, ...]:
        """Return the sites at which replicas may run."""
        queues = [self.engine.queues[name] for name in self.plan.queues]
        return tuple(dict.fromkeys(site for queue in queues for site in queue.view.sites))

    def route(self, weights: tuple[tuple[str, float], ...]) -> None:
        """Send shares of the requests to sites."""
        self._command(SetWeights(weights))

    def serving_roles(self) -> list[tuple[Role, Placement]]:
        """Return the role and the place of every replica that serves."""
        found = []
        for job in self.serving:
            placement = self.engine.board.placement[job]
            if placement is not None:
                found.append((self.role_of[job], placement))
        return found

    def share_transfers(self, share: float) -> None:
        """Give KV transfers a share of the replicas' own ports."""
        if share != self.transfer_share:
            self.transfer_share = share
            self._command(SetTransferBandwidth(share * self.plan.transfer_bytes_per_s))

    def _declare(self) -> None:
        """Tell the fabric about the KV traffic of the epoch that ended, if it is another one."""
        said, now = self.declared_bytes_per_s, self.crowd.declared_flow_bytes_per_s()
        if abs(now - said) > REDECLARE_FRACTION * said:
            self.declared_bytes_per_s = now
            self.engine.fabric.flow_changed([place.pool for _, place in self.serving_roles()])
        self._epoch.arm(self._next_epoch_s())

    def _next_epoch_s(self) -> float:
        """Return the end of the crowd's bin that now begins; bins are counted from a UTC hour."""
        origin_s = self.plan.origin_s
        bins = math.floor((self.engine.clock.environment.now - origin_s) / BIN_S) + 1
        return snap_up(origin_s + bins * BIN_S)

    # ------------------------------------------------------------------ blocks

    def _take_rows(self) -> None:
        rows = self.crowd.take_rows()
        if len(rows["request_id"]):
            if np.all(np.asarray(rows["weight"]) == 1.0):
                answered = rows["state"].equals("ok", "retried") & (rows["replica"] >= 0)
                sums = np.bincount(rows["replica"][answered], weights=rows["output_tokens"][answered])
                for replica, tokens in enumerate(sums.tolist()):
                    if tokens:
                        job = self.job_of[replica]
                        self.tokens_of[job] = self.tokens_of.get(job, 0.0) + tokens
            self.engine.recorder.rows("requests", rows)

    def _take_power(self) -> None:
        engine, board = self.engine, self.engine.board
        bins = self.crowd.take_power()
        add = engine.recorder.segments.appenders
        for number, start_s, end_s, energy_j, max_w in zip(
            np.asarray(bins.replica).tolist(),
            np.asarray(bins.bin_start_s).tolist(),
            np.asarray(bins.bin_end_s).tolist(),
            np.asarray(bins.energy_j).tolist(),
            np.asarray(bins.max_w).tolist(),
            strict=True,
        ):
            if end_s <= start_s:
                continue
            self._served_s += end_s - start_s
            job = self.job_of[number]
            pool = engine.pools[board.last_pool[job]]
            gpus = board.gpus[job]
            host_w = pool.host_active_w_per_gpu * gpus
            gpu_w = energy_j / (end_s - start_s)
            row = (
                job,
                pool.site,
                pool.code,
                start_s,
                end_s,
                gpus,
                int(Phase.RUNNING),
                0.0,
                gpu_w + host_w,
                gpu_w,
                max_w + host_w,
            )
            for append, value in zip(add, row, strict=True):
                append(value)
        engine.recorder.spill()
