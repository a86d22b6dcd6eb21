"""The next arrivals of a crowd, drawn from a source or fed by the engine, as plain integers."""

from __future__ import annotations

from typing import Final

import numpy as np

from simulator.serving.batching import Request
from simulator.serving.picoseconds import NEVER, many_to_ps, to_ps
from simulator.workload.requests import RequestSource, RequestTable

#: Requests drawn from a source at a time.
BLOCK_REQUESTS: Final = 4096


class ArrivalBuffer:
    """Gives requests away one by one and knows when the next one comes.

    Parameters
    ----------
    service
        Whose requests, for messages.
    source
        Where they come from; None if they are fed.
    origin_s
        Zero of integer time. [s since the run's start]
    cells, simulated
        Requests are dealt to `cells` cells in turn; those of the first `simulated` are kept.
    """

    def __init__(
        self,
        service: str,
        source: RequestSource | None,
        origin_s: float,
        cells: int = 1,
        simulated: int = 1,
    ) -> None:
        self._service = service
        self._source = source
        self._fed = source is None
        self._origin_s = origin_s
        self._arrived: list[int] = []
        self._prompt: list[int] = []
        self._output: list[int] = []
        self._tier: list[int] = []
        self._numbers: list[int] = []
        self._position = 0
        self._cells = cells
        self._simulated = simulated
        self._seen = 0
        """Requests that came in so far, kept or not: the number of the next one."""
        self.known_ps = to_ps(-origin_s) if self._fed else NEVER
        """All that arrive before this are known."""
        self.next_ps = self.known_ps
        """Next arrival; `known_ps` if none is known."""
        self._look()

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals; all that arrive before `known_until_s` are then known."""
        if not self._fed:
            raise ValueError(f"service {self._service} draws its requests from a source")
        known_ps = to_ps(known_until_s - self._origin_s)
        self._append(block, self.known_ps)
        if self._arrived and self._arrived[-1] >= known_ps:
            raise ValueError(
                f"service {self._service}: requests are said to be known until {known_until_s} s, "
                f"but one arrives at {float(block.arrived_s[-1])} s"
            )
        self.known_ps = known_ps
        self._look()

    def take(self) -> Request:
        """Return the request that arrives at `next_ps`."""
        position = self._position
        request = Request(
            self._numbers[position],
            self._arrived[position],
            self._prompt[position],
            self._output[position],
            self._tier[position],
        )
        self._position = position = position + 1
        if position < len(self._arrived):
            self.next_ps = self._arrived[position]
        else:
            self._look()
        return request

    def earliest_ps(self, count: int) -> int:
        """Return a time before which fewer than `count` more requests arrive. [ps]"""
        last = self._position + count - 1
        if last < len(self._arrived):
            return self._arrived[last]
        if self._source is not None and self._arrived:
            return self._arrived[-1]
        return self.known_ps

    def _look(self) -> None:
        while self._position == len(self._arrived) and self._source is not None:
            block = self._source.next_block(BLOCK_REQUESTS)
            if len(block):
                self._append(block, self._arrived[-1] if self._arrived else to_ps(-self._origin_s))
            else:
                self._source = None
        unread = self._position < len(self._arrived)
        self.next_ps = self._arrived[self._position] if unread else self.known_ps

    def _append(self, block: RequestTable, after_ps: int) -> None:
        count = len(block)
        numbers = np.arange(self._seen, self._seen + count)
        self._seen += count
        arrived_s, prompt, output, tier = (
            block.arrived_s,
            block.prompt_tokens,
            block.output_tokens,
            block.tier,
        )
        if self._simulated < self._cells:
            kept = numbers % self._cells < self._simulated
            numbers, arrived_s = numbers[kept], arrived_s[kept]
            prompt, output, tier = prompt[kept], output[kept], tier[kept]
        arrived = many_to_ps(arrived_s - self._origin_s)
        if arrived and arrived[0] < after_ps:
            raise ValueError(
                f"service {self._service}: a request arrives at {float(arrived_s[0])} s, "
                "before others that were given earlier"
            )
        done = self._position
        self._arrived = self._arrived[done:] + arrived
        self._prompt = self._prompt[done:] + prompt.tolist()
        self._output = self._output[done:] + output.tolist()
        self._tier = self._tier[done:] + tier.tolist()
        self._numbers = self._numbers[done:] + numbers.tolist()
        self._position = 0
