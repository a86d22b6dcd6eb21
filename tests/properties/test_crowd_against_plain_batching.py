"""The twin's counting tricks against batching written out request by request, sharing no code.

The references below walk all requests of one replica in every iteration, in whole picoseconds,
each engine as its sources tell it: vLLM V1 with numbered blocks in a free queue that keep what
they hold until they are taken again; Sarathi and vLLM V0 as Vidur walks them.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.batch_rule import batch_rule
from simulator.serving.crowd import AddReplica, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import Prefixes, RequestTable

#: Picoseconds of an iteration: fixed, each new token, each sequence, each remembered token, each pair.
FIXED, TOKEN, SEQUENCE, CONTEXT, PAIR = 4_000_000_000, 31_000_000, 7_000_000, 1_300_001, 11_000

PROFILE = GivenReplica(
    linear_iteration(
        fixed_s=FIXED / 1e12,
        token_s=TOKEN / 1e12,
        sequence_s=SEQUENCE / 1e12,
        context_s=CONTEXT / 1e12,
        pair_s=PAIR / 1e12,
        most_tokens=160,
    )
)


def pieces(tokens, size):
    return (tokens + size - 1) // size


def rank(request):
    return request["tier"], request["number"]


def decoding(request):
    """Whether it has given a token since it began, or began again: all else are prompts."""
    return request["out"] > request["before"]


class Plain:
    """What all engines share: arrivals, the clock, the cost of an iteration and its end."""

    def __init__(self, blocks, size, sequences, budget, watermark):
        self.blocks, self.size = blocks, size
        self.sequences, self.budget, self.watermark = sequences, budget, watermark
        self.waiting, self.running = [], []
        self.queue = list(range(blocks))
        self.holds = {}

    def refuses(self, request):
        tokens = request["prompt"] + request["output"] - 1
        return pieces(tokens, self.size) + self.watermark > self.blocks

    def take(self, request, count):
        for _ in range(count):
            block = self.queue.pop(0)
            self.holds.pop(block, None)
            request["table"].append(block)

    def give(self, request):
        self.queue.extend(reversed(request["table"]))
        request["table"] = []

    def preempt(self, victim):
        self.give(victim)
        victim.update(done=0, before=victim["out"], lost=victim["lost"] + 1)
        self.running.remove(victim)
        self.waiting.append(victim)
        self.waiting.sort(key=rank)

    def run(self, requests):
        """Return {number: (first token, end, preemptions)} in picoseconds, None for a shed request."""
        answers, now = {}, 0
        coming = [dict(r, done=0, out=0, before=0, lost=0, first=None, table=[]) for r in requests]
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                now = max(now, coming[0]["at"])
            while coming and coming[0]["at"] <= now:
                request = coming.pop(0)
                if self.refuses(request):
                    answers[request["number"]] = None
                else:
                    self.waiting.append(request)
            self.waiting.sort(key=rank)
            members = self.plan()
            read = sum(r["done"] for r, _ in members if decoding(r))
            pairs = sum(r["done"] + i for r, n in members if not decoding(r) for i in range(1, n + 1))
            now += FIXED * bool(members) + TOKEN * sum(n for _, n in members) + SEQUENCE * len(members)
            now += CONTEXT * read + ((round(PAIR * 1024) * pairs) >> 10)
            for request, chunk in members:
                request["done"] += chunk
                if request["done"] < request["prompt"] + request["out"]:
                    continue
                request["out"] += 1
                if request["first"] is None:
                    request["first"] = now
            for request, _ in members:
                if request["out"] == request["output"]:
                    self.running.remove(request)
                    self.give(request)
                    answers[request["number"]] = (request["first"], now, request["lost"])
            held = {block for r in self.running for block in r["table"]}
            assert len(held) + len(self.queue) == self.blocks
        assert sorted(self.queue) == list(range(self.blocks))
        return answers


class VllmV1(Plain):
    """No phases: everybody has tokens to compute, those that run first, blocks as they are needed."""

    def refuses(self, request):
        return pieces(request["prompt"] + request["output"] - 1, self.size) > self.blocks

    def slots(self, request, new):
        """Give blocks for new tokens, and name the full ones; return whether there were enough."""
        missing = pieces(request["done"] + new, self.size) - len(request["table"])
        if missing > len(self.queue):
            return False
        self.take(request, missing)
        for place in range((request["done"] + new) // self.size):
            self.holds[request["table"][place]] = (request["number"], place)
        return True

    def plan(self):
        members, room, lost_any = [], self.budget, False
        for request in list(self.running):
            if request not in self.running or not room:
                continue
            new = min(request["prompt"] + request["out"] - request["done"], room)
            while request in self.running and not self.slots(request, new):
                victim = max(self.running, key=rank)
                for member in [m for m in members if m[0] is victim]:
                    members.remove(member)
                    room += member[1]
                self.preempt(victim)
                lost_any = True
            if request in self.running:
                members.append((request, new))
                room -= new
        if not self.running:
            lost_any = False
        while self.waiting and not lost_any and room and len(self.running) < self.sequences:
            request = self.waiting[0]
            total = request["prompt"] + request["out"]
            found = []
            for place in range((total - 1) // self.size):
                block = next((b for b in self.queue if self.holds.get(b) == (request["number"], place)), None)
                if block is None:
                    break
                found.append(block)
            if pieces(total, self.size) + (self.watermark if self.running else 0) > len(self.queue):
                break
            self.waiting.pop(0)
            self.running.append(request)
            for block in found:
                self.queue.remove(block)
            request["table"] = found
            request["done"] = len(found) * self.size
            new = min(total - request["done"], room)
            assert self.slots(request, new)
            members.append((request, new))
            room -= new
        return members


class Vidur(Plain):
    """What Sarathi and vLLM V0 share in Vidur."""

    def can(self, request):
        """Whether a newcomer's prompt, or any token of somebody who runs, may have blocks."""
        if request["table"]:
            return len(self.queue) >= 1
        need = pieces(request["prompt"] + request["out"], self.size)
        return len(self.queue) - need >= self.watermark

    def decodes(self, members):
        """Walk those that decode in order, preempting the last for want of a block."""
        order = sorted(self.running, key=rank)
        while order:
            request = order.pop(0)
            if not decoding(request):
                continue
            while not self.can(request):
                victim = order.pop() if order else request
                self.preempt(victim)
                if victim is request:
                    break
            else:
                if request["done"] + 1 > len(request["table"]) * self.size:
                    self.take(request, 1)
                members.append((request, 1))


class Sarathi(Vidur):
    """Decodes, then the prompt under way, then newcomers, in one budget; a prompt's blocks at once."""

    def plan(self):
        members = []
        self.decodes(members)
        room = self.budget - len(members)
        for request in self.running:
            if not decoding(request) and room:
                new = min(request["prompt"] + request["out"] - request["done"], room)
                members.append((request, new))
                room -= new
        while self.waiting and room and len(self.running) < self.sequences and self.can(self.waiting[0]):
            request = self.waiting.pop(0)
            self.running.append(request)
            total = request["prompt"] + request["out"]
            self.take(request, pieces(total, self.size))
            members.append((request, min(total, room)))
            room -= members[-1][1]
        return members


class VllmV0(Vidur):
    """Prompts alone if any can go, padded in the budget; else everybody decodes."""

    def refuses(self, request):
        return super().refuses(request) or request["prompt"] + request["output"] - 1 > self.budget

    def plan(self):
        members, longest = [], 0
        while self.waiting and len(self.running) < self.sequences and self.can(self.waiting[0]):
            total = self.waiting[0]["prompt"] + self.waiting[0]["out"]
            longest = max(longest, total)
            if longest * (len(members) + 1) > self.budget:
                break
            request = self.waiting.pop(0)
            self.running.append(request)
            self.take(request, pieces(total, self.size))
            members.append((request, total))
        if not members:
            self.decodes(members)
        return members


class Static:
    """A batch at a time, all at its longest prompt, for as many steps as its longest answer."""

    def __init__(self, blocks, size, sequences, budget, watermark):
        self.bounds = blocks, size, sequences, budget

    def run(self, requests):
        blocks, size, sequences, budget = self.bounds
        answers, now, queue = {}, 0, []
        coming = [dict(r) for r in requests]
        while coming or queue:
            if not queue:
                now = max(now, coming[0]["at"])
            while coming and coming[0]["at"] <= now:
                request = coming.pop(0)
                most = pieces(request["prompt"] + request["output"] - 1, size)
                if most > blocks or request["prompt"] > budget:
                    answers[request["number"]] = None
                else:
                    queue.append(request)
            queue.sort(key=rank)
            batch = []
            for request in queue:
                tried = [*batch, request]
                longest = max(r["prompt"] for r in tried)
                answer = max(r["output"] for r in tried)
                room = pieces(longest + answer - 1, size) * len(tried) <= blocks
                if len(tried) > sequences or longest * len(tried) > budget or not room:
                    break
                batch = tried
            if not batch:
                continue
            del queue[: len(batch)]
            count, longest = len(batch), max(r["prompt"] for r in batch)
            pairs = count * sum(range(1, longest + 1))
            now += FIXED + TOKEN * count * longest + SEQUENCE * count + ((round(PAIR * 1024) * pairs) >> 10)
            first = now
            for step in range(1, max(r["output"] for r in batch) + 1):
                for request in batch:
                    if request["output"] == step:
                        answers[request["number"]] = (first, now, 0)
                if step < max(r["output"] for r in batch):
                    now += FIXED + (TOKEN + SEQUENCE) * count + CONTEXT * count * (longest + step - 1)
        return answers


PLAIN = {"vllm-v1": VllmV1, "sarathi": Sarathi, "vllm-v0": VllmV0, "static": Static}

requests = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 90), st.integers(1, 50), st.integers(0, 1)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=400)
@given(
    engine=st.sampled_from(sorted(PLAIN)),
    requests=requests,
    blocks=st.integers(12, 60),
    size=st.sampled_from([1, 4, 16]),
    sequences=st.integers(1, 8),
    budget=st.integers(8, 160),
    watermark=st.sampled_from([0.0, 0.1]),
)
def test_the_twin_equals_batching_written_out(engine, requests, **bounds):
    assert_as_written_out(engine, requests, **bounds)


#: Bounds so narrow that prompts are cut and blocks are short at the same time.
narrow = {
    "blocks": st.integers(7, 14),
    "size": st.sampled_from([3, 4]),
    "sequences": st.integers(2, 5),
    "budget": st.integers(5, 12),
}

#: Requests that just fit alone, near each other.
close = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 14), st.integers(1, 14), st.integers(0, 1)),
    min_size=2,
    max_size=14,
)


@settings(max_examples=300)
@given(
    engine=st.sampled_from(["vllm-v1", "vllm-v1", "sarathi"]),
    requests=close,
    watermark=st.sampled_from([0.0, 0.1]),
    **narrow,
)
def test_the_twin_equals_batching_written_out_where_room_is_narrow(engine, requests, **bounds):
    assert_as_written_out(engine, requests, **bounds)


def assert_as_written_out(engine, requests, *, blocks, size, sequences, budget, watermark):
    arrived_s = np.cumsum([gap for gap, *_ in requests]) / 64.0
    table = RequestTable(
        arrived_s,
        np.array([prompt for _, prompt, _, _ in requests]),
        np.array([output for _, _, output, _ in requests]),
        np.array([tier for *_, tier in requests]),
    )
    rule = batch_rule(
        engine,
        max_sequences=sequences,
        token_budget=max(budget, sequences),
        block_tokens=size,
        watermark_fraction=watermark,
    )
    rules = ServiceRules("chat", tiers=("gold", "plain"), ttft_slo_s=(1.0, 1.0), rule=rule)
    crowd = TwinCrowd(rules)
    crowd.apply(AddReplica(7, "here", "mixed", 1, PROFILE, blocks), 0.0)
    crowd.feed(table, math.inf)
    assert crowd.advance(5000.0) is Stop.REACHED
    rows = crowd.take_rows()
    found = {}
    for number, state, first_s, end_s, lost in zip(
        rows["request_id"].tolist(),
        rows["state"],
        rows["first_token_s"].tolist(),
        rows["finished_s"].tolist(),
        rows["preemptions"].tolist(),
        strict=True,
    ):
        found[number] = None if state == "shed" else (round(first_s * 1e12), round(end_s * 1e12), lost)
    plain = PLAIN[engine](blocks, size, sequences, max(budget, sequences), int(blocks * watermark))
    assert found == plain.run(
        [
            {"number": i, "at": round(at * 1e12), "prompt": prompt, "output": output, "tier": tier}
            for i, (at, (_, prompt, output, tier)) in enumerate(
                zip(arrived_s.tolist(), requests, strict=True)
            )
        ]
    )


#: Tokens of a piece of a prompt that has a name.
PIECE = 16


@st.composite
def conversations(draw):
    """Requests whose prompts begin like earlier ones, up to some piece: gap, prompt, output, tier, names."""
    found, paths = [], [()]
    for number in range(draw(st.integers(1, 25))):
        begin = draw(st.sampled_from(paths))
        begin = begin[: draw(st.integers(0, len(begin)))]
        prompt = draw(st.integers(max(1, PIECE * len(begin)), PIECE * len(begin) + 50))
        names = begin + tuple(100 * number + i for i in range(-(-prompt // PIECE) - len(begin)))
        paths.append(names)
        found.append(
            (draw(st.integers(0, 20)), prompt, draw(st.integers(1, 30)), draw(st.integers(0, 1)), names)
        )
    return found


def shared_run(requests, *, blocks, size, sequences, budget, piece, leap=True):
    """Return {number: (first token, end, preemptions, found)}, and the counters."""
    arrived_s = np.cumsum([row[0] for row in requests]) / 64.0
    names = [row[4] for row in requests]
    offsets = np.cumsum([0, *map(len, names)])
    table = RequestTable(
        arrived_s,
        *(np.array([row[column] for row in requests]) for column in (1, 2, 3)),
        prefixes=Prefixes(offsets, np.array([name for path in names for name in path]), PIECE),
    )
    rule = batch_rule(
        "vllm-v1", max_sequences=sequences, token_budget=budget, block_tokens=size, watermark_fraction=0.0
    )
    rules = ServiceRules(
        "chat", tiers=("gold", "plain"), ttft_slo_s=(1.0, 1.0), rule=rule, piece_tokens=piece
    )
    crowd = TwinCrowd(rules, leap=leap)
    crowd.apply(AddReplica(7, "here", "mixed", 1, PROFILE, blocks), 0.0)
    crowd.feed(table, math.inf)
    crowd.advance(5000.0)
    counters = crowd.counters()
    rows = crowd.take_rows()
    found = {}
    for number, state, first_s, end_s, lost, cached in zip(
        *(
            np.asarray(rows[name]).tolist()
            for name in ("request_id", "state", "first_token_s", "finished_s", "preemptions", "cached_tokens")
        ),
        strict=True,
    ):
        if state == "shed":
            found[number] = None
        else:
            found[number] = round(first_s * 1e12), round(end_s * 1e12), lost, cached
    return found, counters


class SharedV1(VllmV1):
    """vLLM V1 as before, with blocks that are named by what the prompt begins with."""

    def name(self, request, place):
        ends, piece = (place + 1) * self.size, place * self.size // PIECE
        if ends <= request["prompt"] and piece < len(request["names"]):
            return request["names"][piece], place * self.size % PIECE
        return "own", request["number"], place

    def slots(self, request, new):
        missing = pieces(request["done"] + new, self.size) - len(request["table"])
        if missing > len(self.queue):
            return False
        self.take(request, missing)
        for place in range((request["done"] + new) // self.size):
            block = request["table"][place]
            if block not in self.holds:
                self.clock += 1
                self.holds[block] = (self.name(request, place), self.clock)
        return True

    def give(self, request):
        mine, request["table"] = request["table"], []
        users = Counter(block for other in self.running for block in other["table"])
        self.queue.extend(block for block in reversed(mine) if not users[block])

    def leading(self, request):
        found = []
        for place in range((request["prompt"] + request["out"] - 1) // self.size):
            same = [
                (since, block)
                for block, (name, since) in self.holds.items()
                if name == self.name(request, place)
            ]
            if not same:
                break
            found.append(min(same)[1])
        return found

    def plan(self):
        self.clock = getattr(self, "clock", 0)
        members, room, lost_any = [], self.budget, False
        for request in list(self.running):
            if request not in self.running or not room:
                continue
            new = min(request["prompt"] + request["out"] - request["done"], room)
            while request in self.running and not self.slots(request, new):
                victim = max(self.running, key=rank)
                for member in [m for m in members if m[0] is victim]:
                    members.remove(member)
                    room += member[1]
                self.preempt(victim)
                lost_any = True
            if request in self.running:
                members.append((request, new))
                room -= new
        if not self.running:
            lost_any = False
        while self.waiting and not lost_any and room and len(self.running) < self.sequences:
            request = self.waiting[0]
            total = request["prompt"] + request["out"]
            found = self.leading(request)
            unused = [block for block in found if block in self.queue]
            if pieces(total, self.size) - len(found) + len(unused) > len(self.queue):
                break
            self.waiting.pop(0)
            self.running.append(request)
            for block in unused:
                self.queue.remove(block)
            request["table"] = found
            request["done"] = len(found) * self.size
            request.setdefault("cached", request["done"])
            self.found[request["number"]] = request["cached"]
            new = min(total - request["done"], room)
            assert self.slots(request, new)
            members.append((request, new))
            room -= new
        return members

    def run(self, requests):
        self.found = {}
        return super().run(requests)


bounds_of_sharing = {
    "blocks": st.integers(8, 60),
    "size": st.sampled_from([4, 8, 16]),
    "sequences": st.integers(1, 8),
    "budget": st.integers(8, 160),
}


@settings(max_examples=50)
@given(requests=conversations(), **bounds_of_sharing)
def test_where_nobody_shares_names_change_nothing(requests, **bounds):
    alone = [(*row[:4], ()) for row in requests]
    assert shared_run(alone, piece=PIECE, **bounds)[0] == shared_run(alone, piece=0, **bounds)[0]


@settings(max_examples=150)
@given(requests=close, **(narrow | {"size": st.just(4)}))
def test_where_nobody_shares_names_change_nothing_in_narrow_room(requests, **bounds):
    alone = [(*row, ()) for row in requests]
    assert shared_run(alone, piece=PIECE, **bounds) == shared_run(alone, piece=0, **bounds)


@settings(max_examples=50)
@given(requests=conversations(), **bounds_of_sharing)
def test_leaping_over_named_blocks_equals_stepping(requests, **bounds):
    assert shared_run(requests, piece=PIECE, **bounds) == shared_run(
        requests, piece=PIECE, leap=False, **bounds
    )


@settings(max_examples=80)
@given(requests=conversations(), **bounds_of_sharing)
def test_shared_blocks_equal_those_of_a_plain_cache(requests, blocks, size, sequences, budget):
    found, _ = shared_run(requests, blocks=blocks, size=size, sequences=sequences, budget=budget, piece=PIECE)
    arrived_s = (np.cumsum([row[0] for row in requests]) / 64.0).tolist()
    plain = SharedV1(blocks, size, sequences, budget, 0)
    written_out = plain.run(
        [
            {"number": i, "at": round(at * 1e12), "prompt": p, "output": o, "tier": t, "names": names}
            for i, (at, (_, p, o, t, names)) in enumerate(zip(arrived_s, requests, strict=True))
        ]
    )
    assert found == {
        number: None if times is None else (*times, plain.found[number])
        for number, times in written_out.items()
    }
