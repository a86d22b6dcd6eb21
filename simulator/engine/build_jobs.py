"""The jobs of a scenario's workloads: training runs, streams, logs and lists, in one table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.cluster.allocation import Placement
from simulator.engine.behaviour import Behaviour, Checkpoints
from simulator.engine.build_training import TrainingBuilder
from simulator.engine.world import PoolPlan, SitePlan
from simulator.foundation.errors import BuildError, TraceError
from simulator.foundation.streams import Streams
from simulator.performance.trace_job import ReferenceProfile
from simulator.scenario.sites import Site
from simulator.scenario.tree import Scenario
from simulator.scenario.workloads import HeliosLog, JobList, JobStream, SwfLog, Training
from simulator.telemetry.record import LayoutFacts, LearningFacts, ReliabilityFacts, SwingFacts
from simulator.workload.helios import read_helios
from simulator.workload.jobs import JobSpec, JobTable
from simulator.workload.mix import JobMix, up_to
from simulator.workload.swf import read_swf


class JobBuilder:
    """Makes jobs and behaviours; one table for the whole run."""

    def __init__(
        self,
        scenario: Scenario,
        sites: list[SitePlan],
        pools: list[PoolPlan],
        streams: Streams,
        horizon_s: float,
    ) -> None:
        self.scenario = scenario
        self.sites = sites
        self.pools = pools
        self.streams = streams
        self.horizon_s = horizon_s
        self.behaviours: list[Behaviour] = []
        self.tables: list[tuple[JobTable, int]] = []
        self.layouts: list[LayoutFacts] = []
        self.learning: list[LearningFacts] = []
        self.reliability: list[ReliabilityFacts] = []
        self.swings: list[SwingFacts] = []
        self.notes: list[str] = []
        self._training = TrainingBuilder(self)
        self._codes = {
            f"{site.name}.{pool.name}": code
            for code, (site, pool) in enumerate(
                (site, pool) for site in scenario.sites for pool in site.pools
            )
        }

    def build(self) -> tuple[JobTable, list[int]]:
        """Return all jobs in order of submission, and the behaviour of each."""
        for workload in self.scenario.workloads:
            if isinstance(workload, Training):
                self._training.build(workload)
            elif isinstance(workload, JobStream):
                self._stream(workload)
            elif isinstance(workload, SwfLog | HeliosLog):
                self._log(workload)
            elif isinstance(workload, JobList):
                self._list(workload)
        table = JobTable.concatenate([table for table, _ in self.tables])
        behaviour = {job_id: code for part, code in self.tables for job_id in part.job_id}
        return table, [behaviour[job_id] for job_id in table.job_id]

    def add(self, behaviour: Behaviour) -> int:
        """Register a behaviour; return its position."""
        self.behaviours.append(behaviour)
        return len(self.behaviours) - 1

    def pools_of(self, queue_name: str) -> list[int]:
        """Return the codes of a queue's pools."""
        for queue in self.scenario.queues:
            if queue.name == queue_name:
                return [self._codes[pool] for pool in queue.pools]
        raise KeyError(queue_name)

    def queue_for(self, name: str | None) -> str:
        """Return the queue a workload goes to: its own, or the first."""
        return name or self.scenario.queues[0].name

    def machine(self, pool: int) -> tuple[NodeSpec, GpuSpec]:
        """Return node and GPU of a pool."""
        node = self.scenario.catalog.node(self.pools[pool].facts.node.node_type)
        return node, self.scenario.catalog.gpu(node.gpu)

    def site_of(self, pool: int) -> Site:
        """Return the scenario's site of a pool."""
        return self.scenario.sites[self.pools[pool].facts.site]

    # ------------------------------------------------------------------ jobs of other kinds

    def _stream(self, workload: JobStream) -> None:
        catalog = self.scenario.catalog
        spec = catalog.mix(workload.mix)
        if workload.largest_gpus is not None:
            spec = up_to(spec, workload.largest_gpus)
        if not math.isfinite(self.horizon_s):
            raise BuildError(f"workloads.{workload.name}: a stream of jobs never ends; give `duration`")
        table = JobMix(spec).jobs(
            workload.name,
            workload.load_gpus,
            self.scenario.calendar,
            self.horizon_s,
            self.streams,
            tenants=workload.tenants or None,
            shape=catalog.shape(spec.arrival_shape),
            queue=self.queue_for(workload.queue),
            gpu_type=workload.gpu_type or "",
        )
        table = replace(table, priority=np.full(len(table), workload.priority, dtype=np.int64))
        self.tables.append((table, self._reference("research", workload.power_per_gpu_w)))

    def _log(self, workload: SwfLog | HeliosLog) -> None:
        path = Path(workload.path)
        if isinstance(workload, SwfLog):
            table = read_swf(
                path,
                queue=self.queue_for(workload.queue),
                tenant=workload.tenant or workload.name,
                tenant_field=workload.tenant_field,
            )
        else:
            table = read_helios(
                path,
                virtual_clusters=workload.virtual_clusters,
                start=workload.first_day or "",
                end=workload.end_day or "",
                queue=workload.queue or "",
            )
            known = {queue.name for queue in self.scenario.queues}
            for name in table.queue.names:
                if name not in known:
                    raise BuildError(
                        f"{path}: virtual cluster {name!r} has no queue; known: "
                        f"{', '.join(sorted(known))}; name a queue after it, or give `queue`"
                    )
        for reason, count in table.skipped.items():
            self.notes.append(f"{path.name}: {count} rows left out: {reason}")
        if workload.first_jobs is not None:
            table = table.take(np.arange(min(workload.first_jobs, len(table))))
        if math.isfinite(self.horizon_s) and len(table):
            last_s = float(table.submitted_s[-1])
            if last_s < self.horizon_s:
                raise TraceError(
                    f"{path}: the log covers 0 s to {last_s:g} s, the run 0 s to "
                    f"{self.horizon_s:g} s; expected a duration of at most {last_s:g} s, or "
                    "`duration: until done`"
                )
            inside = np.flatnonzero(table.submitted_s <= self.horizon_s)
            if len(inside) < len(table):
                self.notes.append(
                    f"{path.name}: {len(table) - len(inside)} jobs are submitted after the end of "
                    "the run and were left out"
                )
            table = table.take(inside)
        self._check_sizes(table, str(path))
        self.tables.append((table, self._reference("trace", workload.power_per_gpu_w)))

    def _check_sizes(self, table: JobTable, where: str) -> None:
        """Refuse a log with a job that could never start."""
        if not len(table):
            return
        queues = table.queue.texts()
        room = {name: max(self.pools[p].most_gpus for p in self.pools_of(name)) for name in set(queues)}
        limits = np.array([room[name] for name in queues])
        too_large = np.flatnonzero(table.gpus > limits)
        if len(too_large):
            first = int(too_large[0])
            raise BuildError(
                f"{where}: {len(too_large)} jobs ask for more GPUs than their queue has; the first is "
                f"job {table.job_id[first]} with {int(table.gpus[first])} of {int(limits[first])} GPUs; "
                f"the largest asks for {int(table.gpus.max())}"
            )

    def _list(self, workload: JobList) -> None:
        plain: list[JobSpec] = []
        for number, job in enumerate(workload.jobs):
            spec = JobSpec(
                job_id=job.job_id,
                kind="trace",
                tenant=job.tenant or workload.name,
                queue=job.queue or self.queue_for(workload.queue),
                gpus=job.gpus,
                submitted_s=job.submit_s,
                work=job.run_s,
                requested_run_s=job.run_s if job.requested_run_s is None else job.requested_run_s,
                priority=job.priority,
                deadline_s=math.inf if job.deadline_s is None else job.deadline_s,
                gpu_type=job.gpu_type or "",
                minimum_gpus=job.minimum_gpus,
                order_id=float(number),
            )
            if job.checkpoint_every_s is None and not job.minimum_gpus:
                plain.append(spec)
                continue
            saves = (
                None
                if job.checkpoint_every_s is None
                else Checkpoints(job.checkpoint_every_s, job.checkpoint_stall_s)
            )
            code = self._reference(
                "trace", workload.power_per_gpu_w, saves, elastic_gpus=job.gpus if job.minimum_gpus else 0
            )
            self.tables.append((JobTable.from_specs([spec]), code))
        if plain:
            self.tables.append(
                (JobTable.from_specs(plain), self._reference("trace", workload.power_per_gpu_w))
            )

    def _reference(
        self,
        kind: str,
        load_w: float | None,
        checkpoints: Checkpoints | None = None,
        elastic_gpus: int = 0,
    ) -> int:
        """Register the behaviour of jobs whose work is counted in reference seconds."""
        cache: dict[tuple[int, int], Any] = {}

        def profile_for(job: int, placement: Placement, gpus: int) -> Any:
            key = (placement.pool, gpus if elastic_gpus else 0)
            found = cache.get(key)
            if found is None:
                _, gpu = self.machine(placement.pool)
                given = self.site_of(placement.pool).pools[self._within_site(placement.pool)].power_model
                watts = load_w
                if watts is None and given is not None and given.gpu_load_w is not None:
                    watts = given.gpu_load_w
                found = ReferenceProfile.on(gpu, load_w=watts)
                if elastic_gpus:
                    found = found.scaled(gpus / elastic_gpus)
                cache[key] = found
            return found

        return self.add(
            Behaviour(
                kind=kind,
                profile_for=profile_for,
                checkpoints=checkpoints,
                survives_failures=checkpoints is not None,
            )
        )

    def _within_site(self, pool: int) -> int:
        site = self.pools[pool].facts.site
        return pool - next(code for code, plan in enumerate(self.pools) if plan.facts.site == site)
