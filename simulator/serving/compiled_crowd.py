"""The compiled crowd: the twin's answers, request by request, from a kernel a hundred times quicker.

Replicas and what happens to requests between two looks are the kernel's; time inside counts from
a base that moves on with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from simulator.serving import kernel
from simulator.serving.arrival_buffer import ArrivalColumns
from simulator.serving.compiled_fleet import CompiledFleet
from simulator.serving.compiled_transfers import CompiledTransfers
from simulator.serving.compiling import announce
from simulator.serving.crowd import Limit, SetWeights, Watch
from simulator.serving.crowd_books import BIN_PS, Flying
from simulator.serving.crowd_in_full import CrowdInFull
from simulator.serving.kernel import NEVER64
from simulator.serving.ledger import FAILED, HOUR_PS, OK, RETRIED, SHED, Counters
from simulator.serving.picoseconds import to_ps
from simulator.serving.prefix_arrays import name_arrivals
from simulator.serving.routers import LeastKv, LeastOutstanding, PrefixAware, RoundRobin, SiteShares
from simulator.serving.service_rules import ServiceRules
from simulator.workload.requests import RequestSource, RequestTable

#: The base moves on when the present is this far from it: about 11 days. [ps]
_WINDOW_PS: Final = 10**18

#: Routers that the kernel knows.
_ROUTERS: Final[dict[type, int]] = {
    RoundRobin: kernel.ROUND_ROBIN,
    LeastKv: kernel.LEAST_KV,
    LeastOutstanding: kernel.LEAST_OUTSTANDING,
    PrefixAware: kernel.PREFIX_AWARE,
}

announce(kernel.__name__)


class CompiledCrowd(CrowdInFull):
    """A service in full: see `crowd.Crowd` for what each method promises.

    Parameters
    ----------
    rules
        The service.
    source
        Where requests come from; without one they must be fed.
    """

    _fleet: CompiledFleet
    _arrivals: ArrivalColumns

    def __init__(self, rules: ServiceRules, source: RequestSource | None = None) -> None:
        fleet = CompiledFleet(
            rules.name,
            rules.rule,
            tiers=len(rules.tiers),
            cells=rules.simulated_cells,
            bin_ps=BIN_PS,
            start_ps=to_ps(-rules.origin_s),
            rows=rules.rows,
            attention_data_parallel=rules.attention_data_parallel,
            piece_tokens=rules.piece_tokens,
        )
        arrivals = ArrivalColumns(rules.name, source, rules.origin_s, rules.cells, rules.simulated_cells)
        super().__init__(rules, fleet, arrivals)
        self._transfers = CompiledTransfers(fleet, rules.kv_bytes_per_token, rules.transfer_bytes_per_s)
        self._retried = self._wasted = 0
        k = fleet.k
        k.crowd[kernel.CELLS] = rules.cells
        k.crowd[kernel.ROUTER] = _ROUTERS[type(rules.router)]
        k.crowd[kernel.ROWS_WANTED] = rules.rows
        if isinstance(rules.router, PrefixAware):
            k.crowd[kernel.MOST_AHEAD] = min(rules.router.most_ahead, 1 << 32)
        self._weights: dict[str, float] = {}
        self._load()

    # time ------------------------------------------------------------------------------------

    def _pass(self, stop_ps: int) -> int | None:
        fleet = self._fleet
        why = self._run(kernel.ADVANCE, stop_ps)
        self._now = fleet.absolute(fleet.k.crowd[kernel.NOW])
        return fleet.absolute(fleet.k.crowd[kernel.EVENT]) if why == kernel.REACHED else None

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
            elif why == kernel.MORE_SHELVES:
                fleet.more_shelves()
            else:
                return why
            if what == kernel.DEAL:
                what = kernel.PLAN

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
        if fleet.shares:
            k = fleet.k
            flying = k.request[:, kernel.SLOT] != kernel.UNUSED
            fleet.k = k._replace(prefixes=name_arrivals(k.prefixes, flying, *arrivals.names()))

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        self._load()
        super().feed(block, known_until_s)
        self._load()

    def _earliest_crossing(self, watch: Watch) -> int:
        self._arrivals.read(int(self._fleet.k.crowd[kernel.ARRIVAL]))
        return super()._earliest_crossing(watch)

    def _emptied_by(self, slot: int, ends: Sequence[int]) -> int:
        return self._transfers.emptied_by(slot, ends)

    def _plan(self) -> None:
        self._run(kernel.PLAN, self._now)

    def _deal(self) -> None:
        if self._undealt:
            self._undealt = False
            c = self._fleet.k.crowd
            self._fleet.room_for_rows(int(c[kernel.IN_LOBBY]) + self._fleet.transferring)
            self._transfers.room_for_names()
            self._run(kernel.DEAL, self._now)

    # commands --------------------------------------------------------------------------------

    def _kill(self, slot: int) -> None:
        fleet = self._fleet
        lost, emitted = fleet.held(slot), fleet.emitted(self._now)
        self._undealt |= self._transfers.break_off(slot, self._now)
        replica_id, site = fleet.replica_id(slot), int(fleet.k.replica[slot, kernel.SITE])
        self._forget(slot)
        fleet.room_for_rows(len(lost))
        k = fleet.k
        k.crowd[kernel.NOW] = self._now - fleet.base_ps
        again = []
        for q in lost:
            request = k.request[q]
            self._retried += 1
            self._wasted += int(emitted[q])
            request[kernel.ATTEMPTS] += 1
            request[kernel.PREEMPTIONS] += 1
            kernel.plain(kernel.begin)(request)
            if fleet.shares:
                kernel.plain(kernel.begin_sharing)(k.prefixes, q)
            if request[kernel.ATTEMPTS] > self.rules.retries:
                kernel.plain(kernel.end_row)(k, q, FAILED, replica_id, site)
            else:
                request[kernel.SLOT] = kernel.LOBBY
                again.append(q)
        self._put_again(again)
        k.crowd[kernel.IN_LOBBY] += len(again)
        self._undealt |= bool(again)

    def _put_again(self, lost: list[int]) -> None:
        """Let requests that lost their replica wait at the door as `TierQueue.put_again` has it."""
        k = self._fleet.k
        request, door = k.request, k.doors[0]
        for tier in range(len(self.rules.tiers)):
            again = [q for q in lost if request[q, kernel.TIER] == tier]
            if not again:
                continue
            following = int(door[2 * tier])
            while following >= 0 and request[following, kernel.ATTEMPTS]:
                again.append(following)
                following = int(request[following, kernel.NEXT])
            again.sort(key=lambda q: int(request[q, kernel.NUMBER]))
            request[again, kernel.NEXT] = [*again[1:], following]
            door[2 * tier] = again[0]
            if following < 0:
                door[2 * tier + 1] = again[-1]

    def _set_shares(self, command: SetWeights) -> None:
        if command.weights:
            SiteShares(command.weights)  # says what is wrong with them
        self._weights = dict(command.weights)
        self._fleet.k.shares[1] = 0.0
        self._weigh()

    def _added(self) -> None:
        self._weigh()

    def _weigh(self) -> None:
        """Tell the kernel the weights of the sites that are known now."""
        k = self._fleet.k
        k.crowd[kernel.SHARED] = int(bool(self._weights))
        k.shares[0] = [self._weights.get(name, 0.0) for name in self._fleet.site_names]

    def _set_limit(self, command: Limit) -> None:
        super()._set_limit(command)
        c = self._fleet.k.crowd
        for field, bound in (
            (kernel.MOST_QUEUED, command.queued_per_replica),
            (kernel.MOST_AT_DOOR, command.most_at_door),
        ):
            c[field] = -1 if bound is None else bound

    def _set_bandwidth(self, bytes_per_s: float) -> None:
        self._transfers.set_bandwidth(bytes_per_s)

    # what there is to see --------------------------------------------------------------------

    def declared_flow_bytes_per_s(self) -> float:
        """Return the KV traffic between prefill and decode in the last control epoch. [B/s]"""
        return self.rules.weight * self._transfers.flow_bytes_per_s(self._now)

    def _flying(self) -> Flying:
        request = self._fleet.k.request
        flying = request[:, kernel.SLOT] != kernel.UNUSED
        return Flying(
            int(np.count_nonzero(flying)),
            int(np.sum(request[flying][:, [kernel.PROMPT, kernel.OUTPUT]])),
            int(np.sum(self._fleet.emitted(self._now))),
        )

    def _rows_held(self) -> int:
        return int(self._fleet.k.crowd[kernel.ROWS])

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
        return int(c[kernel.LOADED] - c[kernel.BETWEEN] + c[kernel.IN_LOBBY])

    def _queue_length(self) -> int:
        c = self._fleet.k.crowd
        return int(c[kernel.IN_LOBBY] + c[kernel.QUEUED])
