"""A service in full, request by request, in either form: how time passes and what commands do.

At one instant: iterations end and requests finish, then transfers arrive, then those that are held
at the door go to replicas that have room, then requests arrive and are routed, then every replica at
a boundary plans on. Commands act after all that. What they
leave at the door is dealt out after the last command of an instant.

A form says what happens between two looks: `twin.TwinCrowd` plainly, one event at a time, and
`compiled_crowd.CompiledCrowd` with the same answers from a kernel.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from simulator.serving.arrival_buffer import ArrivalBuffer
from simulator.serving.crowd import (
    AddReplica,
    Command,
    Fired,
    Limit,
    RemoveReplica,
    ServiceError,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.crowd_books import CrowdBooks
from simulator.serving.fleet_form import FleetForm
from simulator.serving.picoseconds import NEVER, tick_after_s
from simulator.serving.service_rules import ServiceRules
from simulator.serving.user_arrivals import UserArrivals
from simulator.workload.requests import RequestTable


class CrowdInFull(CrowdBooks):
    """A service in full: see `crowd.Crowd` for what each method promises.

    Parameters
    ----------
    rules
        The service.
    fleet
        Its replicas.
    arrivals
        Who comes next.
    """

    def __init__(self, rules: ServiceRules, fleet: FleetForm, arrivals: ArrivalBuffer | UserArrivals) -> None:
        super().__init__(rules, fleet)
        self._arrivals = arrivals
        self._limit = Limit()
        self._undealt = False
        """Whether commands of this instant left requests at the door that somebody may take."""
        self._fired: list[Fired] = []
        self._due = NEVER
        """When the engine must look because a replica has drained; on the time grid."""
        self._due_s = math.inf

    # what a form must say --------------------------------------------------------------------

    @abstractmethod
    def _pass(self, stop_ps: int) -> int | None:
        """Go through all instants up to `stop_ps`; return when the next thing happens after it.

        None: it came back before, because rows are full, a replica has drained, or somebody
        unknown may arrive at this very instant.
        """

    @abstractmethod
    def _rows_held(self) -> int:
        """Return how many rows of finished requests were not taken yet."""

    @abstractmethod
    def _plan(self) -> None:
        """Let every replica that stands at a boundary plan on; see which ones have drained."""

    @abstractmethod
    def _kill(self, slot: int) -> None:
        """Lose a replica: what it held begins again at the door, or fails."""

    @abstractmethod
    def _set_shares(self, command: SetWeights) -> None:
        """Share new requests out to sites."""

    @abstractmethod
    def _set_bandwidth(self, bytes_per_s: float) -> None:
        """Give each prefill replica another bandwidth for KV. [B/s]"""

    def _added(self) -> None:
        """See to what follows from a new replica; a form that must says what."""

    def _forget(self, slot: int) -> None:
        """Take the replica out of a slot."""
        self._fleet.forget(slot, self._now)

    def _emptied_by(self, slot: int, ends: Sequence[int]) -> int:
        """Return a moment before which a draining replica cannot be empty. [ps]"""
        return ends[slot]

    # time ------------------------------------------------------------------------------------

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act."""
        self._deal()
        limit = self._picoseconds(until_s)
        if not self._now <= limit < NEVER:
            raise ValueError(f"service {self.rules.name}: cannot advance from {self.now_s} s to {until_s} s")
        lookout, full = self._lookout, self.rules.rows
        while True:
            if self._fired:
                return Stop.WATCH
            if self._rows_held() >= full:
                return Stop.ROWS_FULL
            if self._due < limit:
                limit, until_s = self._due, self._due_s
            at = self._pass(min(limit, lookout.sample, lookout.tick))
            if at is None:
                if self._now == self._arrivals.known_ps:
                    return Stop.ARRIVALS_EMPTY
                continue
            if (at > lookout.sample or at > lookout.tick) and self._look(min(at, limit + 1)):
                continue
            if at > limit:
                self._stamp, self._stamp_s, self._now = limit, until_s, limit
                if limit == self._due:
                    self._let_go()
                    return Stop.WATCH
                return Stop.REACHED

    def next_time(self) -> float:
        """Return a time by which the engine must look (a watch, a drain); inf if none is due."""
        self._deal()
        due, ends = self._due, self._fleet.ends
        for slot in self._fleet.draining:
            due = min(due, self._emptied_by(slot, ends))
        if self._lookout.watch is not None:
            due = min(due, self._earliest_crossing(self._lookout.watch))
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
        if lookout.awaits_growth:
            missing = lookout.missing(in_flight, fleet.ready)
            growth = lookout.first_tick_ps(self._arrivals.earliest_ps(missing)) if missing else lookout.tick
            due = min(due, growth)
        return due

    def _look(self, before: int) -> bool:
        """Take samples and judge the watch before `before`; return whether to look again."""
        self._count()
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

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        self._arrivals.feed(block, known_until_s)

    def close(self, at_s: float) -> None:
        """End the run at `at_s`: unfinished bins and hours may be taken."""
        if self._picoseconds(at_s) != self._now:
            raise ValueError(f"service {self.rules.name}: advance to {at_s} s before closing there")
        self._fleet.close(self._now)

    # commands --------------------------------------------------------------------------------

    def apply(self, command: Command, at_s: float) -> None:
        """Change the crowd at `at_s`, which must be `now_s`; acts at the next iteration boundary."""
        if self._picoseconds(at_s) != self._now:
            raise ValueError(
                f"service {self.rules.name}: command at {at_s} s, but the crowd is at {self.now_s} s"
            )
        match command:
            case AddReplica():
                self._fleet.add(command, self._most_sequences(), self._now)
                self._added()
                self._undealt = True
            case RemoveReplica():
                self._remove(command)
            case SetClock():
                for replica_id in command.replica_ids:
                    self._set_clock(replica_id, command.clock_fraction)
            case SetWeights():
                self._set_shares(command)
                self._undealt = True
            case SetTransferBandwidth():
                if not command.bytes_per_s > 0.0:
                    raise ValueError(f"transfer bandwidth {command.bytes_per_s} B/s must be above 0")
                self._set_bandwidth(command.bytes_per_s)
            case SetWatch():
                self._lookout.watch = command.watch
            case Limit():
                self._set_limit(command)
        self._plan()
        self._lookout.arm(self._now)

    def _remove(self, command: RemoveReplica) -> None:
        fleet = self._fleet
        slot = fleet.find(command.replica_id)
        fleet.close_door(slot)
        if command.how == "kill":
            self._kill(slot)
            return
        fleet.drain(slot)
        if fleet.is_empty(slot):
            self._drained()

    def _drained(self) -> None:
        """See to it that the engine looks at the next moment of the grid: a replica is empty."""
        if self._due == NEVER:
            self._due_s = tick_after_s(self._now, self.rules.origin_s)
            self._due = self._picoseconds(self._due_s)

    def _let_go(self) -> None:
        """Take away the drained replicas that hold nothing any more."""
        self._due, self._due_s = NEVER, math.inf
        fleet = self._fleet
        for slot in tuple(fleet.draining):
            if fleet.is_empty(slot):
                self._fired.append(Fired("drained", self.now_s, fleet.replica_id(slot)))
                self._forget(slot)

    def _set_clock(self, replica_id: int, clock_fraction: float) -> None:
        if not 0.0 < clock_fraction <= 1.0:
            raise ValueError(f"clock fraction {clock_fraction} is outside (0, 1]")
        slot = self._fleet.find(replica_id)
        self._fleet.set_clock(slot, replica_id, clock_fraction)
        self._fleet.cut(slot, self._now)

    def _set_limit(self, command: Limit) -> None:
        if command.max_concurrency is not None and self.rules.cells > 1:
            raise ServiceError(
                f"service {self.rules.name}: one door for all ties the cells of a thinned service together; "
                "use mode full"
            )
        if command.max_sequences is not None and command.max_sequences < 1:
            raise ValueError(f"max_sequences {command.max_sequences} must be at least 1")
        if command.max_concurrency is not None or self._limit.max_concurrency is not None:
            self._undealt = True
        self._limit = command
        self._fleet.set_max_concurrency(command.max_concurrency)
        for slot in self._fleet.slots():
            self._fleet.set_most_sequences(slot, self._most_sequences())
            self._fleet.cut(slot, self._now)

    def _most_sequences(self) -> int:
        most = self.rules.rule.max_sequences
        return most if self._limit.max_sequences is None else min(self._limit.max_sequences, most)
