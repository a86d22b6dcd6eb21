"""A replica of the first serving engines: a batch is filled, run to its last token, then replaced.

The batch is formed where nothing runs: requests in order, while the bound on sequences, the
token budget and the KV blocks allow for all of them at the longest prompt and the longest answer
among them. Prompts are padded to the longest, so every place costs as much as the longest prompt
and goes on costing after its own answer is out; a request is over with its own last token.
"""

from __future__ import annotations

from heapq import heappush

from simulator.serving.batching import Replica
from simulator.serving.request import UNSEEN, Request


class StaticReplica(Replica):
    """A replica that never admits into a batch that runs, and never preempts."""

    __slots__ = ("_longest", "_places")

    _places: int
    _longest: int

    def finish(self, at_ps: int) -> None:
        """End the planned iterations; the batch goes when its last request is over."""
        filled = bool(self._new)
        super().finish(at_ps)
        if not self.running:
            self.decodes = self.context = 0
            self.kv.free = self.blocks
            self._stale_power = True
        elif filled:
            self.decodes = self._places
            self.context = self._places * self._longest

    def schedule(self, at_ps: int) -> None:
        """Plan the next iterations from `at_ps` on, or fall idle."""
        if not self.running:
            self._form(at_ps)
        super().schedule(at_ps)

    def _form(self, at_ps: int) -> None:
        """Take waiting requests, in order, into a new batch."""
        rule = self.rule
        prompt = output = count = 0
        for queue in self.waiting:
            while queue:
                longest, most = max(prompt, queue[0].prompt), max(output, queue[0].output)
                blocks = (count + 1) * rule.blocks_of(longest + most - 1)
                crowded = count == self.max_sequences or (count + 1) * longest > rule.token_budget
                if crowded or blocks > self.blocks:
                    break
                prompt, output, count = longest, most, count + 1
                request = queue.popleft()
                self.running[request.order] = request
                request.prefill_started_ps = at_ps
                self.prefilled.append(request)
            if queue:
                break
        self.waiting_count -= count
        self._places, self._longest = count, prompt
        self._new.extend([(prompt, 0)] * count)
        self.kv.free -= count * rule.blocks_of(prompt + output - 1)

    def _admit(self, at_ps: int, budget: int) -> None:
        """Nobody joins a batch that runs."""

    def _most_steps(self, steps: int) -> int:
        """All blocks are there from the beginning."""
        return steps

    def _growth_blocks(self, steps: int) -> int:
        return 0

    def _prompt_done(self, request: Request, at_ps: int) -> None:
        if request.first_token_ps == UNSEEN:
            request.first_token_ps = at_ps
        request.emitted += 1
        remaining = request.output - request.emitted
        if not remaining:
            del self.running[request.order]
            self.done.append(request)
            return
        request.base = self._longest - self.generation
        request.end = self.generation + remaining
        request.token = self._join_token
        self._join_token += 1
        heappush(self.ends, (request.end, request.token, request))

    def _answered(self, request: Request, context: int) -> None:
        request.token = -1
