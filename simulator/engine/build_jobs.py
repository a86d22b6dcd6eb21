"""The jobs of a scenario's workloads, and how each kind behaves while it holds GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.cluster.allocation import Placement, bits
from simulator.engine.behaviour import Behaviour, Checkpoints
from simulator.engine.world import PoolPlan, SitePlan
from simulator.foundation.errors import BuildError, TraceError
from simulator.foundation.streams import Streams
from simulator.hardware.roofline import peak_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.given import GivenProfile
from simulator.performance.layouts import choose_layout
from simulator.performance.trace_job import ReferenceProfile
from simulator.performance.training import TrainingProfile, estimate
from simulator.scenario.sites import Site
from simulator.scenario.tree import Scenario
from simulator.scenario.workloads import HeliosLog, JobList, JobStream, SwfLog, Training
from simulator.telemetry.record import LayoutFacts
from simulator.workload.helios import read_helios
from simulator.workload.jobs import JobSpec, JobTable
from simulator.workload.mix import JobMix, up_to
from simulator.workload.swf import read_swf

#: Bytes of a checkpoint for each parameter: 16-bit weights and 32-bit master, two moments.
CHECKPOINT_BYTES_PER_PARAMETER = 14.0

#: Sequences of a step, where the scenario gives no batch: about four million tokens, as the
#: published runs of 2023 to 2025 use in their long middle.
_BATCH_TOKENS = 4_194_304


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
        self.notes: list[str] = []
        self._reasons: dict[str, tuple[str, ...]] = {}
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
                self._training(workload)
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

    # ------------------------------------------------------------------ training

    def _training(self, workload: Training) -> None:
        catalog = self.scenario.catalog
        architecture = Architecture.from_spec(catalog.model(workload.model))
        queue = self.queue_for(workload.queue)
        home = self._home_pool(queue, workload.gpu_type)
        node, gpu = self.machine(home)
        layout = self._layout(workload, architecture, home)
        context = layout.context_tokens
        tokens = workload.tokens
        if tokens is None:
            assert workload.steps is not None
            tokens = workload.steps * layout.tokens_per_step
        flop = training_flop_per_token(architecture, context, FlopConvention.MODEL_FULL)
        peak = peak_flop_per_s(gpu, workload.precision)
        checkpoints = self._checkpoints(workload, architecture, node)
        recover_s = self._mean_recover_s()
        profile_for = self._training_profiles(workload, architecture, layout, flop)
        saves = workload.checkpoint
        state_bytes = (saves.size_bytes if saves else None) or (
            architecture.parameters * CHECKPOINT_BYTES_PER_PARAMETER
        )
        behaviour = Behaviour(
            kind="training",
            profile_for=profile_for,
            start_s=recover_s,
            restart_s=recover_s,
            checkpoints=checkpoints,
            survives_failures=checkpoints is not None,
            state_bytes=state_bytes,
            flop_per_unit=flop,
            peak_flop_per_s=peak,
            mfu_convention=FlopConvention.MODEL_FULL.value,
            unit_is_tokens=True,
            flows=True,
        )
        compact = profile_for(-1, _compact(home, workload.gpus, node.gpus_per_node), workload.gpus)
        step_s, _ = compact.at(1.0, 1.0)
        run_s = tokens / compact.unit_per_step * step_s
        if checkpoints is not None:
            run_s *= 1.0 + checkpoints.stall_s / checkpoints.every_s
        behaviour.productive_share = _productive_share(compact)
        if isinstance(compact, TrainingProfile):
            said = (
                f"{layout.describe()}, as given: {compact.step_s:.3g} s a step, "
                f"MFU {compact.mfu_fraction():.1%}"
            )
            self.layouts.append(
                LayoutFacts(
                    workload.name,
                    layout.describe(),
                    self._reasons.get(workload.name, (said,)),
                    {key: seconds for key, seconds in compact.breakdown.items() if seconds > 0},
                )
            )
        requested_s = workload.requested_run_s if workload.requested_run_s else run_s * 1.2
        spec = JobSpec(
            job_id=workload.name,
            kind="training",
            tenant=workload.tenant or workload.name,
            queue=queue,
            gpus=workload.gpus,
            submitted_s=workload.submit_s,
            work=float(tokens),
            requested_run_s=requested_s,
            priority=workload.priority,
            deadline_s=math.inf if workload.deadline_s is None else workload.deadline_s,
            model=workload.model,
            gpu_type=workload.gpu_type or "",
            minimum_gpus=workload.elastic.minimum_gpus if workload.elastic else 0,
        )
        self.tables.append((JobTable.from_specs([spec]), self.add(behaviour)))

    def _layout(self, workload: Training, architecture: Architecture, pool: int) -> Layout:
        node, gpu = self.machine(pool)
        given = workload.parallelism
        longest = self.scenario.catalog.model(workload.model).context_tokens
        context = workload.sequence_tokens(longest)
        batch = workload.global_batch or max(1, _BATCH_TOKENS // context)
        if workload.mfu_fraction is not None and given.mode == "auto":
            # The step is given by its MFU: only GPUs and tokens matter, not how they are cut.
            return Layout(
                data_parallel=workload.gpus,
                global_batch=-(-batch // workload.gpus) * workload.gpus,
                context_tokens=context,
                precision=workload.precision,
                zero_stage=3,
            )
        if given.mode == "auto":
            choice = choose_layout(
                architecture,
                gpu,
                node,
                gpus=workload.gpus,
                global_batch=batch,
                context_tokens=context,
                precision=workload.precision,
            )
            self._reasons[workload.name] = choice.reasons()
            return choice.best.layout
        tensor = given.tensor_parallel or 1
        pipeline = given.pipeline_parallel or 1
        context_parallel = given.context_parallel or 1
        used = tensor * pipeline * context_parallel
        data = given.data_parallel or workload.gpus // used
        if used * data != workload.gpus:
            raise BuildError(
                f"workloads.{workload.name}: tp {tensor} x pp {pipeline} x cp {context_parallel} "
                f"x dp {data} = {used * data} ranks, and gpus is {workload.gpus}"
            )
        unit = data * given.micro_batch
        return Layout(
            tensor_parallel=tensor,
            pipeline_parallel=pipeline,
            data_parallel=data,
            context_parallel=context_parallel,
            expert_parallel=given.expert_parallel or 1,
            interleave=given.interleave,
            micro_batch=given.micro_batch,
            global_batch=max(unit, round(batch / unit) * unit) if workload.global_batch is None else batch,
            context_tokens=context,
            sequence_parallel=given.sequence_parallel,
            recompute=given.recompute,
            zero_stage=given.zero_stage,
            precision=workload.precision,
        )

    def _training_profiles(
        self, workload: Training, architecture: Architecture, layout: Layout, flop: float
    ) -> Callable[[int, Placement, int], Any]:
        cache: dict[Any, Any] = {}

        def profile_for(job: int, placement: Placement, gpus: int) -> Any:
            key = (placement.pool, placement.whole, placement.parts, gpus)
            found = cache.get(key)
            if found is None:
                found = cache[key] = make(placement, gpus)
            return found

        def make(placement: Placement, gpus: int) -> Any:
            pool = self.pools[placement.pool]
            node, gpu = self.machine(placement.pool)
            host_w = pool.host_active_w / pool.facts.node.gpus_per_node
            watts = None if workload.power_per_gpu_w is None else workload.power_per_gpu_w - host_w
            if watts is not None and watts < 0.0:
                raise BuildError(
                    f"workloads.{workload.name}: power_per_gpu {workload.power_per_gpu_w:g} W is less "
                    f"than the host's share of {host_w:g} W; give pools a power_model"
                )
            used = self._for_gpus(layout, gpus)
            if workload.mfu_fraction is not None:
                peak = peak_flop_per_s(gpu, workload.precision)
                step_s = layout.tokens_per_step * flop / (workload.mfu_fraction * peak * gpus)
                if watts is None:
                    return GivenProfile.at_mfu(
                        gpu, layout.tokens_per_step, step_s, workload.mfu_fraction, workload.precision
                    )
                return GivenProfile.on(gpu, layout.tokens_per_step, step_s, load_w=watts)
            spread = self._spread(placement, pool, used.gpus)
            profile = estimate(
                architecture,
                used,
                gpu,
                node,
                spread,
                nic_bandwidth_bytes_per_s=self.site_of(placement.pool).fabric.link_bytes_per_s,
            )
            if watts is None:
                return profile
            step_s, _ = profile.at(1.0, 1.0)
            return GivenProfile.on(gpu, profile.unit_per_step, step_s, load_w=watts)

        return profile_for

    def _for_gpus(self, layout: Layout, gpus: int) -> Layout:
        if gpus == layout.gpus:
            return layout
        return layout.with_data_parallel(max(1, gpus // layout.replica_gpus))

    def _spread(self, placement: Placement, pool: PoolPlan, ranks: int) -> Spread:
        """Return how `ranks` lie on a placement; GPUs beyond them stay idle with their holder."""
        per_node = pool.facts.node.gpus_per_node
        node, _ = self.machine(placement.pool)
        site = self.sites[pool.facts.site]
        first = site.first_node.get(placement.pool, 0)
        on_node = {first + n: per_node for n in bits(placement.whole)}
        for n, gpus in placement.parts:
            on_node[first + n] = on_node.get(first + n, 0) + gpus
        spare = placement.gpus - ranks
        for n in sorted(on_node, reverse=True):
            if spare <= 0:
                break
            idle = min(spare, on_node[n])
            on_node[n] -= idle
            spare -= idle
            if not on_node[n]:
                del on_node[n]
        if site.fabric is not None:
            return site.fabric.spread(on_node)
        return Spread.of_nodes(on_node, nodes_per_domain=max(1, node.scale_up_domain_gpus // per_node))

    def _checkpoints(
        self, workload: Training, architecture: Architecture, node: NodeSpec
    ) -> Checkpoints | None:
        saves = workload.checkpoint
        if saves is None:
            return None
        size = saves.size_bytes or architecture.parameters * CHECKPOINT_BYTES_PER_PARAMETER
        queue = self.queue_for(workload.queue)
        storage = self.site_of(self.pools_of(queue)[0]).storage
        write_s = size / storage.write_bandwidth_bytes_per_s if storage else None
        if saves.mode == "sync":
            stall_s = saves.stall_s if saves.stall_s is not None else write_s
            if stall_s is None:
                raise BuildError(
                    f"workloads.{workload.name}.checkpoint: the pause follows from the size and the "
                    "site's storage, which has none; give `storage: {write_bandwidth: ...}` or `stall`"
                )
            return Checkpoints(saves.every_s, stall_s)
        stall_s = saves.stall_s
        if stall_s is None:
            bandwidth = node.host_to_gpu_bandwidth_bytes_per_s
            if not bandwidth:
                raise BuildError(
                    f"workloads.{workload.name}.checkpoint: node {node.name} has no "
                    "host_to_gpu_bandwidth; give `stall`"
                )
            stall_s = size / workload.gpus / bandwidth
        return Checkpoints(saves.every_s, stall_s, lag_s=write_s or 0.0)

    def _mean_recover_s(self) -> float:
        """Return the mean restart of the failure preset's causes, by how often they come. [s]"""
        rules = self.scenario.failures
        if rules.preset == "none":
            return 0.0
        preset = self.scenario.catalog.failure_preset(rules.preset)
        total = sum(cause.events for cause in preset.causes)
        if not total:
            return 0.0
        return float(sum(cause.events * cause.recover_s for cause in preset.causes) / total)

    def _home_pool(self, queue: str, gpu_type: str | None) -> int:
        pools = self.pools_of(queue)
        for pool in pools:
            if not gpu_type or self.pools[pool].facts.node.gpu_type == gpu_type:
                return pool
        known = sorted({self.pools[pool].facts.node.gpu_type for pool in pools})
        raise BuildError(f"queue {queue} has no GPU of type {gpu_type!r}; known: {', '.join(known)}")

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


def _compact(pool: int, gpus: int, gpus_per_node: int) -> Placement:
    """Return the placement of a job alone in its pool."""
    nodes, rest = divmod(gpus, gpus_per_node)
    parts = ((nodes, rest),) if rest else ()
    return Placement(pool, gpus, (1 << nodes) - 1, parts)


def _productive_share(profile: Any) -> float:
    """Return the share of a step that is arithmetic, memory traffic and the optimiser."""
    breakdown = profile.breakdown
    total = sum(breakdown.values())
    if not total:
        return 1.0
    return float((breakdown["compute_s"] + breakdown["optimizer_s"]) / total)
