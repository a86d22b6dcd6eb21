"""The way from prefill to decode: who waits for whose KV, and what is being sent.

A decode replica is chosen when a prompt is done; its KV stays where it was read until the chosen
one has the blocks, and only then is sent, one prompt after the other from each sender.
"""

from __future__ import annotations

from collections import deque

from simulator.serving.fleet import AnyReplica, Fleet
from simulator.serving.kv_transfers import KvTransfers
from simulator.serving.picoseconds import NEVER
from simulator.serving.request import Request
from simulator.serving.routers import Dispatch, Filled


class HandOver:
    """Prefilled prompts on their way to decode replicas.

    Parameters
    ----------
    fleet
        Replicas of both roles.
    dispatch
        Chooses among the decode replicas.
    transfers
        What carries the KV.
    filled
        As `routers.Router.pick`.
    """

    def __init__(self, fleet: Fleet, dispatch: Dispatch, transfers: KvTransfers, filled: Filled) -> None:
        self._fleet = fleet
        self._dispatch = dispatch
        self._filled = filled
        self.transfers = transfers
        self._parked: deque[Request] = deque()
        """Prefilled requests that no decode replica is there for; their KV stays where it is."""
        self.between = 0
        """Requests that count at two replicas: their KV is on one, and another waits for it."""

    def able(self, request: Request) -> list[int]:
        """Return the open decode replicas that could run a request alone."""
        fleet = self._fleet
        return [slot for slot in fleet.decode if fleet.at(slot).fits(request.prompt, request.output)]

    def begin(self, request: Request, after_ps: int) -> bool:
        """Let a decode replica wait for a prefilled prompt's KV; False if none could ever run it."""
        # Its prompt is remembered; the first token comes from one decode step over the last one.
        request.computed = request.target - 1
        fleet = self._fleet
        able = self.able(request)
        # What a decode replica remembers does not matter: the KV comes in whole.
        slot = self._dispatch.pick("decode", able, fleet.loads, fleet.sites, lambda _: 0, self._filled)
        if slot is not None:
            request.receiver = slot
            self.between += 1
            fleet.enqueue(slot, request, after_ps)
        elif fleet.decode and not able:
            self._release(request)
            return False
        else:
            self._parked.append(request)
        return True

    def unpark(self) -> list[Request]:
        """Return and forget the prompts that no decode replica was there for."""
        parked, self._parked = self._parked, deque()
        return list(parked)

    def send(self, begun: list[Request], at_ps: int) -> None:
        """Send the KV of requests that have got their blocks; empties the list."""
        for request in begun:
            self.transfers.send(self._sender(request), request, at_ps)
        begun.clear()

    def arrive(self, at_ps: int, after_ps: int) -> None:
        """Let every request whose KV has arrived by now go on where it arrived."""
        for _, request in self.transfers.arrive(at_ps):
            slot = request.receiver
            self._release(request)
            self.between -= 1
            if self._fleet.at(slot).land(request, after_ps):
                self._fleet.stirred(slot)

    def break_off(self, replica: AnyReplica, at_ps: int) -> bool:
        """Undo what a lost replica had to do with; return whether prompts wait for another one."""
        promised = replica.promised()
        for request in promised:
            # Its KV is safe where it was read; another replica may take it.
            self.transfers.cancel(self._sender(request), request, at_ps)
            self.between -= 1
            request.receiver = -1
            self._parked.append(request)
        for request in replica.handed.values():
            self._lose_kv(request, at_ps)
        return bool(promised)

    def _sender(self, request: Request) -> int:
        """Return which sender has a prefilled prompt's KV: a group of the replica that read it."""
        return request.sender * self._fleet.groups + self._fleet.at(request.sender).group_of(request)

    def _release(self, request: Request) -> None:
        """Give a prefilled prompt's blocks back where it was read."""
        fleet, slot = self._fleet, request.sender
        sender = fleet.at(slot)
        sender.release(request)
        fleet.loads[slot] -= 1
        if sender.plan_end == NEVER:
            fleet.call(slot)

    def _lose_kv(self, request: Request, at_ps: int) -> None:
        """Let nobody wait any more for KV that was lost."""
        slot = request.receiver
        if slot < 0:
            self._parked.remove(request)
            return
        self.between -= 1
        self._fleet.loads[slot] -= 1
        self._fleet.at(slot).forgo(request)
        self._fleet.cut(slot, at_ps)
