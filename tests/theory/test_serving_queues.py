"""The crowd where queueing theory knows the answer.

Statistical tests compare the mean of independent runs with theory within four standard errors of
those runs: one false alarm in 16,000 each.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import BatchRule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica, Limit, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.routers import LeastOutstanding
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

RUNS = 40
WARM_UP = 500
MEASURED = 1500


def waits_s(*, iteration_s, arrived_s, outputs, servers, leap=True):
    """Return each request's wait for its first iteration, in order of arrival."""
    count = len(arrived_s)
    rule = BatchRule(max_sequences=servers, token_budget=64)
    rules = ServiceRules("queue", rule=rule)
    # The kernel, which equals the twin; the twin where single steps are asked for.
    crowd = CompiledCrowd(rules) if leap else TwinCrowd(rules, leap=False)
    profile = GivenReplica(linear_iteration(fixed_s=iteration_s, most_tokens=64))
    crowd.apply(AddReplica(0, "here", "mixed", 1, profile, 10**6), 0.0)
    ones = np.ones(count, dtype=np.int64)
    crowd.feed(RequestTable(arrived_s, ones, outputs, 0 * ones), math.inf)
    assert crowd.advance(float(arrived_s[-1]) + 10_000.0) is Stop.REACHED
    rows = crowd.take_rows()
    assert set(rows["state"]) == {"ok"}
    order = np.argsort(rows["request_id"])
    return (rows["prefill_started_s"] - rows["arrived_s"])[order]


def within_four_standard_errors(means, expected):
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    assert abs(np.mean(means) - expected) < 4.0 * error, (np.mean(means), expected, error)
    # A test that could hide a factor of 1.25 in its own noise would prove nothing.
    assert 4.0 * error < 0.25 * expected


@pytest.mark.parametrize(("load", "tokens"), [(0.5, 1), (0.8, 1), (0.7, 25)])
def test_one_at_a_time_with_constant_service_waits_as_m_d_1_says(load, tokens):
    """Mean wait of M/D/1 is rho D / (2 (1 - rho)), Pollaczek and Khinchine."""
    service_s = 1.0
    means = []
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        arrived_s = np.cumsum(rng.exponential(service_s / load, WARM_UP + MEASURED))
        outputs = np.full(len(arrived_s), tokens)
        found_s = waits_s(iteration_s=service_s / tokens, arrived_s=arrived_s, outputs=outputs, servers=1)
        means.append(np.mean(found_s[WARM_UP:]))
    within_four_standard_errors(means, load * service_s / (2.0 * (1.0 - load)))


def erlang_c(servers, load):
    """Return the share of arrivals that M/M/c delays, from the recursion of Erlang B.

    B(0) = 1, B(k) = a B(k-1) / (k + a B(k-1)); C = B / (1 - rho (1 - B)). Erlang, 1917.
    """
    offered, blocked = servers * load, 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1.0 - load * (1.0 - blocked))


def test_a_batch_of_constant_pace_waits_as_erlang_c_says():
    """Each of c sequences is a server where an iteration's time does not depend on the batch.

    Answers of geometric length, a thousand iterations of 1 ms in the mean, are exponential to
    0.1 %; a newcomer waits half an iteration for the boundary on average.
    """
    servers, load, iteration_s, tokens = 4, 0.7, 1e-3, 1000
    service_s = iteration_s * tokens
    expected_s = erlang_c(servers, load) * service_s / (servers * (1.0 - load)) + iteration_s / 2.0
    means = []
    for seed in range(RUNS):
        rng = np.random.default_rng(1000 + seed)
        arrived_s = np.cumsum(rng.exponential(service_s / (servers * load), WARM_UP + MEASURED))
        outputs = rng.geometric(1.0 / tokens, len(arrived_s))
        found_s = waits_s(iteration_s=iteration_s, arrived_s=arrived_s, outputs=outputs, servers=servers)
        means.append(np.mean(found_s[WARM_UP:]))
    within_four_standard_errors(means, expected_s)


def pool_waits_s(form, *, replicas, arrived_s, outputs, iteration_s, limit):
    """Return each request's wait for its first iteration at replicas of one sequence each, in order."""
    crowd = form(ServiceRules("pool", rule=BatchRule(max_sequences=1), router=LeastOutstanding()))
    profile = GivenReplica(linear_iteration(fixed_s=iteration_s))
    for number in range(replicas):
        crowd.apply(AddReplica(number, "here", "mixed", 1, profile, 10**6), 0.0)
    crowd.apply(limit, 0.0)
    ones = np.ones(len(arrived_s), dtype=np.int64)
    crowd.feed(RequestTable(arrived_s, ones, outputs, 0 * ones), math.inf)
    assert crowd.advance(float(arrived_s[-1]) + 10_000.0) is Stop.REACHED
    rows = crowd.take_rows()
    assert set(rows["state"]) == {"ok"}
    return (rows["prefill_started_s"] - rows["arrived_s"])[np.argsort(rows["request_id"])]


POOLS = [
    (CompiledCrowd, 2, 0.8),
    (CompiledCrowd, 4, 0.7),
    (CompiledCrowd, 16, 0.9),
    (TwinCrowd, 4, 0.7),
    pytest.param(TwinCrowd, 2, 0.8, marks=pytest.mark.slow),
    pytest.param(TwinCrowd, 16, 0.9, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("form", "replicas", "load"), POOLS)
def test_a_pool_behind_one_door_waits_as_erlang_c_says(form, replicas, load):
    """M/M/c: c replicas of one sequence each, and whoever finds all busy is held at the door.

    Answers of geometric length, 500 iterations in the mean, are exponential to 0.2 %. Erlang C
    gives the share that waits at all, and with it the mean wait, C S / (c (1 - rho)).
    """
    tokens, iteration_s = 500, 2e-3
    delayed = erlang_c(replicas, load)
    expected_s = delayed * tokens * iteration_s / (replicas * (1.0 - load))
    # The fuller the pool, the longer it takes to forget how it began.
    warm_up, measured = (500, 2500) if load < 0.85 else (3000, 12000)
    means, shares = [], []
    for seed in range(RUNS if form is CompiledCrowd else RUNS // 3):
        rng = np.random.default_rng(3000 + seed)
        gaps_s = rng.exponential(tokens * iteration_s / (replicas * load), warm_up + measured)
        arrived_s = np.cumsum(gaps_s)
        outputs = rng.geometric(1.0 / tokens, len(arrived_s))
        found_s = pool_waits_s(
            form,
            replicas=replicas,
            arrived_s=arrived_s,
            outputs=outputs,
            iteration_s=iteration_s,
            limit=Limit(max_concurrency=1),
        )[warm_up:]
        means.append(np.mean(found_s))
        shares.append(np.mean(found_s > 1e-9))
    within_four_standard_errors(means, expected_s)
    within_four_standard_errors(shares, delayed)


def test_binding_at_once_to_the_least_outstanding_waits_longer_than_erlang_c():
    """The same pool without the door: a queue at each replica, the shortest joined.

    With two servers, who joins the shorter queue waits longer than M/M/2 and at most as M/M/1
    would, each server on its own (Winston, "Optimality of the shortest line discipline", 1977:
    shorter than any other rule that binds at arrival). The same requests, so the same draws.
    """
    tokens, iteration_s, load = 500, 2e-3, 0.8
    late, early = [], []
    for seed in range(RUNS):
        rng = np.random.default_rng(4000 + seed)
        arrived_s = np.cumsum(rng.exponential(tokens * iteration_s / (2 * load), WARM_UP + MEASURED))
        draws = {
            "replicas": 2,
            "arrived_s": arrived_s,
            "outputs": rng.geometric(1.0 / tokens, len(arrived_s)),
            "iteration_s": iteration_s,
        }
        late.append(np.mean(pool_waits_s(CompiledCrowd, limit=Limit(max_concurrency=1), **draws)[WARM_UP:]))
        early.append(np.mean(pool_waits_s(CompiledCrowd, limit=Limit(), **draws)[WARM_UP:]))
    longer = np.array(early) - np.array(late)
    assert np.all(longer > 0.0)
    alone_s = load * tokens * iteration_s / (1.0 - load)
    error_s = np.std(early, ddof=1) / math.sqrt(RUNS)
    assert np.mean(early) < alone_s - 4.0 * error_s


def test_one_server_follows_lindleys_recursion_and_never_idles_beside_work():
    """W' = max(0, W + S - gap), exactly: the server works whenever somebody is there."""
    rng = np.random.default_rng(7)
    gaps = rng.integers(0, 40, 300)
    outputs = rng.integers(1, 30, 300)
    arrived_s = np.cumsum(gaps) / 16.0
    found_s = waits_s(iteration_s=1.0 / 16.0, arrived_s=arrived_s, outputs=outputs, servers=1)
    expected, wait = [], 0
    for index in range(300):
        if index:
            wait = max(0, wait + outputs[index - 1] - gaps[index])
        expected.append(wait / 16.0)
    np.testing.assert_allclose(found_s, expected, atol=1e-9)


def test_requests_in_flight_obey_littles_law():
    """The time integral of requests in flight is the sum of their times in the system."""
    rng = np.random.default_rng(3)
    arrived_s = np.cumsum(rng.exponential(0.4, 400))
    ones = np.ones(400, dtype=np.int64)
    rule = BatchRule(max_sequences=4, token_budget=64)
    crowd = TwinCrowd(ServiceRules("queue", rule=rule))
    profile = GivenReplica(linear_iteration(fixed_s=0.05, sequence_s=0.01, most_tokens=64))
    crowd.apply(AddReplica(0, "here", "mixed", 1, profile, 10**5), 0.0)
    crowd.feed(RequestTable(arrived_s, ones, rng.integers(1, 30, 400), 0 * ones), math.inf)
    step_s, area, horizon_s = 0.02, 0.0, 400.0
    for tick in range(1, round(horizon_s / step_s) + 1):
        crowd.advance(tick * step_s)
        seen = crowd.observe()
        area += step_s * (seen.queue_length + seen.running)
    assert crowd.counters()["in_flight"] == 0
    total_s = float(np.sum(crowd.take_rows()["e2e_s"]))
    # Sampling errs by at most a step at each of 400 arrivals and 400 departures.
    assert area == pytest.approx(total_s, abs=400 * 2 * step_s)
    assert area == pytest.approx(total_s, rel=0.02)
