"""A replica that drafts: a small model guesses tokens, one pass of the large one checks them all.

A decoding request emits the token that the pass gives and the drafts accepted before the first
wrong one. How many, follows from the request's number, the tokens it has out and a seed alone, so
neither from the batch nor from the order of events. Contexts grow unevenly, so every iteration is
taken singly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from simulator.serving.batch_rule import BatchRule
from simulator.serving.batching import Replica
from simulator.serving.decodes import Decodes
from simulator.serving.request import Request

_MASK: Final = (1 << 64) - 1


def uniform_64(number: int, emitted: int, seed: int) -> int:
    """Return 64 random bits of a request and the tokens it has out (splitmix64).

    References
    ----------
    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    state = (number * 0x9E3779B97F4A7C15 + emitted * 0xD1B54A32D192ED03 + seed) & _MASK
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class DraftingDecodes(Decodes):
    """Decodes of uneven pace; `Request.base` is the context, `phase` the blocks held.

    Parameters
    ----------
    rule
        How many tokens a pass drafts.
    running
        The batch.
    """

    __slots__ = ("_rule", "_running")

    def __init__(self, rule: BatchRule, running: Mapping[int, Request]) -> None:
        super().__init__(rule.block_tokens)
        self._rule = rule
        self._running = running

    def __iter__(self) -> Iterator[Request]:
        return (request for request in self._running.values() if request.token >= 0)

    def start(self, request: Request, context: int, remaining: int) -> None:
        """Let a request decode from the next iteration on."""
        request.base = context
        request.phase = self._rule.blocks_of(context)
        request.token = self._joined
        self._joined += 1
        self.count += 1
        self.context += context

    def leave(self, request: Request) -> None:
        """Let a request decode no more."""
        self.count -= 1
        self.context -= request.base
        request.token = -1

    def context_of(self, request: Request) -> int:
        """Return the tokens that a request remembers."""
        return request.base

    def emitted(self, request: Request) -> int:
        """Return the tokens that a request has out."""
        return request.emitted

    def emit(self, steps: int) -> Sequence[Request]:
        """Let accepted drafts come out of each; return those that are over, which then must leave."""
        rule = self._rule
        self.generation += 1
        over = []
        for request in self:
            bits = uniform_64(request.number, request.emitted, rule.draft_seed)
            accepted = sum(bits < bound for bound in rule.draft_thresholds)
            tokens = min(1 + accepted, request.output - request.emitted)
            request.emitted += tokens
            request.base += tokens
            self.context += tokens
            if request.emitted == request.output:
                over.append(request)
        return over

    def missing(self, request: Request) -> int:
        """Return the blocks that one needs for its next token and the drafts."""
        return max(0, self._rule.blocks_of(request.base + 1 + self._rule.drafts) - request.phase)

    def need(self) -> int:
        """Return how many blocks they need for their next tokens."""
        return sum(map(self.missing, self))

    def needs_block(self, request: Request) -> bool:
        """Whether one needs a block for its next token."""
        return self.missing(request) > 0

    def growth_blocks(self, steps: int) -> int:
        """Return 0: blocks are had before a pass, not over it."""
        return 0


class DraftingReplica(Replica):
    """A replica whose decodes check drafts."""

    __slots__ = ()

    decodes: DraftingDecodes

    def _no_decodes(self) -> DraftingDecodes:
        return DraftingDecodes(self.rule, self.running)

    def _emitted(self, request: Request, at_ps: int) -> int:
        return request.emitted

    def _grow(self) -> None:
        for request in self.decodes:
            more = self.decodes.missing(request)
            request.phase += more
            self.kv.take(more)

    def _stop_decode(self, victim: Request) -> tuple[int, int]:
        context = victim.base
        self._leave_decode(victim)
        return context, victim.phase

    def _answered(self, request: Request) -> None:
        self._leave_decode(request)
        self.kv.give(request, request.phase)

    def _iteration_ps(self, decodes: int, context: int, chunks: Sequence[tuple[int, int]]) -> int:
        return self.costs.checking_ps(
            decodes, context, chunks, self.rule.drafts, self.rule.draft_cost_fraction
        )

    def _plan_decodes(self, at_ps: int, *, single: bool) -> None:
        self._grow()
        duration_ps = self._iteration_ps(self.decodes.count, self.decodes.context, ())
        self._plan(at_ps, duration_ps, 0, 1)
        if self._stale_power:
            self._set_decode_power(at_ps)
