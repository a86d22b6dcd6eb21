"""The compiled crowd: the twin's answers, request by request, from a kernel a hundred times quicker.

Commands, watches, books and power bins are the twin's own; replicas and what happens to requests
between two looks are the kernel's. Time inside counts from a base that moves on with the run.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from simulator.serving import kernel
from simulator.serving.arrival_buffer import ArrivalColumns
from simulator.serving.compiled_fleet import CompiledFleet
from simulator.serving.compiling import announce
from simulator.serving.crowd import (
    BIN_S,
    AddReplica,
    Command,
    Fired,
    Limit,
    Observation,
    RemoveReplica,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.kernel import NEVER64
from simulator.serving.ledger import FAILED, HOUR_PS, OK, RETRIED, SHED, Counters
from simulator.serving.picoseconds import NEVER, PS_PER_S
from simulator.serving.routers import LeastOutstanding, RoundRobin
from simulator.serving.service_rules import ServiceRules
from simulator.serving.stability import Stability
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestSource, RequestTable

_BIN_PS: Final = int(BIN_S) * PS_PER_S

#: The base moves on when the present is this far from it: about 11 days. [ps]
_WINDOW_PS: Final = 10**18

#: Routers that the kernel knows.
_ROUTERS: Final[dict[type, int]] = {
    RoundRobin: kernel.ROUND_ROBIN,
    LeastOutstanding: kernel.LEAST_OUTSTANDING,
}

announce(kernel.__name__)


class CompiledCrowd(TwinCrowd):
    """A service in full: see `crowd.Crowd` for what each method promises.

    Parameters
    ----------
    rules
        The service.
    source
        Where requests come from; without one they must be fed.
    """

    def __init__(self, rules: ServiceRules, source: RequestSource | None = None) -> None:
        super().__init__(rules)
        self._arrivals: ArrivalColumns = ArrivalColumns(
            rules.name, source, rules.origin_s, rules.cells, rules.simulated_cells
        )
        self._fleet: CompiledFleet = CompiledFleet(  # type: ignore[assignment]
            rules.name,
            rules.rule,
            tiers=len(rules.tiers),
            cells=rules.simulated_cells,
            bin_ps=_BIN_PS,
            start_ps=self._now,
            rows=rules.rows,
        )
        self._ledger.sites = self._fleet.site_names
        self._retried = self._wasted = 0
        k = self._fleet.k
        k.crowd[kernel.CELLS] = rules.cells
        k.crowd[kernel.ROUTER] = _ROUTERS[type(rules.router)]
        k.crowd[kernel.ROWS_WANTED] = rules.rows
        self._weights: dict[str, float] = {}
        self._load()

    # time ------------------------------------------------------------------------------------

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act."""
        self._deal()
        limit = self._picoseconds(until_s)
        if not self._now <= limit < NEVER:
            raise ValueError(f"service {self.rules.name}: cannot advance from {self.now_s} s to {until_s} s")
        fleet, lookout, full = self._fleet, self._lookout, self.rules.rows
        while True:
            if self._fired:
                return Stop.WATCH
            if fleet.k.crowd[kernel.ROWS] >= full:
                return Stop.ROWS_FULL
            if self._due < limit:
                limit, until_s = self._due, self._due_s
            why = self._run(kernel.ADVANCE, min(limit, lookout.sample, lookout.tick))
            self._now = fleet.absolute(fleet.k.crowd[kernel.NOW])
            if why != kernel.REACHED:
                if why == kernel.NOBODY_KNOWN:
                    return Stop.ARRIVALS_EMPTY
                continue
            at = fleet.absolute(fleet.k.crowd[kernel.EVENT])
            if (at > lookout.sample or at > lookout.tick) and self._look(min(at, limit + 1)):
                continue
            if at > limit:
                self._stamp, self._stamp_s, self._now = limit, until_s, limit
                if limit == self._due:
                    self._let_go()
                    return Stop.WATCH
                return Stop.REACHED

    def _run(self, what: int, stop_ps: int) -> int:
        """Call the kernel, and again after giving it what it lacked; return why it came back."""
        fleet = self._fleet
        if self._now - fleet.base_ps > _WINDOW_PS:
            self._move_base()
        # Nothing changes between the present and the last sample that was taken.
        fleet.leave_bins(self._lookout.sample)
        fleet.k.crowd[kernel.NOW] = self._now - fleet.base_ps
        while True:
            why = int(kernel.advance(fleet.k, what, fleet.shifted(stop_ps)))
            if fleet.k.crowd[kernel.UNKNOWN]:
                fleet.learn_power()
            if fleet.k.crowd[kernel.DRAINED]:
                fleet.k.crowd[kernel.DRAINED] = 0
                self._now = fleet.absolute(fleet.k.crowd[kernel.NOW])
                self._drained()
            if why == kernel.MORE_ARRIVALS:
                self._load()
            elif why == kernel.MORE_ROWS:
                fleet.room_for_rows(len(fleet.k.rows))
            elif why == kernel.MORE_REQUESTS:
                fleet.more_requests()
            else:
                return why
            what = kernel.ADVANCE

    def _move_base(self) -> None:
        self._hand_in()
        self._fleet.move_base(self._now // HOUR_PS * HOUR_PS)
        self._load()

    def _load(self) -> None:
        """Give the kernel the arrivals that are at hand."""
        fleet, arrivals = self._fleet, self._arrivals
        arrivals.read(int(fleet.k.crowd[kernel.ARRIVAL]))
        arrived, table = arrivals.columns(fleet.base_ps, NEVER64)
        c = fleet.k.crowd
        c[kernel.ARRIVAL], c[kernel.ARRIVALS] = 0, len(arrived)
        c[kernel.KNOWN] = -1 if arrivals.drawn else fleet.shifted(arrivals.known_ps)
        fleet.k = fleet.k._replace(arrived=arrived, arriving=table)

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        self._load()
        self._arrivals.feed(block, known_until_s)
        self._load()

    def next_time(self) -> float:
        """Return a time by which the engine must look (a watch, a drain); inf if none is due."""
        self._deal()
        due, ends = self._due, self._fleet.ends
        for slot in self._fleet.draining:
            due = min(due, ends[slot])
        if self._lookout.watch is not None:
            due = min(due, self._earliest_crossing(self._lookout.watch))
        if due == NEVER:
            return math.inf
        return self._due_s if due == self._due else self._seconds_by(due)

    def _earliest_crossing(self, watch: Watch) -> int:
        self._arrivals.read(int(self._fleet.k.crowd[kernel.ARRIVAL]))
        return super()._earliest_crossing(watch)

    def _look(self, before: int) -> bool:
        self._count()
        return super()._look(before)

    # commands --------------------------------------------------------------------------------

    def apply(self, command: Command, at_s: float) -> None:
        """Change the crowd at `at_s`, which must be `now_s`; acts at the next iteration boundary."""
        super().apply(command, at_s)
        if isinstance(command, SetWeights):
            self._weights = dict(command.weights)
            self._fleet.k.shares[1] = 0.0
        if isinstance(command, SetWeights | AddReplica):
            k = self._fleet.k
            k.crowd[kernel.SHARED] = int(bool(self._weights))
            k.shares[0] = [self._weights.get(name, 0.0) for name in self._fleet.site_names]
        if isinstance(command, Limit):
            bound = command.queued_per_replica
            self._fleet.k.crowd[kernel.MOST_QUEUED] = -1 if bound is None else bound

    def _plan(self) -> None:
        self._run(kernel.PLAN, self._now)

    def _deal(self) -> None:
        if self._undealt:
            self._undealt = False
            c = self._fleet.k.crowd
            self._fleet.room_for_rows(int(c[kernel.IN_LOBBY]))
            self._run(kernel.DEAL, self._now)

    def _remove(self, command: RemoveReplica) -> None:
        fleet = self._fleet
        slot = fleet.find(command.replica_id)
        fleet.close_door(slot)
        if command.how == "drain":
            fleet.drain(slot)
            if fleet.is_empty(slot):
                self._drained()
            return
        lost, emitted = fleet.held(slot), fleet.emitted(self._now)
        site = int(fleet.k.replica[slot, kernel.SITE])
        fleet.forget(slot, self._now)
        fleet.room_for_rows(len(lost))
        k = fleet.k
        k.crowd[kernel.NOW] = self._now - fleet.base_ps
        for q in lost:
            request = k.request[q]
            self._retried += 1
            self._wasted += int(emitted[q])
            request[kernel.ATTEMPTS] += 1
            request[kernel.PREEMPTIONS] += 1
            kernel.plain(kernel.begin)(request)
            if request[kernel.ATTEMPTS] > self.rules.retries:
                kernel.plain(kernel.end_row)(k, q, FAILED, command.replica_id, site)
            else:
                request[kernel.SLOT] = kernel.LOBBY
                kernel.plain(kernel.put_last)(k.doors[0], k.request, int(request[kernel.TIER]), q)
                k.crowd[kernel.IN_LOBBY] += 1
                self._undealt = True

    def _let_go(self) -> None:
        self._due, self._due_s = NEVER, math.inf
        for slot in tuple(self._fleet.draining):
            if not self._fleet.k.replica[slot, kernel.LOAD]:
                replica_id = int(self._fleet.k.replica[slot, kernel.REPLICA_ID])
                self._fired.append(Fired("drained", self.now_s, replica_id))
                self._fleet.forget(slot, self._now)

    def _set_clock(self, replica_id: int, clock_fraction: float) -> None:
        if not 0.0 < clock_fraction <= 1.0:
            raise ValueError(f"clock fraction {clock_fraction} is outside (0, 1]")
        slot = self._fleet.find(replica_id)
        self._fleet.set_clock(slot, replica_id, clock_fraction)
        self._fleet.cut(slot, self._now)

    def _set_limit(self, command: Limit) -> None:
        if command.max_sequences is not None and command.max_sequences < 1:
            raise ValueError(f"max_sequences {command.max_sequences} must be at least 1")
        self._limit = command
        for slot in self._fleet.slots():
            self._fleet.k.replica[slot, kernel.MOST_SEQUENCES] = self._most_sequences()
            self._fleet.cut(slot, self._now)

    # what there is to see --------------------------------------------------------------------

    def observe(self) -> Observation:
        """Return what there is to see now; changes nothing."""
        self._deal()
        self._count()
        fleet, k = self._fleet, self._fleet.k
        return Observation(
            now_s=self.now_s,
            mode="full",
            queue_length=self._queue_length(),
            running=int(np.sum(k.replica[:, kernel.RUNNING])),
            in_flight=self.rules.weight * self._in_flight(),
            transferring=0,
            kv_fraction=fleet.kv_fraction(self._now),
            replicas_ready=fleet.ready,
            replicas_draining=len(fleet.draining),
            power_w={
                int(k.replica[slot, kernel.REPLICA_ID]): int(k.replica[slot, kernel.LEVEL_MW]) / 1000.0
                for slot in fleet.slots()
            },
            tokens_out=self.rules.weight * self._ledger.counters.output_tokens_out,
        )

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now. [W]"""
        self._deal()
        return int(self._fleet.k.replica[self._fleet.find(replica_id), kernel.LEVEL_MW]) / 1000.0

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit, as `twin.TwinCrowd.counters` has them."""
        self._count()
        request = self._fleet.k.request
        flying = request[:, kernel.SLOT] != kernel.UNUSED
        totals = self._ledger.counters.totals()
        totals["prefix_tokens_looked"] = int(self._fleet.k.crowd[kernel.LOOKED])
        totals["prefix_tokens_hit"] = int(self._fleet.k.crowd[kernel.HIT])
        totals["in_flight"] = int(np.count_nonzero(flying))
        totals["tokens_in_flight"] = int(np.sum(request[flying][:, [kernel.PROMPT, kernel.OUTPUT]]))
        totals["tokens_emitted_in_flight"] = int(np.sum(self._fleet.emitted(self._now)))
        return {name: self.rules.weight * count for name, count in totals.items()}

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present: what CI gates on."""
        replica = self._fleet.k.replica
        return int(np.sum(replica[:, kernel.ITERATIONS])), int(np.sum(replica[:, kernel.PLANS]))

    def take_rows(self) -> dict[str, Any]:
        """Return and forget finished requests as columns of `requests`, in completion order."""
        self._hand_in()
        return super().take_rows()

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, as columns of `services_hourly`."""
        self._hand_in()
        return super().take_hourly()

    def histogram(self) -> dict[str, Any]:
        """Return the columns of `latency_histogram` over the whole run."""
        self._hand_in()
        return super().histogram()

    def summary(self) -> dict[str, Any]:
        """Return the run's percentiles by tier, stability, headroom and tokens out."""
        self._hand_in()
        self._count()
        return super().summary()

    def stability(self) -> Stability:
        """Return whether the replicas now present keep up with what arrived."""
        self._count()
        return super().stability()

    def _hand_in(self) -> None:
        """Give the ledger the rows that the kernel wrote."""
        k = self._fleet.k
        count = int(k.crowd[kernel.ROWS])
        if count:
            self._ledger.take_in(k.rows[:count].copy(), self._fleet.base_ps)
            k.crowd[kernel.ROWS] = 0

    def _count(self) -> None:
        """Give the ledger the kernel's totals."""
        k = self._fleet.k
        out, shed, failed = k.totals[OK] + k.totals[RETRIED], k.totals[SHED], k.totals[FAILED]
        came = k.crowd[[kernel.REQUESTS_IN, kernel.PROMPTS_IN, kernel.OUTPUTS_IN]]
        lost = (self._retried, k.crowd[kernel.PREEMPTED], self._wasted)
        self._ledger.counters = Counters(*np.concatenate((came, out, shed, failed, lost)).tolist())

    def _in_flight(self) -> int:
        c = self._fleet.k.crowd
        return int(c[kernel.LOADED] + c[kernel.IN_LOBBY])

    def _queue_length(self) -> int:
        c = self._fleet.k.crowd
        return int(c[kernel.IN_LOBBY] + c[kernel.QUEUED])
