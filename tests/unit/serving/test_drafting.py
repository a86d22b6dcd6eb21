"""Drafts that are checked in one pass: by hand where all or none are right, else by their chances."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import batch_rule
from simulator.serving.crowd import AddReplica
from simulator.serving.drafting import uniform_64
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable


@pytest.fixture
def drafted():
    """Run (arrival, prompt, output); return the crowd and its rows in order of number."""

    def run(*rows, acceptance, drafts=3, cost=0.0, blocks=1000, token_s=0.0, engine="vllm-v1", **numbers):
        bounds = {"max_sequences": 8, "token_budget": 64, "block_tokens": 4, "watermark_fraction": 0.0}
        rule = batch_rule(
            engine,
            **{**bounds, **numbers},
            drafts=drafts,
            acceptance_fraction=acceptance,
            draft_cost_fraction=cost,
        )
        crowd = TwinCrowd(ServiceRules("chat", rule=rule))
        profile = GivenReplica(linear_iteration(fixed_s=0.1, token_s=token_s, most_tokens=rule.token_budget))
        crowd.apply(AddReplica(0, "here", "mixed", 1, profile, blocks), 0.0)
        arrived, prompt, output = (np.array(column) for column in zip(*rows, strict=True))
        tier = np.zeros(len(rows), dtype=np.int64)
        crowd.feed(RequestTable(arrived.astype(float), prompt, output, tier), math.inf)
        crowd.advance(10_000.0)
        found = crowd.take_rows()
        order = np.argsort(found["request_id"])
        return crowd, {name: np.asarray(found[name])[order].tolist() for name in found}

    return run


def test_where_all_drafts_are_right_a_pass_gives_one_more_than_was_guessed(drafted):
    # The prompt's token at 0.1, then 4 and 4.
    _, rows = drafted((0.0, 4, 9), acceptance=1.0)
    assert rows["first_token_s"] + rows["finished_s"] == pytest.approx([0.1, 0.3])


def test_where_none_is_right_drafts_only_cost(drafted):
    _, rows = drafted((0.0, 4, 9), acceptance=0.0)
    assert rows["finished_s"] == pytest.approx([0.9])
    # Each pass: 0.1 s and 4 tokens of 0.01 s, and three guesses of 1/4 of 0.11 s.
    _, rows = drafted((0.0, 4, 9), acceptance=0.0, cost=0.25, token_s=0.01)
    assert rows["finished_s"] == pytest.approx([0.14 + 8 * (0.14 + 3 * 0.25 * 0.11)])


def test_an_answer_is_never_longer_than_asked_for(drafted):
    crowd, rows = drafted((0.0, 4, 6), acceptance=1.0)
    assert rows["output_tokens"] == [6]
    assert rows["finished_s"] == pytest.approx([0.3])
    assert crowd.counters()["tokens_out"] == 6


def test_a_pass_gives_as_many_tokens_as_the_law_says(drafted):
    # Far enough apart that each is alone.
    rows = [(float(30 * i), 1, 401) for i in range(50)]
    crowd, _ = drafted(*rows, acceptance=0.7)
    passes = crowd.steps()[0] - 50
    mean = (1.0 - 0.7**4) / (1.0 - 0.7)
    # Spread of a pass's tokens is about 1.2; the last pass of a request is cut short.
    assert 50 * 400 / passes == pytest.approx(mean, abs=4 * 1.3 / math.sqrt(passes) * mean + 0.02)


def test_what_is_accepted_depends_on_nobody_else(drafted):
    # Alone or beside others, the first needs as many passes.
    _, alone = drafted((0.0, 4, 60), acceptance=0.5)
    _, beside = drafted((0.0, 4, 60), (0.0, 4, 60), (0.25, 9, 30), acceptance=0.5)
    assert alone["finished_s"][0] == beside["finished_s"][0]
    assert beside["finished_s"][0] != beside["finished_s"][1]


def test_drafts_need_blocks_and_preempt_for_them(drafted):
    # 4 tokens and 4 more of the pass are 2 blocks each: 3 blocks are too few for two requests.
    _, rows = drafted((0.0, 4, 2), (0.0, 4, 2), acceptance=1.0, blocks=3)
    assert rows["preemptions"] == [0, 1]
    _, rows = drafted((0.0, 4, 2), (0.0, 4, 2), acceptance=1.0, blocks=4)
    assert rows["preemptions"] == [0, 0]


def test_a_full_batch_must_fit_the_budget(drafted):
    with pytest.raises(ValueError, match="with 3 drafts each"):
        drafted((0.0, 4, 2), acceptance=0.5, token_budget=31)


def test_what_a_replica_sustains_grows_with_what_a_pass_gives(drafted):
    # 81 tokens are one from the prompt and 20 passes of 4: 8 places, 0.1 s each.
    rows = [(0.0, 1, 81)] * 400
    crowd, found = drafted(*rows, acceptance=1.0)
    drained_per_s = len(rows) / max(found["finished_s"])
    counters = crowd.counters()
    assert counters["requests_out"] == 400
    sustained_per_s = crowd.stability().capacity_per_s
    assert sustained_per_s == pytest.approx(drained_per_s, rel=0.06)


def test_bits_are_uniform():
    bits = np.array([uniform_64(number, out, 5) for number in range(100) for out in range(100)]) / 2.0**64
    counts = np.histogram(bits, 20, (0.0, 1.0))[0]
    # Chi-square with 19 degrees of freedom: 43.8 is exceeded once in a thousand.
    assert float(np.sum((counts - 500.0) ** 2 / 500.0)) < 43.8
