"""The compiled crowd equals the twin on every request, bin and number, whatever is asked of both."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from simulator.serving import kernel
from simulator.serving.batch_rule import ENGINES
from simulator.serving.compiled_crowd import CompiledCrowd
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
from simulator.serving.crowd_arrays import CHOICES
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.routers import LeastKv, LeastOutstanding, PrefixAware, RoundRobin
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import Prefixes, RequestTable

TICK = 2.0**-20


def profiles(groups):
    """Return kinds of replica of so many attention groups."""
    spread = {"most_tokens": 64 * groups, "attention_groups": groups}
    costs = linear_iteration(
        fixed_s=1e-3, token_s=3e-5, sequence_s=1e-4, context_s=3e-5, pair_s=1e-8, **spread
    )
    # Iterations of 1/64 s whatever is in them, so that boundaries, arrivals and commands coincide often.
    even = linear_iteration(fixed_s=2.0**-6, **spread)
    if groups == 1:
        return GivenReplica(costs, prefill_w_per_token=1.5), GivenReplica(even)
    # What is remembered costs most, so that the slowest group changes; experts hide behind the host.
    shared = linear_iteration(fixed_s=1e-3, expert_token_s=1e-3, context_s=1e-3, **spread)
    hidden = replace(shared, tokens_ps=np.maximum(shared.tokens_ps, shared.tokens_ps[6 * groups]))
    return GivenReplica(shared, prefill_w_per_token=1.5), GivenReplica(even), GivenReplica(hidden)


PROFILES = {groups: profiles(groups) for groups in (1, 2, 3, 4)}


@st.composite
def prefixes(draw, count, always=False):
    """Names of what prompts begin with: paths in a small tree, or names that follow no rule; or none."""
    if not (always or draw(st.booleans())):
        return None
    paths = draw(st.lists(st.lists(st.integers(0, 1), max_size=8), min_size=count, max_size=count))
    if draw(st.booleans()):
        # A one before each path keeps the names of paths of unlike length apart.
        paths = [list(itertools.accumulate(path, "{}{}".format, initial="1"))[1:] for path in paths]
        paths = [[int(name, 2) for name in path] for path in paths]
    offsets = np.cumsum([0, *map(len, paths)])
    return Prefixes(offsets, np.array([name for path in paths for name in path], dtype=np.int64), 16)


@st.composite
def tables(draw, least=1, gap_ticks=300_000, named=False):
    count = draw(st.integers(least, 50))
    grid = draw(st.sampled_from([1, 1 << 10, 1 << 14]))
    gaps = draw(st.lists(st.integers(0, gap_ticks // grid), min_size=count, max_size=count))
    arrived_s = np.cumsum(np.array(gaps, dtype=np.int64) * grid) * TICK
    prompts = draw(st.lists(st.integers(1, 150), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    tiers = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    return RequestTable(
        arrived_s.astype(np.float64),
        np.array(prompts),
        np.array(outputs),
        np.array(tiers),
        prefixes=draw(prefixes(count, named)),
    )


@st.composite
def drafts(draw, batch):
    """Drafts that the batch's budget allows for, of any seed."""
    most = batch.token_budget // batch.max_sequences - 1
    return replace(
        batch,
        drafts=draw(st.integers(0, min(most, 5))),
        acceptance_fraction=draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])),
        draft_cost_fraction=draw(st.sampled_from([0.0, 0.05, 0.7])),
        draft_seed=draw(st.integers(0, (1 << 64) - 1)),
    )


@st.composite
def services(draw):
    engine = ENGINES[draw(st.sampled_from(["vllm-v1", "vllm-v0", "sarathi", "static"]))]
    if not engine.until_done and draw(st.booleans()):
        # Any combination of an engine's choices, not only those that somebody built.
        chosen = {name: draw(st.booleans()) for _, name in CHOICES}
        chosen["chunked"] &= not chosen["prompts_apart"]
        chosen["padded_budget"] &= not chosen["chunked"]
        engine = replace(engine, **chosen)
    batch = replace(
        engine,
        max_sequences=draw(st.integers(1, 8)),
        token_budget=draw(st.sampled_from([8, 24, 64])),
        block_tokens=draw(st.sampled_from([1, 4, 8, 16])),
        watermark_fraction=draw(st.sampled_from([0.0, 0.05])),
    )
    if not batch.until_done and draw(st.booleans()):
        batch = draw(drafts(batch))
    return ServiceRules(
        "chat",
        tiers=("gold", "plain"),
        ttft_slo_s=(1.0, 5.0),
        tpot_slo_s=draw(st.sampled_from([(math.inf, math.inf), (0.05, math.inf), (0.2, 0.02)])),
        rule=batch,
        router=draw(
            st.sampled_from([RoundRobin(), LeastOutstanding(), LeastKv(), PrefixAware(), PrefixAware(1)])
        ),
        piece_tokens=0 if batch.drafts else batch.block_tokens * draw(st.sampled_from([0, 1, 2, 4, 32])),
        retries=draw(st.integers(0, 2)),
        rows=draw(st.sampled_from([3, 1 << 16])),
        origin_s=draw(st.sampled_from([0.0, -1500.0])),
        attention_data_parallel=1 if batch.until_done else draw(st.sampled_from([1, 1, 2, 3, 4])),
        kv_bytes_per_token=100.0,
        transfer_bytes_per_s=draw(bandwidths),
    )


#: KV is 100 bytes a token. Often transfers end on the boundaries of iterations of 1/64 s, or at once.
bandwidths = st.sampled_from([1.0, 1e3, 6400.0, 1e5, 1e6, math.inf])

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


def assert_same_columns(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(values, other[name], err_msg=name)
        else:
            assert list(values) == list(other[name]), name


def assert_same_summary(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same_summary(value, other[name])
        else:
            assert value == other[name] or (math.isnan(value) and math.isnan(other[name])), name


def assert_same_books(one, other):
    assert_same_columns(one.take_rows(), other.take_rows())
    assert_same_columns(one.take_power()._asdict(), other.take_power()._asdict())
    assert_same_columns(one.take_hourly(), other.take_hourly())
    assert_same_columns(one.histogram(), other.histogram())
    assert_same_summary(one.summary(), other.summary())


class TwinAndKernel(RuleBasedStateMachine):
    """Both get the same calls in any order, and must answer alike each time."""

    roles = ("mixed",)

    @initialize(rules=services(), table=tables(), split=st.floats(0.0, 1.0))
    def begin(self, rules, table, split):
        self.crowds = (TwinCrowd(rules), CompiledCrowd(rules))
        self.groups = rules.attention_data_parallel
        self.now_s = 0.0
        self.next_id = 0
        self.present = []
        cut = int(split * len(table))
        self.later = table.rows(cut, len(table)) if 0 < cut < len(table) else None
        known_s = math.inf if self.later is None else float(table.arrived_s[cut])
        first = table if self.later is None else table.rows(0, int(np.searchsorted(table.arrived_s, known_s)))
        if self.later is not None:
            self.later = table.rows(len(first), len(table))
        self.both(lambda crowd: crowd.feed(first, known_s))

    def both(self, call):
        one, other = (call(crowd) for crowd in self.crowds)
        assert one == other, (one, other)
        return one

    @rule(
        profile=st.integers(0, 2),
        blocks=st.integers(6, 60),
        site=st.sampled_from("ab"),
        role=st.integers(0, 5),
    )
    def add(self, profile, blocks, site, role):
        gpus = 2 * self.groups
        profile = PROFILES[self.groups][profile % len(PROFILES[self.groups])]
        role = self.roles[role % len(self.roles)]
        command = AddReplica(self.next_id, site, role, gpus, profile, blocks, host_w=50.0)
        self.present.append(self.next_id)
        self.next_id += 1
        self.both(lambda crowd: crowd.apply(command, self.now_s))

    @precondition(lambda self: self.present)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["drain", "kill", "drain"]))
    def remove(self, which, how):
        name = self.present[which % len(self.present)]
        if how == "kill":
            self.present.remove(name)
        self.both(lambda crowd: crowd.apply(RemoveReplica(name, how), self.now_s))

    @precondition(lambda self: self.present)
    @rule(which=st.integers(0, 9), fraction=st.sampled_from([0.5, 0.8, 1.0]))
    def clock(self, which, fraction):
        name = self.present[which % len(self.present)]
        self.both(lambda crowd: crowd.apply(SetClock((name,), fraction), self.now_s))

    @rule(most=st.one_of(st.none(), st.integers(1, 8)), queued=st.sampled_from([None, 0, 2, 6]))
    def limit(self, most, queued):
        self.both(lambda crowd: crowd.apply(Limit(most, queued), self.now_s))

    @rule(
        most=st.one_of(st.none(), st.integers(1, 8)),
        at_once=st.integers(1, 6),
        held=st.sampled_from([None, None, 0, 2, 6]),
    )
    def hold(self, most, at_once, held):
        command = Limit(most, max_concurrency=at_once, queued_at_door=held)
        self.both(lambda crowd: crowd.apply(command, self.now_s))

    @rule(first=st.integers(0, 2), second=st.integers(0, 3))
    def weights(self, first, second):
        wanted = (("a", float(first)), ("b", float(second))) if first + second else ()
        self.both(lambda crowd: crowd.apply(SetWeights(wanted), self.now_s))

    @rule(watch=watches)
    def watch(self, watch):
        self.both(lambda crowd: crowd.apply(SetWatch(watch), self.now_s))

    @rule(span_s=st.one_of(st.integers(0, 128).map(lambda count: count / 64), st.sampled_from([9.0, 400.0])))
    def advance(self, span_s):
        until_s = self.now_s + span_s
        while True:
            stop = self.both(lambda crowd: crowd.advance(until_s))
            self.now_s = self.both(lambda crowd: crowd.now_s)
            if stop is Stop.REACHED:
                break
            if stop is Stop.WATCH:
                for event in self.both(lambda crowd: crowd.fired()):
                    if event.what == "drained":
                        self.present.remove(event.replica_id)
            elif stop is Stop.ROWS_FULL:
                assert_same_columns(*(crowd.take_rows() for crowd in self.crowds))
            else:
                self.both(lambda crowd: crowd.feed(self.later, math.inf))

    @rule()
    def look(self):
        seen = self.both(lambda crowd: crowd.observe())
        counters = self.both(lambda crowd: crowd.counters())
        assert counters["in_flight"] == seen.in_flight
        self.both(lambda crowd: crowd.next_time())
        self.both(lambda crowd: crowd.energy_j())
        self.both(lambda crowd: crowd.declared_flow_bytes_per_s())
        self.both(lambda crowd: crowd.steps()[0])

    @rule()
    def books(self):
        assert_same_books(*self.crowds)

    def teardown(self):
        if not hasattr(self, "crowds"):
            return
        self.advance(700.0)
        self.look()
        self.both(lambda crowd: crowd.close(self.now_s))
        assert_same_books(*self.crowds)


class TwinAndKernelApart(TwinAndKernel):
    """The same with prefill apart from decode: what one replica lacks, others wait for."""

    roles = ("prefill", "decode", "prefill", "decode", "mixed")

    @initialize(
        rules=services().filter(lambda rules: not rules.rule.until_done),
        table=tables(least=10, gap_ticks=60_000),
        split=st.floats(0.0, 1.0),
        fleet=st.lists(st.tuples(st.integers(0, 1), st.integers(6, 60)), min_size=2, max_size=5),
    )
    def begin(self, rules, table, split, fleet):
        super().begin(rules, table, split)
        for number, (profile, blocks) in enumerate(fleet):
            self.add(profile, blocks, "ab"[number // 2 % 2], number)
        self.advance(float(table.arrived_s[len(table) // 4]))

    @precondition(lambda self: self.present)
    @rule(
        ticks=st.integers(0, 64),
        which=st.integers(0, 9),
        how=st.sampled_from(["drain", "kill"]),
        role=st.integers(0, 5),
        blocks=st.integers(6, 60),
    )
    def exchange(self, ticks, which, how, role, blocks):
        """Lose or drain a replica in the midst of its work; another one comes."""
        self.advance(ticks / 64)
        if self.present:
            self.remove(which, how)
        self.add(which % 2, blocks, "ab"[which % 2], role)

    @rule(bytes_per_s=bandwidths)
    def bandwidth(self, bytes_per_s):
        self.both(lambda crowd: crowd.apply(SetTransferBandwidth(bytes_per_s), self.now_s))

    @rule(ticks=st.integers(0, 64))
    def step(self, ticks):
        self.advance(ticks / 64)


@st.composite
def bare_services(draw):
    """Services that ask for none of the features that the lean form of the kernel lacks."""
    rules = draw(services().filter(lambda rules: not rules.rule.until_done))
    return replace(
        rules,
        rule=replace(rules.rule, drafts=0),
        router=draw(st.sampled_from([RoundRobin(), LeastOutstanding(), LeastKv()])),
        piece_tokens=0,
        attention_data_parallel=1,
    )


class TwinAndLeanKernel(TwinAndKernel):
    """The same with what the lean form knows."""

    @initialize(rules=bare_services(), table=tables(), split=st.floats(0.0, 1.0))
    def begin(self, rules, table, split):
        super().begin(rules, table, split)
        assert not kernel.asks_for_features(self.crowds[1]._fleet.k.crowd)


@st.composite
def sharing_services(draw):
    """Services that share what prompts begin with."""
    rules = draw(services().filter(lambda rules: not rules.rule.until_done))
    batch = replace(rules.rule, drafts=0, keeps_blocks=True)
    pieces = draw(st.sampled_from([1, 2, 4]))
    return replace(rules, rule=batch, piece_tokens=batch.block_tokens * pieces)


class TwinAndKernelApartSharing(TwinAndKernelApart):
    """The same with names: a prompt has blocks on two replicas while its KV is on its way."""

    @initialize(
        rules=sharing_services(),
        table=tables(least=10, gap_ticks=60_000, named=True),
        split=st.floats(0.0, 1.0),
        fleet=st.lists(st.tuples(st.integers(0, 1), st.integers(6, 60)), min_size=2, max_size=5),
    )
    def begin(self, rules, table, split, fleet):
        super().begin(rules, table, split, fleet)


TestTwinAndKernel = TwinAndKernel.TestCase
TestTwinAndKernel.settings = settings(max_examples=150, stateful_step_count=25)
TestTwinAndLeanKernel = TwinAndLeanKernel.TestCase
TestTwinAndLeanKernel.settings = settings(max_examples=100, stateful_step_count=25)
TestTwinAndKernelApart = TwinAndKernelApart.TestCase
TestTwinAndKernelApart.settings = settings(max_examples=150, stateful_step_count=25)
TestTwinAndKernelApartSharing = TwinAndKernelApartSharing.TestCase
TestTwinAndKernelApartSharing.settings = settings(max_examples=100, stateful_step_count=25)


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine", [TwinAndKernel, TwinAndLeanKernel, TwinAndKernelApart, TwinAndKernelApartSharing]
)
def test_twin_and_kernel_at_length(machine):
    machine.TestCase.settings = settings(max_examples=1500, stateful_step_count=40)
    machine.TestCase().runTest()


def straight_or_halting(rules, table, halts):
    crowd = CompiledCrowd(rules)
    for number, site in enumerate("ab"):
        groups = rules.attention_data_parallel
        crowd.apply(AddReplica(number, site, "mixed", 2 * groups, PROFILES[groups][0], 40), 0.0)
    crowd.feed(table, math.inf)
    for at_s in [*sorted(halts), 500.0]:
        while crowd.advance(at_s) is not Stop.REACHED:
            pass
        crowd.observe()
        crowd.next_time()
    crowd.close(500.0)
    return crowd


@settings(max_examples=60)
@given(services(), tables(), st.lists(st.floats(0.0, 20.0), max_size=10))
def test_halting_in_between_changes_nothing(rules, table, halts):
    rules = replace(rules, rows=1 << 16)
    assert_same_books(straight_or_halting(rules, table, halts), straight_or_halting(rules, table, ()))


@settings(max_examples=60)
@given(bare_services(), tables(), st.lists(st.floats(0.0, 20.0), max_size=10))
def test_the_form_with_features_answers_as_the_lean_one(rules, table, halts):
    rules = replace(rules, rows=1 << 16)
    lean = straight_or_halting(rules, table, halts)
    with patch.object(kernel.events, "asks_for_features", return_value=True):
        assert_same_books(lean, straight_or_halting(rules, table, halts))
