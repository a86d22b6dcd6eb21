"""Requests of a service as parallel columns, and the sources that give them away in blocks.

A source never holds more than a block (a log: the log), so a service may meet millions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import CatalogError, TraceError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.streams import Streams
from simulator.workload.arrivals import ArrivalStream, arrivals_of
from simulator.workload.lengths import Lengths, LengthStream


@dataclass(frozen=True, eq=False)
class Prefixes:
    """What the prompts of requests begin with: chained names of pieces of equal length.

    Parameters
    ----------
    offsets : (n + 1,) int
        Request i begins with pieces offsets[i] up to, not including, offsets[i + 1].
    hashes : (m,) int
        Names of pieces. Equal names mean that all up to and including that piece is equal.
    tokens
        Of one piece; the last of a prompt may be shorter. [tokens]
    """

    offsets: NDArray[np.int64]
    hashes: NDArray[np.int64]
    tokens: int

    def rows(self, start: int, stop: int) -> Prefixes:
        """Return the prefixes of the requests from `start` up to, not including, `stop`."""
        offsets = self.offsets[start : stop + 1]
        if not len(offsets):
            return Prefixes(np.zeros(1, dtype=np.int64), self.hashes[:0], self.tokens)
        return Prefixes(offsets - offsets[0], self.hashes[offsets[0] : offsets[-1]], self.tokens)

    def chosen(self, keep: NDArray[np.bool_]) -> Prefixes:
        """Return the prefixes of the requests that `keep` marks."""
        counts = np.diff(self.offsets)
        offsets = np.concatenate(([0], np.cumsum(counts[keep]))).astype(np.int64)
        return Prefixes(offsets, self.hashes[np.repeat(keep, counts)], self.tokens)


@dataclass(frozen=True, eq=False)
class RequestTable:
    """Requests in order of arrival.

    Parameters
    ----------
    arrived_s : (n,) float
        Arrivals, ascending, on the time grid. [s since the run's start]
    prompt_tokens, output_tokens : (n,) int
        Lengths, each 1 or more.
    tier : (n,) int
        Index into the service's tiers.
    skipped : mapping of str to int
        Rows that a reader left out, by reason.
    prefixes : Prefixes or None
        What prompts begin with, where the log says it.
    """

    arrived_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    tier: NDArray[np.int64]
    skipped: Mapping[str, int] = field(default_factory=dict)
    prefixes: Prefixes | None = None

    def __post_init__(self) -> None:
        count = len(self.arrived_s)
        for name in ("prompt_tokens", "output_tokens", "tier"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, arrived_s has {count}")
        if self.prefixes is not None and len(self.prefixes.offsets) != count + 1:
            raise ValueError(f"prefixes of {len(self.prefixes.offsets) - 1} requests, arrived_s has {count}")

    def __len__(self) -> int:
        return len(self.arrived_s)

    def rows(self, start: int, stop: int) -> RequestTable:
        """Return the requests from `start` up to, not including, `stop`."""
        # A slice beyond the end is short; so are its prefixes.
        stop = min(stop, len(self))
        return RequestTable(
            self.arrived_s[start:stop],
            self.prompt_tokens[start:stop],
            self.output_tokens[start:stop],
            self.tier[start:stop],
            prefixes=None if self.prefixes is None else self.prefixes.rows(min(start, stop), stop),
        )


class RequestSource(Protocol):
    """Gives requests away in order of arrival."""

    @property
    def end_s(self) -> float:
        """No request comes after this. [s since the run's start]"""
        ...

    def next_block(self, count: int) -> RequestTable:
        """Return the next requests, `count` at most; none when there are no more."""
        ...


class DrawnRequests:
    """Requests from a rate, a distribution of lengths and the shares of tiers.

    Arrivals, lengths and tiers have a named stream each, so changing one leaves the
    others as they were, and blocks of any size give the same requests.

    Parameters
    ----------
    rate_per_s
        Requests per second; its end is the source's.
    lengths
        Prompt and output lengths.
    streams, name
        The run's random streams, and the service's name in them.
    tier_shares
        Share of each tier; they sum to 1. One tier if not given.
    arrivals, cv
        One of `arrivals.ARRIVALS`, and how bursty it is, if it can be.
    """

    def __init__(
        self,
        rate_per_s: StepSeries,
        lengths: Lengths,
        streams: Streams,
        name: str,
        *,
        tier_shares: Sequence[float] = (1.0,),
        arrivals: str = "poisson",
        cv: float | None = None,
    ) -> None:
        self._end_s = rate_per_s.end_s
        self._arrivals: ArrivalStream = arrivals_of(
            arrivals, rate_per_s, streams.stream(f"service/{name}/arrivals"), cv
        )
        self._lengths: LengthStream = lengths.stream(streams.stream(f"service/{name}/lengths"))
        self._tiers = Shares(tier_shares, f"tiers of service {name}")
        self._tier_rng = streams.stream(f"service/{name}/tiers")

    @property
    def end_s(self) -> float:
        """No request comes after this. [s since the run's start]"""
        return self._end_s

    def next_block(self, count: int) -> RequestTable:
        """Return the next requests, `count` at most; none when there are no more."""
        arrived_s = self._arrivals.next_block(count)
        prompt_tokens, output_tokens = self._lengths.next_block(len(arrived_s))
        tier = self._tiers.draw(self._tier_rng, len(arrived_s))
        return RequestTable(arrived_s, prompt_tokens, output_tokens, tier)


class LoggedRequests:
    """The requests of a log, in blocks.

    Parameters
    ----------
    table
        The log.
    end_s
        End of the run; requests after it are not given away. inf: the log's last request.
        [s since the run's start]

    Raises
    ------
    TraceError
        If the log ends before the run; the message names both spans.
    """

    def __init__(self, table: RequestTable, end_s: float) -> None:
        last_s = float(table.arrived_s[-1]) if len(table) else 0.0
        if end_s == math.inf:
            end_s = last_s
        if last_s < end_s:
            raise TraceError(
                f"the request log covers 0 s to {last_s:.15g} s, the run 0 s to {end_s:.15g} s; "
                f"expected a longer log or a duration of at most {last_s:.15g} s"
            )
        self.table = table.rows(0, int(np.searchsorted(table.arrived_s, end_s, side="right")))
        """The requests of the run."""
        self._end_s = end_s
        self._done = 0

    @property
    def end_s(self) -> float:
        """No request comes after this. [s since the run's start]"""
        return self._end_s

    def next_block(self, count: int) -> RequestTable:
        """Return the next requests, `count` at most; none when there are no more."""
        block = self.table.rows(self._done, self._done + count)
        self._done += len(block)
        return block


class Shares:
    """Draws an index by shares that sum to 1.

    Parameters
    ----------
    shares
        One or more numbers, 0 or more each.
    what
        Whose shares they are, for the message.

    Raises
    ------
    CatalogError
        If they are no shares.
    """

    def __init__(self, shares: Sequence[float], what: str) -> None:
        values = np.asarray(shares, dtype=np.float64)
        total = float(values.sum())
        if not len(values) or not (values >= 0).all() or abs(total - 1.0) > 1e-6:
            listed = ", ".join(f"{value:g}" for value in values)
            raise CatalogError(f"{what}: shares {listed or 'none'} sum to {total:g}; expected 1")
        self._edges = np.cumsum(values / total)[:-1]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return `count` indexes, one uniform number each."""
        return np.searchsorted(self._edges, rng.random(count), side="right").astype(np.int64)
