"""Requests of a log whose prompts begin alike, in the log's own order and rhythm, at another rate.

What a replica remembers of a prompt hangs on what it met before: drawn at random, requests would find
what they never find, or nothing. So a stretch of the log is taken as it stands, bursts and all; only its
hours are stretched to one rate. Behind a router that does not look at prompts a replica meets its share of
the requests, whichever they are: that share of the stretch is kept. At the log's end it begins again with
other names, so that no lap finds another.
"""

from __future__ import annotations

import numpy as np

from simulator.foundation.units import HOUR_S
from simulator.workload.requests import Prefixes, RequestTable


class LogStretches:
    """Cuts stretches out of a log.

    Parameters
    ----------
    log
        With prefixes.
    share_fraction
        Of its requests that are kept, by chance.
    """

    def __init__(self, log: RequestTable, share_fraction: float = 1.0) -> None:
        if log.prefixes is None:
            raise ValueError("stretches are of a log that says what its prompts begin with")
        self._log = log
        self._share = share_fraction
        self._counts = np.diff(log.prefixes.offsets)
        names, self._names = np.unique(log.prefixes.hashes, return_inverse=True)
        self._different = len(names)
        # A clock on which a request arrives a tick in the mean of every hour.
        first_s, last_s = float(log.arrived_s[0]), float(log.arrived_s[-1])
        edges_s = np.append(np.arange(first_s, last_s, HOUR_S), last_s)
        passed = np.searchsorted(log.arrived_s, edges_s[1:], side="right")
        self._ticks = np.interp(log.arrived_s, edges_s, np.concatenate(([0], passed)))

    def drawn(self, count: int, rate_per_s: float, rng: np.random.Generator) -> RequestTable:
        """Return requests from a random place of the log on.

        Parameters
        ----------
        rate_per_s
            At which they arrive; inf: all at once. [1/s]
        rng
            Draws the place, and which requests are left out.
        """
        log = self._log
        assert log.prefixes is not None
        gaps = rng.geometric(self._share, count) if self._share < 1.0 else np.ones(count, np.int64)
        lap, row = np.divmod(rng.integers(0, len(log)) + np.cumsum(gaps), len(log))
        ticks = self._ticks[row] + lap * len(log)
        arrived_s = (ticks - ticks[0]) * self._share / rate_per_s
        counts = self._counts[row]
        ends = np.cumsum(counts)
        within = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
        names = self._names[np.repeat(log.prefixes.offsets[row], counts) + within]
        return RequestTable(
            arrived_s,
            log.prompt_tokens[row],
            log.output_tokens[row],
            log.tier[row],
            prefixes=Prefixes(
                np.concatenate(([0], ends)).astype(np.int64),
                (names + np.repeat(lap, counts) * self._different).astype(np.int64),
                log.prefixes.tokens,
            ),
        )
