"""One replica: iteration-level continuous batching with paged KV blocks, as vLLM V1 does it.

At a boundary between iterations: decodes go first, one token each; then the prompt that is
partly done; then waiting requests in order (better tiers first, then by arrival) while token
budget, sequence bound and KV blocks last. A decode needs a block whenever its context fills its
last one; if none is free, the last of the worst tier loses its blocks, goes back to the front of
its tier's queue and recomputes prompt and answer so far. No admission in such an iteration. A
prompt's blocks are taken whole at admission, and a watermark of blocks stays free.

What makes it quick: all decodes advance one token an iteration, so a request's end is one
number, `end`, on the replica's own token clock `generation`; context and block needs follow
from the number of decodes and a count of contexts modulo the block size. So a run of pure decode
is one leap, up to the next end, the exhaustion of blocks, or a boundary that somebody asks for.
With ``leap=False`` every iteration is taken singly; both give the same picoseconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from simulator.performance.serving import PAIR_SHIFT
from simulator.serving.crowd import Role
from simulator.serving.leap import run_ps, steps_within
from simulator.serving.picoseconds import NEVER
from simulator.serving.power_meter import PowerMeter
from simulator.serving.replica_costs import ReplicaCosts

#: `Request.first_token_ps` before there is one.
UNSEEN: Final = -1


@dataclass(frozen=True)
class BatchRule:
    """The bounds of an engine's batches.

    Parameters
    ----------
    max_sequences
        Most sequences in a batch.
    token_budget
        Most new tokens in an iteration; longer prompts are cut into chunks.
    block_tokens
        Tokens of one KV block.
    watermark_fraction
        Share of the KV blocks that admission leaves free.
    """

    max_sequences: int = 256
    token_budget: int = 8192
    block_tokens: int = 16
    watermark_fraction: float = 0.01

    def __post_init__(self) -> None:
        if self.max_sequences < 1 or self.block_tokens < 1:
            raise ValueError(
                f"max_sequences {self.max_sequences} and block_tokens {self.block_tokens} must be at least 1"
            )
        if self.token_budget < self.max_sequences:
            raise ValueError(
                f"token_budget {self.token_budget} is less than max_sequences {self.max_sequences}: "
                "a full batch could not decode; raise token_budget or lower max_sequences"
            )
        if not 0.0 <= self.watermark_fraction < 1.0:
            raise ValueError(f"watermark_fraction {self.watermark_fraction} is outside [0, 1)")


class Request:
    """One request on its way; times in picoseconds."""

    __slots__ = (
        "arrived_ps",
        "attempts",
        "base",
        "computed",
        "emitted",
        "end",
        "first_token_ps",
        "number",
        "order",
        "output",
        "phase",
        "preemptions",
        "prefill_started_ps",
        "prompt",
        "target",
        "tier",
        "token",
    )

    def __init__(self, number: int, arrived_ps: int, prompt: int, output: int, tier: int) -> None:
        self.number = number
        self.arrived_ps = arrived_ps
        self.prompt = prompt
        self.output = output
        self.tier = tier
        self.preemptions = 0
        self.attempts = 0
        self.restart()

    def restart(self) -> None:
        """Begin from nothing: no token computed, none emitted."""
        self.prefill_started_ps = UNSEEN
        self.first_token_ps = UNSEEN
        self.emitted = 0
        self.computed = 0
        self.target = self.prompt
        self.order = -1
        self.token = -1
        self.end = -1
        self.base = 0
        self.phase = 0


class Replica:
    """The state machine of one replica. `finish` ends the planned iterations, `schedule` plans."""

    __slots__ = (
        "_chunk_work",
        "_join_token",
        "_leap",
        "_order",
        "_stale_power",
        "block_tokens",
        "blocks",
        "boundary",
        "context",
        "costs",
        "decodes",
        "done",
        "ends",
        "first_ps",
        "free",
        "generation",
        "growth_ps",
        "handed",
        "iterations",
        "leaps",
        "max_sequences",
        "meter",
        "next_costs",
        "partial",
        "phases",
        "plan_end",
        "plan_start",
        "prefilled",
        "replica_id",
        "role",
        "running",
        "site",
        "steps",
        "token_budget",
        "waiting",
        "waiting_count",
        "watermark",
    )

    def __init__(
        self,
        replica_id: int,
        site: int,
        *,
        role: Role,
        costs: ReplicaCosts,
        kv_blocks: int,
        rule: BatchRule,
        tiers: int,
        meter: PowerMeter,
        leap: bool = True,
    ) -> None:
        self.replica_id = replica_id
        self.site = site
        self.role = role
        self.costs = costs
        self.next_costs: ReplicaCosts | None = None
        self.max_sequences = rule.max_sequences
        self.token_budget = rule.token_budget
        self.block_tokens = rule.block_tokens
        self.blocks = kv_blocks
        self.watermark = int(kv_blocks * rule.watermark_fraction)
        self.meter = meter
        self._leap = leap

        self.waiting: list[deque[Request]] = [deque() for _ in range(tiers)]
        self.waiting_count = 0
        self.running: dict[int, Request] = {}
        self.handed: dict[int, Request] = {}
        """Prefill role: prompts that are done and whose blocks wait for the transfer's end."""
        self.done: list[Request] = []
        """Finished (or, for a prefill replica, prefilled) by the last `finish`; the caller empties it."""

        self.generation = 0
        self.decodes = 0
        self.context = 0
        """Tokens remembered by decoding sequences before the planned iterations."""
        self.free = kv_blocks
        self.phases = [0] * (2 * rule.block_tokens)
        """How many decodes need a block when generation modulo block size is the index; twice over,
        so that a wrapped window is one slice."""
        self.ends: list[tuple[int, int, Request]] = []
        self.partial: Request | None = None
        self.prefilled: list[Request] = []
        self._chunk_work = False
        self._order = 0
        self._join_token = 0
        self._stale_power = True

        self.plan_start = 0
        self.plan_end = NEVER
        self.steps = 0
        self.first_ps = 0
        self.growth_ps = 0
        self.boundary = False
        """Whether `schedule` is due at this very instant."""
        self.iterations = 0
        self.leaps = 0
        meter.set(meter.since_ps, costs.idle_mw)

    @property
    def empty(self) -> bool:
        """Whether it holds no request at all."""
        return not (self.waiting_count or self.running or self.handed)

    def fits(self, tokens: int) -> bool:
        """Return whether a request of so many tokens in all could run here alone."""
        return -(-tokens // self.block_tokens) + self.watermark <= self.blocks

    def join(self, request: Request, after_ps: int) -> bool:
        """Queue a request; return whether it is idle or its plan was cut short.

        A running leap is cut, at its first boundary later than `after_ps`, only if the newcomer
        could be admitted there: it is then the head, and a sequence is allowed.
        """
        request.order = self._order
        self._order += 1
        ahead = self.waiting_count
        tier = request.tier
        if ahead and tier:
            heads = self.waiting
            first = 0
            while first <= tier and not heads[first]:
                first += 1
            is_head = first > tier
        else:
            is_head = not ahead or not self.waiting[0]
        self.waiting[tier].append(request)
        self.waiting_count = ahead + 1
        if self.plan_end == NEVER:
            return True
        if is_head and self.steps > 1 and len(self.running) < self.max_sequences:
            return self.cut(after_ps)
        return False

    def cut(self, after_ps: int) -> bool:
        """End the planned leap at its first boundary later than `after_ps`; return whether it shrank."""
        if self.steps <= 1:
            return False
        steps = steps_within(self.first_ps, self.growth_ps, after_ps - self.plan_start) + 1
        if steps >= self.steps:
            return False
        self.steps = steps
        self.plan_end = self.plan_start + run_ps(self.first_ps, self.growth_ps, steps)
        return True

    def finish(self, at_ps: int) -> None:
        """End the planned iterations, which must end now: tokens come out, requests finish."""
        steps = self.steps
        decodes = self.decodes
        if decodes and not self._chunk_work:
            self.free -= self._growth_blocks(steps)
        self.context += steps * decodes
        generation = self.generation = self.generation + steps
        self.iterations += steps
        self.leaps += 1
        ends = self.ends
        while ends and ends[0][0] <= generation:
            _, token, request = heappop(ends)
            if request.token == token:
                context = request.base + generation
                self._leave_decode(request, context)
                del self.running[request.order]
                self.done.append(request)
        if self._chunk_work:
            self._chunk_work = False
            for request in self.prefilled:
                self._prompt_done(request, at_ps)
            self.prefilled.clear()
        self.plan_end = NEVER
        self.boundary = True

    def schedule(self, at_ps: int) -> None:
        """Plan the next iterations from `at_ps` on, or fall idle."""
        self.boundary = False
        if self.next_costs is not None:
            self.costs, self.next_costs = self.next_costs, None
            self._stale_power = True
        need = self.phases[self.generation % self.block_tokens]
        made_room = need > self.free
        if made_room:
            self._make_room()
            if not self.running:
                # Nothing is left that could run: the queue's head goes in at once.
                made_room = False
        if self.partial is not None or (self.waiting_count and not made_room):
            duration_ps = self._plan_prompts(at_ps, made_room)
            if duration_ps:
                self.plan_start = at_ps
                self.plan_end = at_ps + duration_ps
                return
        decodes = self.decodes
        costs = self.costs
        if not decodes:
            self.plan_end = NEVER
            self.steps = 0
            self.meter.set(at_ps, costs.idle_mw)
            self._stale_power = True
            return
        first = costs.tokens_ps[decodes] + costs.sequence_ps * decodes + costs.context_ps * self.context
        growth = costs.context_ps * decodes
        steps = 1
        if self._leap and not (made_room and self.waiting_count):
            ends = self.ends
            while ends[0][2].token != ends[0][1]:
                heappop(ends)
            steps = ends[0][0] - self.generation
            if (steps // self.block_tokens + 1) * decodes > self.free:
                steps = min(steps, self._steps_until_full())
        self.steps = steps
        self.first_ps = first
        self.growth_ps = growth
        self.plan_start = at_ps
        self.plan_end = at_ps + steps * first + growth * (steps * (steps - 1) // 2)
        if self._stale_power:
            self._stale_power = False
            self.meter.set(at_ps, costs.decode_mw(decodes, self.context))

    def release(self, request: Request) -> None:
        """Free the blocks of a prefilled prompt whose transfer is over."""
        del self.handed[request.number]
        self.free += -(-request.target // self.block_tokens)

    def held(self, at_ps: int) -> list[tuple[Request, int]]:
        """Return every request it holds with the tokens it has emitted by a moment inside the plan.

        In order of tier and arrival here.
        """
        found = [request for queue in self.waiting for request in queue]
        found.extend(self.running.values())
        found.extend(self.handed.values())
        found.sort(key=lambda request: (request.tier, request.order))
        return [(request, self._emitted(request, at_ps)) for request in found]

    def used_blocks(self, at_ps: int) -> int:
        """Return blocks in use at a moment inside (or at the end of) the plan."""
        begun = self._steps_begun(at_ps)
        grown = self._growth_blocks(begun) if begun and not self._chunk_work else 0
        return self.blocks - self.free + grown

    def _emitted(self, request: Request, at_ps: int) -> int:
        if request.token < 0:
            return request.emitted
        ended = 0
        if self.plan_end != NEVER:
            ended = self.steps if at_ps >= self.plan_end else max(0, self._steps_begun(at_ps) - 1)
        return request.output - (request.end - self.generation) + ended

    def _steps_begun(self, at_ps: int) -> int:
        if self.plan_end == NEVER:
            return 0
        if self.steps <= 1:
            return self.steps
        done = steps_within(self.first_ps, self.growth_ps, at_ps - self.plan_start)
        return min(done + 1, self.steps)

    def _growth_blocks(self, steps: int) -> int:
        """Return the blocks that the decodes take over the next `steps` iterations."""
        rounds, rest = divmod(steps, self.block_tokens)
        start = self.generation % self.block_tokens
        return rounds * self.decodes + sum(self.phases[start : start + rest])

    def _steps_until_full(self) -> int:
        """Return how many decode iterations the free blocks allow; at least 1 by construction."""
        size = self.block_tokens
        rounds, left = divmod(self.free, self.decodes)
        start = self.generation % size
        for ahead in range(size):
            left -= self.phases[start + ahead]
            if left < 0:
                return rounds * size + ahead
        return rounds * size + size

    def _make_room(self) -> None:
        """Preempt from the back until the decodes that need a block now can have one."""
        slot = self.generation % self.block_tokens
        while self.phases[slot] > self.free:
            victim = max(self.running.values(), key=lambda request: (request.tier, request.order))
            if victim is self.partial:
                self.partial = None
                self.free += -(-victim.target // self.block_tokens)
            else:
                context = victim.base + self.generation
                victim.emitted = victim.output - (victim.end - self.generation)
                self._leave_decode(victim, context)
            victim.target = victim.prompt + victim.emitted
            victim.computed = 0
            victim.preemptions += 1
            del self.running[victim.order]
            self.waiting[victim.tier].appendleft(victim)
            self.waiting_count += 1

    def _plan_prompts(self, at_ps: int, made_room: bool) -> int:
        """Plan one iteration with prompt tokens in it; return its duration, 0 if none can go. [ps]"""
        size = self.block_tokens
        decodes = self.decodes
        slot = self.generation % size
        self.free -= self.phases[slot]
        budget = self.token_budget - decodes
        tokens = sequences = pairs = 0
        partial = self.partial
        if partial is not None and budget:
            earlier = partial.computed
            chunk = min(partial.target - earlier, budget)
            partial.computed = earlier + chunk
            budget -= chunk
            tokens = chunk
            sequences = 1
            pairs = chunk * earlier + chunk * (chunk + 1) // 2
            if partial.computed == partial.target:
                self.prefilled.append(partial)
                self.partial = None
        if not made_room:
            room = self.max_sequences - len(self.running)
            while self.waiting_count and budget and room > 0:
                queue = next(queue for queue in self.waiting if queue)
                request = queue[0]
                target = request.target
                blocks = -(-target // size)
                if blocks + self.watermark > self.free:
                    break
                queue.popleft()
                self.waiting_count -= 1
                room -= 1
                self.free -= blocks
                self.running[request.order] = request
                if request.prefill_started_ps == UNSEEN:
                    request.prefill_started_ps = at_ps
                earlier = request.computed
                chunk = target - earlier
                if chunk > budget:
                    chunk = budget
                    self.partial = request
                else:
                    self.prefilled.append(request)
                request.computed = earlier + chunk
                budget -= chunk
                tokens += chunk
                sequences += 1
                pairs += chunk * earlier + chunk * (chunk + 1) // 2
        if not tokens:
            self.free += self.phases[slot]
            return 0
        costs = self.costs
        reading_ps = costs.context_ps * self.context
        duration_ps = (
            costs.tokens_ps[tokens + decodes]
            + costs.sequence_ps * (sequences + decodes)
            + reading_ps
            + (costs.pair_ps_1024 * pairs >> PAIR_SHIFT)
        )
        level_mw = costs.prefill_mw
        if decodes:
            # The decodes' own share of the iteration at their watts, the rest at the prompts'.
            alone_ps = costs.tokens_ps[decodes] + costs.sequence_ps * decodes + reading_ps
            share_mw = costs.decode_mw(decodes, self.context) * alone_ps
            level_mw = (share_mw + level_mw * (duration_ps - alone_ps)) // duration_ps
        self.meter.set(at_ps, level_mw)
        self._stale_power = True
        self._chunk_work = True
        self.steps = 1
        self.first_ps = duration_ps
        self.growth_ps = 0
        return duration_ps

    def _prompt_done(self, request: Request, at_ps: int) -> None:
        """Emit the token that a finished prompt gives, and go on to decode, hand over or end."""
        if self.role == "prefill":
            del self.running[request.order]
            self.handed[request.number] = request
            self.done.append(request)
            return
        if request.first_token_ps == UNSEEN:
            request.first_token_ps = at_ps
        request.emitted += 1
        context = request.target
        remaining = request.output - request.emitted
        if not remaining:
            del self.running[request.order]
            self.free += -(-context // self.block_tokens)
            self.done.append(request)
            return
        generation = self.generation
        size = self.block_tokens
        phase = request.phase = (generation - context) % size
        self.phases[phase] += 1
        self.phases[phase + size] += 1
        request.base = context - generation
        request.end = generation + remaining
        token = request.token = self._join_token
        self._join_token = token + 1
        self.decodes += 1
        self.context += context
        heappush(self.ends, (request.end, token, request))

    def _leave_decode(self, request: Request, context: int) -> None:
        size = self.block_tokens
        phase = request.phase
        self.phases[phase] -= 1
        self.phases[phase + size] -= 1
        self.decodes -= 1
        self.context -= context
        self.free += -(-context // size)
        request.token = -1
        self._stale_power = True
