"""The door of a service: who has come and is at no replica yet, better tiers first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from simulator.serving.request import Request


class Door:
    """Requests that no replica has taken, by tier and, within one, in the order they came.

    Parameters
    ----------
    tiers
        Classes of requests, the most urgent first. [count]
    """

    def __init__(self, tiers: int) -> None:
        self._queues: list[deque[Request]] = [deque() for _ in range(tiers)]

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def __iter__(self) -> Iterator[Request]:
        return (request for queue in self._queues for request in queue)

    def put(self, request: Request) -> None:
        """Let a request wait behind those of its tier."""
        self._queues[request.tier].append(request)

    def clear(self) -> list[Request]:
        """Return all that wait, in order, and let nobody wait any more."""
        waiting = list(self)
        for queue in self._queues:
            queue.clear()
        return waiting
