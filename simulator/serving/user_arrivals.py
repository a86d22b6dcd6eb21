"""The next arrivals of users in a closed loop, who come again when they were answered."""

from __future__ import annotations

from simulator.serving.picoseconds import NEVER, PS_PER_S, to_ps
from simulator.serving.request import Request
from simulator.workload.requests import RequestTable
from simulator.workload.user_loop import UserLoop


class UserArrivals:
    """Gives requests away one by one, as `ArrivalBuffer` does, and is told of every answer.

    Parameters
    ----------
    service
        Whose requests, for messages.
    loop
        The users.
    origin_s
        Zero of integer time. [s since the run's start]
    """

    def __init__(self, service: str, loop: UserLoop, origin_s: float) -> None:
        self._service = service
        self._loop = loop
        self._origin_s = origin_s
        self._user_of: dict[int, int] = {}
        """Number of each request under way -> whose it is."""
        self._seen = 0
        self._answered_ps = to_ps(-origin_s)
        self.known_ps = NEVER
        """Nothing is fed: whoever comes next is known at any time."""
        self.next_ps = NEVER
        self._look()

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Refuse: users ask by themselves."""
        raise ValueError(f"service {self._service} is asked by users in a closed loop")

    def take(self) -> Request:
        """Return the request that arrives at `next_ps`."""
        asked = self._loop.take()
        request = Request(self._seen, self.next_ps, asked.prompt_tokens, asked.output_tokens, asked.tier)
        self._user_of[self._seen] = asked.user
        self._seen += 1
        self._look()
        return request

    def answered(self, number: int, at_ps: int) -> None:
        """Let a request's user think: it was answered, or refused, at `at_ps`."""
        self._answered_ps = at_ps
        self._loop.answered(self._user_of.pop(number), at_ps / PS_PER_S + self._origin_s)
        self._look()

    def earliest_ps(self, count: int) -> int:
        """Return a time before which fewer than `count` more requests arrive. [ps]

        Whoever is answered next may ask at once, so nothing is promised beyond the last answer.
        """
        del count
        return self._answered_ps

    def _look(self) -> None:
        next_s = self._loop.next_s
        # Rounding to the time grid must not bring a request before the answer it follows.
        known = next_s < float("inf")
        self.next_ps = max(to_ps(next_s - self._origin_s), self._answered_ps) if known else NEVER
