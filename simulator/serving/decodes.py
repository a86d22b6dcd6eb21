"""The decoding sequences of a batch: when each ends, and when each needs another block.

All advance one token an iteration, so a request's end is one number, `end`, on the batch's own
token clock `generation`; context and block needs follow from the number of decodes and a count of
contexts modulo the block size.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from simulator.serving.request import Request


class Decodes:
    """Sequences that decode, on one token clock.

    Parameters
    ----------
    block_tokens
        Tokens of a KV block.
    """

    __slots__ = ("_block_tokens", "_ends", "_joined", "_phases", "context", "count", "generation")

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self.generation = 0
        self.count = 0
        self.context = 0
        """Tokens remembered by all of them before the planned iterations."""
        self._phases = [0] * (2 * block_tokens)
        """How many need a block when generation modulo block size is the index; twice over, so that
        a wrapped window is one slice."""
        self._ends: list[tuple[int, int, Request]] = []
        self._joined = 0

    def start(self, request: Request, context: int, remaining: int) -> None:
        """Let a request decode from the next iteration on."""
        generation, size = self.generation, self._block_tokens
        phase = request.phase = (generation - context) % size
        self._phases[phase] += 1
        self._phases[phase + size] += 1
        request.base = context - generation
        self.count += 1
        self.context += context
        self._note_end(request, remaining)

    def _note_end(self, request: Request, remaining: int) -> None:
        request.end = self.generation + remaining
        token = request.token = self._joined
        self._joined = token + 1
        heappush(self._ends, (request.end, token, request))

    def leave(self, request: Request) -> None:
        """Let a request decode no more."""
        phase, size = request.phase, self._block_tokens
        self._phases[phase] -= 1
        self._phases[phase + size] -= 1
        self.count -= 1
        self.context -= self.context_of(request)
        request.token = -1

    def context_of(self, request: Request) -> int:
        """Return the tokens that a request remembers."""
        return request.base + self.generation

    def emitted(self, request: Request) -> int:
        """Return the tokens that a request has out."""
        return request.output - (request.end - self.generation)

    def emit(self, steps: int) -> Sequence[Request]:
        """Let so many tokens come out of each; return those that are over, which then must leave."""
        self.context += steps * self.count
        generation = self.generation = self.generation + steps
        ends = self._ends
        if not ends or ends[0][0] > generation:
            return ()
        over = []
        while ends and ends[0][0] <= generation:
            _, token, request = heappop(ends)
            if request.token == token:
                over.append(request)
        return over

    def steps_left(self) -> int:
        """Return the iterations up to the next end."""
        ends = self._ends
        while ends[0][2].token != ends[0][1]:
            heappop(ends)
        return ends[0][0] - self.generation

    # blocks ----------------------------------------------------------------------------------

    def need(self) -> int:
        """Return how many blocks they need for their next tokens."""
        return self._phases[self.generation % self._block_tokens]

    def needs_block(self, request: Request) -> bool:
        """Whether one needs a block for its next token."""
        return request.phase == self.generation % self._block_tokens

    def growth_blocks(self, steps: int) -> int:
        """Return the blocks that they take over the next `steps` iterations."""
        rounds, rest = divmod(steps, self._block_tokens)
        start = self.generation % self._block_tokens
        return rounds * self.count + sum(self._phases[start : start + rest])

    def most_steps(self, steps: int, free: int) -> int:
        """Return how many of so many iterations the free blocks allow, one at least."""
        size = self._block_tokens
        if (steps // size + 1) * self.count <= free:
            return steps
        rounds, left = divmod(free, self.count)
        start = self.generation % size
        for ahead in range(size):
            left -= self._phases[start + ahead]
            if left < 0:
                return max(1, min(steps, rounds * size + ahead))
        return max(1, min(steps, rounds * size + size))
