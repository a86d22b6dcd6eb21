"""Shares of links: fair, settled, and never worse for being alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.network.sharing import STEADY, Flow, StepCurve, max_min_shares, whole_share
from simulator.network.sharing import settle_shares as settle_jobs


def talker(compute_s: float, talk_s: float) -> StepCurve:
    """Step time of a job that computes, then talks."""
    return StepCurve(lambda share: compute_s + talk_s / share)


def settle_shares(flows, capacities, curves):
    """Shares of jobs with one exchange each."""
    return [shares[0] for shares in settle_jobs([[flow] for flow in flows], capacities, curves)]


def one_link(key: str, peak: float, talk_s: float) -> Flow:
    return Flow(key, (0,), (peak * talk_s,), (peak,))


def test_alone_on_a_wide_link_nobody_waits():
    assert settle_shares([one_link("a", 10.0, 1.0)], [10.0], [talker(1, 1)]) == [1.0]


def test_alone_on_a_narrow_link_the_link_is_the_limit():
    assert settle_shares([one_link("a", 10.0, 1.0)], [4.0], [talker(1, 1)]) == [pytest.approx(0.4)]


def test_two_that_only_talk_get_half_each():
    flows = [one_link("a", 10.0, 1.0), one_link("b", 10.0, 1.0)]
    assert settle_shares(flows, [10.0], [talker(0, 1)] * 2) == pytest.approx([0.5, 0.5], rel=1e-5)


def test_two_that_talk_half_the_time_settle_where_the_algebra_says():
    """Each leaves 1 - s / (1 + s) ... s solves s = 1 - 1 / (1 + 1 / s), the golden ratio less 1."""
    flows = [one_link("a", 1.0, 1.0), one_link("b", 1.0, 1.0)]
    golden = (5**0.5 - 1) / 2
    assert settle_shares(flows, [1.0], [talker(1, 1)] * 2) == pytest.approx([golden] * 2, rel=1e-5)


def test_a_job_inside_a_leaf_keeps_its_ports():
    inside = Flow("in", (), (), ())
    flows = [inside, one_link("a", 10.0, 1.0)]
    assert settle_shares(flows, [5.0], [talker(1, 0), talker(1, 1)])[0] == 1.0


def test_broken_ports_bound_the_share():
    flow = Flow("a", (0,), (10.0,), (10.0,), port_share=7 / 8)
    assert settle_shares([flow], [100.0], [talker(1, 1)]) == [7 / 8]


def test_a_service_and_a_job_that_together_want_too_much_lose_alike():
    service = Flow.steady("kv", (0,), 3.0)
    shares = settle_shares([service, one_link("a", 10.0, 1.0)], [10.0], [STEADY, talker(0, 1)])
    assert shares == pytest.approx([10 / 13] * 2, rel=1e-5)


def test_a_service_leaves_a_quiet_job_the_rest():
    service = Flow.steady("kv", (0,), 3.0)
    shares = settle_shares([service, one_link("a", 10.0, 0.1)], [10.0], [STEADY, talker(10, 0.1)])
    assert shares == pytest.approx([1.0, 0.769], abs=1e-3)


def test_columns_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match="2 links, 1 loads"):
        Flow("a", (0, 1), (1.0,), (1.0, 1.0))


systems = st.lists(
    st.tuples(
        st.sets(st.integers(0, 4), min_size=1, max_size=3),
        st.floats(0.1, 10.0),
        st.floats(0.0, 2.0),
        st.floats(0.1, 2.0),
    ),
    min_size=1,
    max_size=6,
)


def build(system):
    flows, steps = [], []
    for number, (links, peak, compute_s, talk_s) in enumerate(system):
        where = tuple(sorted(links))
        flows.append(Flow(str(number), where, (peak * talk_s,) * len(where), (peak,) * len(where)))
        steps.append(talker(compute_s, talk_s))
    return flows, steps


@given(systems, st.floats(0.5, 20.0))
def test_settled_shares_overload_no_link(system, capacity):
    flows, steps = build(system)
    shares = settle_shares(flows, [capacity] * 5, steps)
    load = [0.0] * 5
    for flow, share, step in zip(flows, shares, steps, strict=True):
        assert 0.0 < share <= 1.0
        for link, size in zip(flow.links, flow.bytes_per_step, strict=True):
            load[link] += size / step(share)
    assert max(load) <= capacity * 1.001


@given(systems, st.floats(0.5, 20.0))
def test_more_bandwidth_everywhere_starves_nobody(system, capacity):
    flows, _ = build(system)
    narrow = max_min_shares(flows, [capacity] * 5)
    wide = max_min_shares(flows, [2 * capacity] * 5)
    assert min(wide) >= min(narrow) - 1e-9


@given(systems, st.floats(0.5, 20.0))
def test_no_share_is_below_its_fair_part(system, capacity):
    flows, steps = build(system)
    fair = max_min_shares(flows, [capacity] * 5)
    settled = settle_shares(flows, [capacity] * 5, steps)
    assert all(got >= part - 1e-6 for got, part in zip(settled, fair, strict=True))


def test_only_the_exchange_that_crosses_a_full_link_slows():
    """One job, two exchanges of a second each: one stays near, one gets half of a link alone."""
    near = Flow("a", (), (), (), kind="pipeline")
    far = Flow("a", (0,), (10.0,), (10.0,), kind="data-parallel")
    (shares,) = settle_jobs([[near, far]], [5.0], [talker(1, 2)])
    assert shares == pytest.approx([1.0, 0.5], rel=1e-6)
    # Two seconds of talk become three.
    assert whole_share([near, far], shares) == pytest.approx(2 / 3, rel=1e-6)


def test_a_step_time_that_hides_talk_up_to_a_point_is_read_between_the_points_it_was_asked_at():
    curve = StepCurve(lambda share: 1.0 + max(0.0, 1.0 / share - 2.0))
    for share in (1.0, 0.9, 0.6, 0.25, 0.01, 1e-5):
        assert curve(share) == pytest.approx(1.0 + max(0.0, 1.0 / share - 2.0), rel=0.01)
