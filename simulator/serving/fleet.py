"""The replicas of a crowd: who is there, who takes requests, when each one's plan ends."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.serving.batch_rule import BatchRule
from simulator.serving.batching import Replica
from simulator.serving.crowd import AddReplica, ReplicaProfile
from simulator.serving.drafting import DraftingReplica
from simulator.serving.lockstep import LockstepReplica
from simulator.serving.picoseconds import NEVER
from simulator.serving.power_meter import MeterBin, PowerMeter
from simulator.serving.replica_costs import ReplicaCosts
from simulator.serving.replica_roll import ReplicaRoll
from simulator.serving.request import Request
from simulator.serving.saturation import MeanRequest, Saturated, sustained_per_s
from simulator.serving.static_batch import StaticReplica

#: What stands in a slot.
AnyReplica = Replica | LockstepReplica


class Fleet:
    """Replicas by slot. A slot that a replica leaves goes to the next that comes, lowest first.

    Parameters
    ----------
    service
        Whose replicas, for messages.
    rule
        Bounds of a batch.
    tiers, cells
        Classes of requests, and groups of replicas that the router keeps apart. [count]
    bin_ps
        Width of the power bins. [ps]
    leap
        Whether replicas take runs of pure decode as one.
    piece_tokens
        Tokens of a named piece of a prompt; 0 where requests share nothing.
    attention_data_parallel
        Groups of each replica that split its batch and advance together. [count]
    """

    def __init__(
        self,
        service: str,
        rule: BatchRule,
        *,
        tiers: int,
        cells: int,
        bin_ps: int,
        leap: bool,
        piece_tokens: int = 0,
        attention_data_parallel: int = 1,
    ) -> None:
        self._service = service
        self._rule = rule
        self._tiers = tiers
        self._bin_ps = bin_ps
        self._leap = leap
        self._piece_tokens = piece_tokens
        self.groups = attention_data_parallel
        self._replicas: list[AnyReplica | None] = []
        self.ends: list[int] = []
        """When each slot's plan ends; NEVER if it has none. [ps]"""
        self.loads: list[int] = []
        """Requests in flight by slot."""
        self.sites: list[str] = []
        self.site_names: list[str] = []
        """Sites in order of appearance; a replica's `site` is a position here."""
        self.entry: list[list[int]] = [[] for _ in range(cells)]
        """By cell: open slots that new requests may go to, ascending."""
        self._max_concurrency: int | None = None
        self.decode: list[int] = []
        """Open slots that take requests from prefill replicas, ascending."""
        self.boundary: list[int] = []
        """Slots whose replicas plan on before time moves."""
        self.draining: list[int] = []
        self.bins: list[MeterBin] = []
        """Power bins that ended and were not taken yet."""
        self.closed = False
        self._gone_energy = self._gone_looked = self._gone_hit = 0
        self._roll = ReplicaRoll(service, attention_data_parallel)
        self._fresh: dict[int, tuple[ReplicaProfile, int]] = {}
        self._costs: dict[tuple[int, float, int], ReplicaCosts] = {}
        self._kept: dict[int, ReplicaProfile] = {}

    def __iter__(self) -> Iterator[AnyReplica]:
        return (replica for replica in self._replicas if replica is not None)

    def at(self, slot: int) -> AnyReplica:
        """Return the replica in a slot that has one."""
        replica = self._replicas[slot]
        if replica is None:
            raise RuntimeError(f"service {self._service}: slot {slot} holds no replica")
        return replica

    def get(self, slot: int) -> AnyReplica | None:
        """Return the replica in a slot, if there is one."""
        return self._replicas[slot]

    # who is there ----------------------------------------------------------------------------

    def slots(self) -> list[int]:
        """Return the slots that have a replica, ascending."""
        return [slot for slot, replica in enumerate(self._replicas) if replica is not None]

    def find(self, replica_id: int) -> int:
        """Return the slot of a replica; ValueError with what is known if there is none."""
        return self._roll.find(replica_id)

    def replica_id(self, slot: int) -> int:
        """Return who stands in a slot."""
        return self.at(slot).replica_id

    def is_empty(self, slot: int) -> bool:
        """Whether a replica holds no request and does nothing."""
        replica = self.at(slot)
        return replica.empty and replica.plan_end == NEVER

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return sum(map(len, self.entry)) + len(self.decode)

    def add(self, command: AddReplica, max_sequences: int, at_ps: int) -> int:
        """Take in a replica; return its slot."""
        self._roll.check_new(command, self._rule.token_budget)
        costs = self._costs_of(command.profile, 1.0, command.gpus)
        if command.site not in self.site_names:
            self.site_names.append(command.site)
        host_mw = round(command.host_w * 1000.0)
        if self._rule.drafts and not command.profile.iteration.linear_in_context:
            raise ValueError(
                f"service {self._service}: a measured table does not say what checking drafts costs; "
                "leave out `speculative`, or the table"
            )
        kind = StaticReplica if self._rule.until_done else DraftingReplica if self._rule.drafts else Replica

        def make(meter: PowerMeter) -> Replica:
            return kind(
                command.replica_id,
                self.site_names.index(command.site),
                role=command.role,
                costs=costs,
                kv_blocks=command.kv_blocks,
                rule=self._rule,
                tiers=self._tiers,
                meter=meter,
                leap=self._leap,
                piece_tokens=self._piece_tokens,
            )

        meter = PowerMeter(command.replica_id, host_mw, at_ps, self._bin_ps, self.bins)
        replica = make(meter) if self.groups == 1 else LockstepReplica(make, meter)
        replica.max_sequences = max_sequences
        if None in self._replicas:
            slot = self._replicas.index(None)
            self._replicas[slot], self.sites[slot] = replica, command.site
        else:
            slot = len(self._replicas)
            self._replicas.append(replica)
            self.sites.append(command.site)
            self.ends.append(NEVER)
            self.loads.append(0)
        self._roll.enter(command.replica_id, slot)
        self._fresh[command.replica_id] = (command.profile, command.gpus)
        pool = self.decode if command.role == "decode" else self.entry[command.cell]
        pool.append(slot)
        pool.sort()
        return slot

    def close_door(self, slot: int) -> None:
        """Let no more requests come to a slot."""
        for pool in (*self.entry, self.decode):
            if slot in pool:
                pool.remove(slot)

    def drain(self, slot: int) -> None:
        """Mark a replica that finishes what it holds and goes."""
        if slot not in self.draining:
            self.draining.append(slot)

    def forget(self, slot: int, at_ps: int) -> None:
        """Take the replica out of a slot; its last power bin leaves."""
        replica = self.at(slot)
        replica.meter.close(at_ps)
        self._gone_energy += replica.meter.total(at_ps)
        looked, hit = replica.prefix_tokens
        self._gone_looked += looked
        self._gone_hit += hit
        if slot in self.draining:
            self.draining.remove(slot)
        self._replicas[slot] = None
        self.ends[slot] = NEVER
        self.loads[slot] = 0
        self._roll.strike(replica.replica_id)
        del self._fresh[replica.replica_id]

    def set_clock(self, slot: int, replica_id: int, clock_fraction: float) -> None:
        """Let a replica run at a fraction of the highest clock from its next boundary on."""
        profile, gpus = self._fresh[replica_id]
        self.at(slot).next_costs = self._costs_of(profile, clock_fraction, gpus)

    def set_most_sequences(self, slot: int, most: int) -> None:
        """Bound a replica's batch from its next boundary on."""
        self.at(slot).max_sequences = most

    def set_max_concurrency(self, most: int | None) -> None:
        """Let a replica with as many requests in flight get no more from the door."""
        self._max_concurrency = most

    def with_room(self, cell: int) -> list[int]:
        """Return the slots of a cell that may get another request, ascending."""
        most = self._max_concurrency
        if most is None:
            return self.entry[cell]
        return [slot for slot in self.entry[cell] if self.loads[slot] < most]

    # what they do ----------------------------------------------------------------------------

    def enqueue(self, slot: int, request: Request, after_ps: int) -> None:
        """Let a request wait at a replica, which may take it in at a boundary later than `after_ps`."""
        self.loads[slot] += 1
        if self.at(slot).join(request, after_ps):
            self.stirred(slot)

    def stirred(self, slot: int) -> None:
        """Note that a replica is idle and has something to do, or that its plan was cut short."""
        end = self.at(slot).plan_end
        if end == NEVER:
            self.call(slot)
        else:
            self.ends[slot] = end

    def call(self, slot: int) -> None:
        """Let a replica plan before time moves."""
        replica = self.at(slot)
        if not replica.boundary:
            replica.boundary = True
            self.boundary.append(slot)

    def cut(self, slot: int, at_ps: int) -> None:
        """Make a replica stand at the first boundary after now, so that a command can act there."""
        replica = self.at(slot)
        if replica.plan_end == NEVER:
            self.call(slot)
        elif replica.cut(at_ps):
            self.ends[slot] = replica.plan_end

    # what there is to see --------------------------------------------------------------------

    def in_flight(self) -> int:
        """Return requests that replicas hold."""
        return sum(self.loads)

    @property
    def running(self) -> int:
        """Requests in a batch."""
        return sum(len(replica.running) for replica in self)

    @property
    def transferring(self) -> int:
        """Requests whose prompt is done and whose KV is not where it is wanted."""
        return sum(len(replica.handed) for replica in self)

    def waiting(self) -> int:
        """Return requests that wait at replicas for an iteration."""
        return sum(replica.queued for replica in self)

    def kv_fraction(self, at_ps: int) -> float:
        """Return the largest share of KV blocks in use over the replicas."""
        return max((replica.kv_fraction(at_ps) for replica in self), default=0.0)

    def capacity_per_s(self, request: MeanRequest) -> float:
        """Return requests per second of such lengths that the open replicas sustain. [1/s]"""
        doors = (*(slot for pool in self.entry for slot in pool), *self.decode)
        replicas = [
            Saturated(replica.role, replica.costs, replica.max_sequences, replica.blocks)
            for replica in map(self.at, doors)
        ]
        return sustained_per_s(replicas, self._rule, self._max_concurrency, request)

    def prefix_tokens(self) -> tuple[int, int]:
        """Return the tokens that were looked up in KV blocks at admissions, and those found."""
        looked, hit = self._gone_looked, self._gone_hit
        for replica in self:
            more_looked, more_hit = replica.prefix_tokens
            looked += more_looked
            hit += more_hit
        return looked, hit

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present."""
        present = list(self)
        return sum(replica.iterations for replica in present), sum(replica.leaps for replica in present)

    def level_mw(self, slot: int) -> int:
        """Return what a replica draws now. [mW]"""
        return self.at(slot).meter.level_mw

    def read_meters(self, at_ps: int) -> list[MeterBin]:
        """Return and forget the power bins that ended by `at_ps`."""
        if not self.closed:
            for replica in self:
                replica.meter.read(at_ps)
        bins = self.bins.copy()
        self.bins.clear()
        return bins

    def energy(self, at_ps: int) -> int:
        """Return the GPU energy of all replicas since the start, those that are gone among them. [mW ps]"""
        return self._gone_energy + sum(replica.meter.total(at_ps) for replica in self)

    def close(self, at_ps: int) -> None:
        """Let unfinished power bins leave: the run is over."""
        for replica in self:
            replica.meter.close(at_ps)
        self.closed = True

    def _costs_of(self, profile: ReplicaProfile, clock_fraction: float, gpus: int) -> ReplicaCosts:
        key = (id(profile), clock_fraction, gpus)
        known = self._costs.get(key)
        if known is None:
            self._kept[id(profile)] = profile  # keeps the id from being used again
            slowed = profile if clock_fraction == 1.0 else profile.at_clock(clock_fraction)
            known = self._costs[key] = ReplicaCosts(slowed, gpus)
        return known
