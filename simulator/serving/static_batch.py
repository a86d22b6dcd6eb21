"""A replica of the first serving engines: a batch is filled, run to its last token, then replaced.

The batch is formed where nothing runs: requests in order, while the bound on sequences, the
token budget and the KV blocks allow for all of them at the longest prompt and the longest answer
among them. Prompts are padded to the longest, so every place costs as much as the longest prompt
and goes on costing after its own answer is out; a request is over with its own last token.
"""

from __future__ import annotations

from simulator.serving.batching import Replica
from simulator.serving.decodes import Decodes
from simulator.serving.request import UNSEEN, Request


class PaddedDecodes(Decodes):
    """Decodes that have all their blocks from the beginning, and count until the batch goes."""

    __slots__ = ("longest",)

    longest: int
    """Of the prompts; all are padded to it."""

    def start(self, request: Request, context: int, remaining: int) -> None:
        """Let a request decode from the next iteration on."""
        request.base = self.longest - self.generation
        self._note_end(request, remaining)

    def leave(self, request: Request) -> None:
        """Let a request have its answer; its place goes on costing."""
        request.token = -1

    def most_steps(self, steps: int, free: int) -> int:
        """Return `steps`: no block is missing."""
        return steps

    def growth_blocks(self, steps: int) -> int:
        """Return 0: nobody takes more."""
        return 0


class StaticReplica(Replica):
    """A replica that never admits into a batch that runs, and never preempts."""

    __slots__ = ("_places",)

    decodes: PaddedDecodes
    _places: int

    def _no_decodes(self) -> PaddedDecodes:
        return PaddedDecodes(self.rule.block_tokens)

    def finish(self, at_ps: int) -> None:
        """End the planned iterations; the batch goes when its last request is over."""
        filled = bool(self._new)
        super().finish(at_ps)
        decodes = self.decodes
        if not self.running:
            decodes.count = decodes.context = 0
            self.kv.free = self.blocks
            self._stale_power = True
        elif filled:
            decodes.count = self._places
            decodes.context = self._places * decodes.longest

    def schedule(self, at_ps: int) -> None:
        """Plan the next iterations from `at_ps` on, or fall idle."""
        if not self.running:
            self._form(at_ps)
        super().schedule(at_ps)

    def _form(self, at_ps: int) -> None:
        """Take waiting requests, in order, into a new batch."""
        rule = self.rule
        prompt = output = count = 0
        while self.waiting.count:
            request = self.waiting.head()
            longest, most = max(prompt, request.prompt), max(output, request.output)
            blocks = (count + 1) * rule.blocks_of(longest + most - 1)
            crowded = count == self.max_sequences or (count + 1) * longest > rule.token_budget
            if crowded or blocks > self.blocks:
                break
            prompt, output, count = longest, most, count + 1
            self.waiting.take(request)
            self.running[request.order] = request
            request.prefill_started_ps = at_ps
            self.prefilled.append(request)
        self._places, self.decodes.longest = count, prompt
        self._new.extend([(prompt, 0)] * count)
        self.kv.free -= count * rule.blocks_of(prompt + output - 1)

    def _admit(self, at_ps: int, budget: int) -> None:
        """Nobody joins a batch that runs."""

    def _prompt_done(self, request: Request, at_ps: int) -> None:
        if request.first_token_ps == UNSEEN:
            request.first_token_ps = at_ps
        request.emitted += 1
        remaining = request.output - request.emitted
        if remaining:
            self.decodes.start(request, request.target, remaining)
        else:
            del self.running[request.order]
            self.done.append(request)

    def _answered(self, request: Request) -> None:
        self.decodes.leave(request)
