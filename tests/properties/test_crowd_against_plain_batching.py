"""The twin's counting tricks against batching written out request by request, sharing no code.

The reference below keeps one dictionary a request and walks all of them in every iteration, in
whole picoseconds; it knows one replica, tiers, paged blocks, chunks and preemption.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.batching import BatchRule
from simulator.serving.crowd import AddReplica, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

#: Picoseconds of an iteration: fixed, each new token, each sequence, each remembered token, each pair.
FIXED, TOKEN, SEQUENCE, CONTEXT, PAIR = 4_000_000_000, 31_000_000, 7_000_000, 1_300_001, 11_000

PROFILE = GivenReplica(
    linear_iteration(
        fixed_s=FIXED / 1e12,
        token_s=TOKEN / 1e12,
        sequence_s=SEQUENCE / 1e12,
        context_s=CONTEXT / 1e12,
        pair_s=PAIR / 1e12,
        most_tokens=48,
    )
)


def plain_batching(requests, blocks, size, sequences, budget, watermark):
    """Return {number: (first token, end, preemptions)} in picoseconds, None for a shed request."""
    answers, waiting, running, now = {}, [], [], 0
    coming = [dict(r, done=0, out=0, blocks=0, lost=0, first=None) for r in requests]
    free = blocks

    def blocks_for(tokens):
        return (tokens + size - 1) // size

    while coming or waiting or running:
        if not waiting and not running:
            now = max(now, coming[0]["at"])
        while coming and coming[0]["at"] <= now:
            request = coming.pop(0)
            if blocks_for(request["prompt"] + request["output"] - 1) + watermark > blocks:
                answers[request["number"]] = None
            else:
                waiting.append(request)
        waiting.sort(key=lambda r: (r["tier"], r["number"]))
        room, tokens, members, pairs, read, lost_any = budget, 0, [], 0, 0, False
        decoding = [r for r in running if r["done"] >= r["prompt"] + r["out"] - 1 and r["out"]]
        for request in decoding:
            while request in running and blocks_for(request["done"] + 1) > request["blocks"]:
                if free:
                    free -= 1
                    request["blocks"] += 1
                    continue
                victim = max(running, key=lambda r: (r["tier"], r["number"]))
                free += victim["blocks"]
                victim.update(blocks=0, done=0, lost=victim["lost"] + 1)
                running.remove(victim)
                waiting.append(victim)
                lost_any = True
        for request in running:
            if request in decoding:
                members.append((request, 1))
                read += request["done"]
                room -= 1
        waiting.sort(key=lambda r: (r["tier"], r["number"]))
        queue = [r for r in running if r not in decoding]
        for request in queue:
            chunk = min(request["prompt"] + request["out"] - request["done"], room)
            if chunk:
                members.append((request, chunk))
                room -= chunk
        if not running:
            lost_any = False
        while waiting and not lost_any and room and len(running) < sequences:
            request = waiting[0]
            need = blocks_for(request["prompt"] + request["out"])
            if need + watermark > free:
                break
            waiting.pop(0)
            running.append(request)
            free -= need
            request["blocks"] = need
            chunk = min(request["prompt"] + request["out"], room)
            members.append((request, chunk))
            room -= chunk
        tokens = sum(chunk for _, chunk in members)
        for request, chunk in members:
            if request not in decoding:
                pairs += sum(request["done"] + i for i in range(1, chunk + 1))
        now += FIXED + TOKEN * tokens + SEQUENCE * len(members) + CONTEXT * read
        now += (round(PAIR * 1024) * pairs) >> 10
        for request, chunk in members:
            request["done"] += chunk
            if request["done"] < request["prompt"] + request["out"]:
                continue
            request["out"] += 1
            if request["first"] is None:
                request["first"] = now
            if request["out"] == request["output"]:
                running.remove(request)
                free += request["blocks"]
                answers[request["number"]] = (request["first"], now, request["lost"])
        assert 0 <= free <= blocks
    assert free == blocks
    return answers


requests = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 90), st.integers(1, 50), st.integers(0, 1)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=200)
@given(
    requests=requests,
    blocks=st.integers(12, 60),
    size=st.sampled_from([1, 4, 16]),
    sequences=st.integers(1, 8),
    budget=st.integers(8, 48),
    watermark=st.sampled_from([0.0, 0.1]),
)
def test_the_twin_equals_batching_written_out(requests, blocks, size, sequences, budget, watermark):
    arrived_s = np.cumsum([gap for gap, *_ in requests]) / 64.0
    table = RequestTable(
        arrived_s,
        np.array([prompt for _, prompt, _, _ in requests]),
        np.array([output for _, _, output, _ in requests]),
        np.array([tier for *_, tier in requests]),
    )
    rules = ServiceRules(
        "chat",
        tiers=("gold", "plain"),
        ttft_slo_s=(1.0, 1.0),
        rule=BatchRule(sequences, max(budget, sequences), size, watermark),
    )
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
    written_out = plain_batching(
        [
            {"number": i, "at": round(at * 1e12), "prompt": prompt, "output": output, "tier": tier}
            for i, (at, (_, prompt, output, tier)) in enumerate(
                zip(arrived_s.tolist(), requests, strict=True)
            )
        ],
        blocks,
        size,
        sequences,
        max(budget, sequences),
        int(blocks * watermark),
    )
    assert found == written_out
