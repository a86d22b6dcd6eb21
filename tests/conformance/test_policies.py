"""What every scheduling policy must keep, whoever wrote it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import simulate
from simulator.scenario.reading import load_text
from simulator.scheduling import PLACEMENTS, POLICIES
from simulator.telemetry import MemorySink

GPUS = 16
PER_NODE = 8

SCENARIO = """
title: Conformance
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    pools: [{{name: p, node: {node}, nodes: {nodes}}}]
scheduling: {{policy: {policy}, placement: {placement}}}
workloads:
  - kind: list
    name: jobs
    jobs:
{jobs}
"""

jobs = st.lists(
    st.tuples(
        st.integers(0, 30),  # submission [s]
        st.integers(1, GPUS),
        st.integers(1, 40),  # run [s]
        st.integers(0, 20),  # how much longer the request is [s]
    ),
    min_size=1,
    max_size=25,
)


def run(policy, rows, names=None, placement="lowest-numbered"):
    names = names or [f"j{index}" for index in range(len(rows))]
    lines = [
        f"      - {{id: {name}, submit: {submit} s, gpus: {gpus}, run: {run_s} s, "
        f"requested: {run_s + more} s}}"
        for name, (submit, gpus, run_s, more) in zip(names, rows, strict=True)
    ]
    # A placement that needs whole nodes is tried on them; counts alone decide on one-GPU nodes.
    node, nodes = ("hgx-h100-8", GPUS // PER_NODE) if placement == "consolidate" else ("generic-1gpu", GPUS)
    text = SCENARIO.format(policy=policy, placement=placement, node=node, nodes=nodes, jobs="\n".join(lines))
    return simulate(load_text(text, name="conformance.yaml"), MemorySink())


@pytest.fixture(params=list(POLICIES), scope="module")
def policy(request):
    return request.param


@pytest.fixture(params=list(PLACEMENTS), scope="module")
def placement(request):
    return request.param


def test_is_frozen_and_says_what_its_fields_mean(policy):
    from simulator.foundation.plugins import fields_of

    plugin = POLICIES[policy]()
    for name in ("order", "pass_per", "reserve", "blocks_at_head"):
        assert hasattr(plugin, name)
    for info in fields_of(POLICIES[policy]):
        assert info.meaning, info.name
    for field in fields(plugin):
        with pytest.raises(AttributeError):
            setattr(plugin, field.name, None)


@settings(max_examples=25, deadline=None)
@given(rows=jobs)
def test_never_hands_out_more_than_there_is_and_everything_ends(policy, placement, rows):
    record = run(policy, rows, placement=placement)
    assert record.jobs.state == ["done"] * len(rows)
    segments = record.segments
    edges = np.unique(np.concatenate([segments["start_s"], segments["end_s"]]))
    for at_s in edges:
        inside = (segments["start_s"] <= at_s) & (at_s < segments["end_s"])
        assert segments["gpus"][inside].sum() <= GPUS
    given_s = (segments["gpus"] * (segments["end_s"] - segments["start_s"])).sum()
    assert given_s == pytest.approx(sum(gpus * run_s for _, gpus, run_s, _ in rows), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(rows=jobs)
def test_order_preserving_renaming_changes_nothing(policy, rows):
    one = run(policy, rows).jobs.started_s
    two = run(policy, rows, [f"renamed-{index:03d}" for index in range(len(rows))]).jobs.started_s
    assert one.tolist() == two.tolist()


@settings(max_examples=25, deadline=None)
@given(rows=jobs, later=st.integers(1, 1000))
def test_shifting_all_submissions_shifts_all_starts(policy, rows, later):
    early = run(policy, rows).jobs.started_s
    shifted = [(submit + later, *rest) for submit, *rest in rows]
    assert run(policy, shifted).jobs.started_s.tolist() == (early + later).tolist()


@settings(max_examples=25, deadline=None)
@given(rows=jobs)
def test_no_job_starts_before_it_was_submitted_and_waits_are_explained(policy, rows):
    record = run(policy, rows)
    wait_s = record.jobs.started_s - record.jobs.submitted_s
    assert (wait_s >= 0).all()
    explained = np.zeros(len(rows))
    np.add.at(explained, record.waits["job"], record.waits["end_s"] - record.waits["start_s"])
    assert explained.tolist() == wait_s.tolist()


def test_a_lone_job_starts_at_once(policy, placement):
    assert run(policy, [(3, GPUS, 5, 0)], placement=placement).jobs.started_s.tolist() == [3.0]


def test_the_same_view_gives_the_same_answer(policy):
    rows = [(0, 9, 7, 3), (0, 9, 5, 0), (1, 4, 9, 2), (2, 16, 1, 1), (2, 1, 30, 5)]
    assert run(policy, rows).jobs.started_s.tolist() == run(policy, rows).jobs.started_s.tolist()
