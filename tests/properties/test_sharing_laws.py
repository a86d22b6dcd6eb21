"""Laws of shared links: the compiled settling is the plain one, and nobody gets what is not there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.network import sharing
from simulator.network.settling import settle
from simulator.network.sharing import SLOWNESSES, Flow, StepCurve, settle_shares, whole_share
from simulator.network.sharing_kernel import settle_compiled

LINKS = 5

exchanges = st.lists(
    st.tuples(
        st.sets(st.integers(0, LINKS - 1), max_size=3),
        st.floats(0.1, 10.0),
        st.floats(0.1, 2.0),
    ),
    min_size=1,
    max_size=3,
)
systems = st.lists(
    st.tuples(exchanges, st.floats(0.0, 2.0), st.sampled_from([1.0, 7 / 8, 0.5])), min_size=1, max_size=8
)
capacities = st.lists(st.floats(0.5, 30.0), min_size=LINKS, max_size=LINKS)


def build(system, scale=1.0):
    jobs, curves = [], []
    for number, (kinds, compute_s, ports) in enumerate(system):
        flows = []
        for links, peak, talk_s in kinds:
            where = tuple(sorted(links))
            many = (peak * scale * talk_s,) * len(where), (peak * scale,) * len(where)
            flows.append(Flow(str(number), where, *many, port_share=ports, talk_s=talk_s))
        talk_s = sum(flow.talk_s for flow in flows)
        jobs.append(flows)
        curves.append(StepCurve(lambda share, c=compute_s, t=talk_s: c + t / share))
    return jobs, curves


@given(systems, capacities)
@settings(max_examples=60)
def test_the_compiled_settling_equals_the_plain_one_to_the_bit(system, capacity):
    jobs, curves = build(system)
    packed = sharing._packed(jobs, capacity)
    if packed is None:
        return
    crowd, columns = packed
    steps_s = [step for job in crowd for step in curves[job].steps_s]
    plain = settle(*columns, steps_s, list(SLOWNESSES))
    assert settle_compiled(*columns, steps_s, list(SLOWNESSES)) == plain


@given(systems, capacities)
def test_on_average_no_link_carries_more_than_it_can(system, capacity):
    jobs, curves = build(system)
    shares = settle_shares(jobs, capacity, curves)
    load = [0.0] * LINKS
    for flows, got, curve in zip(jobs, shares, curves, strict=True):
        step_s = curve(whole_share(flows, got))
        for flow, share in zip(flows, got, strict=True):
            assert 0.0 < share <= flow.port_share + 1e-12
            for link, size in zip(flow.links, flow.bytes_per_step, strict=True):
                load[link] += size / step_s
    assert all(used <= most * 1.002 for used, most in zip(load, capacity, strict=True))


@given(systems, capacities, st.floats(1e-3, 1e3))
def test_only_ratios_of_rates_matter(system, capacity, scale):
    jobs, curves = build(system)
    scaled, _ = build(system, scale)
    found = settle_shares(jobs, capacity, curves)
    again = settle_shares(scaled, [most * scale for most in capacity], curves)
    for one, other in zip(found, again, strict=True):
        assert other == pytest.approx(one, abs=2e-6)


@given(systems, capacities)
def test_a_link_that_carries_all_at_once_changes_nothing(system, capacity):
    jobs, curves = build(system)
    wide = [
        [
            Flow(
                flow.key,
                (*flow.links, LINKS),
                (*flow.bytes_per_step, 1.0),
                (*flow.peak_bytes_per_s, 1.0),
                flow.port_share,
                talk_s=flow.talk_s,
            )
            for flow in flows
        ]
        for flows in jobs
    ]
    assert settle_shares(wide, [*capacity, 8.0], curves) == settle_shares(jobs, capacity, curves)


@given(systems, capacities)
def test_who_stays_inside_keeps_the_ports(system, capacity):
    jobs, curves = build(system)
    shares = settle_shares(jobs, capacity, curves)
    for flows, got in zip(jobs, shares, strict=True):
        for flow, share in zip(flows, got, strict=True):
            if not flow.links:
                assert share == pytest.approx(flow.port_share, rel=1e-9)


@given(systems, capacities)
def test_more_of_everything_never_lowers_the_fairest_part(system, capacity):
    jobs, _ = build(system)
    flat = [flow for flows in jobs for flow in flows]
    narrow = sharing.max_min_shares(flat, capacity)
    wide = sharing.max_min_shares(flat, [1.5 * most for most in capacity])
    assert min(wide) >= min(narrow) - 1e-9
