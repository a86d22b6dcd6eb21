"""KV on its way from a prefill replica to a decode replica: one transfer after the other."""

from __future__ import annotations

from collections import deque

from simulator.serving.batching import Request
from simulator.serving.picoseconds import NEVER, PS_PER_S


class KvLink:
    """A prefill replica's way out. A change of bandwidth holds from the next transfer on."""

    __slots__ = ("_queue", "end_ps")

    def __init__(self) -> None:
        self._queue: deque[Request] = deque()
        self.end_ps = NEVER
        """When the transfer under way ends."""

    def __len__(self) -> int:
        return len(self._queue)

    def send(self, request: Request, at_ps: int, duration_ps: int) -> bool:
        """Queue a transfer; return whether it starts at once."""
        self._queue.append(request)
        if len(self._queue) > 1:
            return False
        self.end_ps = at_ps + duration_ps
        return True

    def arrive(self) -> Request:
        """Return the request whose transfer ends; `begin` the next one then, if there is one."""
        self.end_ps = NEVER
        return self._queue.popleft()

    @property
    def head(self) -> Request | None:
        """The request whose transfer is next or under way."""
        return self._queue[0] if self._queue else None

    def begin(self, at_ps: int, duration_ps: int) -> None:
        """Start the transfer at the head of the queue."""
        self.end_ps = at_ps + duration_ps


def transfer_ps(size_bytes: float, bytes_per_s: float) -> int:
    """Return how long a transfer takes. [ps]

    Examples
    --------
    >>> transfer_ps(25e9, 50e9)
    500000000000
    """
    return round(size_bytes / bytes_per_s * PS_PER_S)
