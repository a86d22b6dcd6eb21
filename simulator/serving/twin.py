"""The readable crowd: every request of a service on every replica, one event at a time."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.serving.arrival_buffer import ArrivalBuffer
from simulator.serving.crowd import SetWeights
from simulator.serving.crowd_books import BIN_PS, Flying
from simulator.serving.crowd_in_full import CrowdInFull
from simulator.serving.fleet import AnyReplica, Fleet
from simulator.serving.hand_over import HandOver
from simulator.serving.kv_transfers import KvTransfers
from simulator.serving.ledger import FAILED, OK, SHED
from simulator.serving.picoseconds import NEVER
from simulator.serving.request import Request
from simulator.serving.routers import Dispatch, SiteShares
from simulator.serving.service_rules import ServiceRules
from simulator.serving.tier_queue import TierQueue
from simulator.serving.user_arrivals import UserArrivals
from simulator.workload.requests import RequestSource
from simulator.workload.user_loop import UserLoop


class TwinCrowd(CrowdInFull):
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

    _fleet: Fleet

    def __init__(
        self,
        rules: ServiceRules,
        source: RequestSource | UserLoop | None = None,
        *,
        leap: bool = True,
    ) -> None:
        self._users: UserArrivals | None = None
        """Users that must hear of every answer; None: requests come whatever happens."""
        if isinstance(source, UserLoop):
            self._users = UserArrivals(rules.name, source, rules.origin_s)
            source = None
        arrivals = self._users or ArrivalBuffer(
            rules.name, source, rules.origin_s, rules.cells, rules.simulated_cells
        )
        fleet = Fleet(
            rules.name,
            rules.rule,
            tiers=len(rules.tiers),
            cells=rules.simulated_cells,
            bin_ps=BIN_PS,
            leap=leap,
            piece_tokens=rules.piece_tokens,
            attention_data_parallel=rules.attention_data_parallel,
        )
        super().__init__(rules, fleet, arrivals)
        self._dispatch = Dispatch(rules.router)
        self._entry_stages = [f"entry {cell}" for cell in range(rules.simulated_cells)]
        self._door = TierQueue(len(rules.tiers))
        """Requests that no open replica has room for."""
        transfers = KvTransfers(
            rules.kv_bytes_per_token, rules.transfer_bytes_per_s, rules.attention_data_parallel, BIN_PS
        )
        self._hand_over = HandOver(fleet, self._dispatch, transfers, self._filled)

    # one instant -----------------------------------------------------------------------------

    def _pass(self, stop_ps: int) -> int | None:
        ends, arrivals, transfers = self._fleet.ends, self._arrivals, self._hand_over.transfers
        rows, full = self._ledger.rows, self.rules.rows
        while True:
            end = min(ends, default=NEVER)
            at = min(end, arrivals.next_ps, transfers.next_ps)
            if at > stop_ps:
                return at
            self._now = at
            if at == arrivals.known_ps:
                return None
            while end == at:
                slot = ends.index(at)
                ends[slot] = NEVER
                self._finish(slot)
                end = min(ends)
            if transfers.next_ps == at:
                self._hand_over.arrive(at, at - 1)
            if self._door.count and self._limit.max_concurrency is not None:
                self._let_in(at - 1)
            while arrivals.next_ps == at < arrivals.known_ps:
                self._admit(arrivals.take())
            self._plan()
            if len(rows) >= full or self._due != NEVER:
                return None

    def _finish(self, slot: int) -> None:
        """End a replica's planned iterations and see its finished requests off."""
        replica = self._fleet.at(slot)
        replica.finish(self._now)
        self._fleet.boundary.append(slot)
        done = replica.done
        if not done:
            return
        for request in done:
            if replica.role == "prefill":
                request.sender = slot
                self._pass_on(request, self._now - 1)
            else:
                self._fleet.loads[slot] -= 1
                self._end(request, OK, replica.replica_id, replica.site)
        done.clear()

    def _pass_on(self, request: Request, after_ps: int) -> None:
        """Let a prefilled prompt go on to decode, or fail."""
        if not self._hand_over.begin(request, after_ps):
            self._end(request, FAILED, -1, -1)

    def _plan(self) -> None:
        fleet = self._fleet
        for slot in sorted(fleet.boundary):
            replica = fleet.get(slot)
            if replica is None or not replica.boundary:
                continue
            replica.schedule(self._now)
            fleet.ends[slot] = replica.plan_end
            if replica.begun:
                self._hand_over.send(replica.begun, self._now)
            if replica.plan_end == NEVER and slot in fleet.draining and replica.empty:
                self._drained()
        fleet.boundary.clear()

    # at the door -----------------------------------------------------------------------------

    def _admit(self, request: Request) -> None:
        counters = self._ledger.counters
        counters.requests_in += 1
        counters.prompt_tokens_in += request.prompt
        counters.output_tokens_in += request.output
        self._route(request, self._now - 1)

    def _route(self, request: Request, after_ps: int) -> None:
        """Send a request to a replica, to the door if none has room, or away."""
        slot, most = self._pick(request), self._limit.most_at_door
        if slot is not None:
            self._send(request, slot, after_ps)
        elif most is not None and len(self._door) >= most:
            self._end(request, SHED, -1, -1)
        else:
            self._door.put(request)

    def _let_in(self, after_ps: int) -> None:
        """Let those go that are held at the door, in order, until no replica has room."""
        door = self._door
        while door.count:
            request = door.head()
            slot = self._pick(request)
            if slot is None:
                return
            door.take(request)
            self._send(request, slot, after_ps)

    def _pick(self, request: Request) -> int | None:
        """Return the slot that the router gives a request; None if none has room."""
        fleet, cell = self._fleet, request.number % self.rules.cells
        return self._dispatch.pick(
            self._entry_stages[cell],
            fleet.with_room(cell),
            fleet.loads,
            fleet.sites,
            lambda slot: fleet.at(slot).remembered(request),
            self._filled,
        )

    def _filled(self, slot: int) -> float:
        return self._fleet.at(slot).kv_fraction(self._now)

    def _send(self, request: Request, slot: int, after_ps: int) -> None:
        """Let a request wait at a replica, or send it away if too many do or it never fits.

        A replica takes it in at its first boundary after `after_ps`: a newcomer may join at a
        boundary at this very instant, what commands leave at the door only at a later one.
        """
        replica, bound = self._fleet.at(slot), self._limit.queued_per_replica
        full = bound is not None and replica.waiting_count >= bound
        if full or not self._can_ever_run(request, replica):
            self._end(request, SHED, replica.replica_id, replica.site)
        else:
            self._fleet.enqueue(slot, request, after_ps)

    def _can_ever_run(self, request: Request, replica: AnyReplica) -> bool:
        if replica.role != "prefill":
            return replica.fits(request.prompt, request.output)
        return replica.fits(request.prompt, 1) and (
            not self._fleet.decode or bool(self._hand_over.able(request))
        )

    def _end(self, request: Request, state: int, replica_id: int, site: int) -> None:
        """See a request off, answered or not."""
        self._ledger.end(request, state, self._now, replica_id, site)
        if self._users is not None:
            self._users.answered(request.number, self._now)

    # commands --------------------------------------------------------------------------------

    def _deal(self) -> None:
        """Deal out what waits at the door, once all commands of this instant have acted.

        Replicas that come together share what waits, and a request that a lost node leaves does
        not go through the node's other replicas before they are lost too.
        """
        if not self._undealt:
            return
        self._undealt = False
        for request in self._hand_over.unpark():
            self._pass_on(request, self._now)
        if self._limit.max_concurrency is not None:
            self._let_in(self._now)
        else:
            for request in self._door.clear():
                self._route(request, self._now)
        self._plan()

    def _kill(self, slot: int) -> None:
        replica, counters = self._fleet.at(slot), self._ledger.counters
        lost = replica.held(self._now)
        if self._hand_over.break_off(replica, self._now):
            self._undealt = True
        self._forget(slot)
        again = []
        for request, emitted in lost:
            counters.retried += 1
            counters.wasted_tokens += emitted
            request.attempts += 1
            request.preemptions += 1
            request.restart()
            if request.attempts > self.rules.retries:
                self._end(request, FAILED, replica.replica_id, replica.site)
            else:
                again.append(request)
        self._door.put_again(again)
        self._undealt |= bool(again)

    def _forget(self, slot: int) -> None:
        super()._forget(slot)
        self._hand_over.transfers.abandon(slot)

    def _emptied_by(self, slot: int, ends: Sequence[int]) -> int:
        replica = self._fleet.at(slot)
        if replica.handed or replica.promised():
            # What it waits for happens elsewhere.
            return min(*ends, self._hand_over.transfers.next_ps)
        return ends[slot]

    def _set_shares(self, command: SetWeights) -> None:
        self._dispatch.shares = SiteShares(command.weights) if command.weights else None

    def _set_bandwidth(self, bytes_per_s: float) -> None:
        self._hand_over.transfers.set_bandwidth(bytes_per_s)

    # what there is to see --------------------------------------------------------------------

    def declared_flow_bytes_per_s(self) -> float:
        """Return the KV traffic between prefill and decode in the last control epoch. [B/s]"""
        return self.rules.weight * self._hand_over.transfers.flow_bytes_per_s(self._now)

    def _flying(self) -> Flying:
        flying = [(request, 0) for request in self._door]
        for replica in self._fleet:
            flying.extend(replica.held(self._now))
        return Flying(
            len(flying),
            sum(request.prompt + request.output for request, _ in flying),
            sum(emitted for _, emitted in flying),
        )

    def _in_flight(self) -> int:
        return self._fleet.in_flight() - self._hand_over.between + len(self._door)

    def _queue_length(self) -> int:
        return len(self._door) + self._fleet.waiting()

    def _rows_held(self) -> int:
        return len(self._ledger.rows)

    def _count(self) -> None:
        """Nothing to do: requests are counted where they come and end."""

    def _hand_in(self) -> None:
        """Nothing to do: rows are the ledger's from the first."""
