"""The twin by hand: an iteration takes 0.1 s, so every moment can be counted on fingers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import (
    AddReplica,
    Fired,
    Limit,
    RemoveReplica,
    SetClock,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.routers import LeastOutstanding
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.telemetry.tables import TABLES


def moments(row):
    return tuple(round(row[name], 9) for name in ("prefill_started_s", "first_token_s", "finished_s"))


def test_one_request_prefills_in_one_iteration_and_decodes_one_token_each(crowd, rows_after):
    row = rows_after(crowd((1.0, 100, 5)), 10.0)[0]
    assert moments(row) == (1.0, 1.1, 1.5)
    assert row["ttft_s"] == pytest.approx(0.1)
    assert row["tpot_s"] == pytest.approx(0.1)
    assert row["e2e_s"] == pytest.approx(0.5)


def test_a_single_token_has_no_time_per_output_token(crowd, rows_after):
    row = rows_after(crowd((0.0, 10, 1)), 10.0)[0]
    assert moments(row) == (0.0, 0.1, 0.1)
    assert math.isnan(row["tpot_s"])


def test_an_arrival_joins_at_the_next_boundary(crowd, rows_after):
    first, second = rows_after(crowd((0.0, 10, 10), (0.25, 10, 2)), 10.0)
    assert moments(first if first["request_id"] == 1 else second) == (0.3, 0.4, 0.5)


def test_an_arrival_on_a_boundary_joins_there(crowd, rows_after):
    # 0.5 is exact in binary and a multiple of the iteration: completions, then arrivals, then one plan.
    rows = rows_after(crowd((0.0, 10, 10), (0.5, 10, 1)), 10.0)
    assert moments(rows[0]) == (0.5, 0.6, 0.6)


def test_a_long_prompt_is_cut_into_chunks_that_decodes_share(crowd, rows_after):
    rule = BatchRule(max_sequences=4, token_budget=8, watermark_fraction=0.0)
    rows = rows_after(crowd((0.0, 4, 20), (0.05, 16, 2), rule=rule), 10.0)
    # From 0.1 on 7 tokens are left beside the decode: 7 + 7 + 2 is three iterations.
    assert moments(rows[0]) == (0.1, 0.4, 0.5)
    assert moments(rows[1]) == (0.0, 0.1, 2.0)


def test_better_tiers_go_first_but_interrupt_nobody(crowd, rows_after):
    rule = BatchRule(max_sequences=1, token_budget=64)
    made = crowd(
        (0.0, 1, 3, 1), (0.01, 1, 1, 1), (0.02, 1, 1, 0),
        rule=rule, tiers=("gold", "plain"), ttft_slo_s=(1.0, 1.0),
    )  # fmt: skip
    rows = rows_after(made, 10.0)
    assert [row["request_id"] for row in rows] == [0, 2, 1]
    assert [row["tier"] for row in rows] == ["plain", "gold", "plain"]


def test_the_last_arrived_is_preempted_and_recomputes_what_it_had(crowd, rows_after):
    # Four blocks of 4 tokens. Two prompts of 4 hold 2; each decode takes a block at its first
    # step, and the next is due when 8 tokens are held: after 5 tokens each.
    rule = BatchRule(max_sequences=4, token_budget=64, block_tokens=4, watermark_fraction=0.0)
    rows = rows_after(crowd((0.0, 4, 8), (0.0, 4, 8), blocks=4, rule=rule), 10.0)
    assert [row["preemptions"] for row in rows] == [0, 1]
    # Prefill 0.1, then 4 steps to 0.5 (5 tokens each); the first runs on alone: 3 more steps.
    assert moments(rows[0]) == (0.0, 0.1, 0.8)
    # The second has 5 tokens out; 9 tokens need 3 blocks, free at 0.8; one iteration recomputes
    # them and emits the sixth token, two steps more.
    assert moments(rows[1]) == (0.0, 0.1, 1.1)


def test_a_prompt_that_is_partly_done_gives_its_blocks_back_when_preempted(crowd, rows_after):
    # Blocks of 1 token, 5 new tokens an iteration. The first decodes from 0.1 on, one block each.
    # The second takes the 8 blocks left at 0.1 for 8 tokens, does 4 of them, and loses all at 0.2.
    rule = BatchRule(max_sequences=4, token_budget=5, block_tokens=1, watermark_fraction=0.0)
    made = crowd((0.0, 2, 10), (0.05, 8, 1), blocks=11, rule=rule)
    rows = rows_after(made, 10.0)
    assert [(row["request_id"], row["preemptions"]) for row in rows] == [(0, 0), (1, 1)]
    assert moments(rows[0]) == (0.0, 0.1, 1.0)
    # It waits until 8 blocks are free again, and needs two iterations.
    assert moments(rows[1]) == (0.1, 1.2, 1.2)
    assert made.observe().kv_fraction == 0.0


def test_a_request_that_can_never_fit_is_shed_at_once(crowd, rows_after):
    rule = BatchRule(max_sequences=4, token_budget=64, block_tokens=4, watermark_fraction=0.0)
    made = crowd((0.5, 10, 8), (0.6, 9, 8), blocks=4, rule=rule)
    rows = rows_after(made, 10.0)
    assert [(row["state"], row["request_id"]) for row in rows] == [("shed", 0), ("ok", 1)]
    assert rows[0]["finished_s"] == 0.5
    assert math.isnan(rows[0]["ttft_s"])
    counters = made.counters()
    assert (counters["shed"], counters["tokens_shed"]) == (1, 18)


def test_the_watermark_keeps_admission_from_the_last_blocks(crowd, rows_after):
    rule = BatchRule(max_sequences=4, token_budget=64, block_tokens=4, watermark_fraction=0.25)
    # 2 of 4 blocks are taken and 1 must stay free: the second waits until the first is done.
    rows = rows_after(crowd((0.0, 8, 2), (0.0, 8, 2), blocks=4, rule=rule), 10.0)
    assert [moments(row)[0] for row in rows] == [0.0, 0.2]
    rows = rows_after(crowd((0.0, 8, 2), (0.0, 4, 2), blocks=4, rule=rule), 10.0)
    assert [moments(row)[0] for row in rows] == [0.0, 0.0]


def test_round_robin_takes_turns_and_least_outstanding_the_lowest_of_equals(crowd, rows_after):
    arrivals = [(0.01 * i, 1, 20 if i == 0 else 2) for i in range(4)]
    rows = rows_after(crowd(*arrivals, replicas=2), 10.0)
    assert [row["replica"] for row in sorted(rows, key=lambda row: row["request_id"])] == [0, 1, 0, 1]
    arrivals = [(0.0, 1, 50), (1.0, 1, 2), (2.0, 1, 2), (3.0, 1, 20), (3.1, 1, 2)]
    rows = rows_after(crowd(*arrivals, replicas=2, router=LeastOutstanding()), 10.0)
    assert [row["replica"] for row in sorted(rows, key=lambda row: row["request_id"])] == [0, 1, 1, 1, 0]


def test_requests_wait_in_the_lobby_until_a_replica_comes(crowd, rows_after, tenth):
    made = crowd((0.0, 1, 2), (0.5, 1, 2), replicas=0)
    made.advance(2.0)
    assert made.observe().queue_length == 2
    made.apply(AddReplica(4, "here", "mixed", 2, tenth, 100), 2.0)
    rows = rows_after(made, 10.0)
    assert [moments(row) for row in rows] == [(2.0, 2.1, 2.2)] * 2
    assert [row["replica"] for row in rows] == [4, 4]


def test_a_command_between_boundaries_acts_at_the_next_one(crowd, rows_after):
    made = crowd((0.0, 1, 11))
    made.advance(0.25)
    made.apply(SetClock((0,), 0.5), 0.25)
    # Prefill and two steps to 0.3 at full clock, eight more at half.
    assert moments(rows_after(made, 10.0)[0]) == (0.0, 0.1, 1.9)


def test_a_command_on_a_boundary_acts_at_the_one_after(crowd, rows_after):
    made = crowd((0.0, 1, 11))
    made.advance(0.5)
    made.apply(SetClock((0,), 0.5), 0.5)
    # The iteration from 0.5 to 0.6 has begun; five tokens are left after it.
    assert moments(rows_after(made, 10.0)[0]) == (0.0, 0.1, 1.6)


def test_a_killed_replica_loses_its_requests_which_begin_again_elsewhere(crowd, rows_after):
    made = crowd((0.0, 1, 20), (0.05, 1, 40), replicas=2)
    made.advance(0.5)
    made.apply(RemoveReplica(0, "kill"), 0.5)
    rows = {row["request_id"]: row for row in rows_after(made, 20.0)}
    # Replica 1 plans from 0.45 on in steps of 0.1 and admits at its next boundary.
    assert (rows[0]["state"], rows[0]["replica"], rows[0]["preemptions"]) == ("retried", 1, 1)
    assert moments(rows[0]) == (0.55, 0.65, 2.55)
    assert rows[1]["state"] == "ok"
    counters = made.counters()
    assert (counters["retried"], counters["wasted_tokens"]) == (1, 5)


def test_a_request_begun_again_on_a_boundary_waits_for_the_one_after(crowd, rows_after):
    made = crowd((0.0, 1, 20), (0.0, 1, 40), replicas=2)
    made.advance(0.5)
    made.apply(RemoveReplica(0, "kill"), 0.5)
    rows = {row["request_id"]: row for row in rows_after(made, 20.0)}
    assert moments(rows[0]) == (0.6, 0.7, 2.6)


def test_a_request_that_loses_too_many_replicas_fails(crowd, rows_after):
    made = crowd((0.0, 1, 50), replicas=3, retries=1)
    # The second turn among replicas 1 and 2 is replica 2's.
    for at_s, number in ((1.0, 0), (2.0, 2)):
        made.advance(at_s)
        made.apply(RemoveReplica(number, "kill"), at_s)
    rows = rows_after(made, 20.0)
    assert [row["state"] for row in rows] == ["failed"]
    assert made.counters()["failed"] == 1


def test_a_draining_replica_finishes_takes_nothing_new_and_says_so(crowd):
    made = crowd((0.0, 1, 10), (0.2, 1, 2), (0.4, 1, 2), replicas=2)
    made.advance(0.1)
    made.apply(RemoveReplica(0, "drain"), 0.1)
    assert made.observe().replicas_draining == 1
    assert made.next_time() <= 1.0 + 2.0**-20
    assert made.advance(10.0) is Stop.WATCH
    (event,) = made.fired()
    assert event == Fired("drained", made.now_s, 0)
    assert 1.0 < made.now_s <= 1.0 + 2.0**-19
    assert made.now_s * 2**20 == round(made.now_s * 2**20)
    assert made.advance(10.0) is Stop.REACHED
    assert made.take_rows()["replica"].tolist() == [1, 1, 0]
    assert made.next_time() == math.inf


def test_an_empty_replica_drains_at_the_next_tick(crowd):
    made = crowd(replicas=1)
    made.advance(5.0)
    made.apply(RemoveReplica(0, "drain"), 5.0)
    assert made.next_time() == 5.0 + 2.0**-20
    assert made.advance(made.next_time()) is Stop.WATCH
    assert [event.replica_id for event in made.fired()] == [0]


def test_limits_shed_what_would_wait_and_bound_batches(crowd, rows_after):
    made = crowd(*[(0.01 * i, 1, 10) for i in range(6)])
    made.apply(Limit(max_sequences=2, queued_per_replica=1), 0.0)
    rows = rows_after(made, 20.0)
    assert sorted(row["state"] for row in rows) == ["ok"] * 2 + ["shed"] * 4
    assert made.observe().running == 0


def test_site_weights_share_out_requests(tenth, requests):
    made = TwinCrowd(ServiceRules("chat"))
    for number, site in enumerate(("east", "west")):
        made.apply(AddReplica(number, site, "mixed", 1, tenth, 100), 0.0)
    made.apply(SetWeights((("east", 3.0), ("west", 1.0))), 0.0)
    made.feed(requests(*[(i, 1, 1) for i in range(8)]), math.inf)
    made.advance(20.0)
    sites = made.take_rows()["site"]
    assert sites.count("east") == 6
    assert sites.count("west") == 2


def test_power_follows_phase_and_batch_exactly(crowd):
    made = crowd((0.0, 10, 3), gpus=2)
    made.advance(300.0)
    bins = made.take_power()
    # 0.1 s of prompts at 600 W, 0.2 s of decode at 300 + 10 W, then idle at 100 W, on two GPUs.
    assert bins.energy_j.tolist() == [2 * (0.1 * 600.0 + 0.2 * 310.0 + 299.7 * 100.0)]
    assert bins.max_w.tolist() == [1200.0]
    assert made.energy_j() == bins.energy_j.sum()


def test_time_and_energy_are_metered_by_what_iterations_hold(crowd):
    # Alone to 0.1 s, decodes to 0.2, both to 0.3, decodes to 0.5, idle to the end; two GPUs.
    made = crowd((0.0, 10, 5), (0.15, 10, 2), gpus=2)
    made.advance(3600.0)
    hours = made.take_hourly()
    phases = {name: hours[name][0] for name in made.summary()["phases"]}
    assert (
        phases
        == made.summary()["phases"]
        == pytest.approx(
            {
                "prefill_s": 0.1,
                "mixed_s": 0.1,
                "decode_s": 0.3,
                "idle_s": 3599.5,
                "prefill_gpu_j": 2 * 0.1 * 600.0,
                # The iteration takes no longer with the prompt: decode watts.
                "mixed_gpu_j": 2 * 0.1 * 310.0,
                "decode_gpu_j": 2 * (0.1 * 310.0 + 0.1 * 320.0 + 0.1 * 310.0),
                "idle_gpu_j": 2 * 3599.5 * 100.0,
            }
        )
    )
    assert sum(phases[name] for name in phases if name.endswith("_j")) == pytest.approx(made.energy_j())
    tiers = [row for row, tier in enumerate(hours["tier"]) if tier != "all"]
    assert np.isnan(hours["decode_s"][tiers]).all()


def test_power_returns_to_the_batchs_own_after_a_prompt_has_joined(crowd):
    made = crowd((0.0, 10, 21), (0.55, 10, 11), gpus=1)
    # The prompt's iteration, from 0.6, takes no longer than the decode alone would: decode watts.
    levels = ((0.05, 600.0), (0.5, 310.0), (0.65, 310.0), (1.0, 320.0), (1.9, 310.0), (2.5, 100.0))
    for at_s, level_w in levels:
        made.advance(at_s)
        assert made.power_w(0) == level_w, at_s


def test_a_prompt_beside_decodes_draws_for_the_time_it_adds(crowd):
    slow_prompts = GivenReplica(
        linear_iteration(fixed_s=0.1, token_s=0.01),
        idle_power_w=100.0,
        prefill_power_w=600.0,
        decode_base_w=300.0,
        decode_w_per_sequence=10.0,
    )
    made = crowd((0.0, 1, 50), (0.6, 9, 1), profile=slow_prompts, gpus=1)
    made.advance(0.7)
    # From 0.66 to 0.86: 0.11 s that the decode alone would take at 310 W, 0.09 s at 600 W.
    assert made.power_w(0) == pytest.approx((0.11 * 310.0 + 0.09 * 600.0) / 0.2)


def test_power_bins_end_where_a_replica_does(crowd):
    made = crowd(replicas=2)
    made.advance(450.0)
    made.apply(RemoveReplica(1, "kill"), 450.0)
    made.advance(500.0)
    made.close(500.0)
    bins = made.take_power()
    spans = list(zip(bins.replica.tolist(), bins.bin_start_s.tolist(), bins.bin_end_s.tolist(), strict=True))
    assert spans == [(0, 0.0, 300.0), (1, 0.0, 300.0), (1, 300.0, 450.0), (0, 300.0, 500.0)]
    assert bins.energy_j.sum() == pytest.approx(200.0 * 950.0)


def test_hours_hold_requests_by_completion_and_mean_power(crowd):
    made = crowd((10.0, 5, 2), (3599.95, 5, 2))
    made.advance(7200.0)
    hours = made.take_hourly()
    whole = [i for i, tier in enumerate(hours["tier"]) if tier == "all"]
    assert hours["hour_start_s"][whole].tolist() == [0.0, 3600.0]
    assert hours["requests"][whole].tolist() == [1.0, 1.0]
    assert hours["replicas"][whole].tolist() == [1.0, 1.0]
    energy_j = made.take_power().energy_j.sum()
    assert hours["power_w"][whole].sum() * 3600.0 == pytest.approx(energy_j)
    assert hours["joules_per_token"][whole][0] == pytest.approx(hours["power_w"][whole][0] * 1800.0)


def test_arrivals_before_those_already_known_are_refused(requests):
    made = TwinCrowd(ServiceRules("chat"))
    made.feed(requests((1.0, 1, 1)), 2.0)
    with pytest.raises(ValueError, match=r"a request arrives at 1\.5 s, before others"):
        made.feed(requests((1.5, 1, 1)), math.inf)


def test_bins_and_hours_are_counted_from_the_origin(tenth, requests):
    made = TwinCrowd(ServiceRules("chat", origin_s=-1800.0))
    made.apply(AddReplica(0, "here", "mixed", 1, tenth, 100), 0.0)
    made.feed(requests((1.0, 1, 1), (1900.0, 1, 1)), math.inf)
    made.advance(2000.0)
    made.close(2000.0)
    hours = made.take_hourly()
    whole = [i for i, tier in enumerate(hours["tier"]) if tier == "all"]
    assert hours["hour_start_s"][whole].tolist() == [-1800.0, 1800.0]
    assert hours["replicas"][whole].tolist() == [1.0, 1.0]
    assert made.take_rows()["arrived_s"].tolist() == [1.0, 1900.0]
    assert made.take_power().bin_end_s[-1] == 2000.0


def test_unknown_arrivals_stop_the_clock_before_they_matter(requests, tenth):
    made = TwinCrowd(ServiceRules("chat"))
    made.apply(AddReplica(0, "here", "mixed", 1, tenth, 100), 0.0)
    made.feed(requests((0.0, 1, 11)), 0.5)
    assert made.advance(2.0) is Stop.ARRIVALS_EMPTY
    assert made.now_s == 0.5
    made.feed(requests((0.5, 1, 1)), math.inf)
    assert made.advance(2.0) is Stop.REACHED
    # Known late, but not too late: it joins at the boundary of its arrival.
    assert made.take_rows()["first_token_s"].tolist() == [0.6, 0.1]


def test_a_full_buffer_of_rows_asks_to_be_emptied(crowd):
    made = crowd(*[(float(i), 1, 1) for i in range(5)], rows=2)
    stops = []
    while (stop := made.advance(10.0)) is not Stop.REACHED:
        stops.append((stop, len(made.take_rows()["request_id"])))
    assert stops == [(Stop.ROWS_FULL, 2), (Stop.ROWS_FULL, 2)]


def test_a_watch_fires_on_its_period_only_when_crossed(crowd):
    made = crowd(*[(10.0, 1, 600)] * 3, rule=BatchRule(max_sequences=1, token_budget=8))
    made.apply(SetWatch(Watch(4.0, queue_above=1.0)), 0.0)
    assert made.next_time() == 12.0
    assert made.advance(100.0) is Stop.WATCH
    assert made.fired() == [Fired("watch", 12.0)]
    assert made.now_s == 12.0
    assert made.advance(100.0) is Stop.WATCH
    assert made.now_s == 16.0
    made.fired()
    made.apply(SetWatch(None), 16.0)
    assert made.advance(100.0) is Stop.REACHED


def test_a_watch_on_load_fires_when_the_replica_is_nearly_empty(crowd):
    made = crowd((0.0, 1, 55))
    made.apply(SetWatch(Watch(2.0, load_below=1.0)), 0.0)
    assert made.next_time() <= 6.0
    assert made.advance(100.0) is Stop.WATCH
    assert made.now_s == 6.0


def test_a_watch_on_load_fires_when_more_are_in_flight_though_nobody_waits(crowd):
    made = crowd((10.0, 1, 600), (10.5, 1, 600), (13.0, 1, 600))
    made.apply(SetWatch(Watch(4.0, load_above=2.0)), 0.0)
    # Three must come before it can fire: the third does at 13 s.
    assert made.next_time() == 16.0
    assert made.advance(100.0) is Stop.WATCH
    assert made.fired() == [Fired("watch", 16.0)]


def test_a_watch_on_kv_sees_it_grow_inside_a_leap(crowd):
    rule = BatchRule(max_sequences=1, token_budget=8, block_tokens=4, watermark_fraction=0.0)
    made = crowd((0.0, 1, 300), blocks=100, rule=rule)
    made.apply(SetWatch(Watch(1.0, kv_above_fraction=0.5)), 0.0)
    assert made.advance(100.0) is Stop.WATCH
    # More than 50 blocks are more than 200 tokens: 199 steps after the prompt, at 20 s.
    assert made.now_s == 20.0


def test_rows_have_the_columns_of_the_table(crowd, requests):
    made = crowd((0.0, 1, 1))
    made.advance(1.0)
    for rows in (made.take_rows(), made.take_rows()):
        assert tuple(rows) == TABLES["requests"].names
    assert tuple(made.take_hourly()) == TABLES["services_hourly"].names
    assert tuple(made.histogram()) == TABLES["latency_histogram"].names


def test_what_is_in_flight_is_counted_request_by_request(crowd):
    rule = BatchRule(max_sequences=2, token_budget=64)
    made = crowd((0.0, 7, 100), (0.0, 5, 100), (1.0, 3, 100), rule=rule)
    made.advance(1.05)
    counters = made.counters()
    assert counters["in_flight"] == 3
    assert counters["tokens_in_flight"] == 15 + 300
    # Prefilled at 0.1, so ten tokens each are out by 1.0.
    assert counters["tokens_emitted_in_flight"] == 20
    assert counters["requests_in"] == 3


def test_the_summary_speaks_by_tier(crowd):
    made = crowd(
        *[(float(i), 1, 2, i % 2) for i in range(10)], tiers=("gold", "plain"), ttft_slo_s=(0.05, 1.0)
    )
    made.advance(20.0)
    summary = made.summary()
    assert summary["requests"] == 10
    assert summary["ttft_p99_s"] == pytest.approx(0.1)
    assert summary["tiers"]["gold"]["slo_attainment_fraction"] == 0.0
    assert summary["tiers"]["plain"]["slo_attainment_fraction"] == 1.0
    assert summary["slo_attainment_fraction"] == 0.5
    assert summary["tokens_out"] == 20
    assert summary["stability"] == "stable"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (RemoveReplica(9, "kill"), "no replica 9"),
        (SetClock((0,), 1.5), r"outside \(0, 1\]"),
        (Limit(max_sequences=0), "at least 1"),
        (SetWeights((("here", -1.0),)), "0 or more"),
    ],
)
def test_impossible_commands_are_refused(crowd, command, message):
    with pytest.raises(ValueError, match=message):
        crowd().apply(command, 0.0)


def test_time_does_not_run_backwards(crowd):
    made = crowd()
    made.advance(5.0)
    with pytest.raises(ValueError, match=r"cannot advance from 5\.0 s to 4\.0 s"):
        made.advance(4.0)
    with pytest.raises(ValueError, match=r"but the crowd is at 5\.0 s"):
        made.apply(Limit(), 4.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_sequences": 0}, "at least 1"),
        ({"max_sequences": 64, "token_budget": 32}, "raise token_budget or lower max_sequences"),
        ({"watermark_fraction": 1.0}, "outside"),
    ],
)
def test_impossible_batches_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BatchRule(**settings)


def test_a_profile_that_knows_too_few_tokens_is_refused(crowd):
    with pytest.raises(ValueError, match="up to 8192 tokens, the token budget is 16384"):
        crowd(rule=BatchRule(token_budget=16384))


def test_a_run_of_decode_is_one_plan(crowd):
    # One iteration for the prompt, and twenty for the rest of the answer in one leap.
    made = crowd((0.0, 4, 21))
    made.advance(100.0)
    assert made.steps() == (21, 2)


def test_goodput_counts_requests_that_met_both_promises(crowd):
    """A prompt and each token take 0.1 s alone; two at once share iterations, so nobody waits longer."""
    made = crowd(
        *[(float(i), 1, 1 + 2 * (i % 2), i % 2) for i in range(10)],
        tiers=("gold", "plain"),
        ttft_slo_s=(1.0, 1.0),
        tpot_slo_s=(0.05, 0.05),
    )
    made.advance(20.0)
    summary = made.summary()
    # One token has no gap; three tokens come 0.1 s apart.
    assert summary["tiers"]["gold"]["slo_attainment_fraction"] == 1.0
    assert summary["tiers"]["plain"]["slo_attainment_fraction"] == 0.0
    assert summary["requests_within_slo"] == 5
    assert summary["tokens_within_slo"] == 5


def test_each_tier_has_its_own_promises(crowd):
    made = crowd(
        *[(float(i), 1, 3, i % 2) for i in range(10)],
        tiers=("gold", "plain"),
        ttft_slo_s=(math.inf, 0.05),
        tpot_slo_s=(0.5, math.inf),
    )
    made.advance(20.0)
    tiers = made.summary()["tiers"]
    assert tiers["gold"]["slo_attainment_fraction"] == 1.0
    assert tiers["plain"]["slo_attainment_fraction"] == 0.0
    assert made.summary()["tokens_within_slo"] == 15


def test_a_drain_far_into_a_run_is_looked_at_no_earlier_than_it_ends(crowd):
    """Late in a day a float has steps of several picoseconds; one rounded down is never reached."""
    late_s = 34_260.0
    ends = []
    for k in range(12):
        made = crowd(
            (late_s + 0.013_37 * k + 1e-4, 7 + k, 9 + 3 * k), rule=BatchRule(max_sequences=2, token_budget=64)
        )
        made.advance(late_s + 1.0)
        made.apply(RemoveReplica(0, "drain"), late_s + 1.0)
        due_s = made.next_time()
        for _ in range(3):
            stop = made.advance(made.next_time())
            if stop is Stop.WATCH:
                break
        ends.append(stop)
        assert due_s >= late_s
    assert ends == [Stop.WATCH] * 12
