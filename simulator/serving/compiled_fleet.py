"""The replicas of a compiled crowd: the kernel's arrays, and what commands do to them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving import kernel
from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import AddReplica, ReplicaProfile, Role, ServiceError
from simulator.serving.kernel import NEVER64, UNSEEN64
from simulator.serving.leap import run_ps, steps_within
from simulator.serving.picoseconds import NEVER
from simulator.serving.power_meter import DECODE, MIXED, PHASES, MeterBin
from simulator.serving.prefix_arrays import (
    add_replica,
    more_requests,
    more_shelves,
    more_slots,
    no_prefixes,
)
from simulator.serving.replica_costs import ReplicaCosts
from simulator.serving.replica_roll import ReplicaRoll
from simulator.serving.stability import most_at_once, saturated_rate_per_s

Ints = NDArray[np.int64]

#: Fields of the kernel's crowd that are choices of a batching rule, and their names there.
CHOICES: Final = (
    (kernel.CHUNKED, "chunked"),
    (kernel.PROMPTS_APART, "prompts_apart"),
    (kernel.PADDED_BUDGET, "padded_budget"),
    (kernel.WHOLE_PROMPT, "whole_prompt"),
    (kernel.WATERMARK_ALWAYS, "watermark_always"),
    (kernel.SPARE_BLOCK, "spare_block"),
    (kernel.ADMITS_AFTER_PREEMPTION, "admits_after_preemption"),
    (kernel.KEEPS_BLOCKS, "keeps_blocks"),
)


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
        self._tiers = tiers
        self._cells = cells
        self._bin_ps = bin_ps
        self._groups = groups = attention_data_parallel
        self._stride = groups + 1 if groups > 1 else 1
        """Rows of the arrays that a replica takes: itself, and its groups; see `kernel.groups`."""
        self.base_ps = 0
        """What the arrays count from. [ps]"""
        self.edge_ps = (start_ps // bin_ps + 1) * bin_ps
        """Next end of a power bin. [ps]"""
        self.site_names: list[str] = []
        self.draining: list[int] = []
        self.bins: list[MeterBin] = []
        self.closed = False
        self._shed_energy = 0
        self._meter_start: list[int] = []
        self._host_mw: list[int] = []
        self._open: list[list[int]] = [[] for _ in range(cells + 1)]
        """Open slots of each cell, and those that only decode, ascending."""
        self._max_concurrency: int | None = None
        self._roll = ReplicaRoll(service, groups)
        self._fresh: dict[int, tuple[ReplicaProfile, int]] = {}
        self._cost_of: dict[tuple[int, float, int], int] = {}
        self._costs: list[ReplicaCosts] = []
        self._kept: dict[int, ReplicaProfile] = {}
        self._powers = 0
        self._counted = rule.until_done or rule.drafts > 0
        """Whether a plan's blocks are all counted at its start."""
        self.shares = piece_tokens > 0 and rule.keeps_blocks
        """Whether requests share what their prompts begin with."""
        self.k = self._empty(rows, piece_tokens // rule.block_tokens)

    def _empty(self, rows: int, piece_blocks: int) -> kernel.State:
        size, most = self._rule.block_tokens, self._rule.max_sequences
        ints = np.int64
        crowd = np.zeros(kernel.CROWD_FIELDS, ints)
        crowd[kernel.FREE_REQUEST] = -1
        crowd[[kernel.MOST_QUEUED, kernel.MOST_AT_DOOR, kernel.MOST_IN_FLIGHT]] = -1
        crowd[kernel.KNOWN] = -1
        crowd[kernel.PARKED] = -1
        crowd[kernel.EPOCH_PS] = self._bin_ps
        crowd[kernel.CELLS] = 1
        crowd[kernel.BUDGET] = self._rule.token_budget
        crowd[kernel.BLOCK_TOKENS] = size
        crowd[kernel.GROUPS] = self._groups
        crowd[kernel.PREFIXES] = int(self.shares)
        crowd[kernel.PIECE_BLOCKS] = piece_blocks
        for field, name in CHOICES:
            crowd[field] = int(getattr(self._rule, name))
        rule = self._rule
        crowd[kernel.UNTIL_DONE], crowd[kernel.DRAFTS] = rule.until_done, rule.drafts
        crowd[kernel.DRAFT_1024] = round(rule.draft_cost_fraction * 1024)
        accepting = [bound - 1 for bound in rule.draft_thresholds if bound]
        return kernel.State(
            crowd=crowd,
            replica=np.zeros((0, kernel.REPLICA_COLUMNS), ints),
            request=np.zeros((0, kernel.REQUEST_COLUMNS), ints),
            waiting=np.full((0, 2 * self._tiers), -1, ints),
            running=np.zeros((0, most), ints),
            prefilled=np.zeros((0, most), ints),
            heap_end=np.zeros((0, most), ints),
            heap_request=np.zeros((0, most), ints),
            phases=np.zeros((0, 2 * size), ints),
            ends=np.full(2, NEVER64, ints),
            boundary=np.zeros(0, ints),
            doors=np.full((2, 2 * self._tiers), -1, ints),
            entry=np.zeros((self._cells + 1, 0), ints),
            entries=np.zeros(self._cells + 1, ints),
            turns=np.zeros((self._cells + 1, 1), ints),
            scratch=np.zeros((2, 1), ints),
            shares=np.zeros((2, 0)),
            links=np.full(2, NEVER64, ints),
            lines=np.full((0, 4), -1, ints),
            flow=np.array([0.0, np.inf, 0.0, 0.0]),
            cost=np.zeros((0, kernel.COST_COLUMNS), ints),
            tokens_ps=np.zeros((0, self._rule.token_budget + 1), ints),
            shared_ps=np.zeros((0, self._widest_together), ints),
            power_key=np.zeros(1024, ints),
            power_mw=np.zeros(1024, ints),
            unknown=np.zeros((0, 6), ints),
            arrived=np.zeros(0, ints),
            arriving=np.zeros((0, 4), ints),
            rows=np.zeros((rows + most + 1024, 12 + self.shares), ints),
            totals=np.zeros((4, 3), ints),
            draft_bits=np.array([rule.draft_seed % (1 << 64), *accepting], np.uint64),
            prefixes=no_prefixes(),
        )

    @property
    def _widest_together(self) -> int:
        """Return how many numbers of new tokens all groups may have together; 0 if there is one."""
        return self._groups * self._rule.token_budget + 1 if self._groups > 1 else 0

    # sizes -----------------------------------------------------------------------------------

    def more_slots(self) -> None:
        """Double the slots."""
        k = self.k
        old = len(k.replica)
        count = max(self._stride, 2 * old)

        def grown(values: NDArray[np.int64], fill: int = 0) -> NDArray[np.int64]:
            found = np.full((count, *values.shape[1:]), fill, np.int64)
            found[:old] = values
            return found

        def wider(tree: NDArray[np.int64]) -> NDArray[np.int64]:
            # Leaves stand in the order of slots only if their number is a power of two.
            width = 1 << (count - 1).bit_length()
            found = np.full(2 * width, NEVER64, np.int64)
            found[width : width + old] = tree[len(tree) // 2 :][:old]
            for node in range(width - 1, 0, -1):
                found[node] = min(found[2 * node], found[2 * node + 1])
            return found

        entry = np.zeros((self._cells + 1, count), np.int64)
        entry[:, :old] = k.entry[:, :old]
        self.k = k._replace(
            replica=grown(k.replica),
            waiting=grown(k.waiting, -1),
            running=grown(k.running),
            prefilled=grown(k.prefilled),
            heap_end=grown(k.heap_end),
            heap_request=grown(k.heap_request),
            phases=grown(k.phases),
            ends=wider(k.ends),
            links=wider(k.links),
            lines=grown(k.lines, -1),
            boundary=grown(k.boundary),
            entry=entry,
            scratch=np.zeros((2, max(count, len(self.site_names))), np.int64),
            unknown=grown(k.unknown),
            prefixes=more_slots(k.prefixes, count) if self.shares else k.prefixes,
        )
        self.k.replica[old:, kernel.REPLICA_ID] = -1
        self.k.replica[old:, kernel.PLAN_END] = NEVER64

    def more_requests(self) -> None:
        """Double the places for requests in flight."""
        old = len(self.k.request)
        count = max(256, 2 * old)
        wider = np.zeros((count, kernel.REQUEST_COLUMNS), np.int64)
        wider[:old] = self.k.request
        wider[old:, kernel.SLOT] = kernel.UNUSED
        wider[old:, kernel.NEXT] = np.arange(old + 1, count + 1)
        wider[-1, kernel.NEXT] = self.k.crowd[kernel.FREE_REQUEST]
        self.k.crowd[kernel.FREE_REQUEST] = old
        self.k = self.k._replace(request=wider)
        if self.shares:
            self.k = self.k._replace(prefixes=more_requests(self.k.prefixes, count))

    def more_shelves(self) -> None:
        """Double the shelves on which named blocks stand."""
        self.k = self.k._replace(prefixes=more_shelves(self.k.prefixes))

    def room_for_rows(self, more: int) -> None:
        """See to it that there is room for so many more rows."""
        held = int(self.k.crowd[kernel.ROWS])
        if held + more > len(self.k.rows):
            wider = np.zeros((2 * (held + more), self.k.rows.shape[1]), np.int64)
            wider[:held] = self.k.rows[:held]
            self.k = self.k._replace(rows=wider)

    def move_base(self, base_ps: int) -> None:
        """Count times from another moment; all that is remembered must fit 64 bits then."""
        k, by = self.k, base_ps - self.base_ps
        self.base_ps = base_ps
        k.crowd[kernel.NOW] -= by
        k.replica[:, kernel.PLAN_START] -= by
        k.replica[k.replica[:, kernel.SINCE] != NEVER64, kernel.SINCE] -= by
        planned = k.replica[:, kernel.PLAN_END] != NEVER64
        k.replica[planned, kernel.PLAN_END] -= by
        k.ends[k.ends != NEVER64] -= by
        # Those that end later than can be counted stay there.
        k.links[k.links < NEVER64 - 1] -= by
        k.crowd[kernel.EPOCH] -= by // self._bin_ps
        used = k.request[:, kernel.SLOT] != kernel.UNUSED
        oldest = int(np.min(k.request[used, kernel.ARRIVED], initial=0))
        if oldest < -(1 << 62):
            raise ValueError(
                f"service {self._service}: a request has waited for more than 50 days; "
                "use mode fluid for a service that is overloaded for so long"
            )
        for column in (kernel.ARRIVED, kernel.STARTED, kernel.FIRST_TOKEN):
            known = used & (k.request[:, column] != UNSEEN64)
            k.request[known, column] -= by

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
            self.more_slots()
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
        # Looking through all requests takes milliseconds where a backlog is long.
        return len(self.between()) if self.k.crowd[kernel.APART] else 0

    def between(self) -> Ints:
        """Return the places of requests whose prompt is done and whose KV is not where it is wanted."""
        request = self.k.request
        return np.flatnonzero((request[:, kernel.SLOT] >= 0) & (request[:, kernel.TOKEN] <= kernel.HANDED))

    def add(self, command: AddReplica, max_sequences: int, at_ps: int) -> int:
        """Take in a replica; return its slot."""
        if command.role != "mixed" and (self.shares or self._rule.until_done):
            raise ServiceError(
                f"service {self._service}: the kernel does not part prefill from decode where requests share "
                "prefixes, or batches run until all is done; use the twin"
            )
        self._roll.check_new(command, self._rule.token_budget)
        cost = self._cost(command.profile, 1.0, command.gpus)
        costs = self._costs[cost]
        if command.site not in self.site_names:
            self._add_site(command.site)
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
                prefixes = add_replica(prefixes, row, command.kv_blocks, self._rule, pieces)
            self.k = self.k._replace(prefixes=prefixes)
        if command.role != "mixed":
            k.crowd[kernel.APART] = 1
        self._meter_start += [0] * (slot + 1 - len(self._meter_start))
        self._host_mw += [0] * (slot + 1 - len(self._host_mw))
        self._meter_start[slot] = at_ps
        self._host_mw[slot] = round(command.host_w * 1000.0)
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
        self._leave(slot, at_ps)
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

    def _add_site(self, name: str) -> None:
        self.site_names.append(name)
        k, count = self.k, len(self.site_names)
        turns = np.zeros((self._cells + 1, count + 1), np.int64)
        turns[:, :count] = k.turns
        shares = np.zeros((2, count))
        shares[:, : count - 1] = k.shares
        self.k = k._replace(
            turns=turns, shares=shares, scratch=np.zeros((2, max(len(k.replica), count)), np.int64)
        )

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
        key = (id(profile), clock_fraction, gpus)
        known = self._cost_of.get(key)
        if known is None:
            self._kept[id(profile)] = profile  # keeps the id from being used again
            slowed = profile if clock_fraction == 1.0 else profile.at_clock(clock_fraction)
            costs = ReplicaCosts(slowed, gpus)
            known = self._cost_of[key] = len(self._costs)
            self._costs.append(costs)
            k = self.k
            row = [
                costs.sequence_ps,
                costs.context_ps,
                costs.pair_ps_1024,
                costs.idle_mw,
                costs.prefill_mw,
                costs.mixed_context_ps,
                costs.decode_mw(1, 0) if self._groups > 1 else 0,
            ]
            tokens = np.array(costs.tokens_ps[: self._rule.token_budget + 1], np.int64)
            shared = np.zeros(self._widest_together, np.int64)
            if costs.shared_ps:
                shared[:] = costs.shared_ps[: self._widest_together]
            self.k = k._replace(
                cost=np.vstack((k.cost, [row])),
                tokens_ps=np.vstack((k.tokens_ps, [tokens])),
                shared_ps=np.vstack((k.shared_ps, [shared])),
            )
        return known

    def learn_power(self) -> None:
        """Look up the watts of the plans that the kernel did not know them of, and hold them."""
        k = self.k
        count = int(k.crowd[kernel.UNKNOWN])
        k.crowd[kernel.UNKNOWN] = 0
        for slot, cost, decodes, bucket, alone_ps, duration_ps in k.unknown[:count].tolist():
            level = self._costs[cost].decode_mw(decodes, decodes * bucket * kernel.CONTEXT_BUCKET)
            self._remember((cost << 40 | decodes << 24 | bucket) + 1, level)
            if duration_ps:
                prefill = self._costs[cost].prefill_mw
                level = prefill + (level - prefill) * alone_ps // duration_ps
            self._draw(slot, level, MIXED if duration_ps else DECODE)

    def _draw(self, row: int, level_mw: int, doing: int) -> None:
        """Let a row draw other watts, or do something else, from the start of its plan on."""
        r = self.k.replica[row]
        if level_mw != r[kernel.LEVEL_MW] or doing != r[kernel.DOING]:
            self._read(row, self.base_ps + int(r[kernel.PLAN_START]))
            r[kernel.LEVEL_MW] = level_mw
            r[kernel.DOING] = doing
        head = int(r[kernel.HEAD])
        if head != row:
            together = (kernel.together_mw, kernel.together_doing)
            self._draw(head, *(int(kernel.plain(of_groups)(self.k, head)) for of_groups in together))

    def _remember(self, key: int, level_mw: int) -> None:
        k = self.k
        at = kernel.plain(kernel.power_place)(k.power_key, key)
        if k.power_key[at]:
            return
        k.power_key[at], k.power_mw[at] = key, level_mw
        self._powers += 1
        if 2 * self._powers > len(k.power_key):
            keys, levels = k.power_key[k.power_key != 0], k.power_mw[k.power_key != 0]
            wide = 4 * len(k.power_key)
            self.k = k._replace(power_key=np.zeros(wide, np.int64), power_mw=np.zeros(wide, np.int64))
            for known, level in zip(keys.tolist(), levels.tolist(), strict=True):
                at = kernel.plain(kernel.power_place)(self.k.power_key, known)
                self.k.power_key[at], self.k.power_mw[at] = known, level

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

    def capacity_per_s(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return requests per second that the open replicas sustain at these mean lengths. [1/s]"""
        *entry, decode = self._open
        stages: dict[str, float] = {}
        for slot in (*(slot for door in entry for slot in door), *decode):
            r = self.k.replica[self.rows_of(slot).start]
            most = int(r[kernel.MOST_SEQUENCES])
            if slot not in decode:
                most = most_at_once(most, self._max_concurrency, self._groups)
            rate_per_s = saturated_rate_per_s(
                self._costs[r[kernel.COST]],
                self._rule,
                most,
                int(r[kernel.BLOCKS]),
                role=_ROLES[r[kernel.ROLE]],
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
            )
            stage = "decode" if r[kernel.ROLE] == kernel.DECODE else "entry"
            stages[stage] = stages.get(stage, 0.0) + rate_per_s * self._groups
        return min(stages.values(), default=0.0)

    # power -----------------------------------------------------------------------------------

    def level_mw(self, slot: int) -> int:
        """Return what a replica draws now. [mW]"""
        return int(self.k.replica[slot, kernel.LEVEL_MW])

    def leave_bins(self, before_ps: int) -> None:
        """Let the power bins leave that end before a moment; nothing changes until then."""
        while self.edge_ps < before_ps:
            for slot in self.slots():
                self._leave(slot, self.edge_ps)
            self.edge_ps += self._bin_ps

    def read_meters(self, at_ps: int) -> list[MeterBin]:
        """Return and forget the power bins that ended by `at_ps`."""
        if not self.closed:
            self.leave_bins(at_ps + 1)
        bins = self.bins.copy()
        self.bins.clear()
        return bins

    def energy(self, at_ps: int) -> int:
        """Return the GPU energy of all replicas since the start, those that are gone among them. [mW ps]"""
        if not self.closed:
            self.leave_bins(at_ps + 1)
            for slot in self.slots():
                self._read(slot, at_ps)
        return self._shed_energy + sum(map(self._energy, self.slots()))

    def close(self, at_ps: int) -> None:
        """Let unfinished power bins leave: the run is over."""
        self.leave_bins(at_ps + 1)
        for slot in self.slots():
            self._leave(slot, at_ps)
        self.closed = True

    def _read(self, slot: int, at_ps: int) -> None:
        kernel.plain(kernel.meter_read)(self.k.replica[slot], at_ps - self.base_ps)

    def _energy(self, slot: int) -> int:
        return sum(self._energies(self._meter(slot)))

    def _meter(self, slot: int) -> NDArray[np.int64]:
        """Return (phases, METER_FIELDS) what a replica's meter counted in the bin under way."""
        return self.k.replica[slot, kernel.METER :].reshape(len(PHASES), kernel.METER_FIELDS)

    def _energies(self, meter: NDArray[np.int64]) -> tuple[int, ...]:
        """Return energies by phase. [mW ps]"""
        limbs = meter[:, [kernel.ENERGY_HIGH, kernel.ENERGY_LOW]].tolist()
        return tuple((high << kernel.ENERGY_SHIFT) + low for high, low in limbs)

    def _leave(self, slot: int, at_ps: int) -> None:
        self._read(slot, at_ps)
        start_ps, r = self._meter_start[slot], self.k.replica[slot]
        if at_ps > start_ps:
            meter = self._meter(slot)
            energies = self._energies(meter)
            energy = sum(energies)
            self.bins.append(
                MeterBin(
                    int(r[kernel.REPLICA_ID]),
                    self._host_mw[slot],
                    start_ps,
                    at_ps,
                    energy,
                    int(r[kernel.LARGEST_MW]),
                    tuple(meter[:, kernel.TIME_PS].tolist()),
                    energies,
                )
            )
            self._shed_energy += energy
            self._meter_start[slot] = at_ps
            meter[:] = 0
            r[kernel.LARGEST_MW] = 0
