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
from simulator.serving.crowd import AddReplica, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
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


def test_a_batch_of_constant_pace_waits_as_erlang_c_says():
    """Each of c sequences is a server where an iteration's time does not depend on the batch.

    Answers of geometric length, a thousand iterations of 1 ms in the mean, are exponential to
    0.1 %; a newcomer waits half an iteration for the boundary on average.
    """
    servers, load, iteration_s, tokens = 4, 0.7, 1e-3, 1000
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1.0 - load)
    delayed = last / (sum(terms) + last)
    expected_s = delayed * iteration_s * tokens / (servers * (1.0 - load)) + iteration_s / 2.0
    means = []
    for seed in range(RUNS):
        rng = np.random.default_rng(1000 + seed)
        arrived_s = np.cumsum(rng.exponential(iteration_s * tokens / offered, WARM_UP + MEASURED))
        outputs = rng.geometric(1.0 / tokens, len(arrived_s))
        found_s = waits_s(iteration_s=iteration_s, arrived_s=arrived_s, outputs=outputs, servers=servers)
        means.append(np.mean(found_s[WARM_UP:]))
    within_four_standard_errors(means, expected_s)


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
