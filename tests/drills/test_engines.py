"""The same three requests on each engine, by hand: an iteration lasts 0.1 s whatever is in it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import batch_rule
from simulator.serving.crowd import AddReplica
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

TENTH = GivenReplica(linear_iteration(fixed_s=0.1, most_tokens=64))

#: (arrival, prompt, output): the second and third come in the middle of the first's answer.
THREE = ((0.0, 4, 6), (0.15, 10, 2), (0.15, 6, 3))


def answered(engine, rows=THREE, *, blocks=100, size=4, budget=16, sequences=8, watermark=0.0, **choices):
    """Return (first token, end) of each request. [s]"""
    rule = batch_rule(
        engine,
        max_sequences=sequences,
        token_budget=budget,
        block_tokens=size,
        watermark_fraction=watermark,
        **choices,
    )
    crowd = TwinCrowd(ServiceRules("chat", tiers=("gold", "plain"), ttft_slo_s=(1.0, 1.0), rule=rule))
    crowd.apply(AddReplica(0, "here", "mixed", 1, TENTH, blocks), 0.0)
    whole = [(*row, 0)[:4] for row in rows]
    arrived, prompt, output, tier = (np.array(column) for column in zip(*whole, strict=True))
    crowd.feed(RequestTable(arrived.astype(float), prompt, output, tier), math.inf)
    crowd.advance(100.0)
    found = crowd.take_rows()
    order = np.argsort(found["request_id"])
    return [
        (pytest.approx(first), pytest.approx(end))
        for first, end in zip(found["first_token_s"][order], found["finished_s"][order], strict=True)
    ]


def test_vllm_v1_mixes_prompts_with_decodes():
    # 0.0-0.1 prompt 1; from 0.2: its decode (1 token) + 10 + 5 of 6; from 0.3 the last 1.
    assert answered("vllm-v1") == [(0.1, 0.6), (0.3, 0.4), (0.4, 0.6)]


def test_sarathi_mixes_alike_where_blocks_abound():
    assert answered("sarathi") == answered("vllm-v1")


def test_vllm_v0_stops_decoding_for_prompts():
    # 0.2-0.3 both prompts (16 tokens, sum), nobody decodes: the first ends 0.1 s later.
    both = answered("vllm-v0", budget=16, padded_budget=False)
    assert both == [(0.1, 0.7), (0.3, 0.4), (0.3, 0.5)]
    # Padded, two prompts of 10 are too many for 16: the third waits for another prompt iteration.
    assert answered("vllm-v0", budget=16) == [(0.1, 0.8), (0.3, 0.5), (0.4, 0.6)]


def test_static_batches_wait_for_the_last_token():
    # The first alone until 0.6; then both prompts padded to 10: 20 tokens at once, decoded to 0.9.
    assert answered("static", budget=20) == [(0.1, 0.6), (0.7, 0.8), (0.7, 0.9)]
    # With less budget the third waits until the second has gone.
    assert answered("static", budget=16) == [(0.1, 0.6), (0.7, 0.8), (0.9, 1.1)]


def test_a_place_in_a_static_batch_is_kept_to_the_end():
    # One place is free at 0.2, but the batch runs to 0.6 and the third begins then.
    rows = ((0.0, 2, 2), (0.0, 2, 6), (0.1, 2, 1))
    assert answered("static", rows, sequences=2) == [(0.1, 0.2), (0.1, 0.6), (0.7, 0.7)]
    assert answered("vllm-v1", rows, sequences=2)[2] == (0.3, 0.3)


def test_chunks_take_blocks_as_they_come_and_whole_prompts_at_once():
    # 8 blocks of 4; the first grows to 5 blocks (20 tokens), the second's prompt needs 5.
    # V1 admits on what is free now (7), chunk by chunk; so does Sarathi, whose 5 are gone at once:
    # then 8 - 1 - 5 = 2 are left and the first's decodes take them at contexts 4 and 8; at 12 none.
    rows = ((0.0, 4, 17), (0.05, 20, 1))
    assert answered("vllm-v1", rows, blocks=8, budget=5, sequences=2) == [(0.1, 1.7), (0.6, 0.6)]
    # In 4 a decode: the second's prompt is through at 0.6, before anything runs out.
    assert answered("sarathi", rows, blocks=8, budget=5, sequences=2) == [(0.1, 1.7), (0.6, 0.6)]


def test_v1_finds_its_own_blocks_after_a_preemption():
    # Both prompts of 4 are through at 0.1. 5 blocks of 4: with 4 tokens each takes a second, with 8
    # (at 0.5, five tokens out) one is missing: the second goes, the first takes a third block and
    # ends at 0.7. The second has 9 tokens by then, 8 of them computed, and of its 2 blocks the last
    # was needed for nobody: 8 are still there, 1 is computed anew by 0.8, and its last comes at 0.9.
    rows = ((0.0, 4, 7), (0.0, 4, 7))
    assert answered("vllm-v1", rows, blocks=5, budget=8, sequences=2) == [(0.1, 0.7), (0.1, 0.9)]
    # An engine that forgets reads 8 and then 1.
    forgetful = answered("vllm-v1", rows, blocks=5, budget=8, sequences=2, keeps_blocks=False)
    assert forgetful == [(0.1, 0.7), (0.1, 1.0)]


def test_a_prompt_that_gives_way_in_the_end_has_sent_a_worse_decode_off_before():
    # 16 blocks of 4. Three decodes of the better tier and one of the worse hold 2 each at 0.4, where a
    # prompt of 32 of the better tier takes 16 tokens, 4 blocks of the 8 left. At 0.5 all four decodes
    # take their third block, so that none is left for the next 16: the worse tier's decode gives 3
    # back, which is one too few, and the prompt itself gives way. With 7 free, 8 are too many for it
    # until the three have ended at 0.7. It finds its 4, and takes 4 more, the worse one's among them,
    # which reads 9 tokens anew: 4 beside the 16, and 5.
    gold, plain = (0.0, 4, 7, 0), (0.0, 4, 6, 1)
    rows = (gold, gold, gold, plain, (0.35, 32, 1, 0))
    found = answered("vllm-v1", rows, blocks=16, budget=20)
    assert found == [(0.1, 0.7)] * 3 + [(0.1, 0.9), (0.8, 0.8)]
