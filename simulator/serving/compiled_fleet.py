"""The replicas of a compiled crowd: the kernel's arrays, and what commands do to them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving import crowd_arrays, kernel, prefix_arrays
from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_costs import CompiledCosts
from simulator.serving.compiled_meters import CompiledMeters
from simulator.serving.crowd import AddReplica, ReplicaProfile, Role, ServiceError
from simulator.serving.kernel import NEVER64
from simulator.serving.leap import run_ps, steps_within
from simulator.serving.picoseconds import NEVER
from simulator.serving.power_meter import DECODE, MIXED, MeterBin
from simulator.serving.replica_roll import ReplicaRoll
from simulator.serving.saturation import MeanRequest, Saturated, sustained_per_s

Ints = NDArray[np.int64]

#: Roles of replicas as the kernel numbers them.
_ROLES: Final[tuple[Role, ...]] = ("mixed", "prefill", "decode")


class CompiledFleet:
    """Replicas by slot, as `fleet.Fleet` has them, with the state of all of them in arrays.

    Parameters
    ----------
    service
        Whose replicas, for messages.
    rule
        Bounds of a batch.
    tiers, cells
        Classes of requests, and groups of replicas that the router keeps apart. [count]
    bin_ps, start_ps
        Width of the power bins, and start of the run. [ps]
    rows
        Rows held at least before they must be taken. [count]
    attention_data_parallel
        Groups of each replica that split its batch and advance together. [count]
    piece_tokens
        Tokens of a named piece of a prompt; 0 where requests share nothing.
    """

    def __init__(
        self,
        service: str,
        rule: BatchRule,
        *,
        tiers: int,
        cells: int,
        bin_ps: int,
        start_ps: int,
        rows: int,
        attention_data_parallel: int = 1,
        piece_tokens: int = 0,
    ) -> None:
        self._service = service
        self._rule = rule
        self._groups = groups = attention_data_parallel
        self._stride = groups + 1 if groups > 1 else 1
        """Rows of the arrays that a replica takes: itself, and its groups; see `kernel.groups`."""
        self.base_ps = 0
        """What the arrays count from. [ps]"""
        self.site_names: list[str] = []
        self.draining: list[int] = []
        self.closed = False
        self._open: list[list[int]] = [[] for _ in range(cells + 1)]
        """Open slots of each cell, and those that only decode, ascending."""
        self._max_concurrency: int | None = None
        self._roll = ReplicaRoll(service, groups)
        self._fresh: dict[int, tuple[ReplicaProfile, int]] = {}
        self._costs = CompiledCosts()
        self._meters = CompiledMeters(bin_ps, start_ps)
        self._counted = rule.until_done or rule.drafts > 0
        """Whether a plan's blocks are all counted at its start."""
        self.shares = piece_tokens > 0 and rule.keeps_blocks
        """Whether requests share what their prompts begin with."""
        self.k = crowd_arrays.no_replicas(
            rule, tiers=tiers, cells=cells, groups=groups, bin_ps=bin_ps, rows=rows, piece_tokens=piece_tokens
        )

    # sizes and times --------------------------------------------------------------------------

    def more_requests(self) -> None:
        """Double the places for requests in flight."""
        self.k = crowd_arrays.more_requests(self.k)

    def more_shelves(self) -> None:
        """Double the shelves on which named blocks stand."""
        self.k = self.k._replace(prefixes=prefix_arrays.more_shelves(self.k.prefixes))

    def room_for_rows(self, more: int) -> None:
        """See to it that there is room for so many more rows."""
        self.k = crowd_arrays.room_for_rows(self.k, more)

    def move_base(self, base_ps: int) -> None:
        """Count times from another moment; all that is remembered must fit 64 bits then."""
        try:
            crowd_arrays.count_from(self.k, base_ps - self.base_ps)
        except OverflowError as error:
            raise ValueError(
                f"service {self._service}: {error}; "
                "use mode fluid for a service that is overloaded for so long"
            ) from error
        self.base_ps = base_ps

    def shifted(self, at_ps: int) -> int:
        """Return a time as the arrays count it; later than they can: NEVER64."""
        return min(at_ps - self.base_ps, NEVER64)

    def absolute(self, at: Any) -> int:
        """Return a time of the arrays since the origin. [ps]"""
        return NEVER if at == NEVER64 else int(at) + self.base_ps

    # who is there ----------------------------------------------------------------------------

    def _free_slot(self) -> int:
        """Return the lowest slot without a replica, a new one if need be."""
        free = np.flatnonzero(self.k.replica[:: self._stride, kernel.REPLICA_ID] < 0)
        if not len(free):
            self.k = crowd_arrays.more_slots(self.k, self._stride)
            return self._free_slot()
        return int(free[0]) * self._stride

    def slots(self) -> list[int]:
        """Return the slots that have a replica, ascending."""
        return [int(slot) for slot in np.flatnonzero(self.k.replica[:, kernel.REPLICA_ID] >= 0)]

    def find(self, replica_id: int) -> int:
        """Return the slot of a replica; ValueError with what is known if there is none."""
        return self._roll.find(replica_id)

    @property
    def ends(self) -> list[int]:
        """When each slot's plan ends; NEVER if it has none. [ps]"""
        return [self.absolute(end) for end in self.k.replica[:, kernel.PLAN_END].tolist()]

    def replica_id(self, slot: int) -> int:
        """Return who stands in a slot."""
        return int(self.k.replica[slot, kernel.REPLICA_ID])

    def is_empty(self, slot: int) -> bool:
        """Whether a replica holds no request and does nothing."""
        r = self.k.replica[slot]
        return bool(not r[kernel.LOAD] and r[kernel.PLAN_END] == NEVER64)

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return sum(map(len, self._open))

    @property
    def running(self) -> int:
        """Requests in a batch."""
        return int(np.sum(self.k.replica[:, kernel.RUNNING]))

    @property
    def transferring(self) -> int:
        """Requests whose prompt is done and whose KV is not where it is wanted."""
        return int(self.k.crowd[kernel.UNDER_WAY])

    def between(self) -> Ints:
        """Return the places of requests whose prompt is done and whose KV is not where it is wanted."""
        request = self.k.request
        return np.flatnonzero((request[:, kernel.SLOT] >= 0) & (request[:, kernel.TOKEN] <= kernel.HANDED))

    def add(self, command: AddReplica, max_sequences: int, at_ps: int) -> int:
        """Take in a replica; return its slot."""
        if command.role != "mixed" and self._rule.until_done:
            raise ServiceError(
                f"service {self._service}: the kernel does not part prefill from decode where batches run "
                "until all is done; use the twin"
            )
        self._roll.check_new(command, self._rule.token_budget)
        cost = self._cost(command.profile, 1.0, command.gpus)
        costs = self._costs[cost]
        if command.site not in self.site_names:
            self.site_names.append(command.site)
            self.k = crowd_arrays.more_sites(self.k, len(self.site_names))
        slot = self._free_slot()
        k, taken = self.k, slice(slot, slot + self._stride)
        r = k.replica[taken]
        r[:] = 0
        r[:, kernel.REPLICA_ID] = -1
        r[:, kernel.HEAD] = slot
        r[:, kernel.ROLE] = _ROLES.index(command.role)
        r[:, kernel.COST] = cost
        r[:, kernel.NEXT_COST] = -1
        r[:, kernel.BLOCKS] = r[:, kernel.FREE] = command.kv_blocks
        r[:, kernel.WATERMARK] = self._rule.watermark_blocks(command.kv_blocks)
        r[:, kernel.MOST_SEQUENCES] = max_sequences
        r[:, kernel.PARTIAL] = -1
        r[:, kernel.STALE] = 1
        r[:, kernel.PLAN_END] = NEVER64
        r[:, kernel.LEVEL_MW] = costs.idle_mw
        # Only the replica as a whole keeps account of its energy.
        r[:, kernel.SINCE] = NEVER64
        r[0, kernel.SINCE] = at_ps - self.base_ps
        r[0, kernel.LEVEL_MW] = self._groups * costs.idle_mw
        r[0, kernel.REPLICA_ID] = command.replica_id
        r[0, kernel.SITE] = self.site_names.index(command.site)
        k.waiting[taken] = k.lines[taken] = -1
        k.phases[taken] = 0
        if self.shares:
            prefixes = self.k.prefixes
            for row in self.rows_of(slot):
                pieces = int(k.crowd[kernel.PIECE_BLOCKS])
                prefixes = prefix_arrays.add_replica(prefixes, row, command.kv_blocks, self._rule, pieces)
            self.k = self.k._replace(prefixes=prefixes)
        if command.role != "mixed":
            k.crowd[kernel.APART] = 1
        self._meters.enter(slot, round(command.host_w * 1000.0), at_ps)
        self._roll.enter(command.replica_id, slot)
        self._fresh[command.replica_id] = (command.profile, command.gpus)
        door = self._open[-1 if command.role == "decode" else command.cell]
        door.append(slot)
        door.sort()
        self._set_doors()
        return slot

    def close_door(self, slot: int) -> None:
        """Let no more requests come to a slot."""
        for door in self._open:
            if slot in door:
                door.remove(slot)
        self._set_doors()

    def drain(self, slot: int) -> None:
        """Mark a replica that finishes what it holds and goes."""
        if slot not in self.draining:
            self.draining.append(slot)
        self.k.replica[slot, kernel.DRAINING] = 1

    def forget(self, slot: int, at_ps: int) -> None:
        """Take the replica out of a slot; its last power bin leaves."""
        k, r = self.k, self.k.replica[slot : slot + self._stride]
        self.leave_bins(at_ps + 1)
        self._meters.leave(k.replica, slot, self.base_ps, at_ps)
        if slot in self.draining:
            self.draining.remove(slot)
        replica_id = int(r[0, kernel.REPLICA_ID])
        k.crowd[kernel.LOADED] -= np.sum(r[:, kernel.LOAD])
        k.crowd[kernel.QUEUED] -= np.sum(r[:, kernel.WAITING] + r[:, kernel.READY])
        r[:] = 0
        r[:, kernel.REPLICA_ID] = -1
        r[:, kernel.PLAN_END] = NEVER64
        kernel.plain(kernel.tree_set)(k.ends, slot, NEVER64)
        for row in range(slot, slot + self._stride):
            kernel.plain(kernel.tree_set)(k.links, row, NEVER64)
        self._roll.strike(replica_id)
        del self._fresh[replica_id]

    def _set_doors(self) -> None:
        k = self.k
        for row, door in enumerate(self._open):
            k.entry[row, : len(door)] = door
            k.entries[row] = len(door)

    # what iterations cost --------------------------------------------------------------------

    def set_clock(self, slot: int, replica_id: int, clock_fraction: float) -> None:
        """Let a replica run at a fraction of the highest clock from its next boundary on."""
        profile, gpus = self._fresh[replica_id]
        cost = self._cost(profile, clock_fraction, gpus)
        self.k.replica[self.rows_of(slot), kernel.NEXT_COST] = cost

    def rows_of(self, slot: int) -> range:
        """Return the rows of a replica that hold requests: its groups' if it has some."""
        return range(slot + (self._groups > 1), slot + self._stride)

    def set_most_sequences(self, slot: int, most: int) -> None:
        """Bound a replica's batch from its next boundary on."""
        self.k.replica[self.rows_of(slot), kernel.MOST_SEQUENCES] = most

    def set_max_concurrency(self, most: int | None) -> None:
        """Let a replica with as many requests in flight get no more from the door."""
        self._max_concurrency = most
        self.k.crowd[kernel.MOST_IN_FLIGHT] = -1 if most is None else most

    def _cost(self, profile: ReplicaProfile, clock_fraction: float, gpus: int) -> int:
        self.k, row = self._costs.add(self.k, profile, clock_fraction, gpus)
        return row

    def learn_power(self) -> None:
        """Look up the watts of the plans that the kernel did not know them of, and hold them."""
        k = self.k
        count = int(k.crowd[kernel.UNKNOWN])
        k.crowd[kernel.UNKNOWN] = 0
        for plan in k.unknown[:count].tolist():
            self.k, level_mw = self._costs.look_up(self.k, plan)
            self._draw(plan[0], level_mw, MIXED if plan[-1] else DECODE)

    def _draw(self, row: int, level_mw: int, doing: int) -> None:
        """Let a row draw other watts, or do something else, from the start of its plan on."""
        r = self.k.replica[row]
        if level_mw != r[kernel.LEVEL_MW] or doing != r[kernel.DOING]:
            kernel.plain(kernel.meter_read)(r, int(r[kernel.PLAN_START]))
            r[kernel.LEVEL_MW] = level_mw
            r[kernel.DOING] = doing
        head = int(r[kernel.HEAD])
        if head != row:
            together = (kernel.together_mw, kernel.together_doing)
            self._draw(head, *(int(kernel.plain(of_groups)(self.k, head)) for of_groups in together))

    def blocks_of(self, tokens: int) -> int:
        """Return the blocks that hold so many tokens. [blocks]"""
        return self._rule.blocks_of(tokens)

    # plans -----------------------------------------------------------------------------------

    def cut(self, slot: int, at_ps: int) -> None:
        """Make a replica stand at the first boundary after now, so that a command can act there."""
        k, r = self.k, self.k.replica[slot]
        if r[kernel.PLAN_END] == NEVER64:
            if not r[kernel.BOUNDARY]:
                r[kernel.BOUNDARY] = 1
                k.boundary[k.crowd[kernel.BOUNDARIES]] = slot
                k.crowd[kernel.BOUNDARIES] += 1
            return
        planned, first_ps, growth_ps, start = (
            int(r[column]) for column in (kernel.STEPS, kernel.FIRST_PS, kernel.GROWTH_PS, kernel.PLAN_START)
        )
        if planned <= 1:
            return
        steps = steps_within(first_ps, growth_ps, at_ps - self.base_ps - start) + 1
        if steps < planned:
            r[kernel.STEPS] = steps
            r[kernel.PLAN_END] = start + run_ps(first_ps, growth_ps, steps)
            if self._groups > 1:
                kernel.plain(kernel.keep_pace)(k, slot)
            kernel.plain(kernel.tree_set)(k.ends, slot, int(r[kernel.PLAN_END]))

    def steps_begun(self, slot: int, at_ps: int) -> int:
        """Return the iterations of a replica's plan that have begun by a moment inside it."""
        r = self.k.replica[slot]
        steps = int(r[kernel.STEPS])
        if r[kernel.PLAN_END] == NEVER64:
            return 0
        if steps <= 1:
            return steps
        span = at_ps - self.base_ps - int(r[kernel.PLAN_START])
        return min(steps_within(int(r[kernel.FIRST_PS]), int(r[kernel.GROWTH_PS]), span) + 1, steps)

    def held(self, slot: int) -> list[int]:
        """Return the requests that a replica holds, in order of tier and arrival there."""
        k, row = self.k, self.k.request[:, kernel.SLOT]
        found = np.flatnonzero((row >= slot) & (row < slot + self._stride))
        request = k.request[found]
        # A prompt that was handed over has its place at the replica that will decode it; of equals
        # those that are here come first, then the others as they were read.
        handed = request[:, kernel.TOKEN] <= kernel.HANDED
        read = np.where(handed, request[:, kernel.HANDED_PLACE], -1)
        order = np.lexsort((read, row[found], request[:, kernel.PLACE_ORDER], request[:, kernel.TIER]))
        return [int(q) for q in found[order]]

    def emitted(self, at_ps: int) -> NDArray[np.int64]:
        """Return for each place of a request the tokens it has emitted by now; 0 where there is none."""
        k = self.k
        count = np.where(k.request[:, kernel.SLOT] >= 0, k.request[:, kernel.EMITTED], 0)
        decoding = np.flatnonzero((k.request[:, kernel.SLOT] >= 0) & (k.request[:, kernel.TOKEN] >= 0))
        slot = k.request[decoding, kernel.SLOT]
        ended = np.zeros(len(k.replica), np.int64)
        for place in np.unique(slot).tolist():
            r = k.replica[place]
            if r[kernel.PLAN_END] != NEVER64 and not r[kernel.STANDS] and not self._rule.drafts:
                over = at_ps - self.base_ps >= r[kernel.PLAN_END]
                ended[place] = r[kernel.STEPS] if over else max(0, self.steps_begun(place, at_ps) - 1)
        left = k.request[decoding, kernel.END] - k.replica[slot, kernel.GENERATION]
        count[decoding] = k.request[decoding, kernel.OUTPUT] - left + ended[slot]
        return count

    def kv_fraction(self, at_ps: int) -> float:
        """Return the largest share of KV blocks in use over the replicas."""
        k, size = self.k, self._rule.block_tokens
        most = 0.0
        for row in np.flatnonzero(k.replica[:, kernel.BLOCKS]).tolist():
            r = k.replica[row]
            blocks = int(r[kernel.BLOCKS])
            begun = self.steps_begun(row, at_ps)
            grown = 0
            if begun and not r[kernel.NEW_SEQUENCES] and not self._counted:
                rounds, rest = divmod(begun, size)
                start = int(r[kernel.GENERATION]) % size
                grown = rounds * int(r[kernel.DECODES]) + int(k.phases[row, start : start + rest].sum())
                grown -= int(r[kernel.GROWN])
            most = max(most, (blocks - int(r[kernel.FREE]) + grown) / blocks)
        return most

    def prefix_tokens(self) -> tuple[int, int]:
        """Return the tokens that were looked up in KV blocks at admissions, and those found."""
        return int(self.k.crowd[kernel.LOOKED]), int(self.k.crowd[kernel.HIT])

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present."""
        replica = self.k.replica[self.slots()]
        return int(np.sum(replica[:, kernel.ITERATIONS])), int(np.sum(replica[:, kernel.PLANS]))

    def capacity_per_s(self, request: MeanRequest) -> float:
        """Return requests per second of such lengths that the open replicas sustain. [1/s]"""
        rows = [self.k.replica[self.rows_of(slot).start] for door in self._open for slot in door]
        replicas = [
            Saturated(
                _ROLES[r[kernel.ROLE]],
                self._costs[r[kernel.COST]],
                int(r[kernel.MOST_SEQUENCES]),
                int(r[kernel.BLOCKS]),
            )
            for r in rows
        ]
        return sustained_per_s(replicas, self._rule, self._max_concurrency, request)

    # power -----------------------------------------------------------------------------------

    def level_mw(self, slot: int) -> int:
        """Return what a replica draws now. [mW]"""
        return int(self.k.replica[slot, kernel.LEVEL_MW])

    def leave_bins(self, before_ps: int) -> None:
        """Let the power bins leave that end before a moment; nothing changes until then."""
        self._meters.leave_bins(self.k.replica, self.base_ps, before_ps)

    def read_meters(self, at_ps: int) -> list[MeterBin]:
        """Return and forget the power bins that ended by `at_ps`."""
        if not self.closed:
            self.leave_bins(at_ps + 1)
        return self._meters.take()

    def energy(self, at_ps: int) -> int:
        """Return the GPU energy of all replicas since the start, those that are gone among them. [mW ps]"""
        if not self.closed:
            self.leave_bins(at_ps + 1)
            for slot in self.slots():
                kernel.plain(kernel.meter_read)(self.k.replica[slot], at_ps - self.base_ps)
        return self._meters.total(self.k.replica)

    def close(self, at_ps: int) -> None:
        """Let unfinished power bins leave: the run is over."""
        self.leave_bins(at_ps + 1)
        self._meters.leave_all(self.k.replica, self.base_ps, at_ps)
        self.closed = True
