"""The KV blocks of a replica: how many are free, and what a preempted request finds again.

Blocks are taken from the head of the free queue and given back to its tail, a request's own in
reverse order, so that its first tokens last longest. An engine that keeps blocks (vLLM's prefix
caching) lets a request find what nobody has taken since. Where requests share nothing, only one
that was preempted can find anything, and its own: so places in the queue are numbers, not lists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from simulator.serving.batch_rule import BatchRule
from simulator.serving.request import Request


class KvBlocks:
    """Blocks that are counted, not named: requests share nothing.

    Parameters
    ----------
    blocks
        Of the replica. [blocks]
    rule
        Whether blocks keep what they hold.
    waiting
        The replica's queues: who was preempted waits there.
    """

    __slots__ = ("_rule", "_waiting", "free", "hit_tokens", "looked_tokens", "taken")

    def __init__(self, blocks: int, rule: BatchRule, waiting: Sequence[deque[Request]]) -> None:
        self._rule = rule
        self._waiting = waiting
        self.free = blocks
        self.taken = 0
        """Blocks taken from the head of the free queue so far."""
        self.looked_tokens = 0
        """Tokens of requests that looked for what is here, once for every admission."""
        self.hit_tokens = 0
        """Those that they found."""

    def found(self, request: Request) -> int:
        """Return how many leading blocks a waiting request would find. Changes nothing."""
        if not request.hashed:
            return 0
        left = request.held - max(0, self.taken - request.mark)
        return max(0, min(request.hashed, left))

    def missing(self, request: Request, found: int) -> int:
        """Return how many free blocks all that a waiting request has to compute would use up."""
        return self._rule.blocks_of(request.target)

    def admit(self, request: Request, found: int, blocks: int, tokens: int) -> None:
        """Let a request have its first blocks, those it finds among them.

        Parameters
        ----------
        blocks
            In all. [blocks]
        tokens
            That will have been computed after the next iteration.
        """
        if request.sender < 0:
            self.looked_tokens += request.target
            self.hit_tokens += found * self._rule.block_tokens
        if found:
            # They leave the middle of the queue: whoever was preempted later moves up.
            self.free -= found
            for queue in self._waiting:
                for other in queue:
                    if not other.held:
                        # Whoever was preempted here stands before all that never ran.
                        break
                    if other.hashed and other.mark > request.mark:
                        other.mark -= found
        request.hashed = 0
        self.take(blocks - found)

    def extend(self, request: Request, more: int, tokens: int) -> None:
        """Let a prompt under way have more blocks; `tokens` as `admit`."""
        self.take(more)

    def grow(self, decodes: Iterable[Request], generation: int, more: int) -> None:
        """Let decodes have the blocks that they need up to a generation of their token clock."""
        self.take(more)

    def take(self, blocks: int) -> None:
        """Take blocks from the head of the free queue."""
        self.free -= blocks
        self.taken += blocks

    def give(self, request: Request, blocks: int) -> None:
        """Take a request's blocks back."""
        self.free += blocks

    def preempt(self, request: Request, blocks: int, computed: int) -> None:
        """Take the blocks of a request back that will come again, with so many tokens computed."""
        if self._rule.keeps_blocks:
            request.hashed = computed // self._rule.block_tokens
            request.held = blocks
            request.mark = self.taken + self.free
        self.give(request, blocks)
