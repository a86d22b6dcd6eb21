"""The readable crowd: every request of a service on every replica, one event at a time.

At one instant: iterations end and requests finish, then transfers arrive, then requests arrive
and are routed, then every replica at a boundary plans on. Commands act after all that. What they
leave at the door is dealt out after the last command of an instant.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from simulator.foundation.time_grid import snap
from simulator.serving.arrival_buffer import ArrivalBuffer
from simulator.serving.crowd import (
    BIN_S,
    AddReplica,
    Command,
    Fired,
    Limit,
    Observation,
    PowerBins,
    RemoveReplica,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.fleet import AnyReplica, Fleet
from simulator.serving.kv_transfers import KvTransfers
from simulator.serving.ledger import FAILED, OK, SHED, Ledger
from simulator.serving.lookout import Lookout
from simulator.serving.picoseconds import NEVER, PS_PER_S, tick_after_s, to_ps
from simulator.serving.power_meter import UNITS_PER_J, MeterBin
from simulator.serving.request import Request
from simulator.serving.routers import Dispatch, SiteShares
from simulator.serving.service_rules import ServiceRules
from simulator.serving.stability import Stability, verdict
from simulator.serving.user_arrivals import UserArrivals
from simulator.workload.requests import RequestSource, RequestTable
from simulator.workload.user_loop import UserLoop

_BIN_PS: Final = int(BIN_S) * PS_PER_S


class TwinCrowd:
    """A service in full: see `crowd.Crowd` for what each method promises.

    Parameters
    ----------
    rules
        The service.
    source
        Where requests come from; without one they must be fed.
    leap
        Whether runs of pure decode are taken as one; the answers are the same.
    """

    def __init__(
        self,
        rules: ServiceRules,
        source: RequestSource | UserLoop | None = None,
        *,
        leap: bool = True,
    ) -> None:
        self.rules = rules
        self._now = self._stamp = to_ps(-rules.origin_s)
        self._stamp_s = 0.0
        """`_stamp` in seconds as the engine said it: integer time rounds to a picosecond."""
        self._users: UserArrivals | None = None
        """Users that must hear of every answer; None: requests come whatever happens."""
        if isinstance(source, UserLoop):
            self._users = UserArrivals(rules.name, source, rules.origin_s)
        self._arrivals = self._users or ArrivalBuffer(
            rules.name,
            None if isinstance(source, UserLoop) else source,
            rules.origin_s,
            rules.cells,
            rules.simulated_cells,
        )
        self._fleet = Fleet(
            rules.name,
            rules.rule,
            tiers=len(rules.tiers),
            cells=rules.simulated_cells,
            bin_ps=_BIN_PS,
            leap=leap,
            piece_tokens=rules.piece_tokens,
            attention_data_parallel=rules.attention_data_parallel,
        )
        self._ledger = Ledger(
            rules.name,
            rules.tiers,
            rules.tenant,
            rules.ttft_slo_s,
            rules.tpot_slo_s,
            weight=rules.weight,
            origin_s=rules.origin_s,
        )
        self._ledger.sites = self._fleet.site_names
        self._lookout = Lookout(self._now, _BIN_PS)
        self._dispatch = Dispatch(rules.router)
        self._entry_stages = [f"entry {cell}" for cell in range(rules.simulated_cells)]
        self._early = 1
        """Newcomers may join at a boundary at this very instant (1); after commands only later (0)."""
        self._boundary: list[int] = []
        """Slots whose replicas plan on before time moves."""
        self._lobby: list[deque[Request]] = [deque() for _ in rules.tiers]
        """Requests that no open replica is there for, by tier."""
        self._parked: deque[Request] = deque()
        """Prefilled requests that no decode replica is there for; their KV stays where it is."""
        self._between = 0
        """Requests that count at two replicas: their KV is on one, and another waits for it."""
        self._undealt = False
        """Whether commands of this instant left requests at the door that somebody may take."""
        self._transfers = KvTransfers(rules.kv_bytes_per_token, rules.transfer_bytes_per_s, _BIN_PS)
        self._limit = Limit()
        self._fired: list[Fired] = []
        self._due = NEVER
        """When the engine must look because a replica has drained; on the time grid."""
        self._due_s = math.inf
        self._power: list[MeterBin] = []

    # time ------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """How far the crowd has come. [s since the run's start]"""
        return self._stamp_s if self._now == self._stamp else self._seconds(self._now)

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act."""
        self._deal()
        limit = self._picoseconds(until_s)
        if not self._now <= limit < NEVER:
            raise ValueError(f"service {self.rules.name}: cannot advance from {self.now_s} s to {until_s} s")
        ends, arrivals, lookout = self._fleet.ends, self._arrivals, self._lookout
        transfers = self._transfers
        rows, full = self._ledger.rows, self.rules.rows
        while True:
            if self._fired:
                return Stop.WATCH
            if len(rows) >= full:
                return Stop.ROWS_FULL
            if self._due < limit:
                limit, until_s = self._due, self._due_s
            end = min(ends, default=NEVER)
            at = min(end, arrivals.next_ps, transfers.next_ps)
            if (at > lookout.sample or at > lookout.tick) and self._look(min(at, limit + 1)):
                continue
            if at > limit:
                self._stamp, self._stamp_s, self._now = limit, until_s, limit
                if limit == self._due:
                    self._let_go()
                    return Stop.WATCH
                return Stop.REACHED
            self._now = at
            if at == arrivals.known_ps:
                # Somebody unknown may arrive at this very instant.
                return Stop.ARRIVALS_EMPTY
            while end == at:
                slot = ends.index(at)
                ends[slot] = NEVER
                self._finish(slot)
                end = min(ends)
            if transfers.next_ps == at:
                self._arrive_transfers()
            while arrivals.next_ps == at < arrivals.known_ps:
                self._admit(arrivals.take())
            self._plan()

    def next_time(self) -> float:
        """Return a time by which the engine must look (a watch, a drain); inf if none is due."""
        self._deal()
        fleet, lookout = self._fleet, self._lookout
        due = self._due
        for slot in fleet.draining:
            due = min(due, fleet.ends[slot])
            if fleet.at(slot).handed or fleet.at(slot).promised():
                # What it waits for happens elsewhere.
                due = min(due, *fleet.ends, self._transfers.next_ps)
        if lookout.watch is not None:
            due = min(due, self._earliest_crossing(lookout.watch))
        if due == NEVER:
            return math.inf
        return self._due_s if due == self._due else self._seconds_by(due)

    def _earliest_crossing(self, watch: Watch) -> int:
        """Return a control instant before which the watch cannot fire. [ps]"""
        fleet, lookout = self._fleet, self._lookout
        in_flight = self._in_flight()
        if math.isfinite(watch.kv_above_fraction) or lookout.crossed(
            self._queue_length(), in_flight, fleet.ready
        ):
            return lookout.tick
        due = NEVER
        if watch.load_below > 0.0:
            # The load falls at completions only.
            due = lookout.first_tick_ps(min(fleet.ends, default=NEVER))
        if math.isfinite(watch.queue_above):
            missing = lookout.missing(in_flight, fleet.ready)
            growth = lookout.first_tick_ps(self._arrivals.earliest_ps(missing)) if missing else lookout.tick
            due = min(due, growth)
        return due

    def close(self, at_s: float) -> None:
        """End the run at `at_s`: unfinished bins and hours may be taken."""
        if self._picoseconds(at_s) != self._now:
            raise ValueError(f"service {self.rules.name}: advance to {at_s} s before closing there")
        self._fleet.close(self._now)

    def _look(self, before: int) -> bool:
        """Take samples and judge the watch before `before`; return whether to look again."""
        lookout = self._lookout
        queued = self._queue_length()
        arrived = self._ledger.counters.requests_in
        lookout.take_samples(min(before, lookout.tick + 1), queued, arrived)
        watch, at = lookout.watch, lookout.tick
        if watch is None or at >= before:
            return False
        fleet = self._fleet
        fired = lookout.crossed(queued, self._in_flight(), fleet.ready) or (
            math.isfinite(watch.kv_above_fraction) and fleet.kv_fraction(at) > watch.kv_above_fraction
        )
        if fired:
            self._now = at
            self._fired.append(Fired("watch", self._seconds(at)))
        lookout.passed(before, fired=fired)
        return True

    def fired(self) -> Sequence[Fired]:
        """Return and forget what `Stop.WATCH` was about."""
        fired, self._fired = self._fired, []
        return fired

    # arrivals --------------------------------------------------------------------------------

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        self._arrivals.feed(block, known_until_s)

    def _end(self, request: Request, state: int, replica_id: int, site: int) -> None:
        """See a request off, answered or not."""
        self._ledger.end(request, state, self._now, replica_id, site)
        if self._users is not None:
            self._users.answered(request.number, self._now)

    def _admit(self, request: Request) -> None:
        counters = self._ledger.counters
        counters.requests_in += 1
        counters.prompt_tokens_in += request.prompt
        counters.output_tokens_in += request.output
        self._route(request)

    def _route(self, request: Request) -> None:
        """Send a request to a replica, to the lobby if none is open, or away."""
        fleet, bound = self._fleet, self._limit.queued_per_replica
        cell = request.number % self.rules.cells
        slot = self._dispatch.pick(
            self._entry_stages[cell],
            fleet.entry[cell],
            fleet.loads,
            fleet.sites,
            lambda slot: fleet.at(slot).remembered(request),
        )
        if slot is None:
            if bound is not None and sum(map(len, self._lobby)) >= bound:
                self._end(request, SHED, -1, -1)
            else:
                self._lobby[request.tier].append(request)
            return
        replica = fleet.at(slot)
        full = bound is not None and replica.waiting_count >= bound
        if full or not self._can_ever_run(request, replica):
            self._end(request, SHED, replica.replica_id, replica.site)
            return
        self._enqueue(slot, replica, request)

    def _can_ever_run(self, request: Request, replica: AnyReplica) -> bool:
        if replica.role != "prefill":
            return replica.fits(request.prompt, request.output)
        decode = self._fleet.decode
        return replica.fits(request.prompt, 1) and (not decode or bool(self._able(request)))

    def _enqueue(self, slot: int, replica: AnyReplica, request: Request) -> None:
        fleet = self._fleet
        fleet.loads[slot] += 1
        if replica.join(request, self._now - self._early):
            self._stirred(slot, replica)

    def _stirred(self, slot: int, replica: AnyReplica) -> None:
        """Note that a replica is idle and has something to do, or that its plan was cut short."""
        if replica.plan_end == NEVER:
            self._call(slot, replica)
        else:
            self._fleet.ends[slot] = replica.plan_end

    def _call(self, slot: int, replica: AnyReplica) -> None:
        if not replica.boundary:
            replica.boundary = True
            self._boundary.append(slot)

    # iterations ------------------------------------------------------------------------------

    def _finish(self, slot: int) -> None:
        """End a replica's planned iterations and see its finished requests off."""
        replica = self._fleet.at(slot)
        replica.finish(self._now)
        self._boundary.append(slot)
        done = replica.done
        if not done:
            return
        for request in done:
            if replica.role == "prefill":
                request.sender = slot
                self._hand_over(request)
            else:
                self._fleet.loads[slot] -= 1
                self._end(request, OK, replica.replica_id, replica.site)
        done.clear()

    def _plan(self) -> None:
        """Let every replica that stands at a boundary plan on; see which ones have drained."""
        fleet = self._fleet
        for slot in sorted(self._boundary):
            replica = fleet.get(slot)
            if replica is None or not replica.boundary:
                continue
            replica.schedule(self._now)
            fleet.ends[slot] = replica.plan_end
            for request in replica.begun:
                self._transfers.send(request.sender, request, self._now)
            replica.begun.clear()
            if replica.plan_end == NEVER and slot in fleet.draining and replica.empty:
                self._drained()
        self._boundary.clear()

    def _arrive_transfers(self) -> None:
        """Let every request whose KV has arrived by now go on where it arrived."""
        fleet = self._fleet
        for _, request in self._transfers.arrive(self._now):
            slot = request.receiver
            self._release(request)
            self._between -= 1
            receiver = fleet.at(slot)
            if receiver.land(request, self._now - self._early):
                self._stirred(slot, receiver)

    def _release(self, request: Request) -> None:
        """Give a prefilled prompt's blocks back where it was read."""
        fleet, slot = self._fleet, request.sender
        sender = fleet.at(slot)
        sender.release(request)
        fleet.loads[slot] -= 1
        if sender.plan_end == NEVER:
            self._call(slot, sender)

    def _able(self, request: Request) -> list[int]:
        """Return the open decode replicas that could run a request alone."""
        fleet = self._fleet
        return [slot for slot in fleet.decode if fleet.at(slot).fits(request.prompt, request.output)]

    def _hand_over(self, request: Request) -> None:
        """Let a decode replica wait for a prefilled prompt's KV, which comes once it has the blocks."""
        # Its prompt is remembered; the first token comes from one decode step over the last one.
        request.computed = request.target - 1
        fleet = self._fleet
        able = self._able(request)
        # What a decode replica remembers does not matter: the KV comes in whole.
        slot = self._dispatch.pick("decode", able, fleet.loads, fleet.sites, lambda _: 0)
        if slot is not None:
            request.receiver = slot
            self._between += 1
            self._enqueue(slot, fleet.at(slot), request)
        elif fleet.decode and not able:
            self._release(request)
            self._end(request, FAILED, -1, -1)
        else:
            self._parked.append(request)

    # commands --------------------------------------------------------------------------------

    def apply(self, command: Command, at_s: float) -> None:
        """Change the crowd at `at_s`, which must be `now_s`; acts at the next iteration boundary."""
        if self._picoseconds(at_s) != self._now:
            raise ValueError(
                f"service {self.rules.name}: command at {at_s} s, but the crowd is at {self.now_s} s"
            )
        self._early = 0
        match command:
            case AddReplica():
                self._add(command)
            case RemoveReplica():
                self._remove(command)
            case SetClock():
                for replica_id in command.replica_ids:
                    self._set_clock(replica_id, command.clock_fraction)
            case SetWeights():
                self._dispatch.shares = SiteShares(command.weights) if command.weights else None
                self._undealt = True
            case SetTransferBandwidth():
                self._transfers.set_bandwidth(command.bytes_per_s)
            case SetWatch():
                self._lookout.watch = command.watch
            case Limit():
                self._set_limit(command)
        self._plan()
        self._early = 1
        self._lookout.arm(self._now)

    def _add(self, command: AddReplica) -> None:
        self._fleet.add(command, self._most_sequences(), self._now)
        self._undealt = True

    def _deal(self) -> None:
        """Deal out what waits at the door, once all commands of this instant have acted.

        Replicas that come together share what waits, and a request that a lost node leaves does
        not go through the node's other replicas before they are lost too.
        """
        if not self._undealt:
            return
        self._undealt = False
        self._early = 0
        parked, self._parked = self._parked, deque()
        for request in parked:
            self._hand_over(request)
        waiting = [request for queue in self._lobby for request in queue]
        for queue in self._lobby:
            queue.clear()
        for request in waiting:
            self._route(request)
        self._plan()
        self._early = 1

    def _remove(self, command: RemoveReplica) -> None:
        fleet = self._fleet
        slot = fleet.find(command.replica_id)
        replica = fleet.at(slot)
        fleet.close_door(slot)
        if command.how == "drain":
            if slot not in fleet.draining:
                fleet.draining.append(slot)
            if replica.empty and replica.plan_end == NEVER:
                self._drained()
            return
        lost = replica.held(self._now)
        for request in replica.promised():
            # Its KV is safe where it was read; another replica may take it.
            self._transfers.cancel(request.sender, request, self._now)
            self._between -= 1
            request.receiver = -1
            self._parked.append(request)
            self._undealt = True
        for request in replica.handed.values():
            self._lose_kv(request)
        self._forget(slot)
        counters = self._ledger.counters
        for request, emitted in lost:
            counters.retried += 1
            counters.wasted_tokens += emitted
            request.attempts += 1
            request.preemptions += 1
            request.restart()
            if request.attempts > self.rules.retries:
                self._end(request, FAILED, replica.replica_id, replica.site)
            else:
                self._lobby[request.tier].append(request)
                self._undealt = True

    def _lose_kv(self, request: Request) -> None:
        """Let nobody wait any more for KV that was lost."""
        slot = request.receiver
        if slot < 0:
            self._parked.remove(request)
            return
        self._between -= 1
        self._fleet.loads[slot] -= 1
        receiver = self._fleet.at(slot)
        receiver.forgo(request)
        self._cut(slot, receiver)

    def _forget(self, slot: int) -> None:
        self._fleet.forget(slot, self._now)
        self._transfers.abandon(slot)

    def _drained(self) -> None:
        """See to it that the engine looks at the next moment of the grid: a replica is empty."""
        if self._due == NEVER:
            self._due_s = tick_after_s(self._now, self.rules.origin_s)
            self._due = self._picoseconds(self._due_s)

    def _let_go(self) -> None:
        """Take away the drained replicas that hold nothing any more."""
        self._due, self._due_s = NEVER, math.inf
        for slot in tuple(self._fleet.draining):
            replica = self._fleet.at(slot)
            if replica.empty:
                self._fired.append(Fired("drained", self.now_s, replica.replica_id))
                self._forget(slot)

    def _set_clock(self, replica_id: int, clock_fraction: float) -> None:
        if not 0.0 < clock_fraction <= 1.0:
            raise ValueError(f"clock fraction {clock_fraction} is outside (0, 1]")
        slot = self._fleet.find(replica_id)
        replica = self._fleet.at(slot)
        replica.next_costs = self._fleet.costs_at(replica_id, clock_fraction)
        self._cut(slot, replica)

    def _set_limit(self, command: Limit) -> None:
        if command.max_sequences is not None and command.max_sequences < 1:
            raise ValueError(f"max_sequences {command.max_sequences} must be at least 1")
        self._limit = command
        for replica in self._fleet:
            replica.max_sequences = self._most_sequences()
            self._cut(self._fleet.find(replica.replica_id), replica)

    def _most_sequences(self) -> int:
        most = self.rules.rule.max_sequences
        return most if self._limit.max_sequences is None else min(self._limit.max_sequences, most)

    def _cut(self, slot: int, replica: AnyReplica) -> None:
        """Make a replica stand at the first boundary after now, so that a command can act there."""
        if replica.plan_end == NEVER:
            self._call(slot, replica)
        elif replica.cut(self._now):
            self._fleet.ends[slot] = replica.plan_end

    # what there is to see --------------------------------------------------------------------

    def observe(self) -> Observation:
        """Return what there is to see now; changes nothing."""
        self._deal()
        fleet = self._fleet
        return Observation(
            now_s=self.now_s,
            mode="full",
            queue_length=self._queue_length(),
            running=sum(len(replica.running) for replica in fleet),
            in_flight=self.rules.weight * self._in_flight(),
            transferring=sum(len(replica.handed) for replica in fleet),
            kv_fraction=fleet.kv_fraction(self._now),
            replicas_ready=fleet.ready,
            replicas_draining=len(fleet.draining),
            power_w={replica.replica_id: replica.meter.level_mw / 1000.0 for replica in fleet},
            tokens_out=self.rules.weight * self._ledger.counters.output_tokens_out,
        )

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now. [W]"""
        self._deal()
        return self._fleet.at(self._fleet.find(replica_id)).meter.level_mw / 1000.0

    def energy_j(self) -> float:
        """Return the GPU energy of all replicas since the start. [J]"""
        return self._fleet.energy(self._now) / UNITS_PER_J

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit.

        ``requests_in`` = ``requests_out`` + ``in_flight`` + ``shed`` + ``failed``; ``tokens_in``
        (prompts and the answers asked for) = ``prompt_tokens_out`` + ``tokens_out`` +
        ``tokens_in_flight`` + ``tokens_shed`` + ``tokens_failed``. What is in flight is counted
        request by request, never as a difference.
        """
        flying = [(request, 0) for queue in self._lobby for request in queue]
        for replica in self._fleet:
            flying.extend(replica.held(self._now))
        totals = self._ledger.counters.totals()
        looked, hit = self._fleet.prefix_tokens()
        totals["prefix_tokens_looked"], totals["prefix_tokens_hit"] = looked, hit
        totals["in_flight"] = len(flying)
        totals["tokens_in_flight"] = sum(request.prompt + request.output for request, _ in flying)
        totals["tokens_emitted_in_flight"] = sum(emitted for _, emitted in flying)
        return {name: self.rules.weight * count for name, count in totals.items()}

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present: what CI gates on."""
        present = list(self._fleet)
        return sum(replica.iterations for replica in present), sum(replica.leaps for replica in present)

    def take_rows(self) -> dict[str, Any]:
        """Return and forget finished requests as columns of `requests`, in completion order."""
        return self._ledger.take_rows()

    def take_power(self) -> PowerBins:
        """Return and forget the power bins that ended by now."""
        self._read_meters()
        bins, self._power = sorted(self._power, key=lambda entry: (entry.end_ps, entry.replica)), []
        return PowerBins(
            replica=np.array([entry.replica for entry in bins], dtype=np.int32),
            bin_start_s=np.array([snap(self._seconds(entry.start_ps)) for entry in bins]),
            bin_end_s=np.array([snap(self._seconds(entry.end_ps)) for entry in bins]),
            energy_j=np.array([entry.energy / UNITS_PER_J for entry in bins]),
            max_w=np.array([entry.largest_mw / 1000.0 for entry in bins]),
        )

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, as columns of `services_hourly`."""
        self._read_meters()
        return self._ledger.take_hourly(self._now, unfinished=self._fleet.closed)

    def histogram(self) -> dict[str, Any]:
        """Return the columns of `latency_histogram` over the whole run."""
        self._ledger.seal()
        return self._ledger.histogram.columns(self.rules.name, self.rules.weight)

    def summary(self) -> dict[str, Any]:
        """Return the run's percentiles by tier, stability, headroom and tokens out."""
        found = self._ledger.summary()
        stability = self.stability()
        found["tokens_out"] = self.rules.weight * self._ledger.counters.output_tokens_out
        found["stability"] = stability.verdict
        found["headroom_fraction"] = stability.headroom_fraction
        return found

    def stability(self) -> Stability:
        """Return whether the replicas now present keep up with what arrived."""
        counts, lookout = self._ledger.counters, self._lookout
        capacity_per_s = math.nan
        if counts.requests_in:
            capacity_per_s = self._fleet.capacity_per_s(
                counts.prompt_tokens_in / counts.requests_in, counts.output_tokens_in / counts.requests_in
            )
        queued = np.array(lookout.queued, dtype=np.float64)
        arrived = np.diff(np.array([0, *lookout.arrived], dtype=np.float64))
        return verdict(queued, arrived, BIN_S, capacity_per_s)

    def declared_flow_bytes_per_s(self) -> float:
        """Return the KV traffic between prefill and decode in the last control epoch. [B/s]"""
        return self.rules.weight * self._transfers.flow_bytes_per_s(self._now)

    def _in_flight(self) -> int:
        return self._fleet.in_flight() - self._between + sum(map(len, self._lobby))

    def _queue_length(self) -> int:
        return sum(map(len, self._lobby)) + self._fleet.waiting()

    def _read_meters(self) -> None:
        bins = self._fleet.read_meters(self._now)
        self._ledger.meter(bins)
        self._power.extend(bins)

    def _picoseconds(self, at_s: float) -> int:
        return to_ps(at_s - self.rules.origin_s)

    def _seconds(self, at_ps: int) -> float:
        return at_ps / PS_PER_S + self.rules.origin_s

    def _seconds_by(self, at_ps: int) -> float:
        """Return a time that is not before a moment: rounded down, it would be asked for for ever."""
        at_s = self._seconds(at_ps)
        while self._picoseconds(at_s) < at_ps:
            at_s = math.nextafter(at_s, math.inf)
        return at_s
