"""A service as a flow: how many requests an hour, at which latency and power, none of them alone.

What a replica does at a load is looked up in tables that a service in full fills (`load_table`). Between
changes of demand or replicas the flow is constant; what exceeds capacity waits in a backlog that
grows and shrinks linearly, better tiers leaving it first, and adds its waiting time to the time to first
token. Requests are conserved: in = out + backlog + shed. There are rows by hour, and none by request.
A change of load acts at once: what takes longer than a minute or two to settle is not seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from simulator.foundation.step_series import StepSeries
from simulator.foundation.time_grid import snap_up
from simulator.serving.crowd import (
    BIN_S,
    AddReplica,
    Command,
    Fired,
    Limit,
    Observation,
    PowerBins,
    RemoveReplica,
    ReplicaProfile,
    ServiceError,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
)
from simulator.serving.fluid_backlog import Backlog, Flow
from simulator.serving.fluid_hours import FluidHours
from simulator.serving.latency import Histogram
from simulator.serving.ledger import no_rows
from simulator.serving.load_table import POOLED, LoadTable, load_table
from simulator.serving.lookout import Lookout
from simulator.serving.picoseconds import PS_PER_S, to_ps
from simulator.serving.service_rules import ServiceRules
from simulator.serving.stability import Stability, verdict
from simulator.workload.requests import RequestTable

#: Demand and replicas are looked at again at least this often: an hour of `services_hourly`. [s]
HOUR_S: Final = 3600.0


@dataclass
class _FluidReplica:
    command: AddReplica
    clock_fraction: float = 1.0
    drains_s: float = math.inf
    """When it will be empty; inf while it takes requests. [s]"""


@dataclass(frozen=True)
class _Pool:
    """What the open replicas can do together."""

    tables: tuple[tuple[LoadTable, int], ...]
    """Each kind of replica, and how many are alike."""
    replicas: int
    capacity_per_s: float
    misfit_fraction: float
    """Share of requests whose tokens no replica's KV blocks hold."""


class FluidCrowd:
    """A service as a flow; see `crowd.Crowd` for what each method promises.

    Parameters
    ----------
    rules
        The service.
    rate_per_s
        Requests per second of the whole service; its span is the run's.
    sample
        Some thousand requests whose lengths and tiers stand for all; arrivals do not matter.
    rng
        Fills the tables; a named stream of the run.
    """

    def __init__(
        self,
        rules: ServiceRules,
        rate_per_s: StepSeries,
        sample: RequestTable,
        rng: np.random.Generator,
    ) -> None:
        if not len(sample):
            raise ServiceError(f"service {rules.name}: a fluid service needs a sample of requests")
        for tier, *promised in zip(rules.tiers, rules.ttft_slo_s, rules.tpot_slo_s, strict=True):
            if all(map(math.isfinite, promised)):
                raise ServiceError(
                    f"service {rules.name}: a flow does not know which request of tier {tier} met both its "
                    "TTFT and its TPOT promise; use mode full, or one promise"
                )
        self.rules = rules
        self._rate = rate_per_s
        self._sample = sample
        self._seeds = rng
        self._tables: dict[tuple[int, float, int, int, int], LoadTable] = {}
        self._kept: dict[int, ReplicaProfile] = {}
        self._replicas: dict[int, _FluidReplica] = {}
        self._present: _Pool | None = None
        self._max_sequences: int | None = None
        self._queued_per_replica: int | None = None
        self._lookout = Lookout(to_ps(-rules.origin_s), int(BIN_S) * PS_PER_S)
        self._fired: list[Fired] = []
        self._now_s = 0.0
        self._since_s = 0.0
        """Up to when everything is accounted for; later than that nothing has changed. [s]"""
        self._came = self._served = self._shed = 0.0
        """Requests up to `since_s`."""
        self._found_tokens = 0.0
        """Prompt tokens that those served found in the cache. [tokens]"""
        self._hour_came: list[float] = []
        self._hour_backlog: list[float] = []
        self._hour_marked = 0.0
        prompts, outputs = float(np.mean(sample.prompt_tokens)), float(np.mean(sample.output_tokens))
        shares = np.bincount(sample.tier, minlength=len(rules.tiers)) / len(sample)
        self._hours = FluidHours(rules, prompts, outputs)
        self._backlog = Backlog(shares)
        """Who waits at `since_s`."""
        self._bins: list[tuple[int, float, float, float, float]] = []
        self._closed = False

    # time ------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """How far the crowd has come. [s since the run's start]"""
        return self._now_s

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act."""
        if not self._now_s <= until_s < math.inf:
            raise ValueError(f"service {self.rules.name}: cannot advance from {self._now_s} s to {until_s} s")
        if self._fired:
            return Stop.WATCH
        while True:
            edge_s = self._next_edge_s()
            drain_s = min((replica.drains_s for replica in self._replicas.values()), default=math.inf)
            stop_s = min(edge_s, drain_s, until_s)
            if self._judge(stop_s):
                return Stop.WATCH
            self._now_s = stop_s
            if stop_s == edge_s:
                self._settle(stop_s)
            if stop_s == drain_s:
                self._let_go(stop_s)
                return Stop.WATCH
            if stop_s == until_s:
                return Stop.REACHED

    def next_time(self) -> float:
        """Return a time by which the engine must look; inf if none is due."""
        due_s = min((replica.drains_s for replica in self._replicas.values()), default=math.inf)
        if self._lookout.watch is None:
            return due_s
        if self._steady() and not self._crossed(self._now_s):
            return min(due_s, self._next_edge_s())
        return min(due_s, self._lookout.tick / PS_PER_S + self.rules.origin_s)

    def fired(self) -> Sequence[Fired]:
        """Return and forget what `Stop.WATCH` was about."""
        fired, self._fired = self._fired, []
        return fired

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Refuse: a fluid service has a rate, no requests."""
        raise ServiceError(f"service {self.rules.name}: a fluid service takes a rate, not single requests")

    def close(self, at_s: float) -> None:
        """End the run at `at_s`: unfinished bins and hours may be taken."""
        if at_s != self._now_s:
            raise ValueError(f"service {self.rules.name}: advance to {at_s} s before closing there")
        self._settle(at_s)
        self._closed = True

    def _next_edge_s(self) -> float:
        """Return when demand changes next or the hour ends. [s]"""
        origin_s = self.rules.origin_s
        hour_s = (math.floor((self._since_s - origin_s) / HOUR_S) + 1.0) * HOUR_S + origin_s
        change_s = self._rate.next_change(self._since_s)
        return hour_s if change_s is None else min(hour_s, change_s)

    # flow ------------------------------------------------------------------------------------

    def _rate_per_s(self) -> float:
        return float(self._rate.at(self._since_s)) if self._since_s < self._rate.end_s else 0.0

    def _open(self) -> list[_FluidReplica]:
        return [replica for replica in self._replicas.values() if replica.drains_s == math.inf]

    @property
    def _pool(self) -> _Pool:
        """The open replicas, looked up once between two changes."""
        if self._present is None:
            rule, replicas = self.rules.rule, self._open()
            alike = Counter(self._table(replica, len(replicas)) for replica in replicas)
            capacity_per_s = sum(count * table.capacity_per_s for table, count in alike.items())
            most = max((replica.command.kv_blocks for replica in replicas), default=0)
            sizes = zip(self._sample.prompt_tokens.tolist(), self._sample.output_tokens.tolist(), strict=True)
            misfits = float(np.mean([not rule.fits(*size, most) for size in sizes])) if most else 0.0
            self._present = _Pool(tuple(alike.items()), len(replicas), capacity_per_s, misfits)
        return self._present

    def _flow_to(self, at_s: float) -> Flow:
        """Return what comes and goes from `since_s` to a moment before the next edge."""
        pool, bound = self._pool, self._queued_per_replica
        return self._backlog.flow(
            self._rate_per_s(),
            pool.capacity_per_s,
            at_s - self._since_s,
            misfit_fraction=pool.misfit_fraction,
            most=None if bound is None else float(bound * max(1, pool.replicas)),
        )

    def _settle(self, at_s: float) -> None:
        """Account for the time since the last change: demand and replicas were constant."""
        span_s = at_s - self._since_s
        if span_s <= 0.0:
            return
        flow = self._flow_to(at_s)
        waits_s = self._backlog.go_on(self._since_s, at_s, flow)
        served, capacity_per_s = float(flow.served.sum()), self._pool.capacity_per_s
        load = served / span_s / capacity_per_s if capacity_per_s else 0.0
        energy_j, watts = 0.0, {}
        for name, replica in self._replicas.items():
            table = self._table(replica, self._pool.replicas)
            if table not in watts:
                watts[table] = table.power_at(load)
            mean_w, largest_w = watts[table]
            self._bins.append((name, self._since_s, at_s, mean_w * span_s, largest_w))
            energy_j += (mean_w + replica.command.host_w) * span_s
        self._hours.add(
            self._since_s,
            at_s,
            served=flow.served,
            load=load,
            waits_s=waits_s,
            tables=self._pool.tables,
            energy_j=energy_j,
            replicas=self._pool.replicas,
        )
        self._came += flow.came
        self._served += served
        self._found_tokens += self._tokens_found(served, span_s)
        self._shed += flow.shed
        self._since_s = at_s
        if (at_s - self.rules.origin_s) % HOUR_S == 0.0:
            self._hour_came.append(self._came - self._hour_marked)
            self._hour_backlog.append(self._backlog.waiting)
            self._hour_marked = self._came

    def _tokens_found(self, served: float, span_s: float) -> float:
        """Return the prompt tokens that so many requests find in the cache in a constant flow. [tokens]"""
        capacity_per_s = self._pool.capacity_per_s
        if not served or not capacity_per_s:
            return 0.0
        load = served / span_s / capacity_per_s
        share = sum(count * table.capacity_per_s * table.found_at(load) for table, count in self._pool.tables)
        return served * self._hours.prompt_tokens * share / capacity_per_s

    def _table(self, replica: _FluidReplica, pooled: int) -> LoadTable:
        command, rule = replica.command, self.rules.rule
        most = min(self._max_sequences or rule.max_sequences, rule.max_sequences)
        # What is remembered hangs on how many share the requests.
        among = max(1, pooled if self.rules.shares_prefixes else min(pooled, POOLED))
        key = (id(command.profile), replica.clock_fraction, command.kv_blocks, most, among)
        known = self._tables.get(key)
        if known is None:
            self._kept[id(command.profile)] = command.profile  # keeps the id from being used again
            clock = replica.clock_fraction
            known = self._tables[key] = load_table(
                replace(self.rules, rule=replace(rule, max_sequences=most)),
                command.profile if clock == 1.0 else command.profile.at_clock(clock),
                gpus=command.gpus,
                kv_blocks=command.kv_blocks,
                replicas=max(1, pooled),
                sample=self._sample,
                rng=self._seeds.spawn(1)[0],
            )
        return known

    # commands --------------------------------------------------------------------------------

    def apply(self, command: Command, at_s: float) -> None:
        """Change the crowd at `at_s`, which must be `now_s`; what a flow cannot show is refused."""
        if at_s != self._now_s:
            raise ValueError(
                f"service {self.rules.name}: command at {at_s} s, but the crowd is at {self._now_s} s"
            )
        self._settle(at_s)
        self._present = None
        match command:
            case AddReplica():
                self._add(command)
            case RemoveReplica():
                self._remove(command)
            case SetClock():
                for name in command.replica_ids:
                    self._find(name).clock_fraction = command.clock_fraction
            case SetWeights(weights=weights):
                if weights:
                    raise ServiceError(
                        f"service {self.rules.name}: a fluid service has one queue for all sites; "
                        "use mode full to route by weights"
                    )
            case SetTransferBandwidth():
                raise ServiceError(f"service {self.rules.name}: a fluid service moves no KV; use mode full")
            case SetWatch(watch=watch):
                if watch is not None and math.isfinite(watch.kv_above_fraction):
                    raise ServiceError(
                        f"service {self.rules.name}: a fluid service knows no KV blocks; "
                        "watch its queue or load, or use mode full"
                    )
                self._lookout.watch = watch
            case Limit(max_concurrency=int()):
                raise ServiceError(
                    f"service {self.rules.name}: a fluid service holds nobody at the door; use mode full"
                )
            case Limit():
                self._max_sequences = command.max_sequences
                self._queued_per_replica = command.queued_per_replica
        self._lookout.arm(to_ps(at_s - self.rules.origin_s))

    def _add(self, command: AddReplica) -> None:
        if command.role != "mixed":
            raise ServiceError(
                f"service {self.rules.name}: a fluid service does not part prefill from decode; use mode full"
            )
        if command.replica_id in self._replicas:
            raise ValueError(f"service {self.rules.name}: replica {command.replica_id} is there already")
        self._replicas[command.replica_id] = _FluidReplica(command)

    def _remove(self, command: RemoveReplica) -> None:
        replica = self._find(command.replica_id)
        if command.how == "kill":
            # What it held waits again; a flow has no single requests that could be lost.
            del self._replicas[command.replica_id]
        elif replica.drains_s == math.inf:
            table = self._table(replica, self._pool.replicas)
            load = min(1.0, self._rate_per_s() / self._pool.capacity_per_s)
            hold_s = table.hold_s(load, "e2e_p50_s")
            replica.drains_s = snap_up(self._now_s + max(hold_s, 1.0))
            self._present = None

    def _let_go(self, at_s: float) -> None:
        self._settle(at_s)
        self._present = None
        for name in [name for name, replica in self._replicas.items() if replica.drains_s <= at_s]:
            del self._replicas[name]
            self._fired.append(Fired("drained", at_s, name))
        self._lookout.arm(to_ps(at_s - self.rules.origin_s))

    def _find(self, replica_id: int) -> _FluidReplica:
        replica = self._replicas.get(replica_id)
        if replica is None:
            raise ValueError(f"service {self.rules.name}: no replica {replica_id}")
        return replica

    # watches ---------------------------------------------------------------------------------

    def _steady(self) -> bool:
        """Whether nothing that a watch looks at changes before the next edge."""
        return not self._backlog.waiting and self._rate_per_s() <= self._pool.capacity_per_s

    def _running(self) -> float:
        """Return requests in service, by Little's law. [count]"""
        capacity_per_s = self._pool.capacity_per_s
        if not capacity_per_s:
            return 0.0
        load = 1.0 if self._backlog.waiting else min(1.0, self._rate_per_s() / capacity_per_s)
        return sum(
            count * load * table.capacity_per_s * table.hold_s(load) for table, count in self._pool.tables
        )

    def _crossed(self, at_s: float) -> bool:
        backlog = float(self._flow_to(at_s).waiting.sum())
        return self._lookout.crossed(int(backlog), int(backlog + self._running()), self._pool.replicas)

    def _judge(self, stop_s: float) -> bool:
        """Judge the watch at control instants up to `stop_s`; return whether it fired."""
        lookout, origin_s = self._lookout, self.rules.origin_s
        if lookout.watch is None:
            return False
        stop_ps = to_ps(stop_s - origin_s)
        while lookout.tick <= stop_ps:
            at_s = lookout.tick / PS_PER_S + origin_s
            fired = self._crossed(at_s)
            lookout.passed(stop_ps + 1 if self._steady() else lookout.tick + 1, fired=fired)
            if fired:
                self._now_s = at_s
                self._fired.append(Fired("watch", at_s))
                return True
        return False

    # what there is to see --------------------------------------------------------------------

    def observe(self) -> Observation:
        """Return what there is to see now; changes nothing."""
        backlog = float(self._flow_to(self._now_s).waiting.sum())
        ready = self._pool.replicas
        return Observation(
            now_s=self._now_s,
            mode="fluid: a flow with tabulated latencies, rows by hour and none by request",
            queue_length=int(backlog),
            running=int(self._running()),
            in_flight=backlog,
            transferring=0,
            kv_fraction=0.0,
            replicas_ready=ready,
            replicas_draining=len(self._replicas) - ready,
            power_w={name: self.power_w(name) for name in self._replicas},
            tokens_out=self.counters()["tokens_out"],
        )

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now. [W]"""
        table = self._table(self._find(replica_id), self._pool.replicas)
        capacity_per_s = self._pool.capacity_per_s
        load = min(1.0, self._rate_per_s() / capacity_per_s) if capacity_per_s else 0.0
        return table.power_at(1.0 if self._backlog.waiting else load)[0]

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit, as `crowd_books.CrowdBooks.counters` has them."""
        flow = self._flow_to(self._now_s)
        served, backlog = float(flow.served.sum()), float(flow.waiting.sum())
        found_tokens = self._found_tokens + self._tokens_found(served, self._now_s - self._since_s)
        came, served, shed = self._came + flow.came, self._served + served, self._shed + flow.shed
        prompt, output = self._hours.prompt_tokens, self._hours.output_tokens
        found = {
            "requests_in": came,
            "requests_out": served,
            "in_flight": backlog,
            "shed": shed,
            "failed": 0.0,
            "retried": 0.0,
            "preempted": 0.0,
            "tokens_in": came * (prompt + output),
            "tokens_out": served * output,
            "prompt_tokens_out": served * prompt,
            "tokens_in_flight": backlog * (prompt + output),
            "tokens_shed": shed * (prompt + output),
            "tokens_failed": 0.0,
            "wasted_tokens": 0.0,
            "tokens_emitted_in_flight": 0.0,
            "prefix_tokens_looked": served * prompt,
            "prefix_tokens_hit": found_tokens,
        }
        return {name: self.rules.weight * count for name, count in found.items()}

    def take_rows(self) -> dict[str, Any]:
        """Return empty columns: a flow has no single requests."""
        return no_rows()

    def take_power(self) -> PowerBins:
        """Return and forget the stretches of constant flow that are over, replica by replica."""
        bins, self._bins = self._bins, []
        columns = list(zip(*bins, strict=True)) if bins else [()] * 5
        return PowerBins(
            np.array(columns[0], dtype=np.int32),
            *(np.array(column, dtype=np.float64) for column in columns[1:]),
        )

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, as columns of `services_hourly`."""
        return self._hours.take(self._now_s, unfinished=self._closed)

    def histogram(self) -> dict[str, Any]:
        """Return empty columns of `latency_histogram`: only percentiles are known."""
        return Histogram().columns(self.rules.name, self.rules.weight)

    def summary(self) -> dict[str, Any]:
        """Return the mean over requests of their hour's percentiles, tokens out and stability."""
        found = self._hours.summary()
        stability = self.stability()
        found["tokens_out"] = self.counters()["tokens_out"]
        found["stability"] = stability.verdict
        found["headroom_fraction"] = stability.headroom_fraction
        return found

    def stability(self) -> Stability:
        """Return whether the replicas now present keep up with the demand so far."""
        came, backlog, bin_s = self._hour_came, self._hour_backlog, HOUR_S
        if not came and self._now_s:
            # No hour has ended yet: what there is of it stands for all.
            flow = self._flow_to(self._now_s)
            arrived, waiting = flow.came, float(flow.waiting.sum())
            came, backlog, bin_s = [self._came + arrived], [waiting], self._now_s
        return verdict(np.array(backlog), np.array(came), bin_s, self._pool.capacity_per_s)

    def declared_flow_bytes_per_s(self) -> float:
        """Return 0: a fluid service does not part prefill from decode. [B/s]"""
        return 0.0
