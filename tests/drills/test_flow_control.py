"""Drill: requests held at the door go late to the first replica with room; every moment counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.foundation.errors import BuildError
from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica, Limit, RemoveReplica, ServiceError, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.routers import LeastOutstanding
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable
from tests.drills.test_admission import SCENARIO

#: Every iteration takes a second, so that a request takes as many seconds as it has output tokens.
SECOND = GivenReplica(linear_iteration(fixed_s=1.0, most_tokens=64))
RULE = BatchRule(max_sequences=1, token_budget=64, block_tokens=16, watermark_fraction=0.0)

#: Arrival, output tokens, tier. Two replicas are busy until 10 and until 2; then two more come.
REQUESTS = ((0.0, 10, 1), (0.0, 2, 1), (1.0, 3, 1), (1.5, 1, 0))


def crowd_of(form, requests, *, replicas=2, blocks=1000, **limit):
    rules = ServiceRules(
        "chat", tiers=("gold", "plain"), ttft_slo_s=(math.inf,) * 2, rule=RULE, router=LeastOutstanding()
    )
    crowd = form(rules)
    for number in range(replicas):
        crowd.apply(AddReplica(number, "here", "mixed", 1, SECOND, blocks), 0.0)
    crowd.apply(Limit(**limit), 0.0)
    arrived, outputs, tiers = map(np.array, zip(*requests, strict=True))
    ones = np.ones(len(arrived), np.int64)
    crowd.feed(RequestTable(arrived.astype(np.float64), ones, outputs, tiers), math.inf)
    return crowd


def begun_s(crowd, until_s=60.0):
    """Return when each request's first iteration begins; -1 for those turned away."""
    assert crowd.advance(until_s) is Stop.REACHED
    rows = crowd.take_rows()
    begun = dict(zip(rows["request_id"].tolist(), rows["prefill_started_s"].tolist(), strict=True))
    return [-1.0 if math.isnan(begun[number]) else begun[number] for number in sorted(begun)]


forms = pytest.mark.parametrize("form", [TwinCrowd, CompiledCrowd])


@forms
def test_bound_at_once_a_request_waits_behind_whoever_is_there(form):
    # Both have one in flight at 1, so the third goes to the first replica and waits until 10.
    assert begun_s(crowd_of(form, REQUESTS)) == [0.0, 0.0, 10.0, 2.0]


@forms
def test_bound_late_it_goes_to_the_first_that_has_room(form):
    # The second replica is free at 2: gold goes before plain although it came later, plain at 3.
    assert begun_s(crowd_of(form, REQUESTS, max_concurrency=1)) == [0.0, 0.0, 3.0, 2.0]


@forms
def test_a_place_beside_the_one_that_runs_is_taken_at_once(form):
    # Two in flight at each: the third waits at the first replica, gold at the second.
    assert begun_s(crowd_of(form, REQUESTS, max_concurrency=2)) == [0.0, 0.0, 10.0, 2.0]


@forms
def test_whoever_finds_the_door_full_is_turned_away(form):
    crowd = crowd_of(form, REQUESTS, max_concurrency=1, queued_at_door=1)
    assert begun_s(crowd) == [0.0, 0.0, 2.0, -1.0]
    assert crowd.counters()["shed"] == 1


@forms
def test_whoever_fits_nowhere_is_turned_away_when_its_turn_comes(form):
    # 1 + 40 - 1 tokens do not fit two blocks of 16; the one behind it goes at the same moment.
    crowd = crowd_of(form, ((0.0, 5, 1), (1.0, 40, 1), (2.0, 1, 1)), replicas=1, blocks=2, max_concurrency=1)
    assert begun_s(crowd) == [0.0, -1.0, 5.0]


@forms
def test_those_who_are_held_are_seen_and_a_newcomer_takes_the_first(form):
    crowd = crowd_of(form, REQUESTS, max_concurrency=1)
    crowd.advance(1.75)
    seen = crowd.observe()
    assert (seen.queue_length, seen.running, seen.in_flight) == (2, 2, 4)
    crowd.apply(AddReplica(2, "here", "mixed", 1, SECOND, 1000), 1.75)
    assert begun_s(crowd) == [0.0, 0.0, 2.0, 1.75]


@forms
def test_what_a_lost_replica_held_goes_first_in_its_tier(form):
    # The long one loses its replica at 1.75. Gold goes when the other ends at 2, the long one when gold
    # does at 3, and then the third, which never had a replica, at 13.
    crowd = crowd_of(form, REQUESTS, max_concurrency=1)
    crowd.advance(1.75)
    crowd.apply(RemoveReplica(0, "kill"), 1.75)
    assert begun_s(crowd) == [3.0, 0.0, 13.0, 2.0]


@forms
def test_those_that_several_lost_replicas_held_go_as_they_came(form):
    # Three replicas of one request each; the third and the second are lost, in this order.
    crowd = crowd_of(form, [(0.0, 2, 1)] * 6, replicas=3, max_concurrency=1)
    crowd.advance(1.25)
    for number in (2, 1):
        crowd.apply(RemoveReplica(number, "kill"), 1.25)
    # The first replica has the first until 2, then those two, then those that were held: 2 s each.
    assert begun_s(crowd) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


@forms
def test_a_wider_limit_lets_them_in_at_once_and_none_binds_them(form):
    crowd = crowd_of(form, REQUESTS, max_concurrency=1)
    crowd.advance(1.75)
    crowd.apply(Limit(), 1.75)
    assert crowd.observe().in_flight == 4
    # Gold is dealt first, to the first replica of equals; plain to the second.
    assert begun_s(crowd) == [0.0, 0.0, 2.0, 10.0]


@forms
def test_a_prefill_replica_has_room_again_when_its_kv_is_sent(form):
    """Prompts of 10 tokens take one iteration of 1 s and 2 s on the way, at 1 B a token and 5 B/s."""
    rules = ServiceRules("chat", rule=RULE, kv_bytes_per_token=1.0, transfer_bytes_per_s=5.0)
    crowd = form(rules)
    for number, role in enumerate(("prefill", "decode")):
        crowd.apply(AddReplica(number, "here", role, 1, SECOND, 1000), 0.0)
    crowd.apply(Limit(max_concurrency=1), 0.0)
    ten, ones = np.full(2, 10), np.ones(2, np.int64)
    crowd.feed(RequestTable(np.zeros(2), ten, ones, 0 * ones), math.inf)
    # One whose KV is on its way stands at two replicas and counts once.
    for at_s, expected in ((2.0, 2), (3.5, 2), (4.5, 1)):
        crowd.advance(at_s)
        assert crowd.observe().in_flight == crowd.counters()["in_flight"] == expected
    assert begun_s(crowd) == [0.0, 3.0]
    assert crowd.observe().in_flight == 0


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"max_concurrency": 0}, "at least 1"),
        ({"queued_at_door": 3}, "nobody is held"),
        ({"max_concurrency": 1, "queued_per_replica": 1}, "not with queued_per_replica"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limit, said):
    with pytest.raises(ValueError, match=said):
        Limit(**limit)


def test_the_cells_of_a_sample_have_no_door_together():
    sample = TwinCrowd(ServiceRules("chat", cells=4, simulated_cells=1, weight=4.0))
    with pytest.raises(ServiceError, match="ties the cells"):
        sample.apply(Limit(max_concurrency=1), 0.0)


def test_in_a_scenario_one_replica_serves_as_from_a_queue_of_its_own(drill):
    """A door before one replica of one place is the replica's queue, bound and all."""
    held = drill(
        SCENARIO, "workloads.chat.admission.max_concurrency=1", "workloads.chat.admission.queued_at_door=2"
    )
    queued = drill(SCENARIO, "workloads.chat.admission.queued_per_replica=2")
    one, other = (run.record.services[0].counters for run in (held, queued))
    assert one == other
    assert one["shed"] > 80
    started = [np.asarray(run.sink.columns("requests")["prefill_started_s"]) for run in (held, queued)]
    np.testing.assert_array_equal(*started)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (("queued_at_door=2",), "queued_at_door has no effect"),
        (("queued_per_replica=2", "max_concurrency=2"), "queued_per_replica is not a bound of its own"),
    ],
)
def test_a_scenario_is_told_what_has_no_effect(drill, said, answer):
    with pytest.raises(Exception, match=answer):
        drill(SCENARIO, *(f"workloads.chat.admission.{entry}" for entry in said))


@pytest.mark.parametrize("mode", ["fluid", "thinned"])
def test_a_scenario_is_told_that_other_modes_have_no_door(drill, mode):
    more = ["workloads.chat.thin=1/10"] if mode == "thinned" else []
    with pytest.raises(BuildError, match=f"which a {mode} service does not have; use mode full"):
        drill(SCENARIO, "workloads.chat.admission.max_concurrency=2", f"workloads.chat.mode={mode}", *more)
