"""Queues: holds, claims, orders, passes and wakes, and pools that several queues share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from simulator.decisions import YES, Hold, No, RetryAt, Start, Validity, Wake
from simulator.foundation.errors import BuildError, DatahallError, PolicyError
from simulator.scheduling.fcfs import Fcfs
from simulator.scheduling.sjf import Sjf
from simulator.telemetry import WAIT_REASONS

TWO_KINDS = """
title: Two kinds of GPU
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    pools:
      - {name: h, node: hgx-h100-8, nodes: 1}
      - {name: a, node: hgx-a100-8, nodes: 2}
"""


def starts(engine):
    engine.run()
    return dict(zip(engine.board.job_id, engine.board.started_s, strict=True))


def waits(engine, job_id):
    table = engine.waits.table(engine.board.gpus)
    row = engine.board.job_id.index(job_id)
    return [
        (WAIT_REASONS[table["reason"][i]], table["start_s"][i], table["end_s"][i])
        for i in range(len(table["job"]))
        if table["job"][i] == row
    ]


# ---------------------------------------------------------------------- holds


def test_a_hold_replaced_by_a_longer_one_does_not_end_with_the_first(engine_of):
    """Held until 20 s, lifted at 5 s, held again until 50 s: the first hold's end means nothing."""
    engine = engine_of(
        "id: a, gpus: 10, run: 10 s",
        "id: b, gpus: 10, run: 10 s",
        acts=[
            (2.0, lambda e: e.decide(Hold(1, 20.0, ""), by="test")),
            (5.0, lambda e: e.queue_of[1].unhold(1)),
            (6.0, lambda e: e.decide(Hold(1, 50.0, ""), by="test")),
        ],
    )
    assert starts(engine)["b"] == 50.0
    assert sum(end_s - start_s for _, start_s, end_s in waits(engine, "b")) == 50.0


def test_a_job_held_twice_keeps_the_second_hold(engine_of):
    engine = engine_of(
        "id: a, gpus: 10, run: 10 s",
        "id: b, gpus: 1, run: 10 s",
        acts=[
            (2.0, lambda e: e.decide(Hold(1, 90.0, ""), by="test")),
            (3.0, lambda e: e.decide(Hold(1, 30.0, ""), by="test")),
        ],
    )
    assert starts(engine)["b"] == 30.0


def test_holding_the_head_lets_the_next_in_line_go(engine_of):
    engine = engine_of(
        "id: a, gpus: 6, run: 100 s",
        "id: b, gpus: 8, run: 10 s",
        "id: c, gpus: 4, run: 10 s",
        acts=[(2.0, lambda e: e.decide(Hold(1, 300.0, ""), by="test"))],
    )
    assert starts(engine) == {"a": 0.0, "b": 300.0, "c": 2.0}


@dataclass(frozen=True)
class OddJobsLast:
    """Refuse odd jobs without a time while an even one waits, and name a time for job 3."""

    def gate(self, job, view):
        if job.index == 3:
            return RetryAt(70.0, "quota") if view.now_s < 70.0 else YES
        return No("quota") if job.index % 2 and view.now_s < 40.0 else YES


def test_a_gate_is_asked_again_at_the_next_pass_or_at_its_time(engine_of):
    engine = engine_of(*(f"id: j{k}, gpus: 10, run: 20 s" for k in range(4)))
    engine.queue_list[0].admits = (OddJobsLast(),)
    assert starts(engine) == {"j0": 0.0, "j2": 20.0, "j1": 40.0, "j3": 70.0}
    assert {reason for reason, _, _ in waits(engine, "j3")} == {"quota"}


# ---------------------------------------------------------------------- claims and answers


@dataclass(frozen=True)
class ClaimsTwice(Fcfs):
    """Claims the same job twice."""

    def step(self, view):
        view.claim(view.waiting[0])
        return [Start(view.waiting[0], view.claim(view.waiting[0]))]


def test_a_policy_that_claims_a_job_twice_is_told(engine_of):
    engine = engine_of("id: a, gpus: 4, run: 1 s", plans=[ClaimsTwice()])
    with pytest.raises(PolicyError, match=r"ClaimsTwice\(\) cannot claim GPUs for 'a' at 0 s.*already"):
        engine.run()


@dataclass(frozen=True)
class KeepsNothing(Fcfs):
    """Claims for everybody and starts only the first."""

    def step(self, view):
        placements = [(job, view.claim(job)) for job in view.waiting]
        return [Start(*placements[0])] if placements[0][1] is not None else []


def test_claims_that_are_not_used_go_back(engine_of):
    engine = engine_of(*(f"id: j{k}, gpus: 4, run: 10 s" for k in range(3)), plans=[KeepsNothing()])
    assert starts(engine) == {"j0": 0.0, "j1": 10.0, "j2": 20.0}
    assert engine.pools[0].free.free_gpus == 10


@dataclass(frozen=True)
class StopsAtMidnight(Fcfs):
    """Asks to be called at 50 s, and holds then whatever is in line."""

    def step(self, view):
        if view.now_s < 50.0:
            return [*super().step(view), Wake(50.0)]
        return (
            [Hold(job, 500.0, "quota") for job in view.waiting] if view.now_s < 500.0 else super().step(view)
        )


def test_a_wake_is_kept_with_every_gpu_taken(engine_of):
    engine = engine_of("id: a, gpus: 10, run: 100 s", "id: b, gpus: 1, run: 1 s", plans=[StopsAtMidnight()])
    assert starts(engine)["b"] == 500.0
    assert ("quota", 50.0, 500.0) in waits(engine, "b")


# ---------------------------------------------------------------------- order


@dataclass(frozen=True)
class Submission:
    """Largest first, under the name of an order that needs no keys."""

    validity: ClassVar[Validity] = Validity.STATIC

    def key(self, job, view):
        return (-float(job.gpus), float(job.index))


@dataclass(frozen=True)
class Impatient:
    """By submission, but a job that has waited 30 s goes first."""

    validity: ClassVar[Validity] = Validity.CROSSING

    def key(self, job, view):
        return (float(view.now_s - job.submitted_s < 30.0), -float(job.index))


@dataclass(frozen=True)
class Ordered(Fcfs):
    """First come, first served in another order."""

    order: ClassVar = Submission()


@dataclass(frozen=True)
class Patient(Fcfs):
    """Last come, first served, until 30 s are over."""

    order: ClassVar = Impatient()


def test_an_outside_order_is_taken_by_its_class_and_not_by_its_name(engine_of):
    jobs = [f"id: j{gpus}, gpus: {gpus}, submit: 1 s, run: 10 s" for gpus in (6, 8, 10)]
    engine = engine_of("id: first, gpus: 10, run: 5 s", *jobs, plans=[Ordered()])
    assert starts(engine) == {"first": 0.0, "j10": 5.0, "j8": 15.0, "j6": 25.0}


def test_keys_that_change_with_time_are_looked_up_again(engine_of):
    """b came at 1 s and c at 25 s; last come goes first, but at 40 s b is the impatient one."""
    engine = engine_of(
        "id: a, gpus: 10, run: 40 s",
        "id: b, gpus: 10, submit: 1 s, run: 10 s",
        "id: c, gpus: 10, submit: 25 s, run: 10 s",
        plans=[Patient()],
    )
    assert starts(engine) == {"a": 0.0, "b": 40.0, "c": 50.0}


# ---------------------------------------------------------------------- passes


@dataclass(frozen=True)
class FcfsPerEvent(Fcfs):
    """One pass after each completion and each submission."""

    pass_per: ClassVar = "event"


@dataclass(frozen=True)
class SjfPerEvent(Sjf):
    """The same, shortest request first."""

    pass_per: ClassVar = "event"


def test_a_pass_after_each_event_sees_the_first_of_simultaneous_jobs_alone(engine_of):
    """Two jobs of one instant: with one pass the shorter goes first, with two the first."""
    jobs = ("id: long, gpus: 10, run: 50 s", "id: short, gpus: 10, run: 5 s")
    assert starts(engine_of(*jobs, plans=[Sjf()])) == {"long": 5.0, "short": 0.0}
    assert starts(engine_of(*jobs, plans=[SjfPerEvent()])) == {"long": 0.0, "short": 50.0}


def test_a_queue_with_one_pass_an_instant_keeps_it_beside_one_with_a_pass_an_event(engine_of):
    engine = engine_of(
        "id: long, gpus: 16, run: 50 s, queue: second",
        "id: short, gpus: 16, run: 5 s, queue: second",
        "id: other, gpus: 1, run: 5 s, queue: first",
        house=TWO_KINDS,
        more="scheduling: {policy: fcfs, queues: [{name: first, pools: [h]}, {name: second, pools: [a]}]}",
        plans=[FcfsPerEvent(), Sjf()],
    )
    assert starts(engine) == {"long": 5.0, "short": 0.0, "other": 0.0}


def test_two_thousand_jobs_without_length_end_in_one_instant(engine_of):
    """One GPU's worth a round: every round ends a job, so this is progress and no endless loop."""
    count = 2000
    engine = engine_of(*(f"id: j{k}, gpus: 10, run: 0 s" for k in range(count)))
    assert set(starts(engine).values()) == {0.0}
    assert engine.board.state == ["done"] * count


@dataclass(frozen=True)
class WakesForEver(Fcfs):
    """Asks to be called again now."""

    def step(self, view):
        return [Wake(view.now_s)]


def test_a_policy_that_wakes_itself_for_ever_is_an_error(engine_of):
    engine = engine_of("id: a, gpus: 1, run: 1 s", plans=[WakesForEver()])
    with pytest.raises(DatahallError, match="1000 rounds of decisions within one instant"):
        engine.run()


def test_nobody_is_asked_where_nobody_waits(engine_of):
    """Ten jobs that start at once: an arrival, a decision and a completion each."""
    engine = engine_of(*(f"id: j{k}, gpus: 1, submit: {10 * k} s, run: 5 s" for k in range(10)))
    engine.run()
    assert engine.clock.events == 30


# ---------------------------------------------------------------------- reasons


def test_gpus_of_another_type_are_neither_free_nor_fragments_to_a_job(engine_of):
    """The one H100 node is taken; sixteen free A100 are no help: capacity, not fragmentation."""
    engine = engine_of(
        "id: x, gpus: 8, run: 100 s, gpu_type: h100-sxm",
        "id: y, gpus: 8, submit: 1 s, run: 10 s, gpu_type: h100-sxm",
        house=TWO_KINDS,
    )
    assert starts(engine)["y"] == 100.0
    assert waits(engine, "y") == [("capacity", 1.0, 100.0)]


def test_a_log_is_refused_if_only_the_spares_would_make_room(engine_of, tmp_path):
    """Failures go on for ever: with a job that can never start such a run would never end."""
    log = tmp_path / "log.swf"
    log.write_text("1 0 -1 60 10 -1 -1 10 60 -1 1 1 1 1 1 -1 -1 -1\n")
    workloads = f"workloads=[{{kind: swf, name: log, path: '{log}'}}]"
    assert starts(engine_of("id: a, gpus: 1, run: 1 s", overrides=[workloads])) == {"1": 0.0}
    with pytest.raises(BuildError, match=r"job 1 with 10 of 9 GPUs"):
        engine_of("id: a, gpus: 1, run: 1 s", overrides=[workloads, "sites.0.pools.0.hot_spares=1"])


def test_nodes_that_are_down_are_the_reason_only_while_they_would_be_enough(engine_of):
    """8 of 10 GPUs are wanted, 4 are taken: two nodes that break, and one more that stays so, leave
    4 free at most. When the first job ends at 100 s it is the broken ones that are missing.
    """
    engine = engine_of(
        "id: a, gpus: 4, run: 100 s",
        "id: b, gpus: 8, run: 10 s",
        acts=[
            (30.0, lambda e: [e.failures.fault(0, node, 270.0) for node in (7, 8, 9)]),
        ],
    )
    assert starts(engine)["b"] == 300.0
    assert waits(engine, "b") == [("capacity", 0.0, 100.0), ("down", 100.0, 300.0)]
