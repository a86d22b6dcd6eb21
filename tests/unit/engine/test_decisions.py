"""Decisions about jobs: each is applied, or refused with its reason; none of them is a crash."""

from __future__ import annotations

import pytest

from simulator.decisions import Assign, Ceiling, Hold, Move, Replace, Reserve, Resize, Resume, Scale, Stop
from simulator.foundation.time_grid import Priority

#: Which job is in which state at 10 s; numbers are by submission. `running` is suspended for a moment
#: in which `ended` slips in.
RUNNING, ENDED, HELD, WAITING, LATER = range(5)
JOBS = (
    "id: running, gpus: 10, run: 100 s",
    "id: held, gpus: 4, run: 1 s, submit: 2 s",
    "id: waiting, gpus: 2, run: 1 s, submit: 2 s",
    "id: later, gpus: 1, run: 1 s, submit: 500 s",
    "id: ended, gpus: 1, run: 1 s",
)


def told(engine_of, decision, *more):
    """Return (outcome, reason) of a decision at 10 s, and the engine after its run."""
    engine = engine_of(
        *JOBS,
        overrides=["duration=1000 s"],
        acts=[
            (1.5, lambda e: e.decide(Stop(RUNNING, "suspend", "hold"), by="test")),
            (1.75, lambda e: e.decide(Resume(RUNNING), by="test")),
            (3.0, lambda e: e.decide(Hold(HELD, 50.0, ""), by="test")),
            (10.0, lambda e: e.decide(decision, by="test")),
            *more,
        ],
    )
    engine.run()
    events = engine.recorder.sink.columns("events")
    rows = list(zip(events["time_s"], events["what"], events["outcome"], events["reason"], strict=True))
    found = [row[2:] for row in rows if row[:2] == (10.0, type(decision).__name__)]
    return found[0], engine


REFUSED = [
    (Stop(LATER, "kill", "end"), "the job is not submitted yet"),
    (Stop(WAITING, "kill", "requeue"), "the job holds no GPUs"),
    (Stop(ENDED, "kill", "end"), "the job has ended"),
    (Stop(RUNNING, "drain", "end"), "only replicas drain: a job has no requests to finish"),
    (Hold(LATER, 99.0, ""), "the job is not waiting"),
    (Hold(RUNNING, 99.0, ""), "the job is not waiting"),
    (Resume(RUNNING), "the job is neither held nor suspended"),
    (Resume(WAITING), "the job is neither held nor suspended"),
    (Resize(RUNNING, 5), "the job is rigid"),
    (Resize(WAITING, 5), "the job holds no GPUs"),
    (Replace(WAITING, 0), "the job holds no GPUs"),
    (Replace(RUNNING, 0), "the job misses no GPUs"),
    (Assign(WAITING, "nowhere"), "there is no queue 'nowhere'"),
    (Assign(RUNNING, "default"), "the job holds GPUs"),
    (Assign(ENDED, "default"), "the job has ended"),
    (Move(LATER, "here"), "the job is at 'here' already"),
    (Move(ENDED, "here"), "the job has ended"),
    (Move(WAITING, "there"), "no queue has pools at 'there' and nowhere else"),
    (Reserve(LATER, 99.0, 1), "the job is not waiting in this queue"),
    (Reserve(WAITING, 99.0, 11), "11 GPUs are more than the queue's 10"),
    (Scale("chat", "", 2), "there is no service 'chat'"),
    (Scale("chat", "p", 2), "replicas are dealt to the service's queues, not to pool 'p'"),
    (Ceiling("queue:default", watts=5.0), "jobs of a site are bounded by watts, queues and services by GPUs"),
    (Ceiling("jobs:here", gpus=5), "jobs of a site are bounded by watts, queues and services by GPUs"),
    (Ceiling("queue:nowhere", gpus=5), "there is no 'queue:nowhere'"),
]


@pytest.mark.parametrize(("decision", "reason"), REFUSED, ids=[f"{d}" for d, _ in REFUSED])
def test_what_cannot_be_is_refused_and_changes_nothing(engine_of, decision, reason):
    outcome, engine = told(engine_of, decision)
    assert outcome == ("refused", reason)
    assert engine.board.state == ["done"] * len(JOBS)
    assert engine.board.started_s == [0.0, 1.5, 101.0, 101.0, 500.0]


@pytest.mark.parametrize("job", [HELD, WAITING, LATER])
def test_a_job_put_into_its_own_queue_again_is_there_once(engine_of, job):
    outcome, engine = told(engine_of, Assign(job, "default"))
    assert outcome == ("applied", "by test")
    assert engine.board.state == ["done"] * len(JOBS)


@pytest.mark.parametrize("job", [HELD, WAITING, RUNNING])
def test_a_job_can_be_ended_wherever_it_is(engine_of, job):
    outcome, engine = told(engine_of, Stop(job, "kill", "end"))
    assert outcome == ("applied", "by test")
    assert engine.board.state == ["killed" if row == job else "done" for row in range(len(JOBS))]
    assert engine.board.finished_s[job] == 10.0


def test_a_suspended_job_can_be_ended(engine_of):
    outcome, engine = told(
        engine_of,
        Stop(RUNNING, "suspend", "hold"),
        (20.0, lambda e: e.decide(Stop(RUNNING, "kill", "end"), by="test")),
    )
    assert outcome == ("applied", "by test")
    assert engine.board.state[RUNNING] == "killed"
    assert engine.board.finished_s[RUNNING] == 20.0


def test_a_ceiling_in_gpus_holds_and_is_lifted(engine_of):
    """No GPU for the queue from 10 s to 200 s: what runs goes on, and nobody starts."""
    outcome, engine = told(
        engine_of,
        Ceiling("queue:default", gpus=0),
        (200.0, lambda e: e.decide(Ceiling("queue:default"), by="test")),
    )
    assert outcome == ("applied", "by test")
    assert engine.board.started_s[WAITING] == engine.board.started_s[HELD] == 200.0


def test_deciding_comes_after_everything_else_of_an_instant():
    assert max(Priority) is Priority.DECIDE
