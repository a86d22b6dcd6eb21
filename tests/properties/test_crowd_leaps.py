"""Leaping over pure decode changes nothing, and neither does looking in between."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.batch_rule import ENGINES, batch_rule
from simulator.serving.crowd import (
    AddReplica,
    Limit,
    RemoveReplica,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.fleet import Fleet
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.lockstep import LockstepReplica
from simulator.serving.replica_costs import ReplicaCosts
from simulator.serving.routers import LeastOutstanding, RoundRobin
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

TICK = 2.0**-20

#: Every engine, and some that draft.
DRAFTING = ["sarathi+2", "vllm-v0+3", "vllm-v1+3"]
KINDS = sorted(ENGINES) + DRAFTING

PROFILE = GivenReplica(
    linear_iteration(
        fixed_s=1e-3, token_s=3e-5, sequence_s=1e-4, context_s=3e-5, pair_s=1e-8, most_tokens=224
    )
)
#: Iterations of 1/64 s whatever is in them, so that boundaries, arrivals and commands coincide often.
ROUND_PROFILE = GivenReplica(linear_iteration(fixed_s=2.0**-6, most_tokens=224))


@st.composite
def workloads(draw):
    """Requests, and a profile; every other time arrivals lie on the boundaries of iterations."""
    count = draw(st.integers(1, 40))
    even = draw(st.booleans())
    grid = 1 << 14 if even else draw(st.sampled_from([1, 1 << 10]))
    gaps = draw(st.lists(st.integers(0, 400_000 // grid), min_size=count, max_size=count))
    arrived = np.cumsum(np.array(gaps, dtype=np.int64) * grid) * TICK
    prompts = draw(st.lists(st.integers(1, 150), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    tiers = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    table = RequestTable(arrived.astype(np.float64), np.array(prompts), np.array(outputs), np.array(tiers))
    return table, ROUND_PROFILE if even else PROFILE


watches = st.one_of(
    st.none(),
    st.builds(
        Watch,
        st.sampled_from([1.0, 2.0]),
        st.sampled_from([0.0, 1.0, math.inf]),
        st.sampled_from([0.0, 1.0, 3.0]),
        st.sampled_from([0.0, 2.0, math.inf, math.inf]),
        st.sampled_from([0.5, 0.9, math.inf, math.inf]),
    ),
)

#: Often on the boundaries of `ROUND_PROFILE`'s iterations, which last 1/64 s.
moments = st.one_of(
    st.integers(0, 5 * 64).map(lambda count: count / 64),
    st.integers(0, 5 << 20).map(lambda ticks: ticks * TICK),
)

commands = st.lists(
    st.tuples(
        moments,
        st.one_of(
            st.tuples(st.just("add"), st.integers(2, 4), st.sampled_from(["a", "b"])),
            st.tuples(st.just("remove"), st.integers(0, 3), st.sampled_from(["drain", "kill"])),
            st.tuples(st.just("clock"), st.integers(0, 3), st.sampled_from([0.5, 0.8, 1.0])),
            st.tuples(st.just("limit"), st.integers(1, 8), st.sampled_from([None, 2, 6])),
            st.tuples(st.just("weights"), st.integers(0, 2), st.integers(1, 3)),
            st.tuples(st.just("bandwidth"), st.sampled_from([1e3, 1e6]), st.just(0)),
        ),
    ),
    max_size=8,
).map(lambda found: sorted(found, key=lambda entry: entry[0]))


def engine_run(
    workload,
    script,
    *,
    leap,
    watch=None,
    looks=(),
    blocks=24,
    router=None,
    roles=("mixed", "mixed"),
    engine="vllm-v1",
    groups=1,
    gpus=2,
):
    """Drive a crowd as an engine does; return everything that comes out, and what fired when."""
    table, profile = workload
    engine, _, drafts = engine.partition("+")
    guesses = {"drafts": int(drafts or 0), "acceptance_fraction": 0.6, "draft_cost_fraction": 0.1}
    # Engines that do not cut prompts get room for the longest.
    budget = 64 if ENGINES[engine].chunked else 224
    rule = batch_rule(
        engine,
        max_sequences=6,
        token_budget=budget,
        block_tokens=8,
        watermark_fraction=0.05,
        **(guesses if drafts else {}),
    )
    rules = ServiceRules(
        "chat",
        tiers=("gold", "plain"),
        ttft_slo_s=(1.0, 5.0),
        rule=rule,
        router=router or RoundRobin(),
        kv_bytes_per_token=100.0,
        transfer_bytes_per_s=1e5,
        retries=2,
        attention_data_parallel=groups,
    )
    crowd = TwinCrowd(rules, leap=leap)
    for number, role in enumerate(roles):
        crowd.apply(AddReplica(number, "ab"[number % 2], role, gpus, profile, blocks, host_w=50.0), 0.0)
    crowd.apply(SetWatch(watch), 0.0)
    crowd.feed(table, math.inf)
    present, fired = set(range(len(roles))), []

    def go(until_s):
        while (stop := crowd.advance(until_s)) is not Stop.REACHED:
            assert stop is Stop.WATCH
            for event in crowd.fired():
                fired.append(event)
                if event.what == "drained":
                    present.discard(event.replica_id)

    stops = [(at, 1, what) for at, what in script] + [(at, 0, None) for at in looks]
    stops.sort(key=lambda entry: entry[:2])
    for at_s, _, what in stops:
        go(at_s)
        if what is None:
            seen = crowd.observe()
            assert 0.0 <= seen.kv_fraction <= 1.0
            counted = seen.queue_length + seen.running + seen.transferring
            assert seen.in_flight == counted == crowd.counters()["in_flight"]
            assert crowd.next_time() > at_s
            continue
        kind, first, second = what
        if kind == "add" and first not in present:
            role = "mixed" if roles[0] == "mixed" else ("decode" if first % 2 else "prefill")
            crowd.apply(AddReplica(first, second, role, gpus, profile, blocks, host_w=50.0), at_s)
            present.add(first)
        elif kind == "remove" and first in present:
            crowd.apply(RemoveReplica(first, second), at_s)
            if second == "kill":
                present.discard(first)
        elif kind == "clock" and first in present:
            crowd.apply(SetClock((first,), second), at_s)
        elif kind == "limit":
            crowd.apply(Limit(first, second), at_s)
        elif kind == "weights":
            crowd.apply(SetWeights((("a", float(first)), ("b", float(second)))), at_s)
        elif kind == "bandwidth":
            crowd.apply(SetTransferBandwidth(first), at_s)
    go(400.0)
    found = {"counters": crowd.counters(), "fired": fired, "flow": crowd.declared_flow_bytes_per_s()}
    crowd.close(400.0)
    found["rows"] = crowd.take_rows()
    found["power"] = crowd.take_power()._asdict()
    found["hourly"] = crowd.take_hourly()
    found["histogram"] = crowd.histogram()
    found["iterations"] = crowd.steps()[0]
    return found


def assert_same(one, other):
    assert one["counters"] == other["counters"]
    assert one["fired"] == other["fired"]
    assert one["iterations"] == other["iterations"]
    for table in ("rows", "power", "hourly", "histogram"):
        assert one[table].keys() == other[table].keys()
        for name, values in one[table].items():
            if isinstance(values, list):
                assert values == other[table][name], name
            else:
                np.testing.assert_array_equal(values, other[table][name], err_msg=name)


def assert_conserved(found):
    counters = found["counters"]
    ends = counters["requests_out"] + counters["in_flight"] + counters["shed"] + counters["failed"]
    assert counters["requests_in"] == ends
    tokens = ("prompt_tokens_out", "tokens_out", "tokens_in_flight", "tokens_shed", "tokens_failed")
    assert counters["tokens_in"] == sum(counters[name] for name in tokens)
    assert len(found["rows"]["request_id"]) == ends - counters["in_flight"]
    assert len(set(found["rows"]["request_id"].tolist())) == len(found["rows"]["request_id"])


@settings(max_examples=250)
@given(
    st.sampled_from(KINDS),
    workloads(),
    commands,
    watches,
    st.sampled_from([RoundRobin(), LeastOutstanding()]),
    st.integers(20, 60),
)
def test_leaping_equals_stepping_one_iteration_at_a_time(engine, workload, script, watch, router, blocks):
    setting = {"engine": engine, "watch": watch, "router": router, "blocks": blocks}
    leaps = engine_run(workload, script, leap=True, **setting)
    steps = engine_run(workload, script, leap=False, **setting)
    assert_same(leaps, steps)
    assert_conserved(leaps)


@settings(max_examples=80)
@given(
    st.sampled_from([kind for kind in KINDS if kind != "static"]), workloads(), commands, st.integers(20, 60)
)
def test_leaping_equals_stepping_with_prefill_apart_from_decode(engine, workload, script, blocks):
    setting = {"engine": engine, "roles": ("prefill", "decode"), "blocks": blocks}
    leaps = engine_run(workload, script, leap=True, **setting)
    steps = engine_run(workload, script, leap=False, **setting)
    assert_same(leaps, steps)
    assert leaps["flow"] == steps["flow"]
    assert_conserved(leaps)


@settings(max_examples=80)
@given(st.sampled_from(KINDS), workloads(), commands, watches, st.lists(moments, max_size=12))
def test_looking_in_between_changes_nothing(engine, workload, script, watch, looks):
    straight = engine_run(workload, script, engine=engine, leap=True, watch=watch)
    halting = engine_run(workload, script, engine=engine, leap=True, watch=watch, looks=looks)
    assert_same(straight, halting)


# attention groups that advance together

#: Engines that may have attention groups.
IN_STEP = [kind for kind in KINDS if kind != "static"]


def profile_of(groups):
    """Return a profile in which a group's own context, tokens and prompts count, and everybody's tokens."""
    return GivenReplica(
        linear_iteration(
            fixed_s=1e-3,
            token_s=3e-5,
            sequence_s=1e-4,
            context_s=3e-5,
            pair_s=1e-8,
            most_tokens=224 * groups,
            attention_groups=groups,
            expert_token_s=2e-5,
        )
    )


def grouped(workload, groups):
    """Return the workload with groups in its profile."""
    table, profile = workload
    if profile is ROUND_PROFILE:
        iteration = linear_iteration(
            fixed_s=2.0**-6, most_tokens=224 * groups, attention_groups=groups, expert_token_s=0.0
        )
        return table, GivenReplica(iteration)
    return table, profile_of(groups)


@settings(max_examples=120)
@given(st.sampled_from(IN_STEP), st.integers(2, 3), workloads(), commands, watches, st.integers(20, 60))
def test_leaping_groups_equal_groups_that_step(engine, groups, workload, script, watch, blocks):
    setting = {"engine": engine, "groups": groups, "watch": watch, "blocks": blocks}
    setting["gpus"] = 2 * groups
    leaps = engine_run(grouped(workload, groups), script, leap=True, **setting)
    steps = engine_run(grouped(workload, groups), script, leap=False, **setting)
    assert_same(leaps, steps)
    assert_conserved(leaps)


@settings(max_examples=60)
@given(st.sampled_from(IN_STEP), workloads(), commands, st.integers(20, 60))
def test_leaping_groups_equal_steps_with_prefill_apart_from_decode(engine, workload, script, blocks):
    setting = {"engine": engine, "groups": 2, "roles": ("prefill", "decode"), "blocks": blocks}
    leaps = engine_run(grouped(workload, 2), script, leap=True, **setting)
    steps = engine_run(grouped(workload, 2), script, leap=False, **setting)
    assert_same(leaps, steps)
    assert leaps["flow"] == steps["flow"]
    assert_conserved(leaps)


@settings(max_examples=60)
@given(st.sampled_from(IN_STEP), workloads(), commands, watches, st.lists(moments, max_size=12))
def test_looking_at_groups_in_between_changes_nothing(engine, workload, script, watch, looks):
    setting = {"engine": engine, "groups": 2, "watch": watch, "router": LeastOutstanding()}
    straight = engine_run(grouped(workload, 2), script, leap=True, **setting)
    halting = engine_run(grouped(workload, 2), script, leap=True, looks=looks, **setting)
    assert_same(straight, halting)


class OneGroup(Fleet):
    """A fleet whose every replica is made of groups, of which there is one."""

    def add(self, command, max_sequences, at_ps):
        slot = super().add(command, max_sequences, at_ps)
        plain = self._replicas[slot]

        def make(meter):
            arguments = {
                "role": plain.role,
                "costs": plain.costs,
                "kv_blocks": plain.blocks,
                "rule": plain.rule,
                "tiers": len(plain.waiting.tiers),
                "meter": meter,
                "leap": self._leap,
            }
            return type(plain)(plain.replica_id, plain.site, **arguments)

        replica = self._replicas[slot] = LockstepReplica(make, plain.meter)
        replica.max_sequences = max_sequences
        return slot


@settings(max_examples=80)
@given(
    st.sampled_from(KINDS),
    workloads(),
    commands,
    watches,
    st.booleans(),
    st.integers(20, 60),
)
def test_one_group_is_a_plain_replica(engine, workload, script, watch, apart, blocks):
    roles = ("prefill", "decode") if apart and engine != "static" else ("mixed", "mixed")
    setting = {"engine": engine, "watch": watch, "blocks": blocks, "roles": roles, "leap": True}
    plain = engine_run(workload, script, **setting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.serving.twin.Fleet", OneGroup)
        one = engine_run(workload, script, **setting)
    assert_same(plain, one)
    assert plain["flow"] == one["flow"]


@given(st.integers(1, 4), st.integers(0, 40), st.integers(0, 400), st.integers(0, 30))
def test_groups_that_are_equally_busy_take_what_the_profile_says(groups, decodes, context, prompt):
    profile = profile_of(groups)
    costs = ReplicaCosts(profile, groups)
    chunks = [(prompt, 5)] if prompt else []
    tokens = decodes + prompt
    alone = costs.iteration_ps(decodes, context, chunks)
    found = costs.beside_ps(alone, tokens, groups * tokens)
    pairs = [(prompt, 5)] * groups if prompt else []
    whole = profile.iteration.step_ps(groups * decodes, groups * context, pairs)
    # The pairs are rounded down once instead of once a group.
    assert found == pytest.approx(whole, abs=groups)
    # Fewer tokens elsewhere leave the experts less to do, and never make the step longer.
    assert costs.beside_ps(alone, tokens, tokens) <= found
