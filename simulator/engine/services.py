"""Services: their crowds advance with the clock, and their replicas are jobs like others.

A crowd is advanced to the next event of the clock before that event happens, never request by
request. Replicas start cold, drain and fail through the phases of the board.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.decisions import Remember, Scale, ServiceView
from simulator.engine.world import ServicePlan
from simulator.foundation.time_grid import Priority
from simulator.serving.crowd import (
    RemoveReplica,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
)
from simulator.telemetry.record import ServiceRecord
from simulator.telemetry.tables import Phase
from simulator.workload.jobs import JobSpec

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class Services:
    """All services of a run."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.services = {plan.name: _Service(engine, plan) for plan in engine.world.services}
        self.any = bool(self.services)
        self._of_job: dict[int, _Service] = {}
        for service in self.services.values():
            service.of_job = self._of_job

    def begin(self) -> None:
        """Ask for the first replicas."""
        for service in self.services.values():
            service.grow_to(service.asked)
            service.watch()

    def advance(self, until_s: float) -> None:
        """Bring every crowd up to `until_s`, or to where one of them wants the engine."""
        services = list(self.services.values())
        while True:
            bound_s = min(until_s, *(service.crowd.next_time() for service in services))
            bound_s = max(bound_s, min(service.crowd.now_s for service in services))
            fired = False
            for service in services:
                fired = service.advance(bound_s) or fired
            if fired or bound_s >= until_s:
                return

    def close(self, at_s: float) -> None:
        """Take everything out of the crowds at the horizon."""
        for service in self.services.values():
            service.advance(at_s)
            service.close(at_s)

    # ------------------------------------------------------------------ from jobs

    def ready(self, job: int) -> None:
        """Let a warm replica serve."""
        self._of_job[job].ready(job)

    def failed(self, job: int) -> None:
        """Lose a replica whose node failed."""
        self._of_job[job].failed(job)

    def stop(self, job: int, how: str) -> None:
        """Stop a replica by decision."""
        service = self._of_job[job]
        service.asked -= 1
        service.remove(job, "kill" if how == "kill" else "drain")

    def gone(self, job: int) -> None:
        """Give back a replica that has drained."""
        self._of_job[job].gone(job)

    # ------------------------------------------------------------------ decisions

    def scale(self, name: str, replicas: int) -> str:
        """Ask for another number of replicas; return why not."""
        service = self.services.get(name)
        if service is None:
            return f"there is no service {name!r}"
        plan = service.plan
        if not plan.minimum <= replicas <= plan.maximum:
            return f"{replicas} replicas lie outside {plan.minimum} to {plan.maximum}"
        if service.ceiling is not None and replicas > service.ceiling:
            return f"a ceiling of {service.ceiling} replicas holds"
        service.scale_to(replicas)
        return ""

    def ceiling(self, name: str, gpus: int | None) -> str:
        """Bound a service's GPUs; None lifts the bound. Return why not."""
        service = self.services.get(name)
        if service is None:
            return f"there is no service {name!r}"
        service.ceiling = None if gpus is None else gpus // service.plan.gpus_per_replica
        if service.ceiling is not None and service.asked > service.ceiling:
            service.scale_to(service.ceiling)
        elif service.ceiling is None and service.asked < service.plan.minimum:
            service.scale_to(service.plan.minimum)
        service.watch()
        return ""

    def route(self, name: str, weights: tuple[tuple[str, float], ...]) -> str:
        """Send shares of a service's requests to sites; return why not."""
        service = self.services.get(name)
        if service is None:
            return f"there is no service {name!r}"
        service.command(SetWeights(weights))
        return ""

    def set_clock(self, job: int, clock_fraction: float) -> None:
        """Run a replica at another clock."""
        service = self._of_job[job]
        number = service.number_of.get(job)
        if number is not None and job in service.serving:
            service.command(SetClock((number,), clock_fraction))

    def share_transfers(self, name: str, share: float) -> None:
        """Give a service's KV transfers the share of its ports that the fabric leaves them."""
        service = self.services[name]
        if share != service.transfer_share:
            service.transfer_share = share
            service.command(SetTransferBandwidth(share * service.plan.transfer_bytes_per_s))

    def power_w(self, job: int) -> float:
        """Return the IT power of a replica now, GPUs and host share. [W]"""
        return self._of_job[job].power_w(job)

    def records(self) -> tuple[ServiceRecord, ...]:
        """Return what the services leave."""
        return tuple(service.record for service in self.services.values())


class _Service:
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
        #: Jobs of replicas that wait, start or serve, oldest first; draining ones are apart.
        self.wanted: list[int] = []
        self.serving: dict[int, None] = {}
        self.number_of: dict[int, int] = {}
        self.job_of: dict[int, int] = {}
        self.of_job: dict[int, _Service] = {}
        self._next_number = 0
        self._watching: Any = None
        self._fired: list[Any] = []
        self._timer = engine.clock.timer(self._control, Priority.CONTROL)
        self.record = ServiceRecord(plan.name, plan.tiers, plan.ttft_slo_s, plan.model)

    # ------------------------------------------------------------------ time

    def advance(self, until_s: float) -> bool:
        """Advance the crowd; True if it wants the engine at its present."""
        crowd = self.crowd
        while crowd.now_s < until_s:
            stop = crowd.advance(until_s)
            if stop is Stop.ROWS_FULL:
                self._take_rows()
            elif stop is Stop.ARRIVALS_EMPTY:
                self.plan.source(crowd)
            elif stop is Stop.WATCH:
                self._fired.extend(crowd.fired())
                self._timer.arm_by(crowd.now_s)
                return True
            else:
                break
        return False

    def command(self, command: Any) -> None:
        """Apply a command to the crowd at its present (which is the clock's)."""
        now_s = self.engine.clock.environment.now
        self.advance(now_s)
        self.crowd.apply(command, self.crowd.now_s)

    def close(self, at_s: float) -> None:
        """End the crowd and take what is left."""
        self.crowd.close(at_s)
        self._take_rows()
        self._take_power()
        self.record.hourly = self.crowd.take_hourly()
        observation = self.crowd.observe()
        self.record.counters = dict(observation.counters)
        self.record.summary = dict(self.crowd.summary())
        self.record.histogram = dict(self.crowd.histogram())

    def _control(self) -> None:
        fired, self._fired = self._fired, []
        for event in fired:
            if event.what == "drained":
                self.gone(self.job_of[event.replica_id])
        if any(event.what == "watch" for event in fired):
            for decision in self.plan.autoscaler.step(self._view()):
                if isinstance(decision, Scale):
                    self.engine.decide(decision, by=type(self.plan.autoscaler).__name__)
                elif isinstance(decision, Remember):
                    self.memory = decision.value
            self.watch()
        self._take_power()

    def watch(self) -> None:
        """Let the crowd watch what the autoscaler now wants to hear of."""
        wanted = self.plan.autoscaler.watch(self._view())
        if wanted != self._watching:
            self._watching = wanted
            self.command(SetWatch(wanted))

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

    # ------------------------------------------------------------------ replicas

    def scale_to(self, replicas: int) -> None:
        """Ask for more replicas, or let the newest go."""
        self.changed_s = self.engine.clock.environment.now
        if replicas > self.asked:
            self.asked = replicas
            self.grow_to(replicas)
        while self.asked > replicas:
            self.asked -= 1
            self.remove(self.wanted[-1], "drain")
        self.watch()

    def grow_to(self, replicas: int) -> None:
        """Submit replicas until that many are wanted."""
        while len(self.wanted) < replicas:
            self._submit()

    def _submit(self) -> None:
        engine, plan = self.engine, self.plan
        number = self._next_number
        self._next_number += 1
        spec = JobSpec(
            job_id=f"{plan.name}/{number}",
            kind="replica",
            tenant=plan.tenant,
            queue=plan.queue,
            gpus=plan.gpus_per_replica,
            submitted_s=engine.clock.environment.now,
            work=math.inf,
            priority=plan.priority,
            model=plan.model,
        )
        job = engine.board.submit(spec, plan.behaviour)
        engine.queue_of.append(engine.queues[plan.queue])
        self.number_of[job] = number
        self.job_of[number] = job
        self.of_job[job] = self
        self.wanted.append(job)
        self.record.replica_jobs.append(job)
        engine.submit(job)

    def ready(self, job: int) -> None:
        """Let a warm replica take requests."""
        board, number = self.engine.board, self.number_of[job]
        placement = board.placement[job]
        assert placement is not None
        pool = self.engine.pools[placement.pool]
        site = self.engine.world.sites[pool.site].facts.name
        roles = self.plan.roles
        role = roles[self.wanted.index(job) % len(roles)] if roles else "mixed"
        self.command(self.plan.add_command(number, placement.pool, site, role, placement.gpus))
        self.serving[job] = None
        if board.clock_fraction[job] != 1.0:
            self.command(SetClock((number,), board.clock_fraction[job]))

    def remove(self, job: int, how: str) -> None:
        """Let a replica go: at once if it does not serve yet, else by draining."""
        engine, board = self.engine, self.engine.board
        if job in self.wanted:
            self.wanted.remove(job)
        if not board.held_gpus[job]:
            engine.queue_of[job].remove(job)
            board.end(job, "killed")
        elif job not in self.serving:
            engine.leave(job)
            board.end(job, "killed")
        elif how == "drain":
            self.command(RemoveReplica(self.number_of[job], "drain"))
        else:
            self.command(RemoveReplica(self.number_of[job], "kill"))
            self._release(job, "killed")

    def gone(self, job: int) -> None:
        """Give back the GPUs of a replica that has drained."""
        if self.engine.board.held_gpus[job]:
            self._release(job, "done")

    def failed(self, job: int) -> None:
        """Lose a replica to a failure and ask for another."""
        wanted = job in self.wanted
        if job in self.serving:
            self.command(RemoveReplica(self.number_of[job], "kill"))
        if wanted:
            self.wanted.remove(job)
        self._release(job, "failed")
        if wanted:
            self.grow_to(self.asked)

    def _release(self, job: int, state: str) -> None:
        self._take_power()
        self.serving.pop(job, None)
        self.engine.leave(job)
        self.engine.board.end(job, state)

    def power_w(self, job: int) -> float:
        """Return the IT power of a replica now. [W]"""
        board = self.engine.board
        if job not in self.serving:
            return board.power_w[job]
        gpu_w = self.crowd.observe().power_w.get(self.number_of[job], 0.0)
        placement = board.placement[job]
        assert placement is not None
        pool = self.engine.pools[placement.pool]
        return float(gpu_w) + pool.host_active_w_per_gpu * placement.gpus

    # ------------------------------------------------------------------ blocks

    def _take_rows(self) -> None:
        rows = self.crowd.take_rows()
        if len(rows["request_id"]):
            rows["service"] = [self.plan.name] * len(rows["request_id"])
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
        if len(engine.recorder.segments) >= 65536:
            engine.recorder.spill()
