"""The training runs of a scenario: their layout, profiles, checkpoints and behaviour."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulator.cluster.allocation import Placement, bits
from simulator.engine.behaviour import UNPRODUCTIVE, Behaviour, Checkpoints
from simulator.engine.build_checkpoints import CheckpointBuilder
from simulator.engine.world import PoolPlan
from simulator.foundation.errors import BuildError
from simulator.hardware.roofline import peak_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.given import GivenProfile
from simulator.performance.layouts import LayoutChoice
from simulator.performance.power_swing import SUPPLY_S, power_swing
from simulator.performance.slowed import Slowed
from simulator.performance.training import TrainingProfile, estimate
from simulator.scenario.training_layout import chosen_layout, given_layout
from simulator.scenario.training_tokens import tokens_of
from simulator.scenario.workloads import Training
from simulator.telemetry.record import LayoutFacts, LearningFacts, SwingFacts
from simulator.workload.jobs import JobSpec, JobTable

if TYPE_CHECKING:
    from simulator.engine.build_jobs import JobBuilder

#: Parts of a step in which GPUs do nothing but communicate.
_TALKING = frozenset({"tp_comm_s", "pp_comm_s", "dp_exposed_s", "ep_comm_s", "cp_comm_s"})


class TrainingBuilder:
    """Makes the job and the behaviour of each training run."""

    def __init__(self, jobs: JobBuilder) -> None:
        self.jobs = jobs
        self._chosen: dict[str, LayoutChoice] = {}

    def build(self, workload: Training) -> None:
        """Add a run's job and behaviour."""
        catalog = self.jobs.scenario.catalog
        architecture = Architecture.from_spec(catalog.model(workload.model))
        queue = self.jobs.queue_for(workload.queue)
        home = self._home_pool(queue, workload.gpu_type)
        node, gpu = self.jobs.machine(home)
        layout = self._layout(workload, architecture, home)
        context = layout.context_tokens
        tokens = tokens_of(workload, architecture, layout)
        self.jobs.learning.append(
            LearningFacts(
                workload.name,
                architecture.parameters,
                math.inf if workload.unique_tokens is None else workload.unique_tokens,
                architecture.experts > 0,
            )
        )
        flop = training_flop_per_token(architecture, context, FlopConvention.MODEL_FULL)
        peak = peak_flop_per_s(gpu, workload.precision)
        saving = CheckpointBuilder(
            self.jobs.scenario, workload, architecture.parameters, node, self.jobs.site_of(home)
        )
        checkpoints = saving.checkpoints()
        model_for = self._training_profiles(workload, architecture, layout, flop)
        slowdown = self._slowdown(workload)
        profile_for = _slowed(model_for, slowdown) if slowdown else model_for
        behaviour = Behaviour(
            kind="training",
            profile_for=profile_for,
            start_s=saving.start_s,
            restart_s=saving.restart_s,
            checkpoints=checkpoints,
            recovery=saving.recovery,
            survives_failures=checkpoints is not None,
            state_bytes=saving.size_bytes,
            flop_per_unit=flop,
            peak_flop_per_s=peak,
            mfu_convention=FlopConvention.MODEL_FULL.value,
            unit_is_tokens=True,
            # Of a step whose time was given nobody knows who sends what to whom.
            flows=workload.mfu_fraction is None and workload.power_per_gpu_w is None,
            scattered_ranks=workload.rank_order == "scattered",
        )
        compact = model_for(-1, _compact(home, workload.gpus, node.gpus_per_node), workload.gpus)
        step_s, _ = compact.at(1.0, 1.0)
        run_s = tokens / compact.unit_per_step * step_s
        if checkpoints is not None:
            every_s, stall_s, _ = checkpoints.under(1.0)
            run_s *= 1.0 + stall_s / every_s
            self.jobs.reliability.append(saving.reliability(checkpoints))
        self.jobs.swings.append(self._swing(workload, compact, checkpoints, home))
        modelled = isinstance(compact, TrainingProfile)
        if modelled or slowdown or self.jobs.scenario.failures.slow_nodes is not None:
            behaviour.unproductive = _unproductive(_recomputed_share(compact) if modelled else 0.0)
        if isinstance(compact, TrainingProfile):
            said = (
                f"{layout.describe()}, as given: {compact.step_s:.3g} s a step, "
                f"MFU {compact.mfu_fraction():.1%}"
            )
            choice = self._chosen.get(workload.name)
            reasons = (said,) if choice is None else choice.reasons()
            if slowdown:
                reasons += (f"its steps take {slowdown:.1%} longer, by `slowdown`",)
            self.jobs.layouts.append(
                LayoutFacts(
                    workload.name,
                    layout.describe(),
                    reasons,
                    {
                        key: seconds
                        for key, seconds in Slowed(compact, of_step=slowdown).breakdown.items()
                        if seconds > 0
                    },
                    {} if choice is None else choice.seconds_of_runners_up(),
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
        self.jobs.tables.append((JobTable.from_specs([spec]), self.jobs.add(behaviour)))

    def _swing(
        self, workload: Training, profile: Any, checkpoints: Checkpoints | None, pool: int
    ) -> SwingFacts:
        idle_w = self.jobs.pools[pool].loaded_idle_w
        gpus = workload.gpus
        _, mean_w = profile.at(1.0, 1.0)
        found = power_swing(profile)
        save_w = save_period_s = math.nan
        if checkpoints is not None:
            every_s, stall_s, _ = checkpoints.under(1.0)
            if stall_s:
                seen = 1.0 - math.exp(-stall_s / SUPPLY_S)
                save_w = (mean_w - profile.phase_power.get("checkpoint", idle_w)) * gpus * seen
                save_period_s = every_s + stall_s
        return SwingFacts(
            job=workload.name,
            step_w=math.nan if found is None else found.swing_w * gpus,
            step_period_s=math.nan if found is None else found.period_s,
            step_ramp_w_per_s=math.nan if found is None else found.ramp_w_per_s * gpus,
            save_w=save_w,
            save_period_s=save_period_s,
            stop_w=(mean_w - idle_w) * gpus,
        )

    def _slowdown(self, workload: Training) -> float:
        """Return how much longer than modelled the run's steps take, drawn once for it."""
        said = workload.slowdown
        if said is None:
            return 0.0
        normal = float(self.jobs.streams.stream(f"slowdown.{workload.name}").standard_normal())
        return max(0.0, (1.0 + said.median_fraction) * math.exp(said.sigma * normal) - 1.0)

    def _layout(self, workload: Training, architecture: Architecture, pool: int) -> Layout:
        node, gpu = self.jobs.machine(pool)
        longest = self.jobs.scenario.catalog.model(workload.model).context_tokens
        if workload.parallelism.mode == "given" or workload.mfu_fraction is not None:
            return given_layout(workload, longest)
        choice = chosen_layout(workload, architecture, longest, gpu, node)
        self._chosen[workload.name] = choice
        return choice.best.layout

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
            pool = self.jobs.pools[placement.pool]
            node, gpu = self.jobs.machine(placement.pool)
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
                nic_bandwidth_bytes_per_s=self.jobs.site_of(placement.pool).fabric.values["link_bytes_per_s"],
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
        node, _ = self.jobs.machine(placement.pool)
        site = self.jobs.sites[pool.facts.site]
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

    def _home_pool(self, queue: str, gpu_type: str | None) -> int:
        pools = self.jobs.pools_of(queue)
        for pool in pools:
            if not gpu_type or self.jobs.pools[pool].facts.node.gpu_type == gpu_type:
                return pool
        known = sorted({self.jobs.pools[pool].facts.node.gpu_type for pool in pools})
        raise BuildError(f"queue {queue} has no GPU of type {gpu_type!r}; known: {', '.join(known)}")


def _compact(pool: int, gpus: int, gpus_per_node: int) -> Placement:
    """Return the placement of a job alone in its pool."""
    nodes, rest = divmod(gpus, gpus_per_node)
    parts = ((nodes, rest),) if rest else ()
    return Placement(pool, gpus, (1 << nodes) - 1, parts)


def _slowed(
    model_for: Callable[[int, Placement, int], Any], slowdown: float
) -> Callable[[int, Placement, int], Any]:
    """Return the profiles of a run whose steps take a fraction longer wherever it lies."""
    known: dict[int, tuple[Any, Slowed]] = {}

    def profile_for(job: int, placement: Placement, gpus: int) -> Slowed:
        profile = model_for(job, placement, gpus)
        # Kept with its profile, so that no other can get the same identity meanwhile.
        return known.setdefault(id(profile), (profile, Slowed(profile, of_step=slowdown)))[1]

    return profile_for


def _recomputed_share(profile: TrainingProfile) -> float:
    """Return the share of a step's arithmetic that was done before: HFU over MFU, less one."""
    useful = profile.flop_per_gpu(FlopConvention.MODEL_FULL)
    return 1.0 - useful / profile.flop_per_gpu(FlopConvention.HARDWARE_FULL)


def _unproductive(recomputed: float) -> Callable[[Any, float, float], tuple[float, ...]]:
    """Return what tells the parts of a step that are not useful work, by `UNPRODUCTIVE`.

    Arithmetic and memory traffic are taken as recomputed in the same share.
    """

    def shares(profile: Any, clock_fraction: float, link_share: float) -> tuple[float, ...]:
        if not hasattr(profile, "parts"):
            # Of a step whose length was given nothing else is known.
            return (0.0,) * len(UNPRODUCTIVE)
        part = profile.parts(clock_fraction, link_share)
        step_s = sum(part.values())
        talking_s = sum(seconds for name, seconds in part.items() if name in _TALKING)
        return (
            part["pp_bubble_s"] / step_s,
            talking_s / step_s,
            part["straggler_s"] / step_s,
            recomputed * part["compute_s"] / step_s,
        )

    return shares
