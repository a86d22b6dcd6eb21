"""The services of a scenario: their crowds, and what a replica costs and needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulator.cluster.allocation import Placement
from simulator.engine.behaviour import Behaviour
from simulator.engine.build_jobs import JobBuilder
from simulator.engine.build_requests import RequestBuilder
from simulator.engine.world import ServicePlan
from simulator.foundation.errors import BuildError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S
from simulator.llm.memory import kv_blocks, kv_bytes_per_token, weight_bytes_per_gpu
from simulator.performance.given import GivenProfile
from simulator.performance.iteration_table import read_iteration_table
from simulator.performance.serving import ServingProfile
from simulator.scenario.served_engine import served_engine, served_rule
from simulator.scenario.served_model import served_architecture, served_name
from simulator.scenario.served_profile import served_kv_precision, served_profile
from simulator.scenario.served_queues import queues_of
from simulator.scenario.services import Service
from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import AddReplica, Crowd, Limit, Role, SetWeights
from simulator.serving.fluid import FluidCrowd
from simulator.serving.full_crowd import COMPILED_FROM, COMPILED_FROM_SHARED, Form, form_of, full_crowd
from simulator.serving.service_rules import ServiceRules
from simulator.serving.thinned import ThinnedCrowd
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import LoggedRequests, RequestTable

#: Requests whose lengths and tiers stand for all in mode fluid.
_SAMPLE: Final = 4096

_FLOW: Final = Form("flow", "mode fluid")

#: Roles of replicas where prefill and decode are apart.
_STAGES: Final[tuple[Role, Role]] = ("prefill", "decode")


class ServiceBuilder:
    """Makes the plans of all services."""

    def __init__(self, jobs: JobBuilder) -> None:
        self.jobs = jobs
        self.scenario = jobs.scenario
        self.requests = RequestBuilder(jobs)

    def build(self) -> list[ServicePlan]:
        """Return one plan a service, in the order of the scenario."""
        return [self._plan(workload) for workload in self.scenario.workloads if isinstance(workload, Service)]

    def _plan(self, service: Service) -> ServicePlan:
        jobs, catalog = self.jobs, self.scenario.catalog
        architecture = served_architecture(service, self.scenario.catalog)
        queues = queues_of(service, self.scenario)
        pools = [pool for queue in queues for pool in jobs.pools_of(queue)]
        if service.disaggregated and len({jobs.pools[pool].facts.site for pool in pools}) > 1:
            raise BuildError(
                f"workloads.{service.name}.disaggregated: prefill and decode must be at one site: "
                "no KV goes over the lines between sites; give one of `sites`"
            )
        smallest_bytes = min(jobs.machine(pool)[1].memory_bytes for pool in pools)
        engine = served_engine(service, catalog, smallest_bytes)
        budget = engine.token_budget
        rule = served_rule(service, engine)
        if rule.drafts:
            seeds = jobs.streams.stream(f"service/{service.name}/drafts")
            rule = replace(rule, draft_seed=int(seeds.integers(1 << 62)))
        kv_precision = served_kv_precision(service)
        tiers = service.tiers
        self._check_mode(service)
        self._check_weights(service, pools)
        self.requests.check_count(service)
        profiles: dict[int, ServingProfile] = {}

        def profile(pool: int) -> ServingProfile:
            if pool not in profiles:
                _, gpu = jobs.machine(pool)
                modelled = served_profile(
                    service,
                    catalog,
                    gpu,
                    cpu_overhead_s=engine.cpu_overhead_s,
                    cpu_overhead_per_sequence_s=engine.cpu_overhead_per_sequence_s,
                    overlaps_cpu=engine.overlaps_cpu,
                    most_tokens=budget * service.attention_data_parallel,
                )
                if service.engine.iteration_table is not None:
                    table = read_iteration_table(
                        Path(service.engine.iteration_table),
                        layers=architecture.layers,
                        tensor_parallel=service.tensor_parallel,
                    )
                    if table.most_tokens < budget:
                        raise BuildError(
                            f"workloads.{service.name}.engine: token_budget {budget} is wider than the "
                            f"widest measured iteration, {table.most_tokens} tokens; lower it"
                        )
                    modelled = modelled.timed_by(table)
                watts = service.power_per_gpu_w
                profiles[pool] = modelled if watts is None else modelled.drawing(watts)
            return profiles[pool]

        def blocks(pool: int) -> int:
            _, gpu = jobs.machine(pool)
            return kv_blocks(
                architecture,
                given=service.engine.kv_blocks,
                gpu_memory_bytes=gpu.memory_bytes,
                tensor_parallel=service.tensor_parallel,
                attention_data_parallel=service.attention_data_parallel,
                precision=service.engine.precision,
                kv_precision=kv_precision,
                block_tokens=engine.block_tokens,
                memory_fraction=engine.memory_fraction,
                token_budget=budget,
                reserved_bytes=engine.reserved_bytes,
            )

        # A model that does not fit is refused before anything runs, and a cache that nothing fits.
        self._check_cache(service, rule, max(blocks(pool) for pool in pools))

        def add_command(number: int, pool: int, site: str, role: Role, gpus: int) -> AddReplica:
            host_w = jobs.pools[pool].host_active_w / jobs.pools[pool].facts.node.gpus_per_node * gpus
            return AddReplica(
                replica_id=number,
                site=site,
                role=role,
                gpus=gpus,
                profile=profile(pool),
                kv_blocks=blocks(pool),
                host_w=host_w,
            )

        split = service.disaggregated
        prefill, decode = _STAGES
        roles = (prefill,) * split.prefill + (decode,) * split.decode if split else ()
        minimum = len(roles) or service.replicas.minimum
        maximum = len(roles) or service.replicas.highest
        node, _ = jobs.machine(pools[0])
        nic = (
            jobs.site_of(pools[0]).fabric.values["link_bytes_per_s"] or node.nic_bandwidth_bytes_per_s or 0.0
        )
        try:
            rules = ServiceRules(
                name=service.name,
                tenant=service.tenant or service.name,
                tiers=tuple(tier.name for tier in tiers) or ("standard",),
                ttft_slo_s=tuple(tier.ttft_slo_s or math.inf for tier in tiers) or (math.inf,),
                tpot_slo_s=tuple(tier.tpot_slo_s or math.inf for tier in tiers),
                rule=rule,
                router=service.router.build(),
                piece_tokens=self.requests.piece_tokens(service, rule),
                kv_bytes_per_token=kv_bytes_per_token(architecture, kv_precision, 1),
                attention_data_parallel=service.attention_data_parallel,
                transfer_bytes_per_s=nic * service.gpus_per_replica if split and nic else math.inf,
                origin_s=-_since_hour_s(self.scenario),
            )
        except ValueError as error:
            raise BuildError(str(error)) from None
        link = node.host_to_gpu_bandwidth_bytes_per_s
        cold_phases = service.cold_start.phases(
            service.gpus_per_replica
            * weight_bytes_per_gpu(
                architecture,
                service.engine.precision,
                service.tensor_parallel,
                service.attention_data_parallel,
            ),
            math.inf if link is None else link * service.gpus_per_replica,
        )
        cold_start_s = service.cold_start.total_s
        if cold_start_s is None:
            cold_start_s = math.fsum(length_s for _, length_s in cold_phases)
        last_arrival_s = math.inf
        if not math.isfinite(jobs.horizon_s):
            last_arrival_s = float(self.requests.log(service).arrived_s[-1])
        crowd, form = self._crowd(service, rules, minimum)
        if service.admission is not None:
            admission = service.admission
            limit = Limit(
                queued_per_replica=admission.queued_per_replica,
                max_concurrency=admission.max_concurrency,
                queued_at_door=admission.queued_at_door,
            )
            crowd.apply(limit, 0.0)
        if service.site_weights is not None:
            crowd.apply(SetWeights(tuple(service.site_weights.items())), 0.0)
        return ServicePlan(
            name=service.name,
            crowd=crowd,
            form=form,
            queues=queues,
            tenant=service.tenant or service.name,
            model=served_name(service),
            tiers=rules.tiers,
            ttft_slo_s=rules.ttft_slo_s,
            tpot_slo_s=rules.tpot_slo_s,
            gpus_per_replica=service.gpus_per_replica,
            minimum=minimum,
            maximum=maximum,
            autoscaler=service.replicas.autoscale.build(),
            behaviour=jobs.add(
                Behaviour(
                    kind="replica",
                    profile_for=self._replica_watts(profile),
                    start_s=cold_start_s,
                    warm_at_s=0.0 if service.warm_start else -1.0,
                    restart_s=cold_start_s,
                )
            ),
            add_command=add_command,
            origin_s=rules.origin_s,
            roles=roles,
            flows=bool(split),
            transfer_bytes_per_s=rules.transfer_bytes_per_s,
            priority=service.priority,
            mode=service.mode,
            last_arrival_s=last_arrival_s,
            cold_phases=cold_phases,
        )

    def _replica_watts(
        self, profile: Callable[[int], ServingProfile]
    ) -> Callable[[int, Placement, int], Any]:
        """Return what caps and limits count with: the most a replica may draw.

        What it does draw comes from the crowd, later.
        """

        def profile_for(job: int, placement: Placement, gpus: int) -> GivenProfile:
            serving = profile(placement.pool)
            return GivenProfile(1.0, 1.0, serving.most_power_w, serving.power.floor_w)

        return profile_for

    def _check_cache(self, service: Service, rule: BatchRule, most_blocks: int) -> None:
        """Refuse a cache or a budget that no request of a log, nor the mean one of a demand, fits."""
        if service.path is not None:
            log = self.requests.log(service)
            prompts, outputs = log.prompt_tokens.tolist(), log.output_tokens.tolist()
            said = "no request of its log"
        else:
            lengths = self.requests.lengths(service)
            prompts = [math.ceil(lengths.mean_prompt_tokens)]
            outputs = [math.ceil(lengths.mean_output_tokens)]
            said = "not even the mean request"
        if not any(rule.fits(*pair, most_blocks) for pair in zip(prompts, outputs, strict=True)):
            raise BuildError(
                f"workloads.{service.name}.engine: {said} fits {most_blocks} blocks of {rule.block_tokens} "
                f"tokens and a budget of {rule.token_budget} tokens an iteration; it would refuse them: "
                "give more kv_blocks, memory or budget, or a smaller model"
            )

    def _check_weights(self, service: Service, pools: Sequence[int]) -> None:
        """Refuse weights of sites that decide nothing, or deal requests to where no replica can be."""
        if service.site_weights is None:
            return
        where = f"workloads.{service.name}.site_weights"
        sites = tuple(dict.fromkeys(self.jobs.site_of(pool).name for pool in pools))
        for site in service.site_weights:
            if site not in sites:
                raise BuildError(
                    f"{where}: no replica can be at {site}: the pools of its queues are at "
                    f"{', '.join(sites)}; give `sites` or another `queue`"
                )
        if len(sites) == 1:
            raise BuildError(
                f"{where}: has no effect, all replicas are at {sites[0]}; leave it out, or give more `sites`"
            )

    def _check_mode(self, service: Service) -> None:
        """Refuse what a service in another mode than full cannot show."""
        where, mode = f"workloads.{service.name}", service.mode
        if mode == "full":
            return
        if service.disaggregated:
            raise BuildError(f"{where}: a {mode} service does not part prefill from decode; use mode full")
        if service.admission is not None and service.admission.max_concurrency is not None:
            raise BuildError(
                f"{where}.admission: max_concurrency holds requests at one door for all replicas, which a "
                f"{mode} service does not have; use mode full"
            )
        if service.demand is not None and service.demand.think_time_s is not None:
            raise BuildError(
                f"{where}.demand: users in a closed loop ask when they were answered, which a {mode} service "
                "does not follow; use mode full"
            )
        if mode == "thinned" and service.replicas.autoscale.name != "none":
            raise BuildError(
                f"{where}: a thinned service keeps its replicas, because cells of unequal size would be "
                "biased; give a fixed number of replicas, or use mode full or fluid"
            )
        if mode == "fluid" and service.demand is not None and service.demand.arrivals != "poisson":
            raise BuildError(
                f"{where}.demand: arrivals: {service.demand.arrivals} has no effect in mode fluid, whose "
                "latencies are those of Poisson arrivals; leave it out or use mode full"
            )

    def _crowd(self, service: Service, rules: ServiceRules, replicas: int) -> tuple[Crowd, Form]:
        """Return the crowd of a service's mode, and what it runs on."""
        if service.mode == "fluid":
            streams = self.jobs.streams
            rng = streams.stream(f"service/{service.name}/tables")
            if service.path is not None:
                end_s = self.jobs.horizon_s
                log = LoggedRequests(self.requests.log(service), end_s).table
                rate_per_s = _hourly_rate_per_s(log, rules.origin_s, end_s)
                return FluidCrowd(rules, rate_per_s, log, rng), _FLOW
            rate_per_s = self.requests.rate_per_s(service)
            # Lengths and tiers of requests as they would come; when they come does not matter.
            drawn = self.requests.drawn(service, StepSeries.constant(1.0, 2.0 * _SAMPLE))
            return FluidCrowd(rules, rate_per_s, drawn.next_block(_SAMPLE), rng), _FLOW
        if service.demand is not None and service.demand.think_time_s is not None:
            self.jobs.notes.append(
                f"{service.name}: users in a closed loop ask when they were answered, so it runs on the "
                "readable twin, request by request"
            )
            return TwinCrowd(rules, self.requests.users(service)), Form("twin", "users in a closed loop")
        expected = self.requests.expected(service)
        if service.mode == "thinned":
            expected *= service.thin_fraction
        tabulated = service.engine.iteration_table is not None
        form = form_of(rules, expected, tabulated=tabulated)
        least, speed = COMPILED_FROM, "20,000 requests"
        if rules.shares_prefixes:
            least, speed = COMPILED_FROM_SHARED, "300 requests of 12,000 tokens"
        if form.name == "twin" and expected >= least:
            self.jobs.notes.append(
                f"{service.name}: {form.reason}, so it runs on the readable twin, some {speed} a second"
            )
        source = self.requests.source(service)
        if service.mode == "thinned":
            share = service.thin_fraction
            thinned = ThinnedCrowd(
                rules, replicas, share, source, expected_requests=expected, tabulated=tabulated
            )
            return thinned, form
        return full_crowd(rules, source, expected_requests=expected, tabulated=tabulated), form


def _hourly_rate_per_s(log: RequestTable, origin_s: float, end_s: float) -> StepSeries:
    """Return the requests per second of a log in each hour: the chance of minutes is in the tables."""
    hours_s = np.arange(math.floor((end_s - origin_s) / HOUR_S) + 1) * HOUR_S + origin_s
    edges_s = np.append(np.maximum(hours_s[hours_s < end_s], 0.0), end_s)
    counts, _ = np.histogram(log.arrived_s, edges_s)
    return StepSeries(edges_s[:-1], counts / np.diff(edges_s), end_s)


def _since_hour_s(scenario: Any) -> float:
    """Return how long before the start the last UTC hour began. [s]"""
    start = scenario.start_utc
    return float(start.minute * 60 + start.second) % HOUR_S
