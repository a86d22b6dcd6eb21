"""EASY remembers its head's reservation; a run must not show that it does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.build import build_world
from simulator.engine.engine import Engine
from simulator.scenario.reading import load_text
from simulator.scheduling.easy import Easy
from simulator.telemetry import MemorySink
from simulator.telemetry.recorder import Recorder

SCENARIO = """
title: With and without memory
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    pools: [{{name: p, node: hgx-h100-8, nodes: 3}}]
scheduling: {{policy: easy, placement: {placement}, order: {order}}}
workloads:
  - kind: list
    name: jobs
    jobs:
{jobs}
script: [{faults}]
"""

JOBS = st.lists(
    st.tuples(
        st.integers(0, 60),  # submission [s]
        st.sampled_from([1, 2, 3, 5, 8, 11, 16, 20, 24]),
        st.integers(0, 60),  # run [s]
        st.integers(-10, 60),  # how much longer the request is [s]; less than 0: overdue
        st.integers(0, 2),  # priority
        st.booleans(),  # elastic, with checkpoints
    ),
    min_size=2,
    max_size=30,
)
FAULTS = st.lists(st.tuples(st.integers(1, 150), st.integers(0, 2), st.integers(1, 60)), max_size=4)


@dataclass(frozen=True)
class Forgetful(Easy):
    """The same policy, making every pass a full one."""

    def step(self, view):
        view.memory = None
        return super().step(view)


def starts(plan, text):
    world = build_world(load_text(text, name="memory.yaml"))
    world.queues[0].plan = plan
    engine = Engine(world, Recorder(MemorySink()))
    engine.run()
    board = engine.board
    tests = sum(queue.tests for queue in engine.queue_list)
    return (board.started_s, board.finished_s, board.restarts, board.last_pool), tests


def written(rows, faults, placement, order):
    jobs = []
    for number, (submit_s, gpus, run_s, more_s, priority, elastic) in enumerate(rows):
        more = f", minimum_gpus: {(gpus + 1) // 2}, checkpoint_every: 7 s" if elastic else ""
        jobs.append(
            f"      - {{id: j{number}, submit: {submit_s} s, gpus: {gpus}, run: {run_s} s, "
            f"requested: {max(run_s + more_s, 1)} s, priority: {priority}{more}}}"
        )
    faults = ", ".join(
        f"{{kind: node-fault, at: {at_s} s, node: here.p.{node}, lasts: {lasts_s} s}}"
        for at_s, node, lasts_s in faults
    )
    return SCENARIO.format(placement=placement, order=order, jobs="\n".join(jobs), faults=faults)


@pytest.mark.parametrize("order", ["submission", "shortest-request", "highest-priority"])
@pytest.mark.parametrize("placement", ["lowest-numbered", "consolidate"])
@settings(max_examples=40, deadline=None)
@given(rows=JOBS, faults=FAULTS)
def test_the_same_jobs_start_at_the_same_moments_without_memory(placement, order, rows, faults):
    """Requests too long and too short, jobs without length, fragments, broken nodes, elastic jobs."""
    text = written(rows, faults, placement, order)
    assert starts(Easy(), text)[0] == starts(Forgetful(), text)[0]


def test_memory_spares_tests():
    """The test above can fail: with memory fewer candidates are looked at, and the order counts."""
    rows = [(0, 24, 50, 0, 0, False), *((k, 24 - k % 3, 20, 5, 0, False) for k in range(1, 25))]
    text = written(rows, [], "lowest-numbered", "submission")
    (found, few), (wanted, many) = starts(Easy(), text), starts(Forgetful(), text)
    assert found == wanted
    assert few < many


def test_newcomers_of_one_instant_are_looked_at_in_the_queues_order():
    """24 GPUs: a holds 16 to 100 s and head (24) waits. b and c come together, c is the shorter
    and there is room for one: c goes first, although b was submitted before it.
    """
    rows = [
        (0, 16, 100, 0, 0, False),
        (1, 24, 10, 0, 2, False),
        (2, 8, 50, 0, 0, False),
        (2, 8, 20, 0, 1, False),
    ]
    (started_s, *_), _ = starts(Easy(), written(rows, [], "lowest-numbered", "highest-priority"))
    assert started_s == [0.0, 100.0, 22.0, 2.0]
