"""A replica that drafts: a small model guesses tokens, one pass of the large one checks them all.

A decoding request emits the token that the pass gives and the drafts accepted before the first
wrong one. How many, follows from the request's number, the tokens it has out and a seed alone, so
neither from the batch nor from the order of events. Contexts grow unevenly, so every iteration is
taken singly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from simulator.serving.batching import Replica
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


class DraftingReplica(Replica):
    """A replica whose decodes check drafts; `Request.base` is the context, `phase` the blocks held."""

    __slots__ = ()

    def finish(self, at_ps: int) -> None:
        """End the planned iteration: accepted drafts come out, requests finish."""
        rule = self.rule
        self.iterations += 1
        self.leaps += 1
        if not self._stands:
            self.generation += 1
            for request in [other for other in self.running.values() if other.token >= 0]:
                bits = uniform_64(request.number, request.emitted, rule.draft_seed)
                accepted = sum(bits < bound for bound in rule.draft_thresholds)
                tokens = min(1 + accepted, request.output - request.emitted)
                request.emitted += tokens
                request.base += tokens
                self.context += tokens
                if request.emitted == request.output:
                    self._answered(request, request.base)
                    del self.running[request.order]
                    self.done.append(request)
        self._finish_prompts(at_ps)

    def _emitted(self, request: Request, at_ps: int) -> int:
        return request.emitted

    def _needed(self, request: Request) -> int:
        """Return the blocks that a decode needs for its next token and the drafts."""
        return max(0, self.rule.blocks_of(request.base + 1 + self.rule.drafts) - request.phase)

    def _needs_block(self, request: Request) -> bool:
        return self._needed(request) > 0

    def _decode_need(self) -> int:
        return sum(self._needed(request) for request in self.running.values() if request.token >= 0)

    def _grow(self) -> None:
        for request in self.running.values():
            if request.token >= 0:
                more = self._needed(request)
                request.phase += more
                self.kv.take(more)

    def _growth_blocks(self, steps: int) -> int:
        return 0

    def _stop_decode(self, victim: Request) -> tuple[int, int]:
        context = victim.base
        self._leave_decode(victim, context)
        return context, victim.phase

    def _start_decode(self, request: Request, context: int, remaining: int) -> None:
        request.base = context
        request.phase = self.rule.blocks_of(context)
        request.token = self._join_token
        self._join_token += 1
        self.decodes += 1
        self.context += context

    def _answered(self, request: Request, context: int) -> None:
        self._leave_decode(request, context)
        self.kv.give(request, request.phase)

    def _leave_decode(self, request: Request, context: int) -> None:
        self.decodes -= 1
        self.context -= context
        request.token = -1
        self._stale_power = True

    def _iteration_ps(self, decodes: int, context: int, chunks: Sequence[tuple[int, int]]) -> int:
        return self.costs.checking_ps(
            decodes, context, chunks, self.rule.drafts, self.rule.draft_cost_fraction
        )

    def _plan_decodes(self, at_ps: int, *, single: bool) -> None:
        self._grow()
        duration_ps = self._iteration_ps(self.decodes, self.context, ())
        self.steps = 1
        self.first_ps = duration_ps
        self.growth_ps = 0
        self.plan_start = at_ps
        self.plan_end = at_ps + duration_ps
        if self._stale_power:
            self._stale_power = False
            self.meter.set(at_ps, self.costs.decode_mw(self.decodes, self.context))
