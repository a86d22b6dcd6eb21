"""What replicas sustain: requests per second where somebody always waits, in closed form.

One iteration in many holds prompts, and costs several times what a pass of decodes does: reading
weights takes as long for one token as for a hundred, so the mean iteration is not an iteration of
the mean batch. So times are averaged over how many prompts come together, and how long they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final, NamedTuple

from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import Role
from simulator.serving.picoseconds import PS_PER_S
from simulator.serving.replica_costs import ReplicaCosts

#: Lengths that stand for all of a log-normal distribution, equally likely.
_POINTS: Final = 5

#: Numbers of prompts that come together less often than this are left out.
_RARE: Final = 1e-4

#: Steps of the integral for the longest of several.
_STEPS: Final = 100


@dataclass(frozen=True)
class MeanRequest:
    """Lengths of a service's requests, as far as capacity hangs on them.

    Parameters
    ----------
    prompt_tokens, output_tokens
        Means. [tokens]
    prompt_cv, output_cv
        Standard deviation over mean; lengths are taken to be log-normal.
    covariance
        Of prompt and output, over the product of their means.
    found_tokens
        Of the prompt, tokens that are remembered already. [tokens]
    """

    prompt_tokens: float
    output_tokens: float
    prompt_cv: float = 0.0
    output_cv: float = 0.0
    covariance: float = 0.0
    found_tokens: float = 0.0

    @property
    def context_tokens(self) -> float:
        """What a decode remembers in the mean; long answers decode for longer. [tokens]"""
        return self.prompt_tokens * (1.0 + self.covariance) + 0.5 * self.output_tokens * (
            1.0 + self.output_cv**2
        )


class Saturated(NamedTuple):
    """A replica that always has somebody waiting."""

    role: Role
    costs: ReplicaCosts
    max_sequences: int
    """Of each of its groups."""
    kv_blocks: int
    """Of each of its groups."""


def sustained_per_s(
    replicas: Iterable[Saturated], rule: BatchRule, max_concurrency: int | None, request: MeanRequest
) -> float:
    """Return requests per second that replicas sustain together: those of the tighter stage. [1/s]

    Parameters
    ----------
    max_concurrency
        Requests in flight that one of the first stage gets at most; None: any.
    """
    stages: dict[str, float] = {}
    for one in replicas:
        groups, most = one.costs.groups, one.max_sequences
        if one.role != "decode" and max_concurrency is not None:
            most = min(most, max(1, max_concurrency // groups))
        rate_per_s = saturated_rate_per_s(one._replace(max_sequences=most), rule, request)
        stage = "decode" if one.role == "decode" else "entry"
        stages[stage] = stages.get(stage, 0.0) + rate_per_s * groups
    return min(stages.values(), default=0.0)


def saturated_rate_per_s(one: Saturated, rule: BatchRule, request: MeanRequest) -> float:
    """Return requests per second that a replica sustains, or a group of one. [1/s]

    Within 6 % of what the same replica does in full, within 10 % for groups that advance together and
    wait for the one that happens to read most. Where KV blocks bound the batch it is up to 15 % too
    high, because reading again what was preempted is not counted.
    """
    return _Mixture(one, rule, request).rate_per_s()


class _Reading(NamedTuple):
    """Iterations of one group that hold the same of prompts."""

    share: float
    """Of all iterations."""
    prompts: int
    tokens: float
    """Of these prompts together."""
    rounds: int
    """Iterations that they go over."""

    @property
    def width(self) -> float:
        """Prompt tokens of one iteration."""
        return self.tokens / self.rounds


class _Mixture:
    """A batch that is always full, and how often its iterations hold prompts."""

    def __init__(self, one: Saturated, rule: BatchRule, request: MeanRequest) -> None:
        self.costs, self.rule, self.role = one.costs, rule, one.role
        self.context = request.context_tokens
        if one.role == "decode":
            # All but the last token of the prompt comes from elsewhere.
            request = replace(request, found_tokens=max(0.0, request.prompt_tokens - 1.0))
        self.request = request
        self.found = round(request.found_tokens)
        self.prompt = max(1.0, request.prompt_tokens - request.found_tokens)
        self.prompt_cv = 0.0 if one.role == "decode" else request.prompt_cv
        self.passes = 0.0 if one.role == "prefill" else (request.output_tokens - 1.0) / rule.tokens_per_pass
        self.most, self.blocks = one.max_sequences, one.kv_blocks
        # What is free is too little for the next prompt: anything up to it, in the mean half.
        room = (1.0 - rule.watermark_fraction) * one.kv_blocks * rule.block_tokens
        room -= 0.5 * request.prompt_tokens * (1.0 + request.prompt_cv**2)
        held = self.context if one.role != "prefill" else request.prompt_tokens
        # On average half a block of each sequence is empty.
        self.batch = max(1.0, min(float(one.max_sequences), room / (held + rule.block_tokens / 2.0)))
        self.pairs = 0.0
        """Pairs that the prompts of an iteration were counted with, in the mean."""

    def rate_per_s(self) -> float:
        """Return requests per second. [1/s]"""
        if self.rule.until_done:
            return self._until_done()
        if self.rule.prompts_apart:
            return self._in_turns()
        return self._together()

    def _together(self) -> float:
        """Return the rate where prompts are cut to what decodes leave, and read beside them. [1/s]"""
        budget, wide = self.rule.token_budget, 1 + self.rule.drafts
        most = budget / (self.prompt + self.passes * wide)
        rate, stay = most, 1.0
        for _ in range(20):
            room = max(1.0, budget - rate * self.passes * wide)
            # A sequence is here for the chunks of its prompt, then for its decodes.
            stay = max(1.0, self.prompt / room) + self.passes
            rate = min(self.batch / stay, most)
        if rate == most:
            # Prompts always wait, and fill what decodes leave.
            count = max(1, round(rate))
            chunks = self._chunks(count, count * self.prompt, max(1.0, count * self.prompt / room))
            self.pairs = _pairs(chunks)
            return self._per_s(rate, self._pass_ps(round(rate * self.passes), chunks))
        places = rate * (1.0 + self.passes)
        time_ps = 0.0
        for read, beside in self._slowest(self._reading(max(1, round(rate * stay)), rate, room)):
            chunks = self._chunks(read.prompts, read.tokens, read.rounds) if read.prompts else []
            time_ps += read.share * self._pass_ps(max(0, round(places - read.prompts)), chunks, beside)
            self.pairs += read.share * _pairs(chunks)
        return self._per_s(rate, time_ps)

    def _reading(self, places: int, rate: float, room: float) -> list[_Reading]:
        """Return what one group's iterations read, the narrowest first.

        Prompts that come together and do not fit what decodes leave go over several iterations.
        """
        found = []
        for prompts, chance in enumerate(_binomial(places, min(1.0, rate / places))):
            lengths = self._lengths(prompts)
            for tokens in lengths:
                rounds = math.ceil(tokens / room)
                found.append(_Reading(chance / len(lengths) * rounds, prompts, tokens, rounds))
        busy = math.fsum(read.share for read in found)
        # If they were more than there are, all iterations read.
        found = [read._replace(share=read.share / max(1.0, busy)) for read in found]
        return [_Reading(max(0.0, 1.0 - busy), 0, 0.0, 1), *sorted(found, key=lambda read: read.width)]

    def _slowest(self, reading: list[_Reading]) -> list[tuple[_Reading, float]]:
        """Return the same of the group that reads most, each with tokens that all others read beside it."""
        groups, found = self.costs.groups, []
        below = mean = 0.0
        for read in reading:
            above = min(1.0, below + read.share)
            mean += read.share * read.width
            if above > below:
                beside = (groups - 1) * mean / above
                found.append((read._replace(share=above**groups - below**groups), beside))
            below = above
        return found

    def _in_turns(self) -> float:
        """Return the rate where whole prompts are read at once, while nobody decodes. [1/s]"""
        places = max(1, round(self.batch))
        together = max(1, int(self.rule.token_budget // self.prompt))
        if not self.passes:
            count = min(places, together)
            chunks = [(round(self.prompt), self.found)] * count
            self.pairs = _pairs(chunks)
            return self._per_s(float(count), self._pass_ps(0, chunks))
        rate = self.batch / max(1.0, self.passes)
        time_ps = float(self._pass_ps(places, ()))
        for count, chance in enumerate(_binomial(places, min(1.0, rate / places))):
            lengths = self._lengths(count)
            for tokens in lengths:
                rounds = math.ceil(count / together)
                each = [(max(1, round(tokens / count)), self.found)] * max(1, round(count / rounds))
                time_ps += chance / len(lengths) * rounds * self._pass_ps(0, each)
                self.pairs += chance / len(lengths) * rounds * _pairs(each)
        return self._per_s(rate, time_ps)

    def _until_done(self) -> float:
        """Return the rate of static batches, in which everybody costs as much as the longest. [1/s]"""
        count = min(self.most, max(1, int(self.rule.token_budget // self.prompt)))
        while count > 1 and not self._fit(count):
            count -= 1
        prompt, output = self._longest(count)
        read_ps = self._pass_ps(0, [(round(prompt), 0)] * count)
        decode_ps = self.costs.iteration_ps(count, round(count * (prompt + output / 2.0)), ())
        return count / (read_ps + (output - 1.0) * decode_ps) * PS_PER_S

    def _longest(self, count: int) -> tuple[float, float]:
        """Return tokens of the longest prompt and of the longest answer of so many requests."""
        request = self.request
        prompt = _longest_of(count, self.prompt, self.prompt_cv)
        return prompt, _longest_of(count, request.output_tokens, request.output_cv)

    def _fit(self, count: int) -> bool:
        """Whether so many requests, all as long as the longest, can be one static batch."""
        rule = self.rule
        prompt, output = self._longest(count)
        blocks = count * rule.blocks_of(math.ceil(prompt + output) - 1)
        return count * prompt <= rule.token_budget and blocks <= self.blocks

    def _per_s(self, rate: float, time_ps: float) -> float:
        """Return requests per second, of so many per iteration of this mean time. [1/s]"""
        if self.costs.groups > 1:
            # Of the slowest group; all that is known is the mean over them.
            return rate / time_ps * PS_PER_S
        squared = self.prompt**2 * (1.0 + self.prompt_cv**2)
        pairs = rate * ((squared + self.prompt) / 2.0 + self.found * self.prompt)
        time_ps += (pairs - self.pairs) * self.costs.pair_ps_1024 / 1024.0
        return rate / time_ps * PS_PER_S

    def _lengths(self, count: int) -> list[float]:
        """Return tokens of so many prompts together that stand for all."""
        return _spread(count * self.prompt, self.prompt_cv / math.sqrt(count)) if count else []

    def _chunks(self, count: int, tokens: float, rounds: float) -> list[tuple[int, int]]:
        """Return the mean chunks of one of the rounds that prompts of so many tokens go over."""
        in_one = min(count, math.ceil(count / rounds))
        width = tokens / rounds / in_one
        earlier = max(0.0, tokens / count - width) / 2.0
        return [(max(1, round(width)), self.found + round(earlier))] * in_one

    def _pass_ps(self, decodes: int, chunks: Sequence[tuple[int, int]], beside: float | None = None) -> int:
        """Return the time of an iteration. [ps]

        Parameters
        ----------
        beside
            Prompt tokens of all other groups; None: as many as this one's.
        """
        costs, rule = self.costs, self.rule
        # Where hardly any request fits, as the mean one does not: no iteration is wider than its budget.
        room = max(1, rule.token_budget - decodes * (1 + rule.drafts))
        if sum(new for new, _ in chunks) > room:
            chunks = [(max(1, room // len(chunks)), earlier) for _, earlier in chunks[:room]]
        context = round(decodes * self.context)
        if rule.drafts and decodes:
            alone_ps = costs.checking_ps(decodes, context, chunks, rule.drafts, rule.draft_cost_fraction)
        else:
            alone_ps = costs.iteration_ps(decodes, context, chunks)
        if costs.groups == 1 or beside is None:
            return alone_ps
        tokens = decodes + sum(new for new, _ in chunks)
        together = tokens + (costs.groups - 1) * decodes + round(beside)
        return costs.beside_ps(alone_ps, tokens, min(together, costs.groups * rule.token_budget))


def _pairs(chunks: Iterable[tuple[int, int]]) -> float:
    """Return pairs of a prompt's token and one that it looks at."""
    return float(sum(new * earlier + new * (new + 1) // 2 for new, earlier in chunks))


def _spread(mean: float, cv: float) -> list[float]:
    """Return equally likely values that stand for a log-normal distribution of that mean.

    Examples
    --------
    >>> [round(value) for value in _spread(100.0, 1.0)]
    [27, 50, 78, 120, 226]
    """
    if cv <= 0.0:
        return [mean]
    sigma = math.sqrt(math.log1p(cv * cv))
    normal = NormalDist()
    values = [math.exp(sigma * normal.inv_cdf((point + 0.5) / _POINTS)) for point in range(_POINTS)]
    return [mean * value * _POINTS / math.fsum(values) for value in values]


def _binomial(count: int, chance: float) -> list[float]:
    """Return the chances of 0, 1, ... successes among so many, up to where more are rare.

    Examples
    --------
    >>> _binomial(2, 0.5), _binomial(2, 1.0)
    ([0.25, 0.5, 0.25], [0.0, 0.0, 1.0])
    """
    if chance >= 1.0:
        return [*[0.0] * count, 1.0]
    found = [(1.0 - chance) ** count]
    while len(found) <= count and math.fsum(found) < 1.0 - _RARE:
        done = len(found) - 1
        found.append(found[-1] * (count - done) / (done + 1) * chance / (1.0 - chance))
    total = math.fsum(found)
    return [value / total for value in found]


def _longest_of(count: int, mean: float, cv: float) -> float:
    """Return the mean of the largest of so many of a log-normal distribution.

    Examples
    --------
    >>> round(_longest_of(1, 100.0, 1.0)), round(_longest_of(8, 100.0, 1.0))
    (100, 265)
    """
    if count == 1 or cv <= 0.0:
        return mean
    sigma = math.sqrt(math.log1p(cv * cv))
    normal = NormalDist()
    values = (
        math.exp(sigma * normal.inv_cdf(((step + 0.5) / _STEPS) ** (1.0 / count))) for step in range(_STEPS)
    )
    return mean * math.exp(-sigma * sigma / 2.0) * math.fsum(values) / _STEPS
