"""The next arrivals of a crowd, drawn from a source or fed by the engine, as plain integers."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving.picoseconds import NEVER, PS_PER_S, many_to_ps, split_ps, to_ps
from simulator.serving.request import Request
from simulator.workload.requests import Prefixes, RequestSource, RequestTable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Requests drawn from a source at a time, for the twin.
BLOCK_REQUESTS: Final = 4096

#: The same for the kernel: drawing many at once costs less for each.
COLUMN_REQUESTS: Final = 65536


#: Seconds whose picoseconds still fit 64 bits, with room to spare.
_REACH_S: Final = 8_000_000


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
        self._block = BLOCK_REQUESTS
        self._pieces: list[tuple[int, ...]] = []
        """What each prompt begins with, where that is known."""
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
        if self._held and self._at(-1) >= known_ps:
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
            self._pieces[position] if self._pieces else (),
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
        if last < self._held:
            return self._at(last)
        if self._source is not None and self._held:
            return self._at(-1)
        return self.known_ps

    @property
    def _held(self) -> int:
        """Requests in hand, read or not."""
        return len(self._arrived)

    def _at(self, index: int) -> int:
        """Return the arrival of one of the requests in hand. [ps]"""
        return self._arrived[index]

    def _look(self) -> None:
        while self._position == self._held and self._source is not None:
            block = self._source.next_block(self._block)
            if len(block):
                self._append(block, self._at(-1) if self._held else to_ps(-self._origin_s))
            else:
                self._source = None
        self.next_ps = self._at(self._position) if self._position < self._held else self.known_ps

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
        prefixes = block.prefixes
        if self._simulated < self._cells:
            kept = numbers % self._cells < self._simulated
            numbers, arrived_s = numbers[kept], arrived_s[kept]
            prompt, output, tier = prompt[kept], output[kept], tier[kept]
            prefixes = None if prefixes is None else prefixes.chosen(kept)
        if len(arrived_s) and to_ps(float(arrived_s[0] - self._origin_s)) < after_ps:
            raise ValueError(
                f"service {self._service}: a request arrives at {float(arrived_s[0])} s, "
                "before others that were given earlier"
            )
        self._store(numbers, arrived_s - self._origin_s, prompt, output, tier, prefixes)

    def _store(
        self,
        numbers: Ints,
        arrived_s: Floats,
        prompt: Ints,
        output: Ints,
        tier: Ints,
        prefixes: Prefixes | None,
    ) -> None:
        done = self._position
        if prefixes is not None:
            edges, names = prefixes.offsets.tolist(), prefixes.hashes.tolist()
            # Earlier ones may have come without.
            unread = self._pieces[done:] or [()] * (len(self._arrived) - done)
            self._pieces = unread + [tuple(names[start:stop]) for start, stop in itertools.pairwise(edges)]
        elif self._pieces:
            self._pieces = self._pieces[done:] + [()] * len(numbers)
        self._arrived = self._arrived[done:] + many_to_ps(arrived_s)
        self._prompt = self._prompt[done:] + prompt.tolist()
        self._output = self._output[done:] + output.tolist()
        self._tier = self._tier[done:] + tier.tolist()
        self._numbers = self._numbers[done:] + numbers.tolist()
        self._position = 0


class ArrivalColumns(ArrivalBuffer):
    """The same for a kernel, which reads on by itself in the columns that it was given."""

    def __init__(
        self,
        service: str,
        source: RequestSource | None,
        origin_s: float,
        cells: int = 1,
        simulated: int = 1,
    ) -> None:
        self._whole_s = np.empty(0, np.int64)
        self._rest_ps = np.empty(0, np.int64)
        self._table = np.empty((0, 4), np.int64)
        self._edges = np.zeros(1, np.int64)
        self._names = np.empty(0, np.int64)
        """What prompts begin with: those of request i are names edges[i] up to edges[i + 1]."""
        self._given = 0
        """Where the columns that were given last begin."""
        super().__init__(service, source, origin_s, cells, simulated)
        self._block = COLUMN_REQUESTS

    def columns(self, base_ps: int, latest: int) -> tuple[Ints, Ints]:
        """Return arrivals from a whole second on, and number, prompt, output and tier, of all unread.

        Parameters
        ----------
        base_ps
            A whole second that arrivals are counted from. [ps since the origin]
        latest
            Arrivals that do not fit 64 bits are given as this.
        """
        self._look()
        self._given = first = self._position
        whole_s = self._whole_s[first:] - base_ps // PS_PER_S
        arrived = np.where(
            whole_s < _REACH_S, np.minimum(whole_s, _REACH_S) * PS_PER_S + self._rest_ps[first:], latest
        )
        return arrived, self._table[first:]

    def names(self) -> tuple[Ints, Ints]:
        """Return where the names of each of the last columns' requests begin (and end), and the names."""
        edges = self._edges[self._given :]
        return edges - edges[0], self._names[edges[0] :]

    def read(self, count: int) -> None:
        """Say how many requests of the last columns have been read."""
        self._position = self._given + count

    @property
    def drawn(self) -> bool:
        """Whether more may come from a source."""
        return self._source is not None

    @property
    def _held(self) -> int:
        return len(self._whole_s)

    def _at(self, index: int) -> int:
        return int(self._whole_s[index]) * PS_PER_S + int(self._rest_ps[index])

    def _store(
        self,
        numbers: Ints,
        arrived_s: Floats,
        prompt: Ints,
        output: Ints,
        tier: Ints,
        prefixes: Prefixes | None,
    ) -> None:
        done = self._position
        begun = self._edges[done]
        counts = np.zeros(len(numbers), np.int64) if prefixes is None else np.diff(prefixes.offsets)
        more = np.cumsum(counts) + (len(self._names) - begun)
        self._edges = np.concatenate((self._edges[done:] - begun, more))
        hashes = self._names[:0] if prefixes is None else prefixes.hashes
        self._names = np.concatenate((self._names[begun:], hashes))
        whole_s, rest_ps = split_ps(arrived_s)
        table = np.stack((numbers, prompt, output, tier), axis=1).astype(np.int64, copy=False)
        self._whole_s = np.concatenate((self._whole_s[done:], whole_s))
        self._rest_ps = np.concatenate((self._rest_ps[done:], rest_ps))
        self._table = np.concatenate((self._table[done:], table))
        self._position = self._given = 0
