"""One replica: iteration-level batching with paged KV blocks, by the rule of its engine.

At a boundary between iterations, in the order of vLLM V1: every decode takes a block if its
context fills its last one; the prompt that is partly done takes the next chunk; then waiting
requests go in, better tiers first, then by arrival, while token budget, sequence bound and KV
blocks last. Whoever finds no block preempts the last of the worst tier, which loses its blocks,
goes back to the front of its tier's queue and recomputes prompt and answer so far.
`BatchRule` says where other engines differ.

What makes it quick: runs of pure decode are one leap, up to the next end, the exhaustion of
blocks, or a boundary that somebody asks for; `decodes.Decodes` knows both without a look at each
sequence. With ``leap=False``, or costs without a closed form, every iteration is taken singly;
leaps give the same picoseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import Role
from simulator.serving.decodes import Decodes
from simulator.serving.kv_blocks import KvBlocks
from simulator.serving.picoseconds import NEVER
from simulator.serving.plan import Planned
from simulator.serving.power_meter import DECODE, IDLE, MIXED, PREFILL, PowerMeter
from simulator.serving.prefix_cache import PrefixCache
from simulator.serving.replica_costs import ReplicaCosts
from simulator.serving.request import UNSEEN, Request
from simulator.serving.tier_queue import TierQueue


class Replica(Planned):
    """The state machine of one replica. `finish` ends the planned iterations, `schedule` plans."""

    __slots__ = (
        "_grown",
        "_leap",
        "_new",
        "_order",
        "_stale_power",
        "_stands",
        "begun",
        "blocks",
        "costs",
        "decodes",
        "done",
        "handed",
        "kv",
        "loading",
        "max_sequences",
        "meter",
        "next_costs",
        "partial",
        "prefilled",
        "ready",
        "remote",
        "replica_id",
        "role",
        "rule",
        "running",
        "site",
        "waiting",
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
        piece_tokens: int = 0,
    ) -> None:
        super().__init__()
        self.replica_id = replica_id
        self.site = site
        self.role = role
        self.costs = costs
        self.next_costs: ReplicaCosts | None = None
        self.rule = rule
        self.max_sequences = rule.max_sequences
        self.blocks = kv_blocks
        self.watermark = rule.watermark_blocks(kv_blocks)
        self.meter = meter
        self._leap = leap

        self.waiting = TierQueue(tiers)
        self.running: dict[int, Request] = {}
        self.handed: dict[int, Request] = {}
        """Prefill role: prompts that are done and whose blocks wait for the transfer's end."""
        self.remote = 0
        """Decode role: how many of those that wait have their KV on a prefill replica."""
        self.loading: dict[int, Request] = {}
        """Decode role: requests that have their blocks here and whose KV is yet to come."""
        self.begun: list[Request] = []
        """Those that got their blocks in the last `schedule`; the caller empties it."""
        self.ready: deque[Request] = deque()
        """Decode role: requests whose KV has come, for the next boundary."""
        self.done: list[Request] = []
        """Finished (or, for a prefill replica, prefilled) by the last `finish`; the caller empties it."""

        self.decodes = self._no_decodes()
        shares = piece_tokens > 0 and rule.keeps_blocks
        self.kv = (
            PrefixCache(kv_blocks, rule, self.waiting.tiers, piece_tokens)
            if shares
            else KvBlocks(kv_blocks, rule, self.waiting.tiers)
        )
        self._grown = 0
        """Blocks that decodes have for the first of the planned iterations already."""
        self.partial: Request | None = None
        """The prompt that is partly done; it is the last that was admitted."""
        self.prefilled: list[Request] = []
        """Prompts that the planned iteration finishes."""
        self._new: list[tuple[int, int]] = []
        """Prompt chunks of the planned iteration: new tokens, and earlier ones of the same prompt."""
        self._stands = False
        """Whether decodes stand still in the planned iteration."""
        self._order = 0
        self._stale_power = True

        meter.set(meter.since_ps, costs.idle_mw, IDLE)

    def _no_decodes(self) -> Decodes:
        return Decodes(self.rule.block_tokens)

    @property
    def waiting_count(self) -> int:
        """Requests in its queue."""
        return self.waiting.count

    @property
    def empty(self) -> bool:
        """Whether it holds no request at all."""
        return not (self.waiting.count or self.running or self.handed or self.loading or self.ready)

    @property
    def queued(self) -> int:
        """Requests that wait here for an iteration, those left out whose KV is elsewhere."""
        return self.waiting.count - self.remote + len(self.ready)

    def fits(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Return whether a request of this size could run here alone."""
        return self.rule.fits(prompt_tokens, output_tokens, self.blocks)

    @property
    def new_tokens(self) -> int:
        """New tokens of the (first) planned iteration."""
        decoded = 0 if self._stands else self.decodes.count * (1 + self.rule.drafts)
        return decoded + sum(new for new, _ in self._new)

    @property
    def prefix_tokens(self) -> tuple[int, int]:
        """Tokens that were looked up in KV blocks at admissions, and those found."""
        return self.kv.looked_tokens, self.kv.hit_tokens

    def remembered(self, request: Request) -> int:
        """Return how many leading blocks a newcomer would find. [blocks]"""
        return self.kv.found(request)

    def number_from(self, order: int) -> None:
        """Give the next one that joins this place in the order, later ones those after it."""
        self._order = order

    def join(self, request: Request, after_ps: int) -> bool:
        """Queue a request; return whether it is idle or its plan was cut short.

        A running leap is cut, at its first boundary later than `after_ps`, only if the newcomer
        could be admitted there: it is then the head, and a sequence is allowed.
        """
        request.order = self._order
        self._order += 1
        self.remote += request.sender >= 0
        is_head = self.waiting.put(request)
        if self.plan_end == NEVER:
            return True
        if not is_head or self.steps <= 1 or self.rule.until_done:
            return False
        return len(self.running) < self.max_sequences and self.cut(after_ps)

    def finish(self, at_ps: int) -> None:
        """End the planned iterations, which must end now: tokens come out, requests finish."""
        steps = self.steps
        self.iterations += steps
        self.leaps += 1
        if not self._stands:
            decodes = self.decodes
            if not self._new:
                more = decodes.growth_blocks(steps) - self._grown
                self.kv.grow(self.running.values(), decodes.generation + steps, more)
            for request in decodes.emit(steps):
                self._answered(request)
                del self.running[request.order]
                self.done.append(request)
        if self._new:
            for request in self.prefilled:
                self._prompt_done(request, at_ps)
            self.prefilled.clear()
            self._new.clear()
            self._stands = False
        self._grown = 0
        self.plan_end = NEVER
        self.boundary = True

    def schedule(self, at_ps: int) -> None:
        """Plan the next iterations from `at_ps` on, or fall idle."""
        self.boundary = False
        if self.next_costs is not None:
            self.costs, self.next_costs = self.next_costs, None
            self._stale_power = True
        rule = self.rule
        made_room = False
        if rule.prompts_apart:
            self._admit(at_ps, rule.token_budget)
            if not self._new and self._make_room():
                made_room = bool(self.running)
                if not made_room:
                    self._admit(at_ps, rule.token_budget)
            self._stands = bool(self._new)
        else:
            made_room = self._make_room()
            budget = rule.token_budget - self.decodes.count * (1 + rule.drafts)
            if self.partial is not None or self.waiting.count or self.ready:
                self._grow()
            if self.partial is not None and budget:
                before = len(self.running)
                budget -= self._next_chunk(self.partial, budget)
                made_room = made_room or len(self.running) < before
            # Where nothing is left that could run, the queue's head goes in at once.
            made_room = made_room and bool(self.running)
            if (self.waiting.count or self.ready) and (not made_room or rule.admits_after_preemption):
                self._admit(at_ps, budget)
        if self._new:
            self._plan_prompts(at_ps)
        elif self.decodes.count:
            self._plan_decodes(at_ps, single=made_room and bool(self.waiting.count or self.ready))
        else:
            self._rest()
            self.meter.set(at_ps, self.costs.idle_mw, IDLE)
            self._stale_power = True

    def group_of(self, request: Request) -> int:
        """Return 0: a replica without groups is one; see `lockstep.LockstepReplica`."""
        return 0

    def release(self, request: Request) -> None:
        """Free the blocks of a prefilled prompt whose transfer is over."""
        del self.handed[request.number]
        self.kv.give(request, self.rule.blocks_of(request.target))

    def land(self, request: Request, after_ps: int) -> bool:
        """Take in the KV of a request that has its blocks; return as `join` does."""
        del self.loading[request.number]
        request.sender = request.receiver = -1
        self.ready.append(request)
        return self.plan_end == NEVER or (len(self.running) < self.max_sequences and self.cut(after_ps))

    def promised(self) -> list[Request]:
        """Return the requests that came or will come here with KV that lies on a prefill replica."""
        waiting = [request for request in self.waiting if request.sender >= 0]
        return waiting + list(self.loading.values())

    def forgo(self, request: Request) -> None:
        """Give up a request whose KV will not come."""
        if request.number in self.loading:
            del self.loading[request.number]
            self.kv.give(request, self.rule.blocks_of(request.target))
        else:
            self.waiting.remove(request)
            self.remote -= 1

    def held(self, at_ps: int) -> list[tuple[Request, int]]:
        """Return every request it holds with the tokens it has emitted by a moment inside the plan.

        In order of tier and arrival here; not what a prefill replica still holds.
        """
        found = [request for request in self.waiting if request.sender < 0]
        found.extend(self.ready)
        found.extend(self.running.values())
        found.extend(self.handed.values())
        found.sort(key=_rank)
        return [(request, self._emitted(request, at_ps)) for request in found]

    def used_blocks(self, at_ps: int) -> int:
        """Return blocks in use at a moment inside (or at the end of) the plan."""
        begun = self._steps_begun(at_ps)
        grown = self.decodes.growth_blocks(begun) - self._grown if begun and not self._new else 0
        return self.blocks - self.kv.free + grown

    def kv_fraction(self, at_ps: int) -> float:
        """Return the share of blocks in use at a moment inside (or at the end of) the plan."""
        return self.used_blocks(at_ps) / self.blocks if self.blocks else 0.0

    def _emitted(self, request: Request, at_ps: int) -> int:
        if request.token < 0:
            return request.emitted
        return self.decodes.emitted(request) + (0 if self._stands else self._steps_ended(at_ps))

    # blocks ----------------------------------------------------------------------------------

    def _short(self) -> bool:
        """Whether some decode does not get the block that it asks for."""
        need = self.decodes.need()
        if need != self.kv.free:
            return need > self.kv.free
        if not (self.rule.spare_block and self.decodes.count):
            return False
        last = max((request for request in self.running.values() if request.token >= 0), key=_rank)
        return not self.decodes.needs_block(last)

    def _grow(self) -> None:
        """Let decodes have their blocks for the next token before anybody else asks for some."""
        self._grown = self.decodes.need()
        self.kv.grow(self.running.values(), self.decodes.generation + 1, self._grown)

    def _make_room(self) -> bool:
        """Preempt from the back until every decode gets the block it asks for; return whether any was."""
        made_room = False
        while self._short():
            self._preempt()
            made_room = True
        return made_room

    def _preempt(self) -> Request:
        """Send the last of the worst tier back to the front of its queue; return it."""
        victim = max(self.running.values(), key=_rank)
        rule = self.rule
        if victim is self.partial:
            self.partial = None
            context = victim.computed
            blocks = rule.blocks_of(victim.target if rule.whole_prompt else context)
        else:
            context, blocks = self._stop_decode(victim)
        self.kv.preempt(victim, blocks, context)
        victim.target = victim.prompt + victim.emitted
        victim.computed = 0
        victim.preemptions += 1
        del self.running[victim.order]
        self.waiting.put_back(victim)
        return victim

    def _stop_decode(self, victim: Request) -> tuple[int, int]:
        """Take a decode out of the batch; return its context and blocks."""
        decodes = self.decodes
        context = decodes.context_of(victim)
        blocks = self.rule.blocks_of(context)
        victim.emitted = decodes.emitted(victim)
        if self._grown and decodes.needs_block(victim):
            self._grown -= 1
            blocks += 1
        self._leave_decode(victim)
        return context, blocks

    # planning --------------------------------------------------------------------------------

    def _next_chunk(self, partial: Request, budget: int) -> int:
        """Plan the next chunk of the prompt that is partly done; return its tokens."""
        rule = self.rule
        chunk = min(partial.target - partial.computed, budget)
        want = 0
        if not rule.whole_prompt:
            want = rule.blocks_of(partial.computed + chunk) - rule.blocks_of(partial.computed)
            while want > self.kv.free:
                if self._preempt() is partial:
                    return 0
        self.kv.extend(partial, want, partial.computed + chunk)
        self.partial = None
        self._put_in(partial, chunk)
        return chunk

    def _put_in(self, request: Request, chunk: int) -> None:
        """Let a prompt have a chunk in the planned iteration."""
        self._new.append((chunk, request.computed))
        request.computed += chunk
        if request.computed == request.target:
            self.prefilled.append(request)
        else:
            self.partial = request

    def _admit(self, at_ps: int, budget: int) -> None:
        """Plan the first chunks of waiting requests, in order, until the first that cannot go."""
        rule = self.rule
        longest = 0
        while self.ready and budget > 0 and len(self.running) < self.max_sequences:
            request = self.ready.popleft()
            self.running[request.order] = request
            self.kv.extend(request, 0, request.target)
            self._put_in(request, 1)
            budget -= 1
        while self.waiting.count and budget > 0 and len(self.running) < self.max_sequences:
            request = self.waiting.head()
            target = request.target
            found = self.kv.found(request) if request.sender < 0 else 0
            earlier = request.computed + found * rule.block_tokens
            chunk = target - earlier
            if rule.chunked:
                chunk = min(chunk, budget)
            else:
                longest = max(longest, chunk)
                tokens = longest * (len(self._new) + 1) if rule.padded_budget else chunk
                if tokens > (rule.token_budget if rule.padded_budget else budget):
                    break
            kept = self.watermark if rule.watermark_always or self.running else 0
            if self.kv.missing(request, found) + kept > self.kv.free:
                break
            self.waiting.take(request)
            if request.sender >= 0:
                self.remote -= 1
                self.kv.admit(request, 0, rule.blocks_of(target), request.computed)
                self.loading[request.number] = request
                self.begun.append(request)
                continue
            self.running[request.order] = request
            if request.prefill_started_ps == UNSEEN:
                request.prefill_started_ps = at_ps
            if request.cached < 0:
                request.cached = found * rule.block_tokens
            blocks = rule.blocks_of(target if rule.whole_prompt else earlier + chunk)
            self.kv.admit(request, found, blocks, earlier + chunk)
            request.computed = earlier
            self._put_in(request, chunk)
            budget -= chunk

    def _plan_prompts(self, at_ps: int) -> None:
        """Plan one iteration with prompt tokens in it."""
        decodes = context = 0
        if not self._stands:
            decodes, context = self.decodes.count, self.decodes.context
        costs = self.costs
        duration_ps = self._iteration_ps(decodes, context, self._new)
        level_mw = costs.prompt_mw[decodes + sum(new for new, _ in self._new)]
        if decodes:
            # The decodes' own share of the iteration at their watts, the rest at those of a prompt as wide.
            alone_ps = min(duration_ps, self._iteration_ps(decodes, context, ()))
            share_mw = costs.decode_mw(decodes, context) * alone_ps
            level_mw = (share_mw + level_mw * (duration_ps - alone_ps)) // duration_ps
        self.meter.set(at_ps, level_mw, MIXED if decodes else PREFILL)
        self._stale_power = True
        self._plan(at_ps, duration_ps, 0, 1)

    def _iteration_ps(self, decodes: int, context: int, chunks: Sequence[tuple[int, int]]) -> int:
        return self.costs.iteration_ps(decodes, context, chunks)

    def _plan_decodes(self, at_ps: int, *, single: bool) -> None:
        """Plan a run of pure decode, of one iteration if `single`."""
        decodes, costs = self.decodes, self.costs
        steps = 1
        if self._leap and costs.leaps and not single:
            free = self.kv.free + self._grown - self.rule.spare_block
            steps = decodes.most_steps(decodes.steps_left(), free)
        first_ps = costs.iteration_ps(decodes.count, decodes.context, ())
        self._plan(at_ps, first_ps, costs.context_ps * decodes.count, steps)
        if self._stale_power:
            self._set_decode_power(at_ps)

    def _set_decode_power(self, at_ps: int) -> None:
        """Draw what a batch of decodes draws, as it is when it has come together."""
        self._stale_power = False
        level_mw = self.costs.decode_mw(self.decodes.count, self.decodes.context)
        self.meter.set(at_ps, level_mw, DECODE)

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
            self.kv.give(request, self.rule.blocks_of(context))
            self.done.append(request)
            return
        self.decodes.start(request, context, remaining)

    def _answered(self, request: Request) -> None:
        """See a request off whose last token is out."""
        blocks = self.rule.blocks_of(self.decodes.context_of(request))
        self._leave_decode(request)
        self.kv.give(request, blocks)

    def _leave_decode(self, request: Request) -> None:
        self.decodes.leave(request)
        self._stale_power = True


def _rank(request: Request) -> tuple[int, int]:
    """Return where a request stands: better tiers first, then those that came first."""
    return request.tier, request.order
