"""A flow's backlog against drops: tier by tier, first come first served, in steps of a thousandth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.fluid_backlog import Backlog

#: (requests per second that come, requests per second that are served, seconds)
STRETCHES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 3.0, 8.0]), st.sampled_from([0.0, 2.0, 4.0, 9.0]), st.integers(1, 6)
    ),
    min_size=1,
    max_size=7,
)
SHARES = st.sampled_from([(1.0,), (0.25, 0.75), (0.5, 0.3, 0.2), (0.0, 1.0), (1.0, 0.0)])
STEP_S = 1e-3


def by_drops(stretches, shares):
    """Yield (served, waiting, mean wait) by tier after each stretch; every step brings each a drop."""
    queues = [[] for _ in shares]
    at = 0
    for rate_per_s, capacity_per_s, span_s in stretches:
        served, waited = np.zeros(len(shares)), np.zeros(len(shares))
        for _ in range(round(span_s / STEP_S)):
            left = capacity_per_s * STEP_S
            for tier, (queue, share) in enumerate(zip(queues, shares, strict=True)):
                if rate_per_s * share:
                    queue.append([rate_per_s * share * STEP_S, at])
                while queue and left > 1e-12:
                    taken = min(left, queue[0][0])
                    left -= taken
                    served[tier] += taken
                    waited[tier] += taken * (at - queue[0][1]) * STEP_S
                    queue[0][0] -= taken
                    if queue[0][0] <= 1e-12:
                        queue.pop(0)
            at += 1
        waiting = np.array([sum(drop[0] for drop in queue) for queue in queues])
        yield served, waiting, np.divide(waited, served, out=np.zeros_like(served), where=served > 1e-6)


@settings(max_examples=30, deadline=None)
@given(stretches=STRETCHES, shares=SHARES)
def test_a_flow_is_its_drops(stretches, shares):
    backlog, now_s = Backlog(np.array(shares)), 0.0
    for (rate_per_s, capacity_per_s, span_s), (served, waiting, wait_s) in zip(
        stretches, by_drops(stretches, shares), strict=True
    ):
        flow = backlog.flow(rate_per_s, capacity_per_s, float(span_s))
        waits_s = backlog.go_on(now_s, now_s + span_s, flow)
        now_s += span_s
        assert flow.came == pytest.approx(rate_per_s * span_s)
        np.testing.assert_allclose(flow.served, served, atol=0.05)
        np.testing.assert_allclose(flow.waiting, waiting, atol=0.05)
        assert backlog.waiting == pytest.approx(waiting.sum(), abs=0.05)
        many = served > 0.5
        np.testing.assert_allclose(waits_s.mean(axis=1)[many], wait_s[many], atol=0.1, rtol=0.02)


@settings(max_examples=50, deadline=None)
@given(stretches=STRETCHES, shares=SHARES, most=st.sampled_from([0.0, 2.0, 10.0]))
def test_a_bound_sheds_what_comes_and_nobody_who_waits(stretches, shares, most):
    backlog = Backlog(np.array(shares))
    now_s = before = 0.0
    for rate_per_s, capacity_per_s, span_s in stretches:
        flow = backlog.flow(rate_per_s, capacity_per_s, float(span_s), most=most)
        assert flow.came == pytest.approx(flow.shed + flow.accepted.sum(), abs=1e-9)
        assert before + flow.accepted.sum() == pytest.approx(flow.served.sum() + flow.waiting.sum(), abs=1e-9)
        assert 0.0 <= flow.shed <= flow.came + 1e-9
        assert flow.waiting.sum() <= most + 1e-6
        backlog.go_on(now_s, now_s + span_s, flow)
        now_s, before = now_s + span_s, backlog.waiting


def test_the_better_tier_does_not_wait_for_the_other():
    """Two come and one and a half go a second, half of them gold: gold never waits.

    Plain gets 0.5 of its 1 a second: after 100 s fifty wait. Who came at t is served at 2 t: who is
    served last, at 100 s, waited 50 s, the middle one 25 s. Then nobody comes for 100 s: the fifty go in
    the first 33 s, the first after 50 s, the last after 33 s, the middle one (came at 75 s) after 41.7 s.
    """
    backlog = Backlog(np.array([0.5, 0.5]))
    flow = backlog.flow(2.0, 1.5, 100.0)
    waits_s = backlog.go_on(0.0, 100.0, flow)
    np.testing.assert_allclose(flow.served, [100.0, 50.0])
    np.testing.assert_allclose(flow.waiting, [0.0, 50.0])
    assert not waits_s[0].any()
    assert waits_s[1][-1] == pytest.approx(50.0, rel=0.02)
    assert np.median(waits_s[1]) == pytest.approx(25.0, rel=0.02)
    flow = backlog.flow(0.0, 1.5, 100.0)
    waits_s = backlog.go_on(100.0, 200.0, flow)
    np.testing.assert_allclose(flow.served, [0.0, 50.0])
    assert backlog.waiting == 0.0
    assert waits_s[1][[0, -1]] == pytest.approx([50.0, 33.3], rel=0.02)
    assert np.median(waits_s[1]) == pytest.approx(41.7, rel=0.01)
