from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulator.serving.crowd import (
    AddReplica,
    RemoveReplica,
    ServiceError,
    SetClock,
    SetWatch,
    SetWeights,
    Stop,
    Watch,
)
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.thinned import ThinnedCrowd, cells_of
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable


def poisson(rate_per_s, horizon_s, seed=1):
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate_per_s * horizon_s)
    return RequestTable(
        np.sort(rng.uniform(0.0, horizon_s, count)),
        rng.integers(1, 200, count),
        rng.integers(1, 60, count),
        rng.integers(0, 2, count),
    )


def started(made, replicas, profile, table):
    for number in range(replicas):
        made.apply(AddReplica(number, "here", "mixed", 2, profile, 500, host_w=100.0), 0.0)
    made.feed(table, math.inf)
    return made


RULES = ServiceRules("chat", tiers=("gold", "plain"), ttft_slo_s=(1.0, 2.0))


#: Two groups to a replica, whose pace is that of the one that remembers more.
PAIR = GivenReplica(
    linear_iteration(fixed_s=0.05, context_s=1e-4, token_s=1e-5, most_tokens=16384, attention_groups=2)
)


@pytest.mark.parametrize("expected", [0.0, 1e9], ids=["twin", "compiled"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_cell_answers_as_it_does_in_the_whole_service(tenth, groups, expected):
    """Round robin over n is round robin over cells and within them: request by request the same."""
    table = poisson(3.0, 600.0)
    rules, profile = replace(RULES, attention_data_parallel=groups), PAIR if groups > 1 else tenth
    full = started(TwinCrowd(rules), 8, profile, table)
    thin = started(ThinnedCrowd(rules, 8, 0.25, expected_requests=expected), 8, profile, table)
    for made in (full, thin):
        assert made.advance(700.0) is Stop.REACHED
    whole, sample = full.take_rows(), thin.take_rows()
    assert set(sample["weight"].tolist()) == {4.0}
    assert sorted(sample["request_id"]) == [i for i in range(len(table)) if i % 4 == 0]
    by_id = dict(zip(whole["request_id"].tolist(), whole["e2e_s"].tolist(), strict=True))
    assert [by_id[number] for number in sample["request_id"].tolist()] == sample["e2e_s"].tolist()


def test_requests_and_energy_stand_for_the_whole_service(tenth):
    table = poisson(4.0, 3600.0)
    full = started(TwinCrowd(RULES), 8, tenth, table)
    thin = started(ThinnedCrowd(RULES, 8, 0.5), 8, tenth, table)
    found = []
    for made in (full, thin):
        assert made.advance(3700.0) is Stop.REACHED
        made.close(3700.0)
        found.append((made.take_power(), made.take_hourly(), made.observe()))
    (power, hours, _), (thin_power, thin_hours, seen) = found
    assert sorted(set(thin_power.replica.tolist())) == list(range(8))
    # 14,000 requests, half of them seen: the mean power errs by far less than two percent.
    assert thin_power.energy_j.sum() == pytest.approx(power.energy_j.sum(), rel=0.02)
    span_s = thin_power.bin_end_s - thin_power.bin_start_s
    assert span_s.sum() == pytest.approx(8 * 3700.0)
    host_j = 8 * 100.0 * 3700.0
    whole = [i for i, tier in enumerate(thin_hours["tier"]) if tier == "all"]
    seconds = np.array([3600.0, 100.0])
    assert (thin_hours["power_w"][whole] * seconds).sum() == pytest.approx(
        thin_power.energy_j.sum() + host_j, rel=1e-9
    )
    assert thin_hours["replicas"][whole].tolist() == pytest.approx([8.0, 8.0])
    assert thin_hours["requests"].sum() == pytest.approx(hours["requests"].sum(), abs=2)
    counters = thin.counters()
    assert seen.in_flight == counters["in_flight"]
    assert counters["requests_in"] == counters["requests_out"] == 2 * len(range(0, len(table), 2))
    assert seen.mode.startswith("thinned: 1 of 2 cells")
    assert seen.replicas_ready == 8


def test_replicas_out_of_sight_draw_what_their_likes_draw(tenth):
    thin = started(ThinnedCrowd(RULES, 4, 0.5), 4, tenth, poisson(0.01, 10.0))
    thin.advance(100.0)
    assert thin.power_w(3) == thin.power_w(0) == 200.0
    thin.apply(RemoveReplica(3, "kill"), 100.0)
    thin.apply(AddReplica(9, "here", "mixed", 2, tenth, 500), 100.0)
    thin.apply(SetClock((0, 1, 2, 9), 0.5), 100.0)
    thin.advance(250.0)
    thin.close(250.0)
    power = thin.take_power()
    mirrored = [
        (name, start_s, end_s)
        for name, start_s, end_s in zip(
            power.replica.tolist(), power.bin_start_s.tolist(), power.bin_end_s.tolist(), strict=True
        )
        if name in {3, 9}
    ]
    assert mirrored == [(3, 0.0, 100.0), (9, 100.0, 250.0)]
    assert power.energy_j.sum() == pytest.approx(4 * 250.0 * 200.0, rel=0.01)


def test_a_lost_replica_of_a_simulated_cell_is_replaced_in_its_cell(tenth):
    thin = started(ThinnedCrowd(RULES, 2, 0.5), 2, tenth, poisson(1.0, 50.0))
    thin.advance(10.0)
    thin.apply(RemoveReplica(0, "kill"), 10.0)
    thin.advance(20.0)
    assert thin.observe().queue_length > 0
    thin.apply(AddReplica(5, "here", "mixed", 2, tenth, 500), 20.0)
    thin.advance(100.0)
    assert 5 in thin.take_rows()["replica"].tolist()
    assert thin.observe().in_flight == 0


@pytest.mark.parametrize(
    ("replicas", "fraction", "nearest"), [(32, 0.1, "1/8"), (7, 0.5, "1/7"), (6, 0.3, "1/3"), (5, 0.9, "1/1")]
)
def test_anything_but_whole_cells_is_refused_with_the_nearest_share(replicas, fraction, nearest):
    with pytest.raises(ServiceError, match=f"biased; the nearest good share is {nearest}"):
        cells_of("chat", replicas, fraction)


def test_shares_of_several_cells_are_cells_too():
    assert cells_of("chat", 12, 0.75) == (4, 3)
    assert cells_of("chat", 12, 1.0) == (1, 1)
    assert cells_of("chat", 12, 1 / 3) == (3, 1)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SetWatch(Watch(60.0, queue_above=1.0)), "does not scale"),
        (SetWeights((("here", 1.0),)), "tie the cells"),
        (RemoveReplica(0, "drain"), "fixed number of replicas"),
    ],
)
def test_what_ties_cells_together_is_refused(tenth, command, reason):
    thin = started(ThinnedCrowd(RULES, 2, 0.5), 2, tenth, poisson(1.0, 5.0))
    with pytest.raises(ServiceError, match=reason):
        thin.apply(command, 0.0)


def test_no_place_is_left_beyond_the_number_that_was_split(tenth):
    thin = started(ThinnedCrowd(RULES, 2, 0.5), 2, tenth, poisson(1.0, 5.0))
    with pytest.raises(ServiceError, match="all places of its 2 cells are taken"):
        thin.apply(AddReplica(2, "here", "mixed", 2, tenth, 500), 0.0)
    with pytest.raises(ServiceError, match="prefill apart from decode"):
        thin.apply(AddReplica(2, "here", "decode", 2, tenth, 500), 0.0)
