"""KV on its way in a compiled crowd: what commands do to it, and what there is to see of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.serving import kernel
from simulator.serving.compiled_fleet import CompiledFleet
from simulator.serving.kernel import NEVER64
from simulator.serving.picoseconds import NEVER, PS_PER_S


class CompiledTransfers:
    """Prefilled prompts on their way to decode replicas, as `hand_over.HandOver` has them.

    Parameters
    ----------
    fleet
        Whose arrays hold all of it.
    kv_bytes_per_token
        KV of one token on all GPUs of a replica. [B]
    bytes_per_s
        Bandwidth of each replica, shared evenly by its groups. [B/s]
    """

    def __init__(self, fleet: CompiledFleet, kv_bytes_per_token: float, bytes_per_s: float) -> None:
        self._fleet = fleet
        fleet.k.flow[kernel.KV_BYTES] = kv_bytes_per_token
        self.set_bandwidth(bytes_per_s)

    def set_bandwidth(self, bytes_per_s: float) -> None:
        """Give each replica another bandwidth, from its next transfer on. [B/s]"""
        self._fleet.k.flow[kernel.BYTES_PER_S] = bytes_per_s / self._fleet.k.crowd[kernel.GROUPS]

    def emptied_by(self, slot: int, ends: Sequence[int]) -> int:
        """Return a moment before which a draining replica cannot be empty. [ps]

        Parameters
        ----------
        ends
            When each slot's plan ends. [ps]
        """
        fleet = self._fleet
        between, rows = fleet.between(), fleet.rows_of(slot)
        request = fleet.k.request[between]
        if not np.any(np.isin(request[:, kernel.SLOT], rows) | np.isin(request[:, kernel.RECEIVER], rows)):
            return ends[slot]
        # What it waits for happens elsewhere; a transfer may end later than arrays can count.
        arrives = int(fleet.k.links[1])
        return min(*ends, NEVER if arrives >= NEVER64 - 1 else fleet.absolute(arrives))

    def room_for_names(self) -> None:
        """See to it that senders have shelves for all they may have to name while the door is dealt out."""
        fleet = self._fleet
        if not fleet.shares:
            return
        c, request = fleet.k.crowd, fleet.k.request[fleet.between()]
        # Shared pieces and a request's own may both begin and end within one.
        pieces = request[:, kernel.TARGET] // (c[kernel.BLOCK_TOKENS] * c[kernel.PIECE_BLOCKS]) + 3
        wanted = np.bincount(request[:, kernel.SLOT], pieces, len(fleet.k.replica))
        used = fleet.k.prefixes.counts[:, kernel.SHELVES_USED]
        while np.any(fleet.k.prefixes.shelf.shape[1] - used < wanted):
            fleet.more_shelves()

    def flow_bytes_per_s(self, at_ps: int) -> float:
        """Return the traffic of the last whole epoch, or of the present one if it is the first. [B/s]"""
        c, flow = self._fleet.k.crowd, self._fleet.k.flow
        epoch_ps, held = int(c[kernel.EPOCH_PS]), int(c[kernel.EPOCHS])
        since_ps = at_ps - self._fleet.base_ps
        ago = since_ps // epoch_ps - int(c[kernel.EPOCH])
        if held and ago == 1:
            return float(flow[kernel.SENT]) / (epoch_ps / PS_PER_S)
        if held == 2 and ago == 0:
            return float(flow[kernel.SENT_BEFORE]) / (epoch_ps / PS_PER_S)
        elapsed_s = since_ps % epoch_ps / PS_PER_S
        return float(flow[kernel.SENT]) / elapsed_s if held and ago == 0 and elapsed_s else 0.0

    def break_off(self, slot: int, at_ps: int) -> bool:
        """Undo what a lost replica had to do with; return whether prompts wait for another one."""
        waits = False
        for row in self._fleet.rows_of(slot):
            waits |= self._take_back(row, at_ps)
            self._lose(row, at_ps)
        return waits

    def _take_back(self, row: int, at_ps: int) -> bool:
        """Park what a decode replica, or a group of one, was promised: its KV is safe where it was read."""
        fleet, k = self._fleet, self._fleet.k
        between = fleet.between()
        promised = between[k.request[between, kernel.RECEIVER] == row]
        coming = promised[k.request[promised, kernel.TOKEN] == kernel.COMING]
        coming = coming[np.argsort(k.request[coming, kernel.COMING_PLACE])]
        waiting = [
            q
            for tier in range(k.waiting.shape[1] // 2)
            for q in self._chain(int(k.waiting[row, 2 * tier]))
            if k.request[q, kernel.SLOT] != row
        ]
        for q in coming.tolist():
            self._cancel(q, at_ps)
        for q in (*waiting, *coming.tolist()):
            k.request[q, kernel.TOKEN] = kernel.HANDED
            k.request[q, kernel.RECEIVER] = -1
            parked = k.crowd[kernel.PARKED : kernel.LAST_PARKED + 1]
            kernel.plain(kernel.put_last)(parked, k.request, 0, q)
        k.replica[row, kernel.WAITING] -= len(waiting)
        k.crowd[kernel.BETWEEN] -= len(promised)
        return bool(len(promised))

    def _lose(self, row: int, at_ps: int) -> None:
        """Let nobody wait any more for KV that a prefill replica, or a group of one, had."""
        fleet, k = self._fleet, self._fleet.k
        between = fleet.between()
        for q in between[k.request[between, kernel.SLOT] == row].tolist():
            v = k.request[q]
            k.crowd[kernel.UNDER_WAY] -= 1
            receiver = int(v[kernel.RECEIVER])
            if receiver < 0:
                self._unchain(k.crowd[kernel.PARKED : kernel.LAST_PARKED + 1], q)
                continue
            r = k.replica[receiver]
            k.crowd[kernel.BETWEEN] -= 1
            k.crowd[kernel.LOADED] -= 1
            home = int(r[kernel.HEAD])
            k.replica[home, kernel.LOAD] -= 1
            if v[kernel.TOKEN] == kernel.COMING:
                r[kernel.DUE] -= 1
                if fleet.shares:
                    self._forgo(q)
                else:
                    r[kernel.FREE] += fleet.blocks_of(int(v[kernel.TARGET]))
            else:
                tier = int(v[kernel.TIER])
                self._unchain(k.waiting[receiver, 2 * tier : 2 * tier + 2], q)
                r[kernel.WAITING] -= 1
            fleet.cut(home, at_ps)

    def _forgo(self, q: int) -> None:
        """Take back the named blocks that wait for a prompt whose KV was lost."""
        self._fleet.k.crowd[kernel.LOST] = q
        while kernel.advance(self._fleet.k, kernel.FORGO, 0) == kernel.MORE_SHELVES:
            self._fleet.more_shelves()

    def _cancel(self, q: int, at_ps: int) -> None:
        """Send a prompt no more; if its transfer was under way, its sender's next one begins."""
        k = self._fleet.k
        sender = int(k.request[q, kernel.SLOT])
        line = k.lines[sender, 2 * kernel.LINK : 2 * kernel.LINK + 2]
        under_way = line[0] == q
        self._unchain(line, q)
        if not under_way:
            return
        end = NEVER64
        if line[0] >= 0:
            size_bytes = int(k.request[line[0], kernel.TARGET]) * float(k.flow[kernel.KV_BYTES])
            span_ps = round(size_bytes / float(k.flow[kernel.BYTES_PER_S]) * PS_PER_S)
            end = min(at_ps - self._fleet.base_ps + span_ps, NEVER64 - 1)
        kernel.plain(kernel.tree_set)(k.links, sender, end)

    def _chain(self, first: int) -> list[int]:
        """Return the requests of a queue from its first on."""
        found = []
        while first >= 0:
            found.append(first)
            first = int(self._fleet.k.request[first, kernel.NEXT])
        return found

    def _unchain(self, queue: Any, q: int) -> None:
        """Take a request out of a queue given as its first and last."""
        request = self._fleet.k.request
        before = -1
        for other in self._chain(int(queue[0])):
            if other == q:
                break
            before = other
        following = request[q, kernel.NEXT]
        if before < 0:
            queue[0] = following
        else:
            request[before, kernel.NEXT] = following
        if queue[1] == q:
            queue[1] = before
