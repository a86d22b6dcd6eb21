"""Users in a closed loop: each asks, waits for the answer, thinks, and asks again.

When a request comes depends on when the one before was answered, so nothing is drawn ahead of
the clock. What each user asks and how long he thinks does not depend on that: request k of user
u is the same under every policy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import CatalogError
from simulator.foundation.streams import Streams
from simulator.foundation.time_grid import snap_up
from simulator.workload.lengths import Lengths
from simulator.workload.requests import Shares


@dataclass(frozen=True, slots=True)
class UserRequest:
    """What a user asks, and when."""

    user: int
    arrived_s: float
    prompt_tokens: int
    output_tokens: int
    tier: int


@dataclass(frozen=True)
class _Round:
    """Request k of every user."""

    think_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    tier: NDArray[np.int64]


class UserLoop:
    """A fixed number of users; thinking times are exponential.

    Parameters
    ----------
    users
        How many; each begins with a pause to think.
    think_time_s
        Mean pause between an answer and the next request. [s]
    lengths
        Prompt and output lengths.
    streams, name
        The run's random streams, and the service's name in them.
    tier_shares
        Share of the requests of each tier; they sum to 1.
    end_s
        Nobody asks after this. [s]
    """

    def __init__(
        self,
        users: int,
        think_time_s: float,
        lengths: Lengths,
        streams: Streams,
        name: str,
        *,
        tier_shares: Sequence[float] = (1.0,),
        end_s: float,
    ) -> None:
        if users < 1 or not 0.0 < think_time_s < math.inf:
            raise CatalogError(
                f"service {name}: {users} users who think {think_time_s:g} s; expected one user or more and "
                "more than 0 s"
            )
        self.end_s = end_s
        self._users = users
        self._think_time_s = think_time_s
        self._lengths = lengths
        self._streams = streams
        self._name = name
        self._shares = Shares(tier_shares, f"tiers of service {name}")
        self._rounds: dict[int, _Round] = {}
        self._asked = [0] * users
        """Requests of each user so far: the round of the next one."""
        self._next: list[tuple[float, int]] = []
        for user in range(users):
            self.answered(user, 0.0)

    @property
    def next_s(self) -> float:
        """When the next request comes, if nobody is answered before; inf: not at all. [s]"""
        return self._next[0][0] if self._next else math.inf

    def take(self) -> UserRequest:
        """Return the request that comes at `next_s`; its user waits from now on."""
        at_s, user = heappop(self._next)
        number = self._asked[user]
        self._asked[user] = number + 1
        asked = self._round(number)
        return UserRequest(
            user,
            at_s,
            int(asked.prompt_tokens[user]),
            int(asked.output_tokens[user]),
            int(asked.tier[user]),
        )

    def answered(self, user: int, at_s: float) -> None:
        """Let a user think from `at_s` on: he got his answer, or a refusal. [s]"""
        at_s = snap_up(at_s + float(self._round(self._asked[user]).think_s[user]))
        if at_s <= self.end_s:
            heappush(self._next, (at_s, user))

    def _round(self, number: int) -> _Round:
        found = self._rounds.get(number)
        if found is None:
            found = self._rounds[number] = self._drawn(number)
            # Whoever is slowest still needs his round; all before it are done with.
            for old in range(min(self._rounds), min(self._asked)):
                self._rounds.pop(old, None)
        return found

    def _drawn(self, number: int) -> _Round:
        prefix = f"service/{self._name}/users/{number}"
        stream = self._streams.stream
        prompt, output = self._lengths.stream(stream(f"{prefix}/lengths")).next_block(self._users)
        return _Round(
            think_s=self._think_time_s * stream(f"{prefix}/think").standard_exponential(self._users),
            prompt_tokens=prompt,
            output_tokens=output,
            tier=self._shares.draw(stream(f"{prefix}/tiers"), self._users),
        )
