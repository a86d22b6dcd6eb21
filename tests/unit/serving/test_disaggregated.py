"""Prefill apart from decode, counted by hand in both forms: iterations of 0.1 s, KV of 10 bytes a token."""

from __future__ import annotations

import math

import pytest

from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica, RemoveReplica, SetTransferBandwidth, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd

TENTH = GivenReplica(linear_iteration(fixed_s=0.1))


@pytest.fixture(params=[TwinCrowd, CompiledCrowd])
def split(request, tenth, requests):
    def make(*rows, roles=("prefill", "decode"), blocks=1000, **rules):
        settings = {"kv_bytes_per_token": 10.0, "transfer_bytes_per_s": 1000.0, **rules}
        rule = settings.pop("rule", BatchRule(watermark_fraction=0.0))
        made = request.param(ServiceRules("chat", rule=rule, **settings))
        for number, role in enumerate(roles):
            made.apply(AddReplica(number, "here", role, 2, tenth, blocks), 0.0)
        made.feed(requests(*rows), math.inf)
        return made

    return make


def moments(row):
    return tuple(round(row[name], 9) for name in ("prefill_started_s", "first_token_s", "finished_s"))


def test_the_first_token_waits_for_the_transfer_and_one_decode_step(split, rows_after):
    # Prefill to 0.1; 50 tokens of 10 bytes at 1000 B/s to 0.6; then three steps.
    (row,) = rows_after(split((0.0, 50, 3)), 10.0)
    assert moments(row) == (0.0, 0.7, 0.9)
    assert row["replica"] == 1
    assert row["ttft_s"] == pytest.approx(0.7)


def test_a_sender_sends_one_prompt_after_the_other(split, rows_after):
    rows = rows_after(split((0.0, 50, 1), (0.0, 20, 1)), 10.0)
    # Both prompts are done at 0.1; the second transfer goes from 0.6 to 0.8.
    assert [moments(row)[1] for row in rows] == [0.7, 0.9]


def test_two_senders_send_side_by_side(split, rows_after):
    made = split((0.0, 50, 1), (0.0, 50, 1), roles=("prefill", "prefill", "decode"))
    assert [moments(row)[1] for row in rows_after(made, 10.0)] == [0.7, 0.7]


def test_another_bandwidth_holds_from_the_next_transfer(split, rows_after):
    made = split((0.0, 50, 1), (0.0, 20, 1))
    made.advance(0.25)
    made.apply(SetTransferBandwidth(100.0), 0.25)
    assert [moments(row)[1] for row in rows_after(made, 20.0)] == [0.7, 2.7]


def test_prompts_keep_their_blocks_until_they_have_arrived(split, rows_after):
    rule = BatchRule(max_sequences=4, token_budget=64, block_tokens=10, watermark_fraction=0.0)
    made = split((0.0, 50, 1), (0.0, 50, 1), blocks=5, rule=rule)
    made.advance(0.5)
    seen = made.observe()
    assert (seen.transferring, seen.queue_length, seen.kv_fraction) == (1, 1, 1.0)
    rows = rows_after(made, 10.0)
    # The second prompt starts when the first has left, at 0.6.
    assert [moments(row) for row in rows] == [(0.0, 0.7, 0.7), (0.6, 1.3, 1.3)]


def test_a_transfer_begins_when_its_blocks_are_there(split, rows_after):
    # The decode replica has 9 blocks of 10: the first prompt's 5 and later one for its answer;
    # the second's 5 come free at 0.9 with the end of the first. Its transfer goes from then on.
    rule = BatchRule(max_sequences=4, token_budget=128, block_tokens=10)
    made = split((0.0, 50, 3), (0.0, 50, 3), roles=("prefill",), rule=rule)
    made.apply(AddReplica(2, "here", "decode", 2, TENTH, 9), 0.0)
    made.advance(0.8)
    assert (made.observe().transferring, made.observe().running, made.observe().queue_length) == (1, 1, 0)
    rows = rows_after(made, 10.0)
    assert [moments(row) for row in rows] == [(0.0, 0.7, 0.9), (0.0, 1.5, 1.7)]


def test_a_stuffed_decode_replica_stalls_prefill(split, rows_after):
    # Both sides hold one prompt: the third is read when the second has left at 1.4.
    rule = BatchRule(max_sequences=4, token_budget=128, block_tokens=10)
    made = split(*[(0.0, 50, 3)] * 3, roles=(), rule=rule)
    for number, role, blocks in ((0, "prefill", 5), (1, "decode", 9)):
        made.apply(AddReplica(number, "here", role, 2, TENTH, blocks), 0.0)
    assert [moments(row) for row in rows_after(made, 20.0)] == [
        (0.0, 0.7, 0.9), (0.6, 1.5, 1.7), (1.4, 2.3, 2.5)
    ]  # fmt: skip


def test_kv_of_a_lost_decode_replica_goes_to_another(split, rows_after):
    made = split((0.0, 50, 2), roles=("prefill", "decode", "decode"))
    made.advance(0.35)
    made.apply(RemoveReplica(1, "kill"), 0.35)
    (row,) = rows_after(made, 10.0)
    # The prompt is not read again; its transfer begins anew at 0.35.
    assert (row["state"], row["replica"], moments(row)) == ("ok", 2, (0.0, 0.95, 1.05))


def test_blocks_of_a_lost_senders_prompt_come_back(split, rows_after):
    rule = BatchRule(max_sequences=4, token_budget=128, block_tokens=10)
    made = split((0.0, 50, 1), (0.1, 50, 1), roles=("prefill", "prefill"), rule=rule)
    made.apply(AddReplica(2, "here", "decode", 2, TENTH, 9), 0.0)
    made.advance(0.25)
    made.apply(RemoveReplica(0, "kill"), 0.25)
    # The second's transfer goes from 0.25 to 0.75, its token comes at 0.85 and leaves room for the
    # first, which is read again by then: sent to 1.35.
    rows = rows_after(made, 10.0)
    assert [(row["request_id"], moments(row)[1]) for row in rows] == [(1, 0.85), (0, 1.45)]


def test_the_declared_flow_is_the_last_epochs_bytes(split):
    made = split(*[(10.0 * i, 50, 1) for i in range(30)])
    made.advance(100.0)
    assert made.declared_flow_bytes_per_s() == pytest.approx(10 * 500.0 / 100.0)
    made.advance(310.0)
    assert made.declared_flow_bytes_per_s() == pytest.approx(30 * 500.0 / 300.0)
    made.advance(1000.0)
    assert made.declared_flow_bytes_per_s() == 0.0


def test_a_flow_is_declared_while_the_next_one_is_counted(split):
    # One prompt at 290 s, one at 310 s: at 450 s the epoch that ended at 300 s had one of 500 bytes.
    made = split((290.0, 50, 1), (310.0, 50, 1), (1250.0, 50, 1))
    made.advance(450.0)
    assert made.declared_flow_bytes_per_s() == pytest.approx(500.0 / 300.0)
    made.advance(600.0)
    assert made.declared_flow_bytes_per_s() == pytest.approx(500.0 / 300.0)
    # The epoch before the present one had none: what came since 1200 s counts.
    made.advance(1300.0)
    assert made.declared_flow_bytes_per_s() == pytest.approx(500.0 / 100.0)


def test_a_lost_sender_loses_what_was_on_its_way(split, rows_after):
    made = split((0.0, 50, 2), roles=("prefill", "decode", "prefill"))
    made.advance(0.25)
    made.apply(RemoveReplica(0, "kill"), 0.25)
    (row,) = rows_after(made, 10.0)
    # Again from the start on replica 2: prompt to 0.35, transfer to 0.85, then two steps.
    assert (row["state"], moments(row)) == ("retried", (0.25, 0.95, 1.05))


def test_a_lost_decode_replica_sends_requests_back_to_prefill(split, rows_after):
    made = split((0.0, 50, 9), roles=("prefill", "decode", "decode"))
    made.advance(0.85)
    made.apply(RemoveReplica(1, "kill"), 0.85)
    (row,) = rows_after(made, 10.0)
    assert (row["state"], row["replica"]) == ("retried", 2)
    assert moments(row) == (0.85, 1.55, 2.35)
    assert made.counters()["wasted_tokens"] == 2


def test_prefilled_requests_wait_where_no_decode_replica_is_there(split, rows_after, tenth):
    made = split((0.0, 50, 2), roles=("prefill",))
    made.advance(5.0)
    assert made.observe().transferring == 1
    assert made.counters()["in_flight"] == 1
    made.apply(AddReplica(5, "here", "decode", 2, tenth, 1000), 5.0)
    assert [moments(row) for row in rows_after(made, 10.0)] == [(0.0, 5.6, 5.7)]


def test_a_draining_sender_leaves_when_its_last_transfer_is_over(split):
    made = split((0.0, 50, 1), roles=("prefill", "decode", "prefill"))
    made.advance(0.2)
    made.apply(RemoveReplica(0, "drain"), 0.2)
    assert made.advance(10.0) is Stop.WATCH
    assert [event.replica_id for event in made.fired()] == [0]
    assert made.now_s == pytest.approx(0.6, abs=2e-6)


def test_bandwidth_must_be_positive(split):
    with pytest.raises(ValueError, match="must be above 0"):
        split().apply(SetTransferBandwidth(0.0), 0.0)
