"""The readable crowd: every request of a service on every replica, one event at a time.

At one instant: iterations end and requests finish, then transfers arrive, then requests arrive
and are routed, then every replica at a boundary plans on. Commands act after all that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from simulator.foundation.names import hint
from simulator.foundation.time_grid import snap
from simulator.serving.arrival_buffer import ArrivalBuffer
from simulator.serving.batching import BatchRule, Replica, Request
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
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.kv_link import KvLink, transfer_ps
from simulator.serving.ledger import FAILED, OK, SHED, Ledger
from simulator.serving.picoseconds import NEVER, PS_PER_S, tick_after_s, to_ps
from simulator.serving.power_meter import UNITS_PER_J, MeterBin, PowerMeter
from simulator.serving.replica_costs import ReplicaCosts
from simulator.serving.routers import Dispatch, RoundRobin, Router, SiteShares
from simulator.serving.stability import Stability, saturated_rate_per_s, verdict
from simulator.workload.requests import RequestSource, RequestTable

_BIN_PS: Final = int(BIN_S) * PS_PER_S


@dataclass(frozen=True)
class ServiceRules:
    """What holds for a service as a whole, whatever replicas it has.

    Parameters
    ----------
    name, tenant
        Whose requests these are.
    tiers, ttft_slo_s
        Classes of requests, the most urgent first, and the time to first token promised to each. [s]
    rule
        Bounds of a batch.
    router
        Which replica a request goes to.
    kv_bytes_per_token
        KV of one token on all GPUs of a replica, for transfers from prefill to decode. [B]
    transfer_bytes_per_s
        Bandwidth of each prefill replica's transfers until a command says otherwise. [B/s]
    retries
        How often a request begins again after losing its replica before it counts as failed.
    weight
        Requests of the world that each one stands for.
    origin_s
        A moment at or before the start, on a UTC hour: bins and hours are counted from it. [s]
    rows
        Rows held before `advance` comes back to have them taken.
    """

    name: str
    tenant: str = ""
    tiers: tuple[str, ...] = ("standard",)
    ttft_slo_s: tuple[float, ...] = (math.inf,)
    rule: BatchRule = field(default_factory=BatchRule)
    router: Router = field(default_factory=RoundRobin)
    kv_bytes_per_token: float = 0.0
    transfer_bytes_per_s: float = math.inf
    retries: int = 3
    weight: float = 1.0
    origin_s: float = 0.0
    rows: int = 65536

    def __post_init__(self) -> None:
        if not self.tiers or len(self.tiers) != len(self.ttft_slo_s):
            raise ValueError(
                f"service {self.name}: {len(self.tiers)} tiers and {len(self.ttft_slo_s)} promises"
            )
        if self.origin_s > 0.0:
            raise ValueError(f"service {self.name}: origin_s {self.origin_s} is after the start")


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
        self, rules: ServiceRules, source: RequestSource | None = None, *, leap: bool = True
    ) -> None:
        self.rules = rules
        self._leap = leap
        self._ledger = Ledger(
            rules.name, rules.tiers, rules.tenant, rules.ttft_slo_s,
            weight=rules.weight, origin_s=rules.origin_s,
        )
        self._now = self._stamp = to_ps(-rules.origin_s)
        self._stamp_s = 0.0
        """`_stamp` in seconds as the engine said it: integer time rounds to a picosecond."""

        self._arrivals = ArrivalBuffer(rules.name, source, rules.origin_s)

        self._replicas: list[Replica | None] = []
        self._ends: list[int] = []
        """End of each replica's plan; a sentinel keeps the list from being empty."""
        self._loads: list[int] = []
        self._slot: dict[int, int] = {}
        self._entry: list[int] = []
        """Open replicas that new requests may go to, ascending."""
        self._decode: list[int] = []
        self._draining: list[int] = []
        self._sites: list[str] = []
        """Site by replica."""
        self._dispatch = Dispatch(rules.router)
        self._early = 1
        """Newcomers may join at a boundary at this very instant (1); after commands only later (0)."""
        self._links: dict[int, KvLink] = {}
        self._transfer_end = NEVER
        self._bytes_per_s = rules.transfer_bytes_per_s
        self._sent_bytes: dict[int, float] = {}
        self._lobby: list[deque[Request]] = [deque() for _ in rules.tiers]
        self._parked: deque[Request] = deque()
        """Prefilled requests that no decode replica is there for."""
        self._boundary: list[int] = []

        self._limit = Limit()
        self._watch: Watch | None = None
        self._tick = NEVER
        self._sample = (self._now // _BIN_PS + 1) * _BIN_PS
        self._queue_samples: list[int] = []
        self._in_samples: list[int] = []
        self._fired: list[Fired] = []
        self._due = NEVER
        """When the engine must look because a replica has drained; on the time grid."""
        self._due_s = math.inf
        self._bins: list[MeterBin] = []
        self._power: list[MeterBin] = []
        self._costs: dict[tuple[int, float, int], ReplicaCosts] = {}
        self._profiles: dict[int, ReplicaProfile] = {}
        self._fresh: dict[int, tuple[ReplicaProfile, int]] = {}
        self._closed = False

    # time ------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """How far the crowd has come. [s since the run's start]"""
        return self._stamp_s if self._now == self._stamp else self._seconds(self._now)

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act."""
        limit = self._picoseconds(until_s)
        if not self._now <= limit < NEVER:
            raise ValueError(
                f"service {self.rules.name}: cannot advance from {self.now_s} s to {until_s} s"
            )
        ends, arrivals = self._ends, self._arrivals
        rows, full = self._ledger.rows, self.rules.rows
        while True:
            if self._fired:
                return Stop.WATCH
            if self._due < limit:
                limit, until_s = self._due, self._due_s
            if len(rows) >= full:
                return Stop.ROWS_FULL
            end = min(ends, default=NEVER)
            at = min(end, arrivals.next_ps, self._transfer_end)
            if (at > self._sample or at > self._tick) and self._mark(min(at, limit + 1)):
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
            if self._transfer_end == at:
                self._arrive_transfers()
            while arrivals.next_ps == at < arrivals.known_ps:
                self._admit(arrivals.take())
            self._plan()

    def next_time(self) -> float:
        """Return a time by which the engine must look (a watch, a drain); inf if none is due."""
        due = self._due
        for slot in self._draining:
            due = min(due, self._ends[slot])
            link = self._links.get(slot)
            if link is not None:
                due = min(due, link.end_ps)
        if self._watch is not None:
            due = min(due, self._earliest_crossing())
        if due == NEVER:
            return math.inf
        return self._due_s if due == self._due else self._seconds(due)

    def close(self, at_s: float) -> None:
        """End the run at `at_s`: unfinished bins and hours may be taken."""
        if self._picoseconds(at_s) != self._now:
            raise ValueError(f"service {self.rules.name}: advance to {at_s} s before closing there")
        for replica in self._replicas:
            if replica is not None:
                replica.meter.close(self._now)
        self._closed = True

    # arrivals --------------------------------------------------------------------------------

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        self._arrivals.feed(block, known_until_s)

    def _admit(self, request: Request) -> None:
        counters = self._ledger.counters
        counters.requests_in += 1
        counters.prompt_tokens_in += request.prompt
        counters.output_tokens_in += request.output
        self._route(request)

    def _route(self, request: Request) -> None:
        """Send a request to a replica, to the lobby if none is open, or away."""
        bound = self._limit.queued_per_replica
        slot = self._dispatch.pick("entry", self._entry, self._loads, self._sites)
        if slot is None:
            if bound is not None and sum(map(len, self._lobby)) >= bound:
                self._ledger.end(request, SHED, self._now, -1, -1)
            else:
                self._lobby[request.tier].append(request)
            return
        replica = self._at(slot)
        if not self._can_ever_run(request, replica) or (bound is not None and replica.waiting_count >= bound):
            self._ledger.end(request, SHED, self._now, replica.replica_id, replica.site)
            return
        self._enqueue(slot, replica, request)

    def _can_ever_run(self, request: Request, replica: Replica) -> bool:
        tokens = request.prompt + request.output - 1
        if replica.role != "prefill":
            return replica.fits(tokens)
        if not replica.fits(request.prompt):
            return False
        return not self._decode or any(self._at(slot).fits(tokens) for slot in self._decode)

    def _enqueue(self, slot: int, replica: Replica, request: Request) -> None:
        self._loads[slot] += 1
        if replica.join(request, self._now - self._early):
            if replica.plan_end == NEVER:
                self._call(slot, replica)
            else:
                self._ends[slot] = replica.plan_end

    def _call(self, slot: int, replica: Replica) -> None:
        if not replica.boundary:
            replica.boundary = True
            self._boundary.append(slot)

    # iterations ------------------------------------------------------------------------------

    def _finish(self, slot: int) -> None:
        """End a replica's planned iterations and see its finished requests off."""
        replica = self._at(slot)
        replica.finish(self._now)
        self._boundary.append(slot)
        done = replica.done
        if not done:
            return
        for request in done:
            if replica.role == "prefill":
                self._send(slot, request)
            else:
                self._loads[slot] -= 1
                self._ledger.end(request, OK, self._now, replica.replica_id, replica.site)
        done.clear()

    def _plan(self) -> None:
        """Let every replica that stands at a boundary plan on; drained ones leave."""
        for slot in self._boundary:
            replica = self._replicas[slot]
            if replica is None or not replica.boundary:
                continue
            replica.schedule(self._now)
            self._ends[slot] = replica.plan_end
            if replica.plan_end == NEVER and slot in self._draining and replica.empty:
                self._drained()
        self._boundary.clear()

    def _send(self, slot: int, request: Request) -> None:
        size_bytes = request.target * self.rules.kv_bytes_per_token
        epoch = self._now // _BIN_PS
        self._sent_bytes[epoch] = self._sent_bytes.get(epoch, 0.0) + size_bytes
        for old in [known for known in self._sent_bytes if known < epoch - 1]:
            del self._sent_bytes[old]
        link = self._links.setdefault(slot, KvLink())
        if link.send(request, self._now, transfer_ps(size_bytes, self._bytes_per_s)):
            self._transfer_end = min(self._transfer_end, link.end_ps)

    def _arrive_transfers(self) -> None:
        """Hand over every request whose KV has arrived by now."""
        for slot in sorted(self._links):
            link = self._links[slot]
            while link.end_ps == self._now:
                request = link.arrive()
                head = link.head
                if head is not None:
                    size_bytes = head.target * self.rules.kv_bytes_per_token
                    link.begin(self._now, transfer_ps(size_bytes, self._bytes_per_s))
                sender = self._at(slot)
                sender.release(request)
                self._loads[slot] -= 1
                if sender.plan_end == NEVER:
                    self._call(slot, sender)
                self._hand_over(request)
        self._transfer_end = min((link.end_ps for link in self._links.values()), default=NEVER)

    def _hand_over(self, request: Request) -> None:
        # Its prompt is remembered; the first token comes from one decode step over the last one.
        request.computed = request.target - 1
        able = [slot for slot in self._decode if self._at(slot).fits(request.prompt + request.output - 1)]
        slot = self._dispatch.pick("decode", able, self._loads, self._sites)
        if slot is not None:
            self._enqueue(slot, self._at(slot), request)
        elif self._decode and not able:
            self._ledger.end(request, FAILED, self._now, -1, -1)
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
                self._empty_lobby()
            case SetTransferBandwidth():
                if not command.bytes_per_s > 0.0:
                    raise ValueError(f"transfer bandwidth {command.bytes_per_s} B/s must be above 0")
                self._bytes_per_s = command.bytes_per_s
            case SetWatch():
                self._watch = command.watch
            case Limit():
                self._set_limit(command)
        self._plan()
        self._early = 1
        self._arm()

    def _add(self, command: AddReplica) -> None:
        if command.replica_id in self._slot:
            raise ValueError(f"service {self.rules.name}: replica {command.replica_id} is there already")
        widest, budget = command.profile.iteration.most_tokens, self.rules.rule.token_budget
        if widest < budget:
            raise ValueError(
                f"service {self.rules.name}: the profile knows iterations of up to {widest} tokens, "
                f"the token budget is {budget}"
            )
        names = self._ledger.sites
        if command.site not in names:
            names.append(command.site)
        costs = self._costs_of(command.profile, 1.0, command.gpus)
        meter = PowerMeter(
            command.replica_id, round(command.host_w * 1000.0), self._now, _BIN_PS, self._bins
        )
        replica = Replica(
            command.replica_id,
            names.index(command.site),
            role=command.role,
            costs=costs,
            kv_blocks=command.kv_blocks,
            rule=self.rules.rule,
            tiers=len(self.rules.tiers),
            meter=meter,
            leap=self._leap,
        )
        if self._limit.max_sequences is not None:
            replica.max_sequences = min(self._limit.max_sequences, self.rules.rule.max_sequences)
        if None in self._replicas:
            slot = self._replicas.index(None)
            self._replicas[slot] = replica
            self._ends[slot], self._loads[slot], self._sites[slot] = NEVER, 0, command.site
        else:
            slot = len(self._replicas)
            self._replicas.append(replica)
            self._ends.append(NEVER)
            self._loads.append(0)
            self._sites.append(command.site)
        self._slot[command.replica_id] = slot
        self._fresh[command.replica_id] = (command.profile, command.gpus)
        pool = self._decode if command.role == "decode" else self._entry
        pool.append(slot)
        pool.sort()
        if command.role == "decode":
            parked, self._parked = self._parked, deque()
            for request in parked:
                self._hand_over(request)
        else:
            self._empty_lobby()

    def _empty_lobby(self) -> None:
        waiting = [request for queue in self._lobby for request in queue]
        for queue in self._lobby:
            queue.clear()
        for request in waiting:
            self._route(request)

    def _remove(self, command: RemoveReplica) -> None:
        slot = self._find(command.replica_id)
        replica = self._at(slot)
        for pool in (self._entry, self._decode):
            if slot in pool:
                pool.remove(slot)
        if command.how == "drain":
            if slot not in self._draining:
                self._draining.append(slot)
            if replica.empty and replica.plan_end == NEVER:
                self._drained()
            return
        if slot in self._draining:
            self._draining.remove(slot)
        counters = self._ledger.counters
        lost = replica.held(self._now)
        self._forget(slot, replica)
        for request, emitted in lost:
            counters.retried += 1
            counters.wasted_tokens += emitted
            request.attempts += 1
            request.preemptions += 1
            request.restart()
            if request.attempts > self.rules.retries:
                self._ledger.end(request, FAILED, self._now, replica.replica_id, replica.site)
            else:
                self._route(request)

    def _drained(self) -> None:
        """See to it that the engine looks at the next moment of the grid: a replica is empty."""
        if self._due == NEVER:
            self._due_s = tick_after_s(self._now, self.rules.origin_s)
            self._due = self._picoseconds(self._due_s)

    def _let_go(self) -> None:
        """Take away the drained replicas that hold nothing any more."""
        self._due, self._due_s = NEVER, math.inf
        for slot in tuple(self._draining):
            replica = self._at(slot)
            if replica.empty:
                self._draining.remove(slot)
                self._fired.append(Fired("drained", self.now_s, replica.replica_id))
                self._forget(slot, replica)

    def _forget(self, slot: int, replica: Replica) -> None:
        replica.meter.close(self._now)
        self._replicas[slot] = None
        self._ends[slot] = NEVER
        self._loads[slot] = 0
        self._links.pop(slot, None)
        self._transfer_end = min((link.end_ps for link in self._links.values()), default=NEVER)
        del self._slot[replica.replica_id], self._fresh[replica.replica_id]

    def _set_clock(self, replica_id: int, clock_fraction: float) -> None:
        if not 0.0 < clock_fraction <= 1.0:
            raise ValueError(f"clock fraction {clock_fraction} is outside (0, 1]")
        slot = self._find(replica_id)
        replica = self._at(slot)
        profile, gpus = self._fresh[replica_id]
        replica.next_costs = self._costs_of(profile, clock_fraction, gpus)
        self._cut(slot, replica)

    def _set_limit(self, command: Limit) -> None:
        if command.max_sequences is not None and command.max_sequences < 1:
            raise ValueError(f"max_sequences {command.max_sequences} must be at least 1")
        self._limit = command
        most = self.rules.rule.max_sequences
        for slot, replica in enumerate(self._replicas):
            if replica is not None:
                replica.max_sequences = min(command.max_sequences or most, most)
                self._cut(slot, replica)

    def _cut(self, slot: int, replica: Replica) -> None:
        """Make a replica stand at the first boundary after now, so that a command can act there."""
        if replica.plan_end == NEVER:
            self._call(slot, replica)
        elif replica.cut(self._now):
            self._ends[slot] = replica.plan_end

    def _costs_of(self, profile: ReplicaProfile, clock_fraction: float, gpus: int) -> ReplicaCosts:
        key = (id(profile), clock_fraction, gpus)
        known = self._costs.get(key)
        if known is None:
            self._profiles[id(profile)] = profile  # keeps the id from being used again
            # Clocks are fractions of the highest one, not of the profile's own.
            slowed = profile if clock_fraction == 1.0 else profile.at_clock(clock_fraction)
            known = self._costs[key] = ReplicaCosts(slowed, gpus)
        return known

    # watches ---------------------------------------------------------------------------------

    def fired(self) -> Sequence[Fired]:
        """Return and forget what `Stop.WATCH` was about."""
        fired, self._fired = self._fired, []
        return fired

    def _arm(self) -> None:
        """Evaluate the watch next at the first control instant after now."""
        if self._watch is None:
            self._tick = NEVER
            return
        period = to_ps(self._watch.every_s)
        self._tick = (self._now // period + 1) * period

    def _mark(self, before: int) -> bool:
        """Take the samples and evaluate the watch at instants before `before`; return whether it fired."""
        queue = self._queue_length()
        while self._sample < min(before, self._tick + 1):
            self._queue_samples.append(queue)
            self._in_samples.append(self._ledger.counters.requests_in)
            self._sample += _BIN_PS
        watch = self._watch
        if watch is None or self._tick >= before:
            return False
        period = to_ps(watch.every_s)
        at = self._tick
        if self._crossed(watch, queue, at):
            self._now = at
            self._tick = at + period
            self._fired.append(Fired("watch", self._seconds(at)))
            return True
        if math.isfinite(watch.kv_above_fraction):
            self._tick = at + period
        else:
            # Nothing that the thresholds look at changes before the next event.
            self._tick = -(-before // period) * period
        return True

    def _crossed(self, watch: Watch, queue: int, at_ps: int) -> bool:
        ready = len(self._entry) + len(self._decode)
        if queue > watch.queue_above * ready if ready else queue > 0 and math.isfinite(watch.queue_above):
            return True
        if ready and self._in_flight() < watch.load_below * ready:
            return True
        return math.isfinite(watch.kv_above_fraction) and self._kv_fraction(at_ps) > watch.kv_above_fraction

    def _earliest_crossing(self) -> int:
        """Return the first control instant at which the watch could fire. [ps]"""
        watch = self._watch
        if watch is None:
            return NEVER
        ready = len(self._entry) + len(self._decode)
        if watch.load_below > 0.0 or math.isfinite(watch.kv_above_fraction):
            return self._tick
        if not math.isfinite(watch.queue_above):
            return NEVER
        # Every request in flight may wait again (preemption); beyond them, new ones must come.
        missing = math.floor(watch.queue_above * ready) + 1 - self._in_flight()
        if missing <= 0:
            return self._tick
        crossing = self._arrivals.earliest_ps(missing)
        if crossing == NEVER:
            return NEVER
        period = to_ps(watch.every_s)
        return max(self._tick, -(-crossing // period) * period)

    # what there is to see --------------------------------------------------------------------

    def observe(self) -> Observation:
        """Return what there is to see now; changes nothing."""
        present = [replica for replica in self._replicas if replica is not None]
        ready = len(self._entry) + len(self._decode)
        return Observation(
            now_s=self.now_s,
            mode="full",
            queue_length=self._queue_length(),
            running=sum(len(replica.running) for replica in present),
            transferring=sum(len(replica.handed) for replica in present) + len(self._parked),
            kv_fraction=self._kv_fraction(self._now),
            replicas_ready=ready,
            replicas_draining=len(self._draining),
            power_w={replica.replica_id: replica.meter.level_mw / 1000.0 for replica in present},
            tokens_out=float(self._ledger.counters.output_tokens_out),
            counters=self.counters(),
        )

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now. [W]"""
        return self._at(self._find(replica_id)).meter.level_mw / 1000.0

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit; requests in = out + in flight + shed + failed.

        Tokens likewise: ``tokens_in`` (prompt and asked-for output) = ``prompt_tokens_out`` +
        ``tokens_out`` + ``tokens_in_flight`` + ``tokens_shed`` + ``tokens_failed``. What is in
        flight is counted request by request, never as a difference.
        """
        flying = 0
        tokens = 0
        emitted = 0
        for request, out in self._flying():
            flying += 1
            tokens += request.prompt + request.output
            emitted += out
        counts, weight = self._ledger.counters, self.rules.weight
        return {
            "requests_in": weight * counts.requests_in,
            "requests_out": weight * counts.requests_out,
            "in_flight": weight * flying,
            "shed": weight * counts.requests_shed,
            "failed": weight * counts.requests_failed,
            "retried": weight * counts.retried,
            "preempted": weight * counts.preempted,
            "tokens_in": weight * (counts.prompt_tokens_in + counts.output_tokens_in),
            "tokens_out": weight * counts.output_tokens_out,
            "prompt_tokens_out": weight * counts.prompt_tokens_out,
            "tokens_in_flight": weight * tokens,
            "tokens_shed": weight * (counts.prompt_tokens_shed + counts.output_tokens_shed),
            "tokens_failed": weight * (counts.prompt_tokens_failed + counts.output_tokens_failed),
            "tokens_emitted_in_flight": weight * emitted,
            "wasted_tokens": weight * counts.wasted_tokens,
        }

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present: what CI gates on."""
        present = [replica for replica in self._replicas if replica is not None]
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
            bin_start_s=np.array([snap(self._seconds(entry.start_ps)) for entry in bins], dtype=np.float64),
            bin_end_s=np.array([snap(self._seconds(entry.end_ps)) for entry in bins], dtype=np.float64),
            energy_j=np.array([entry.energy / UNITS_PER_J for entry in bins], dtype=np.float64),
            max_w=np.array([entry.largest_mw / 1000.0 for entry in bins], dtype=np.float64),
        )

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, as columns of `services_hourly`."""
        self._read_meters()
        return self._ledger.take_hourly(self._now, unfinished=self._closed)

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
        return verdict(
            np.array(self._queue_samples, dtype=np.float64),
            np.diff(np.array([0, *self._in_samples], dtype=np.float64)),
            BIN_S,
            self._capacity_per_s(),
        )

    def declared_flow_bytes_per_s(self) -> float:
        """Return the KV traffic between prefill and decode in the last control epoch. [B/s]"""
        epoch = self._now // _BIN_PS
        if epoch - 1 in self._sent_bytes:
            return self.rules.weight * self._sent_bytes[epoch - 1] / BIN_S
        elapsed_s = (self._now - epoch * _BIN_PS) / PS_PER_S
        sent = self._sent_bytes.get(epoch, 0.0)
        return self.rules.weight * sent / elapsed_s if elapsed_s else 0.0

    def _capacity_per_s(self) -> float:
        """Return requests per second that the open replicas sustain at the mean lengths seen."""
        counts = self._ledger.counters
        if not counts.requests_in:
            return math.nan
        prompt = counts.prompt_tokens_in / counts.requests_in
        output = counts.output_tokens_in / counts.requests_in
        stages: dict[str, float] = {}
        for slot in (*self._entry, *self._decode):
            replica = self._at(slot)
            rate = saturated_rate_per_s(
                replica.costs, self.rules.rule, replica.max_sequences, replica.blocks,
                role=replica.role, prompt_tokens=prompt, output_tokens=output,
            )
            stage = "decode" if replica.role == "decode" else "entry"
            stages[stage] = stages.get(stage, 0.0) + rate
        return min(stages.values(), default=0.0)

    def _flying(self) -> list[tuple[Request, int]]:
        """Return every request in flight, with the tokens it has emitted so far."""
        found = [(request, 0) for queue in self._lobby for request in queue]
        found.extend((request, 0) for request in self._parked)
        for replica in self._replicas:
            if replica is not None:
                found.extend(replica.held(self._now))
        return found

    def _in_flight(self) -> int:
        return sum(self._loads) + sum(map(len, self._lobby)) + len(self._parked)

    def _queue_length(self) -> int:
        waiting = sum(map(len, self._lobby))
        for replica in self._replicas:
            if replica is not None:
                waiting += replica.waiting_count
        return waiting

    def _kv_fraction(self, at_ps: int) -> float:
        return max(
            (
                replica.used_blocks(at_ps) / replica.blocks
                for replica in self._replicas
                if replica is not None and replica.blocks
            ),
            default=0.0,
        )

    def _read_meters(self) -> None:
        if not self._closed:
            for replica in self._replicas:
                if replica is not None:
                    replica.meter.read(self._now)
        self._ledger.meter(self._bins)
        self._power.extend(self._bins)
        self._bins.clear()

    def _find(self, replica_id: int) -> int:
        slot = self._slot.get(replica_id)
        if slot is None:
            raise ValueError(
                f"service {self.rules.name}: no replica {replica_id}\n    "
                f"{hint(str(replica_id), [str(known) for known in self._slot])}"
            )
        return slot

    def _at(self, slot: int) -> Replica:
        replica = self._replicas[slot]
        if replica is None:
            raise RuntimeError(f"service {self.rules.name}: slot {slot} holds no replica")
        return replica

    def _picoseconds(self, at_s: float) -> int:
        return to_ps(at_s - self.rules.origin_s)

    def _seconds(self, at_ps: int) -> float:
        return at_ps / PS_PER_S + self.rules.origin_s
