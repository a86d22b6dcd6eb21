"""A fluid service against the same service in full, and its own bookkeeping."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulator.foundation.step_series import StepSeries
from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import (
    AddReplica,
    Limit,
    RemoveReplica,
    ServiceError,
    SetClock,
    SetTransferBandwidth,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.fluid import FluidCrowd
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.routers import LeastOutstanding
from simulator.serving.service_rules import ServiceRules
from simulator.telemetry.tables import TABLES
from simulator.workload.requests import RequestTable

HOUR_S = 3600.0


def profile_of(groups=1):
    """Return a replica; two groups share their experts and nothing else."""
    return GivenReplica(
        linear_iteration(
            fixed_s=0.02,
            token_s=5e-5 / groups,
            expert_token_s=2e-5 * (groups > 1),
            sequence_s=1e-4 / groups,
            context_s=2e-8,
            most_tokens=2048 * groups,
            attention_groups=groups,
        )
    )


PROFILE = profile_of()
RULES = ServiceRules(
    "chat",
    tiers=("gold", "plain"),
    ttft_slo_s=(0.2, 1.0),
    rule=BatchRule(max_sequences=32, token_budget=2048),
    router=LeastOutstanding(),
)


def sampled(count, seed):
    rng = np.random.default_rng(seed)
    return RequestTable(
        np.zeros(count), rng.integers(10, 600, count), rng.integers(1, 120, count), rng.integers(0, 2, count)
    )


def fluid(rates_per_s, *, replicas=2, rules=RULES, seed=0, blocks=4000, profile=PROFILE):
    hours = len(rates_per_s)
    rate = StepSeries(np.arange(hours) * HOUR_S, rates_per_s, hours * HOUR_S)
    made = FluidCrowd(rules, rate, sampled(1500, 3), np.random.default_rng(seed))
    for number in range(replicas):
        made.apply(AddReplica(number, "here", "mixed", 2, profile, blocks, host_w=100.0), 0.0)
    return made


def by_hour(hours, name):
    return np.array([hours[name][i] for i, tier in enumerate(hours["tier"]) if tier == "all"])


def in_full(rates_per_s, *, rules=RULES, profile=PROFILE):
    """Return the same service with every request, at the end of its hours."""
    full, end_s = CompiledCrowd(rules), len(rates_per_s) * HOUR_S
    for number in range(2):
        full.apply(AddReplica(number, "here", "mixed", 2, profile, 4000, host_w=100.0), 0.0)
    rng = np.random.default_rng(11)
    arrived_s = np.concatenate(
        [
            np.sort(rng.uniform(hour * HOUR_S, (hour + 1) * HOUR_S, rng.poisson(rate * HOUR_S)))
            for hour, rate in enumerate(rates_per_s)
        ]
    )
    lengths = sampled(1500, 3)
    chosen = rng.integers(0, 1500, len(arrived_s))
    full.feed(
        RequestTable(
            arrived_s, lengths.prompt_tokens[chosen], lengths.output_tokens[chosen], lengths.tier[chosen]
        ),
        math.inf,
    )
    while full.advance(end_s) is not Stop.REACHED:
        full.take_rows()
    full.close(end_s)
    return full


@pytest.mark.parametrize("groups", [1, 2])
def test_a_fluid_morning_is_like_the_same_morning_in_full(groups):
    """Loads of 0.05 to 0.7. The reference itself varies: 5 % on energy, 20 % on percentiles."""
    rates_per_s = [1.0, 6.0, 14.0]
    rules, profile = replace(RULES, attention_data_parallel=groups), profile_of(groups)
    flow = fluid(rates_per_s, rules=rules, profile=profile)
    assert flow.advance(3 * HOUR_S) is Stop.REACHED
    flow.close(3 * HOUR_S)
    full = in_full(rates_per_s, rules=rules, profile=profile)
    seen, true = flow.take_hourly(), full.take_hourly()
    for name, tolerance in (
        ("requests", 0.05),
        ("output_tokens", 0.05),
        ("power_w", 0.06),
        ("replicas", 1e-9),
        ("ttft_p50_s", 0.2),
        ("tpot_p50_s", 0.1),
        ("tpot_p99_s", 0.2),
        ("ttft_p99_s", 0.35),
    ):
        np.testing.assert_allclose(by_hour(seen, name), by_hour(true, name), rtol=tolerance, err_msg=name)
    assert flow.summary()["stability"] == full.summary()["stability"] == "stable"
    assert flow.summary()["headroom_fraction"] == pytest.approx(full.summary()["headroom_fraction"], abs=0.1)


def test_better_tiers_leave_a_backlog_first_as_they_do_in_full():
    """An hour beyond capacity and one below: gold waits for nobody, plain for a quarter of an hour.

    The flow's capacity is 5 % above what the kernel serves, a fifth of what comes beyond it.
    """
    rates_per_s = [6.0, 40.0, 0.5]
    flow, full = fluid(rates_per_s), in_full(rates_per_s)
    flow.advance(3 * HOUR_S)
    flow.close(3 * HOUR_S)
    seen, true = flow.take_hourly(), full.take_hourly()
    assert list(seen["tier"]) == list(true["tier"]) == ["all", "gold", "plain"] * 3
    np.testing.assert_allclose(seen["requests"], true["requests"], rtol=0.25)
    np.testing.assert_allclose(seen["requests"][3:6], true["requests"][3:6], rtol=0.15)
    for hour in (1, 2):
        gold, plain = 3 * hour + 1, 3 * hour + 2
        for name in ("ttft_p50_s", "ttft_p99_s"):
            assert seen[name][gold] < 0.5 > true[name][gold]
            assert seen[name][plain] == pytest.approx(true[name][plain], rel=0.25), (hour, name)
    assert seen["ttft_p99_s"][5] > 1000.0
    # Over all three hours: a quarter of those who wait came before and after.
    whole, truth = flow.summary()["tiers"], full.summary()["tiers"]
    for name in ("ttft_p50_s", "ttft_p99_s"):
        assert whole["plain"][name] == pytest.approx(truth["plain"][name], rel=0.3), name
        assert whole["gold"][name] < 0.5 > truth["gold"][name]


def test_requests_are_conserved_through_a_backlog_and_out_of_it():
    flow = fluid([8.0, 120.0, 2.0, 2.0])
    seen = []
    for hour in range(1, 5):
        flow.advance(hour * HOUR_S)
        counters = flow.counters()
        assert counters["requests_in"] == pytest.approx(
            counters["requests_out"] + counters["in_flight"], rel=1e-12
        )
        assert counters["tokens_in"] == pytest.approx(
            counters["prompt_tokens_out"] + counters["tokens_out"] + counters["tokens_in_flight"], rel=1e-12
        )
        seen.append(counters["in_flight"])
    assert seen[0] == 0.0
    assert seen[1] > 10_000
    assert 0.0 < seen[2] < seen[1]
    assert flow.counters()["requests_in"] == pytest.approx(132.0 * HOUR_S)
    hours = flow.take_hourly()
    assert by_hour(hours, "ttft_p50_s")[1] > 300.0
    assert by_hour(hours, "tpot_p50_s")[1] < 1.0
    assert flow.stability().verdict == "backlogged"


def test_demand_beyond_capacity_is_called_overload():
    flow = fluid([60.0] * 6)
    flow.advance(6 * HOUR_S)
    stability = flow.stability()
    assert stability.verdict == "overloaded"
    assert stability.headroom_fraction < 0.0
    assert not stability.stationary


def test_looking_in_between_changes_nothing():
    straight, halting = fluid([3.0, 30.0, 5.0]), fluid([3.0, 30.0, 5.0])
    straight.advance(3 * HOUR_S)
    for at_s in np.linspace(0.0, 3 * HOUR_S, 61).tolist():
        halting.advance(at_s)
        halting.observe()
    for made in (straight, halting):
        made.close(3 * HOUR_S)
    assert straight.counters() == halting.counters()
    for one, other in zip(straight.take_power(), halting.take_power(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_power_and_hours_agree_and_cover_every_replica():
    flow = fluid([2.0, 9.0])
    flow.advance(5000.0)
    flow.apply(RemoveReplica(1, "kill"), 5000.0)
    flow.advance(2 * HOUR_S)
    flow.close(2 * HOUR_S)
    power, hours = flow.take_power(), flow.take_hourly()
    span_s = power.bin_end_s - power.bin_start_s
    assert span_s[power.replica == 0].sum() == 2 * HOUR_S
    assert span_s[power.replica == 1].sum() == 5000.0
    host_j = 100.0 * (2 * HOUR_S + 5000.0)
    assert (by_hour(hours, "power_w") * HOUR_S).sum() == pytest.approx(power.energy_j.sum() + host_j)
    assert (power.max_w >= power.energy_j / span_s).all()
    assert by_hour(hours, "replicas").tolist() == pytest.approx([2.0, 1.0 + 1400.0 / 3600.0])


def test_slower_clocks_leave_less_capacity_and_draw_less():
    flow = fluid([6.0, 6.0])
    before_w, before = flow.power_w(0), flow.stability().capacity_per_s
    flow.apply(SetClock((0, 1), 0.5), 0.0)
    assert flow.power_w(0) < before_w
    assert flow.stability().capacity_per_s == pytest.approx(before / 2.0, rel=0.1)


def test_a_drained_replica_is_reported_when_its_requests_are_out():
    flow = fluid([6.0, 6.0])
    flow.advance(100.0)
    flow.apply(RemoveReplica(0, "drain"), 100.0)
    assert flow.observe().replicas_draining == 1
    due_s = flow.next_time()
    assert 100.0 < due_s < 200.0
    assert flow.advance(1000.0) is Stop.WATCH
    assert [(event.what, event.replica_id, event.at_s) for event in flow.fired()] == [("drained", 0, due_s)]
    assert flow.advance(1000.0) is Stop.REACHED
    assert flow.observe().replicas_ready == 1


def test_a_watch_fires_when_the_backlog_passes_it():
    flow = fluid([1.0, 60.0])
    flow.apply(SetWatch(Watch(60.0, queue_above=10.0)), 0.0)
    assert flow.next_time() == HOUR_S
    assert flow.advance(2 * HOUR_S) is Stop.WATCH
    assert flow.now_s == HOUR_S + 60.0
    assert flow.observe().queue_length > 20


def test_a_bound_on_the_queue_sheds_the_rest():
    flow = fluid([60.0, 1.0])
    flow.apply(Limit(queued_per_replica=50), 0.0)
    flow.advance(2 * HOUR_S)
    counters = flow.counters()
    assert counters["shed"] > 10_000
    assert counters["requests_in"] == pytest.approx(
        counters["requests_out"] + counters["in_flight"] + counters["shed"], rel=1e-12
    )


def test_requests_too_long_for_any_replica_are_shed():
    flow = fluid([2.0], blocks=20)
    flow.advance(HOUR_S)
    counters = flow.counters()
    longer = np.mean(sampled(1500, 3).prompt_tokens + sampled(1500, 3).output_tokens - 1 > 320)
    assert counters["shed"] == pytest.approx(2.0 * HOUR_S * longer, rel=0.02)


def test_without_replicas_everything_waits():
    flow = fluid([1.0], replicas=0)
    flow.advance(HOUR_S)
    assert flow.counters()["in_flight"] == pytest.approx(HOUR_S)
    assert flow.observe().mode.startswith("fluid")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SetWeights((("here", 1.0),)), "one queue for all sites"),
        (SetTransferBandwidth(1e9), "moves no KV"),
        (SetWatch(Watch(60.0, kv_above_fraction=0.9)), "no KV blocks"),
        (AddReplica(7, "here", "prefill", 2, PROFILE, 100), "part prefill from decode"),
    ],
)
def test_what_a_flow_cannot_show_is_refused(command, reason):
    with pytest.raises(ServiceError, match=reason):
        fluid([1.0], replicas=0).apply(command, 0.0)


def test_there_are_no_rows_by_request():
    flow = fluid([1.0], replicas=0)
    assert tuple(flow.take_rows()) == TABLES["requests"].names
    assert tuple(flow.take_hourly()) == TABLES["services_hourly"].names
    assert len(flow.histogram()["requests"]) == 0
    with pytest.raises(ServiceError, match="takes a rate"):
        flow.feed(sampled(1, 1), 1.0)


def test_a_promise_of_the_gap_between_tokens_is_judged_by_its_percentiles():
    """Half of all answers keep within the median gap, 99 in a hundred within the 99th percentile."""
    known = fluid([6.0])
    known.advance(HOUR_S)
    gaps = known.summary()
    for metric, share in (("tpot_p50_s", 0.5), ("tpot_p99_s", 0.99)):
        gold, plain = (gaps["tiers"][tier][metric] for tier in ("gold", "plain"))
        rules = replace(RULES, ttft_slo_s=(math.inf,) * 2, tpot_slo_s=(gold, plain))
        flow = fluid([6.0], rules=rules)
        flow.advance(HOUR_S)
        found = flow.summary()
        assert found["slo_attainment_fraction"] == pytest.approx(share, abs=1e-6)
        assert found["requests_within_slo"] == pytest.approx(share * found["requests"], rel=1e-6)


def test_two_promises_of_one_request_are_no_flow():
    with pytest.raises(ServiceError, match="which request of tier gold met both"):
        fluid([6.0], rules=replace(RULES, tpot_slo_s=(0.05, math.inf)))
