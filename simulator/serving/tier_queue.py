"""Requests that wait, better tiers first and, within one, in order: at a replica or at the door."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from simulator.serving.request import Request


class TierQueue:
    """A queue for each tier.

    Parameters
    ----------
    tiers
        Classes of requests, the most urgent first. [count]
    """

    __slots__ = ("count", "tiers")

    def __init__(self, tiers: int) -> None:
        self.tiers: list[deque[Request]] = [deque() for _ in range(tiers)]
        self.count = 0
        """Requests in all of them."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Request]:
        return (request for queue in self.tiers for request in queue)

    def put(self, request: Request) -> bool:
        """Let a request wait behind those of its tier; return whether it is the head of all."""
        tier = request.tier
        is_head = not (self.count and any(self.tiers[: tier + 1]))
        self.tiers[tier].append(request)
        self.count += 1
        return is_head

    def put_back(self, request: Request) -> None:
        """Let a request wait before those of its tier."""
        self.tiers[request.tier].appendleft(request)
        self.count += 1

    def put_again(self, requests: Iterable[Request]) -> None:
        """Let requests that lost their replica wait first in their tiers, in the order in which they came."""
        by_tier: list[list[Request]] = [[] for _ in self.tiers]
        for request in requests:
            by_tier[request.tier].append(request)
            self.count += 1
        for queue, again in zip(self.tiers, by_tier, strict=True):
            while again and queue and queue[0].attempts:
                again.append(queue.popleft())
            queue.extendleft(sorted(again, key=lambda request: request.number, reverse=True))

    def head(self) -> Request:
        """Return the first of the best tier that has any."""
        return next(queue for queue in self.tiers if queue)[0]

    def take(self, request: Request) -> None:
        """Let the head go."""
        self.tiers[request.tier].popleft()
        self.count -= 1

    def remove(self, request: Request) -> None:
        """Let a request go, wherever it stands."""
        self.tiers[request.tier].remove(request)
        self.count -= 1

    def clear(self) -> list[Request]:
        """Return all that wait, in order, and let nobody wait any more."""
        waiting = list(self)
        for queue in self.tiers:
            queue.clear()
        self.count = 0
        return waiting
