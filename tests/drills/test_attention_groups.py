"""Two attention groups that go through every pass together, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.serving import prefill_pairs, serving_profile
from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica, Limit, RemoveReplica, SetClock, Stop
from simulator.serving.full_crowd import full_crowd, not_compiled
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable
from tests.drills.one_service import one_service

RULE = BatchRule(max_sequences=8, token_budget=16, block_tokens=4)


def pair(**costs):
    """Return a profile of two groups: each new token of a group costs it twice `token_s`."""
    iteration = linear_iteration(fixed_s=0.1, most_tokens=32, attention_groups=2, **costs)
    return GivenReplica(iteration, decode_w_per_sequence=10.0)


def singly(rules):
    """Return the readable crowd, every iteration taken singly."""
    return TwinCrowd(rules, leap=False)


@pytest.fixture(params=[TwinCrowd, CompiledCrowd, singly])
def crowd_of(request):
    """Return what makes a crowd of either form."""

    def made(*arguments, **options):
        return crowd_in_form(request.param, *arguments, **options)

    return made


def crowd_in_form(form, rows, profile, *, blocks=100, rule=RULE, **rules):
    """Return a crowd of one replica of two GPUs, if it has a profile; requests: (arrival, prompt, output)."""
    crowd = form(ServiceRules("chat", rule=rule, attention_data_parallel=2, **rules))
    if profile is not None:
        crowd.apply(AddReplica(0, "here", "mixed", 2, profile, blocks), 0.0)
    arrived, prompt, output = (np.array(column) for column in zip(*rows, strict=True))
    tiers = np.zeros(len(rows), dtype=np.int64)
    crowd.feed(RequestTable(arrived.astype(float), prompt, output, tiers), math.inf)
    return crowd


def answered(crowd):
    """Return (first token, end) of each request. [s]"""
    assert crowd.advance(100.0) is Stop.REACHED
    found = crowd.take_rows()
    order = np.argsort(found["request_id"])
    columns = (found["first_token_s"][order], found["finished_s"][order])
    return [(pytest.approx(first), pytest.approx(end)) for first, end in zip(*columns, strict=True)]


def test_the_slowest_group_sets_the_pace_and_experts_see_everybody(crowd_of):
    # The first request goes to group 0, the second to 1, the third to 0 (both have one that waits).
    # A group's token costs it 0.04 s, one it remembers 0.01 s; each token of both costs both 0.01 s.
    profile = pair(token_s=0.02, context_s=0.005, expert_token_s=0.01)
    crowd = crowd_of(((0.0, 4, 3), (0.0, 2, 3), (0.0, 1, 1)), profile)
    # Prompts: 0.1 + 5 x 0.04 + 7 x 0.01 = 0.37 (group 1 alone: 0.25).
    # Decodes: 0.1 + 0.04 + 2 x 0.01 + 4 x 0.01 = 0.20, then 0.21 (group 1: 0.18 and 0.19).
    assert answered(crowd) == [(0.37, 0.78), (0.37, 0.78), (0.37, 0.37)]


def test_the_slowest_group_may_change_on_the_way(crowd_of):
    # Group 0 remembers 6 tokens in one sequence, group 1 4 in two: 6 7 8 9 10 against 4 6 8 10 12.
    rows = ((0.0, 6, 6), (0.0, 2, 6), (0.0, 1, 1), (0.0, 2, 6))
    crowd = crowd_of(rows, pair(context_s=0.005))
    end = 0.1 + 5 * 0.1 + 0.01 * (6 + 7 + 8 + 10 + 12)
    assert answered(crowd) == [(0.1, end), (0.1, end), (0.1, 0.1), (0.1, end)]


def test_a_group_waits_for_the_pass_under_way_and_then_joins(crowd_of):
    # At 0.25 group 1 has nothing, yet the pass that began at 0.2 must end before it may begin.
    crowd = crowd_of(((0.0, 4, 8), (0.25, 4, 2)), pair())
    crowd.advance(0.35)
    # Two blocks at group 0, one at group 1: the newcomer went where nobody runs.
    assert crowd.observe().kv_fraction == pytest.approx(2 / 100)
    assert answered(crowd) == [(0.1, 0.8), (0.4, 0.5)]


def test_blocks_are_a_groups_own(crowd_of):
    # 5 blocks of 4 a group. Two of (4, 7) do not fit one group to the end, but one in each does.
    both = ((0.0, 4, 7), (0.0, 4, 7))
    assert answered(crowd_of(both, pair(), blocks=5)) == [(0.1, 0.7), (0.1, 0.7)]
    # Four: in either group the later one gives way at 0.5 and ends at 0.9, as on a plain replica.
    four = crowd_of(both + both, pair(), blocks=5)
    assert answered(four) == [(0.1, 0.7), (0.1, 0.7), (0.1, 0.9), (0.1, 0.9)]
    # Three: group 1 has no cause to preempt.
    crowd = crowd_of((*both, (0.0, 4, 7)), pair(), blocks=5)
    crowd.advance(100.0)
    rows = crowd.take_rows()
    assert dict(zip(rows["request_id"], rows["preemptions"], strict=True)) == {0: 0, 1: 0, 2: 1}


def test_what_one_group_cannot_hold_is_shed(crowd_of):
    crowd = crowd_of(((0.0, 12, 9), (0.0, 12, 10)), pair(), blocks=5)
    crowd.advance(100.0)
    counters = crowd.counters()
    assert (counters["requests_out"], counters["shed"]) == (1.0, 1.0)


def test_newcomers_go_where_least_waits(crowd_of):
    # One sequence a group: the first two run, the third waits at group 0 and the fourth at group 1,
    # so the short ones behind the short second are not held up by the long first.
    rule = BatchRule(max_sequences=1, token_budget=16, block_tokens=4)
    rows = ((0.0, 4, 20), (0.0, 4, 2), (0.05, 4, 1), (0.06, 4, 1))
    found = answered(crowd_of(rows, pair(), rule=rule))
    assert found == [(0.1, 2.0), (0.1, 0.2), (2.1, 2.1), (0.3, 0.3)]


def test_one_that_waits_weighs_as_much_as_four_that_run(crowd_of):
    # Group 0 runs one long prompt and has no blocks for a second, group 1 runs four: 4 + 1 against 4.
    long, short = (0.0, 16, 8), [(0.05, 1, 8), (0.15, 1, 8), (0.25, 1, 8), (0.35, 1, 8)]
    crowd = crowd_of((long, short[0], (0.12, 20, 1), *short[1:], (0.45, 1, 1)), pair(), blocks=8)
    assert answered(crowd)[-1] == (0.6, 0.6)


def test_what_may_wait_at_a_replica_waits_at_all_its_groups_together(crowd_of):
    # One sequence a group runs; three more wait at both groups together, the fourth is too many.
    rule = BatchRule(max_sequences=1, token_budget=16, block_tokens=4)
    crowd = crowd_of([(0.0, 4, 20)] * 2 + [(0.05, 4, 1)] * 4, pair(), rule=rule)
    crowd.apply(Limit(queued_per_replica=3), 0.0)
    crowd.advance(0.09)
    assert crowd.observe().queue_length == 3
    assert crowd.counters()["shed"] == 1.0


@pytest.fixture(params=[TwinCrowd, CompiledCrowd, singly])
def apart(request):
    """Return what makes a crowd of two groups that prefill and two that decode; KV is 10 B a token."""

    def made(rows, *, blocks=100):
        sends = {"kv_bytes_per_token": 10.0, "transfer_bytes_per_s": 1000.0}
        crowd = crowd_in_form(request.param, rows, None, blocks=blocks, **sends)
        for number, role in enumerate(("prefill", "decode")):
            crowd.apply(AddReplica(number, "here", role, 2, pair(), blocks), 0.0)
        return crowd

    return made


def test_each_group_sends_over_its_own_ports(apart):
    # Prompts of both groups are done at 0.1. Half of the replica's 1,000 B/s sends 80 B in 0.16 s, both at
    # once; a decode step follows each.
    assert answered(apart(((0.0, 8, 1), (0.0, 8, 1)))) == [(0.36, 0.36), (0.36, 0.36)]
    # One group's prompts go one after the other, although the other group's ports have nothing to do.
    assert answered(apart(((0.0, 8, 1), (0.11, 8, 1)))) == [(0.36, 0.36), (0.52, 0.52)]


def test_who_is_on_the_way_to_a_group_counts_there(apart):
    # At 0.25 the KV of the first is on its way to group 0, so the second goes to group 1. At 0.6 that one's
    # KV is there and waits for the pass under way, and weighs more than the first, which decodes: the third
    # goes to group 0, has blocks at 0.66, KV at 0.82 and its one token from the pass that begins at 0.86.
    rows = ((0.0, 8, 6), (0.15, 16, 2), (0.5, 8, 1))
    assert answered(apart(rows, blocks=6)) == [(0.36, 0.86), (0.76, 0.86), (0.96, 0.96)]


def test_power_is_the_sum_over_groups(crowd_of):
    # 300 W and 10 W for each sequence if all groups had as many; an empty pass is one of one sequence.
    crowd = crowd_of(((0.0, 4, 21), (0.0, 4, 11), (0.0, 4, 11)), pair())
    assert crowd.power_w(0) == 200.0
    crowd.advance(0.05)
    assert crowd.power_w(0) == 1200.0
    crowd.advance(0.5)
    assert crowd.power_w(0) == (300.0 + 10.0 * 2 * 2) + (300.0 + 10.0 * 2 * 1)
    crowd.advance(1.5)
    assert crowd.power_w(0) == 2 * 320.0
    crowd.advance(3.0)
    assert crowd.power_w(0) == 200.0
    spent = 0.1 * 1200.0 + 1.0 * 660.0 + 1.0 * 640.0 + 0.9 * 200.0
    assert crowd.energy_j() == pytest.approx(spent)


def test_a_slower_clock_holds_for_all_groups_from_the_next_pass(crowd_of):
    crowd = crowd_of(((0.0, 4, 5), (0.0, 4, 5)), pair())
    crowd.advance(0.25)
    crowd.apply(SetClock((0,), 0.5), 0.25)
    # Passes end at 0.1, 0.2, 0.3 and then last 0.2 s.
    assert answered(crowd) == [(0.1, 0.7), (0.1, 0.7)]


def test_a_lost_replica_loses_all_its_groups_in_order_of_arrival(crowd_of):
    crowd = crowd_of(((0.0, 4, 9), (0.0, 4, 9), (0.0, 4, 9)), pair())
    crowd.advance(0.25)
    seen = crowd.observe()
    assert (seen.running, seen.queue_length, seen.kv_fraction) == (3, 0, pytest.approx(4 / 100))
    crowd.apply(RemoveReplica(0, "kill"), 0.25)
    crowd.apply(AddReplica(1, "here", "mixed", 2, pair(), 100), 0.25)
    assert crowd.counters()["retried"] == 3.0
    # All three again from 0.25, by the same groups as at first.
    assert answered(crowd) == [(0.35, 1.15)] * 3


def test_a_group_counts_in_what_a_replica_sustains(crowd_of):
    """An endless queue of requests of 4 + 5 tokens, for two groups that wait for each other."""
    profile = pair(token_s=0.02, context_s=0.005, sequence_s=0.003)
    crowd = crowd_of(((0.0, 4, 5),) * 400, profile)
    crowd.advance(200.0)
    finished_s = np.sort(crowd.take_rows()["finished_s"])
    drained_per_s = (340 - 80) / (finished_s[340] - finished_s[80])
    assert crowd.stability().capacity_per_s == pytest.approx(drained_per_s, rel=0.06)


def test_groups_are_compiled_and_not_in_static_batches(crowd_of):
    rules = ServiceRules("chat", rule=RULE, attention_data_parallel=2)
    assert not_compiled(rules) == ""
    assert type(full_crowd(rules, None, expected_requests=1e9)) is CompiledCrowd
    static = BatchRule(chunked=False, keeps_blocks=False, until_done=True)
    with pytest.raises(ValueError, match="have no effect on them"):
        ServiceRules("chat", rule=static, attention_data_parallel=2)
    with pytest.raises(ValueError, match="2 attention groups on 2 GPUs, but the profile is of 1"):
        crowd_of(((0.0, 1, 1),), GivenReplica(linear_iteration(fixed_s=0.1, most_tokens=64)))
    with pytest.raises(ValueError, match="token budget is 32 over 2 groups"):
        crowd_of(((0.0, 1, 1),), GivenReplica(linear_iteration(fixed_s=0.1, most_tokens=16)))


SCENARIO = one_service(
    """
    model: qwen3-30b-a3b
    tensor_parallel: 1
    attention_data_parallel: 4
    expert_parallel: 4
    replicas: 2
    warm_start: true
    demand: {requests: 1 per s, arrivals: constant}
    lengths: {prompt_mean: 500, output_mean: 20}
    """,
    duration="60 s",
)


def test_a_scenario_may_ask_for_groups(drill):
    run = drill(SCENARIO)
    assert run.job("chat/0")["gpus"] == run.job("chat/1")["gpus"] == 4
    rows = run.sink.columns("requests")
    assert set(rows["state"]) == {"ok"}
    run.books()
    catalog = Catalog.shipped()
    engine = catalog.engine("vllm-v1")
    profile = serving_profile(
        Architecture.from_spec(catalog.model("qwen3-30b-a3b")),
        catalog.gpu("h100-sxm"),
        tensor_parallel=1,
        attention_data_parallel=4,
        expert_parallel=4,
        cpu_overhead_s=engine.cpu_overhead_s,
        cpu_overhead_per_sequence_s=engine.cpu_overhead_per_sequence_s,
        overlaps_cpu=engine.overlaps_cpu,
        most_tokens=4 * engine.token_budget,
    )
    # A prompt alone: one group's work is that of 2000 tokens spread evenly, and its experts' of 500.
    iteration, prompt = profile.roofline, int(rows["prompt_tokens"][0])
    assert iteration.experts_ps is not None
    saved_ps = int(iteration.experts_ps[4 * prompt] - iteration.experts_ps[prompt])
    even_ps = iteration.iteration_ps(4 * prompt, 4, 0, 4 * prefill_pairs(prompt))
    assert saved_ps > 0
    assert rows["ttft_s"][0] == pytest.approx((even_ps - saved_ps) / 1e12, rel=1e-9)
    assert even_ps - saved_ps > iteration.iteration_ps(prompt, 1, 0, prefill_pairs(prompt))
