"""The requests of a scenario's services: drawn, logged or asked by users, and how many will come."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np

from simulator.engine.build_jobs import JobBuilder
from simulator.foundation.errors import BuildError, CatalogError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S, render
from simulator.performance.serving import prefill_pairs
from simulator.scenario.served_profile import served_profile
from simulator.scenario.served_queues import queues_of
from simulator.scenario.services import Service
from simulator.serving.batch_rule import BatchRule
from simulator.workload.demand import Demand
from simulator.workload.lengths import Lengths, LoggedLengths, LognormalLengths
from simulator.workload.request_log import read_requests
from simulator.workload.requests import DrawnRequests, LoggedRequests, RequestSource, RequestTable
from simulator.workload.user_loop import UserLoop

#: Most requests that are simulated one by one; what they take, for the message that refuses more:
#: requests per second of computing with files written, and bytes of a row of requests.parquet.
_MOST_REQUESTS: Final = 5e9
_REQUESTS_PER_S: Final = 4e5
_ROW_BYTES: Final = 40.0
#: Most users of a closed loop.
_MOST_USERS: Final = 1e7


class RequestBuilder:
    """Makes the request sources of all services; a log is read once."""

    def __init__(self, jobs: JobBuilder) -> None:
        self.jobs = jobs
        self.scenario = jobs.scenario
        self._logs: dict[str, RequestTable] = {}

    def expected(self, service: Service) -> float:
        """Return how many requests will come, about."""
        if service.path is not None:
            return float(np.searchsorted(self.log(service).arrived_s, self.jobs.horizon_s, side="right"))
        return float(self.rate_per_s(service).integral())

    def check_count(self, service: Service) -> None:
        """Refuse before the first one more requests than any machine works through."""
        where, demand = f"workloads.{service.name}.demand", service.demand
        if demand is None or service.mode == "fluid":
            return
        if demand.think_time_s is not None:
            assert demand.users is not None
            if demand.users > _MOST_USERS:
                raise BuildError(
                    f"{where}: {demand.users:,.0f} users in a closed loop are followed one by one; expected "
                    f"at most {_MOST_USERS:,.0f}: give them `requests_per_user` in place of `think_time`"
                )
            return
        many = service.thin_fraction * self.expected(service)
        if many > _MOST_REQUESTS:
            raise BuildError(
                f"{where}: about {render(many, '')} requests would be simulated one by one, "
                f"{render(many / _REQUESTS_PER_S, 's')} of computing and "
                f"{render(_ROW_BYTES * many, 'bytes')} of rows; expected at most "
                f"{_MOST_REQUESTS:,.0f}: shorten the run, ask for less, or "
                "give `mode: thinned` a smaller `thin`, or `mode: fluid`"
            )

    def users(self, service: Service) -> UserLoop:
        """Return the users of a service in a closed loop."""
        demand = service.demand
        assert demand is not None
        assert demand.users is not None
        assert demand.think_time_s is not None
        return UserLoop(
            int(demand.users),
            demand.think_time_s,
            self.lengths(service),
            self.jobs.streams,
            service.name,
            tier_shares=tuple(tier.share_fraction for tier in service.tiers) or (1.0,),
            end_s=self.jobs.horizon_s,
        )

    def source(self, service: Service) -> RequestSource:
        """Return where the requests of the whole service come from."""
        if service.path is not None:
            return LoggedRequests(self.log(service), self.jobs.horizon_s)
        return self.drawn(service, self.rate_per_s(service))

    def log(self, service: Service) -> RequestTable:
        """Return the log of a service that has one."""
        assert service.path is not None
        if service.name not in self._logs:
            tiers = tuple(tier.name for tier in service.tiers)
            log = self._logs[service.name] = read_requests(Path(service.path), tiers)
            for reason, count in log.skipped.items():
                self.jobs.notes.append(
                    f"{service.name}: rows of {Path(service.path).name} left out, {reason}: {count:,}"
                )
            self._note_context(service, log)
        return self._logs[service.name]

    def _note_context(self, service: Service, log: RequestTable) -> None:
        """Say how many requests of a log are longer than the context the model was released for."""
        change, catalog = service.transform, self.scenario.catalog
        name = change.student if change is not None and change.student is not None else service.model
        longest = catalog.model(name).context_tokens
        beyond = int(np.count_nonzero(log.prompt_tokens + log.output_tokens > longest))
        if beyond:
            self.jobs.notes.append(
                f"{service.name}: requests longer than the {longest:,} tokens that {name} was released for, "
                f"and served all the same: {beyond:,} of {len(log.prompt_tokens):,}"
            )

    def piece_tokens(self, service: Service, rule: BatchRule) -> int:
        """Return the tokens of a named piece of the prompts; 0 where they share nothing."""
        named = service.path is not None and rule.keeps_blocks
        prefixes = self.log(service).prefixes if named else None
        if prefixes is not None:
            return prefixes.tokens
        if service.router.name == "prefix-aware":
            raise BuildError(
                f"workloads.{service.name}.router: prefix-aware has no effect: nothing is known of what "
                "prompts begin with; it needs a log with prefixes (Mooncake's hash_ids), an engine that "
                "caches them (vllm-v1, or prefix_caching)"
            )
        return 0

    def drawn(self, service: Service, rate_per_s: StepSeries) -> DrawnRequests:
        """Return requests of a demand's lengths, tiers and burstiness at a rate. [1/s]"""
        assert service.demand is not None
        return DrawnRequests(
            rate_per_s,
            self.lengths(service),
            self.jobs.streams,
            service.name,
            tier_shares=tuple(tier.share_fraction for tier in service.tiers) or (1.0,),
            arrivals=service.demand.arrivals,
            cv=service.demand.cv,
        )

    def rate_per_s(self, service: Service) -> StepSeries:
        """Return the requests per second that are asked for."""
        try:
            return self._asked_per_s(service)
        except CatalogError as error:
            raise BuildError(f"workloads.{service.name}.demand: {error}") from None

    def _asked_per_s(self, service: Service) -> StepSeries:
        jobs, demand = self.jobs, service.demand
        assert demand is not None
        shape = jobs.scenario.catalog.shape(demand.shape) if demand.shape != "flat" else None
        rhythm = (shape, demand.peak_to_mean, demand.doubling_s)
        if demand.requests_per_s is not None:
            wanted = Demand(demand.requests_per_s, *rhythm)
        elif demand.tokens_per_s is not None:
            mean_tokens = self.lengths(service).mean_output_tokens
            wanted = Demand.of_tokens(demand.tokens_per_s, mean_tokens, *rhythm)
        elif demand.users is not None:
            assert demand.requests_per_user_per_s is not None
            wanted = Demand.of_users(demand.users, demand.requests_per_user_per_s, *rhythm)
        else:
            assert demand.gpu_hours_per_s is not None
            wanted = Demand.of_gpu_time(
                demand.gpu_hours_per_s * HOUR_S,
                self._gpu_s_per_request(service, self.lengths(service)),
                *rhythm,
            )
        return wanted.rate_per_s(jobs.scenario.calendar, jobs.horizon_s)

    def lengths(self, service: Service) -> Lengths:
        """Return the lengths of a demand's requests."""
        choice = service.lengths
        assert choice is not None
        if choice.name is not None:
            return LognormalLengths(self.scenario.catalog.lengths(choice.name))
        if choice.path is not None:
            log = read_requests(Path(choice.path), None)
            return LoggedLengths(log.prompt_tokens, log.output_tokens)
        if choice.prompt_mean is None or choice.output_mean is None:
            raise BuildError(
                f"workloads.{service.name}.lengths: give a catalog name, or prompt_mean and output_mean"
            )
        return LognormalLengths.from_means(
            choice.prompt_mean,
            choice.output_mean,
            prompt_median_tokens=choice.prompt_median,
            output_median_tokens=choice.output_median,
            correlation=choice.correlation,
        )

    def _gpu_s_per_request(self, service: Service, lengths: Lengths) -> float:
        """Return the GPU-seconds of a mean request in the batch of a busy replica, its prompt too. [s]"""
        jobs = self.jobs
        _, gpu = jobs.machine(jobs.pools_of(queues_of(service, self.scenario)[0])[0])
        profile = served_profile(service, self.scenario.catalog, gpu)
        batch = 64 * service.attention_data_parallel
        context = lengths.mean_prompt_tokens + lengths.mean_output_tokens / 2.0
        step_s = profile.roofline.iteration_ps(batch, batch, int(batch * context)) / 1e12
        prompt = math.ceil(lengths.mean_prompt_tokens)
        # What reading a prompt adds to an iteration that others decode in: weights are read but once.
        mixed = profile.roofline.iteration_ps(
            batch + prompt, batch + 1, int(batch * context), prefill_pairs(prompt)
        )
        prompt_s = mixed / 1e12 - step_s
        answer_s = step_s * lengths.mean_output_tokens / batch
        return (prompt_s + answer_s) * service.gpus_per_replica
