"""Failures: whom a cause hits, what a job loses, spares, and ends of the same instant."""

from __future__ import annotations

import pytest

from simulator.cluster.allocation import Placement
from simulator.decisions import Replace, Resize
from simulator.engine.world import Cause

EIGHTS = """
title: Nodes of eight
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    pools: [{name: p, node: hgx-h100-8, nodes: 3}]
"""

#: Stops one job and leaves the node alone.
SOFTWARE = Cause("software", "job", 0.0, detect_s=0.0, recover_s=-1.0, repair_s=0.0)


def strike(gpu, node=0):
    return lambda engine: engine.failures.strike(0, node, SOFTWARE, 0.0, gpu)


@pytest.mark.parametrize(("gpu", "hit"), [(0, "a"), (1, "a"), (2, "b"), (4, "b"), (5, ""), (7, "")])
def test_a_cause_of_jobs_hits_the_one_on_the_gpu_that_was_drawn(engine_of, gpu, hit):
    """a holds 2 and b 3 of the node's 8 GPUs; rates are of each GPU, so three in eight hit nobody."""
    engine = engine_of(
        "id: a, gpus: 2, run: 100 s", "id: b, gpus: 3, run: 100 s", house=EIGHTS, acts=[(50.0, strike(gpu))]
    )
    engine.run()
    board = engine.board
    assert dict(zip(board.job_id, board.restarts, strict=True)) == {name: int(name == hit) for name in "ab"}
    assert board.finished_s == [150.0 if name == hit else 100.0 for name in "ab"]
    assert sum(board.lost_gpu_s) == {"a": 100.0, "b": 150.0, "": 0.0}[hit]


def test_a_job_on_whole_nodes_is_hit_by_any_gpu_of_them_and_by_no_other(engine_of):
    engine = engine_of(
        "id: a, gpus: 16, run: 100 s",
        house=EIGHTS,
        acts=[(50.0, strike(7, node=1)), (60.0, strike(0, node=2))],
    )
    engine.run()
    assert engine.board.restarts == [1]


def test_what_ends_at_the_instant_of_a_failure_is_done(engine_of):
    engine = engine_of(
        "id: a, gpus: 8, run: 100 s",
        "id: b, gpus: 8, run: 200 s",
        more="script: [{kind: node-fault, at: 100 s, node: here.p.0, lasts: 10 s}]",
        house=EIGHTS,
    )
    engine.run()
    assert (engine.board.finished_s, engine.board.restarts) == ([100.0, 200.0], [0, 0])
    assert [len(column) for column in engine.failures.table().values()] == [1] * 6


def test_a_shrunk_job_that_gets_a_node_restarts_on_it(engine_of):
    """24 GPUs, elastic from 8. A node breaks at 40 s (work of 0 s to 40 s is lost: no checkpoint was
    due); the one that comes back at 60 s is put under it by decision, and not by regrowth.
    """
    engine = engine_of(
        "id: a, gpus: 16, run: 100 s, minimum_gpus: 8, checkpoint_every: 1000 s",
        "id: b, gpus: 8, run: 50 s",
        house=EIGHTS,
        more="script: [{kind: node-fault, at: 40 s, node: here.p.0, lasts: 10 h}]",
        acts=[(60.0, lambda e: e.decide(Replace(0, 2), by="test"))],
    )
    engine.board.behaviours[engine.board.behaviour_of[0]].restart_s = 7.0
    engine.run()
    segments = engine.recorder.all_segments()
    mine = [
        (int(phase), float(start_s), int(gpus))
        for job, phase, start_s, gpus in zip(
            segments["job"], segments["phase"], segments["start_s"], segments["gpus"], strict=True
        )
        if job == 0
    ]
    # Running 2, recovering 5. 40 to 47 s: restart on 8 GPUs; half speed to 60 s; restart on 16.
    assert mine == [(2, 0.0, 16), (5, 40.0, 8), (2, 47.0, 8), (5, 60.0, 16), (2, 67.0, 16)]
    assert engine.board.finished_s[0] == 67.0 + 100.0 - 6.5


def test_gpus_come_back_whatever_befell_them(engine_of):
    """Faults, spares, elastic and rigid jobs: in the end every GPU is free, a spare or down."""
    engine = engine_of(
        "id: a, gpus: 8, run: 100 s, minimum_gpus: 4, checkpoint_every: 10 s",
        "id: b, gpus: 12, run: 90 s, checkpoint_every: 15 s",
        "id: c, gpus: 3, run: 500 s",
        house=EIGHTS.replace("nodes: 3", "nodes: 5, hot_spares: 1"),
        more="script:\n"
        + "\n".join(
            f"  - {{kind: node-fault, at: {at_s} s, node: here.p.{node}, lasts: {lasts_s} s}}"
            for at_s, node, lasts_s in [(15, 0, 30), (20, 4, 300), (20, 1, 25), (45, 0, 5), (60, 3, 100)]
        ),
    )
    engine.run()
    free = engine.pools[0].free
    assert engine.board.state == ["done"] * 3
    assert free.free_gpus + 8 * free.down.bit_count() + 8 * len(engine.failures._spares[0]) == 40
    assert free.lost_gpus == 8 * free.down.bit_count()


def test_an_elastic_job_without_checkpoints_slows_down_as_it_shrinks(engine_of):
    """8 GPUs, 100 s; from 40 s on 4 GPUs: 60 s of work take 120 s."""
    engine = engine_of(
        "id: a, gpus: 8, run: 100 s, minimum_gpus: 4",
        house=EIGHTS,
        acts=[(40.0, lambda e: e.decide(Resize(0, 4), by="test"))],
    )
    engine.run()
    assert engine.board.finished_s == [160.0]


def test_spares_are_whole_nodes_taken_lowest_first_and_refilled(engine_of):
    house = EIGHTS.replace("nodes: 3", "nodes: 5, hot_spares: 3")
    engine = engine_of("id: a, gpus: 8, run: 1 s", house=house)
    pool, spares = engine.pools[0], engine.failures._spares[0]
    assert (len(spares), pool.free.free_gpus) == (3, 16)
    assert spares.take(12) is None
    assert spares.take(32) is None
    assert spares.take(16) == Placement(0, 16, 0b01100)
    # The last one goes down: it is no spare any more, and free only when it is up again.
    pool.free.take_down(4)
    spares.lose(4)
    assert (len(spares), pool.free.free_gpus) == (0, 16)
    pool.free.bring_back(4)
    assert spares.refill(4)
    assert (len(spares), pool.free.free_gpus) == (1, 16)
    assert spares.take(8) == Placement(0, 8, 0b10000)
