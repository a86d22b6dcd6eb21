"""KV on its way from prefill to decode replicas: each sender sends one prompt after the other.

A sender is a replica, or an attention group of one: its cache lies on its own GPUs, which have ports of
their own.
"""

from __future__ import annotations

from collections import deque

from simulator.serving.picoseconds import NEVER, PS_PER_S
from simulator.serving.request import Request


class KvTransfers:
    """The transfers of a crowd. A change of bandwidth holds from each sender's next transfer on.

    Parameters
    ----------
    kv_bytes_per_token
        KV of one token on all GPUs of a replica. [B]
    bytes_per_s
        Bandwidth of each replica, shared evenly by its groups. [B/s]
    groups
        Senders in each replica, numbered on from slot to slot. [count]
    epoch_ps
        Over how long the declared flow is averaged. [ps]
    """

    def __init__(self, kv_bytes_per_token: float, bytes_per_s: float, groups: int, epoch_ps: int) -> None:
        self._kv_bytes_per_token = kv_bytes_per_token
        self._bytes_per_s = bytes_per_s / groups
        self._groups = groups
        self._epoch_ps = epoch_ps
        self._queues: dict[int, deque[Request]] = {}
        self._ends: dict[int, int] = {}
        self._sent_bytes: dict[int, float] = {}
        """By epoch, the present one and the last."""
        self.next_ps = NEVER
        """When the next transfer ends."""

    def set_bandwidth(self, bytes_per_s: float) -> None:
        """Give each replica another bandwidth. [B/s]"""
        if not bytes_per_s > 0.0:
            raise ValueError(f"transfer bandwidth {bytes_per_s} B/s must be above 0")
        self._bytes_per_s = bytes_per_s / self._groups

    def send(self, sender: int, request: Request, at_ps: int) -> None:
        """Queue the KV of a prompt behind what its sender has yet to send."""
        epoch = at_ps // self._epoch_ps
        if epoch not in self._sent_bytes:
            last = self._sent_bytes.get(epoch - 1)
            self._sent_bytes = {epoch: 0.0} if last is None else {epoch - 1: last, epoch: 0.0}
        self._sent_bytes[epoch] += request.target * self._kv_bytes_per_token
        queue = self._queues.setdefault(sender, deque())
        queue.append(request)
        if len(queue) == 1:
            self._begin(sender, request, at_ps)

    def arrive(self, at_ps: int) -> list[tuple[int, Request]]:
        """Return (sender, request) of the transfers that end now, by sender."""
        arrived: list[tuple[int, Request]] = []
        for sender in sorted(self._ends):
            while self._ends.get(sender, NEVER) == at_ps:
                queue = self._queues[sender]
                arrived.append((sender, queue.popleft()))
                del self._ends[sender]
                if queue:
                    self._begin(sender, queue[0], at_ps)
        self.next_ps = min(self._ends.values(), default=NEVER)
        return arrived

    def abandon(self, slot: int) -> None:
        """Forget what a replica had to send: it is gone."""
        for sender in range(slot * self._groups, (slot + 1) * self._groups):
            self._queues.pop(sender, None)
            self._ends.pop(sender, None)
        self.next_ps = min(self._ends.values(), default=NEVER)

    def cancel(self, sender: int, request: Request, at_ps: int) -> None:
        """Send a prompt no more, if its sender still had to; the next one begins."""
        queue = self._queues.get(sender)
        if queue is None or request not in queue:
            return
        under_way = queue[0] is request
        queue.remove(request)
        if under_way:
            del self._ends[sender]
            if queue:
                self._begin(sender, queue[0], at_ps)
            self.next_ps = min(self._ends.values(), default=NEVER)

    def flow_bytes_per_s(self, at_ps: int) -> float:
        """Return the traffic of the last whole epoch, or of the present one if it is the first. [B/s]"""
        epoch = at_ps // self._epoch_ps
        if epoch - 1 in self._sent_bytes:
            return self._sent_bytes[epoch - 1] / (self._epoch_ps / PS_PER_S)
        elapsed_s = (at_ps - epoch * self._epoch_ps) / PS_PER_S
        return self._sent_bytes.get(epoch, 0.0) / elapsed_s if elapsed_s else 0.0

    def _begin(self, sender: int, request: Request, at_ps: int) -> None:
        size_bytes = request.target * self._kv_bytes_per_token
        end = at_ps + round(size_bytes / self._bytes_per_s * PS_PER_S)
        self._ends[sender] = end
        self.next_ps = min(self.next_ps, end)
