"""Views: what they show is the engine's own, and no policy leaves a trace on it."""

from __future__ import annotations

import pytest

from simulator.decisions import JobView, QueueView, Remember, Start
from simulator.decisions.reasons import CODE
from simulator.scheduling import ORDERS, POLICIES
from simulator.telemetry import WAIT_REASONS


class Jobs:
    """Five jobs; the last two run and are expected to end at 30 s and 50 s."""

    job_id = ("a", "b", "c", "d", "e")
    kind = ("trace",) * 5
    tenant = ("t",) * 5
    gpus = (6, 2, 1, 5, 4)
    submitted_s = (0.0, 1.0, 2.0, 0.0, 0.0)
    requested_run_s = (100.0, 200.0, 10.0, 30.0, 50.0)
    priority = (0, 1, 2, 0, 0)
    deadline_s = (float("inf"),) * 5
    minimum_gpus = (0,) * 5
    held_gpus = (0, 0, 0, 5, 4)
    remaining = requested_run_s


def view_of(free_gpus=3):
    """A queue of 12 GPUs, whose claims are answered by count."""

    def claim(job):
        if Jobs.gpus[job] > view.free_gpus:
            return None
        view.free_gpus -= Jobs.gpus[job]
        return ("somewhere", job)

    view = QueueView("q", ("here",), Jobs(), claim, read_signal=None)
    view.now_s, view.free_gpus, view.total_gpus = 5.0, free_gpus, 12
    view.waiting, view.arrived = [0, 1, 2], [1, 2]
    view.ends, view.releases = [(30.0, 3), (50.0, 4)], Jobs.held_gpus
    return view


@pytest.mark.parametrize("free_gpus", [0, 3, 8, 12])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_view_gives_the_same_answer_and_is_left_alone(policy, free_gpus):
    plan = POLICIES[policy]()
    one, two = view_of(free_gpus), view_of(free_gpus)
    answers = list(plan.step(one))
    assert answers == list(plan.step(two))
    untouched = view_of(free_gpus)
    for name in ("waiting", "arrived", "ends", "releases", "memory", "freed", "now_s"):
        assert getattr(one, name) == getattr(untouched, name), name


def test_easy_says_what_it_must_remember():
    """The head needs 6 of 3 free GPUs; at 30 s five more are back: shadow 30 s, 2 beyond the need.
    b (2 GPUs, past the shadow) takes both; c (1 GPU) ends at 15 s and takes none.
    """
    answers = list(POLICIES["easy"]().step(view_of()))
    assert answers == [
        Start(1, ("somewhere", 1)),
        Start(2, ("somewhere", 2)),
        Remember((0, 30.0, 0)),
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_keys_end_in_the_submission_index(order):
    view = view_of()
    assert [ORDERS[order]().key(view.job(job), view)[-1] for job in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_orders_by_hand():
    view = view_of()

    def sorted_by(order):
        return sorted(range(5), key=lambda job: ORDERS[order]().key(view.job(job), view))

    assert sorted_by("submission") == [0, 1, 2, 3, 4]
    assert sorted_by("shortest-request") == [2, 3, 4, 0, 1]
    assert sorted_by("highest-priority") == [2, 1, 0, 3, 4]


def test_a_job_view_reads_and_does_not_write():
    job = JobView(Jobs(), 3)
    assert (job.job_id, job.gpus, job.held_gpus, job.requested_run_s) == ("d", 5, 5, 30.0)
    for name in ("gpus", "held_gpus", "priority"):
        with pytest.raises(AttributeError):
            setattr(job, name, 1)


def test_every_reason_has_its_code():
    assert list(CODE) == list(WAIT_REASONS)
    assert list(CODE.values()) == list(range(len(WAIT_REASONS)))
