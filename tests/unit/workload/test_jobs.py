"""The job table keeps its order, shares its columns cheaply and refuses impossible rows."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from simulator.foundation.errors import TraceError
from simulator.workload.jobs import JobLists, JobSpec, JobTable, Labels


def job(job_id: str, submitted_s: float = 0.0, order_id: float = 0.0, **more: object) -> JobSpec:
    facts: dict[str, object] = {
        "kind": "trace",
        "tenant": "lab",
        "queue": "main",
        "gpus": 8,
        "work": 60.0,
        "requested_run_s": 90.0,
    }
    return JobSpec(job_id=job_id, submitted_s=submitted_s, order_id=order_id, **(facts | more))


def test_rows_are_sorted_by_submission_and_then_by_number():
    table = JobTable.from_specs([job("10", 5.0, 10.0), job("9", 5.0, 9.0), job("11", 1.0, 11.0)])
    assert table.job_id == ("11", "9", "10")


def test_a_job_comes_back_as_it_was_given():
    given = job(
        "a",
        2.5,
        3.0,
        priority=4,
        deadline_s=900.0,
        model="llama",
        gpu_type="h100",
        site="here",
        minimum_gpus=2,
        checkpoint_every_s=60.0,
        checkpoint_stall_s=1.5,
    )
    other = job("b", 9.0, 1.0, tenant="other", requested_run_s=math.inf)
    table = JobTable.from_specs([other, given])
    assert list(table) == [given, other]


def test_lists_hold_plain_python_values_under_the_names_of_a_job():
    lists = JobTable.from_specs([job("a")]).lists()
    for column in fields(JobSpec):
        values = getattr(lists, column.name)
        assert type(values) is list
        assert type(values[0]) in (str, int, float)
    assert {column.name for column in fields(JobLists)} == {column.name for column in fields(JobSpec)}


def test_lists_are_made_once():
    table = JobTable.from_specs([job("a")])
    assert table.lists() is table.lists()


def test_submissions_are_put_on_the_time_grid():
    table = JobTable.from_specs([job("a", 0.1)])
    assert table.submitted_s[0] * 2**20 == round(0.1 * 2**20)


def test_arrays_are_read_only_and_facts_frozen():
    table = JobTable.from_specs([job("a")])
    with pytest.raises(ValueError, match="read-only"):
        table.gpus[0] = 1
    with pytest.raises(FrozenInstanceError):
        table.spec(0).gpus = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": 0}, r"gpus is impossible at rows \[1\]: \[0\]"),
        ({"work": -1.0}, r"work is impossible at rows \[1\]: \[-1.0\]"),
        ({"work": math.nan}, r"work is impossible at rows \[1\]"),
        ({"submitted_s": math.inf}, r"submitted_s is impossible at rows \[1\]"),
        ({"requested_run_s": -2.0}, r"requested_run_s is impossible at rows \[1\]"),
    ],
)
def test_impossible_rows_are_named(change, message):
    with pytest.raises(TraceError, match=message):
        JobTable.from_specs([job("a"), job("b", **({"submitted_s": 7.0} | change))])


def test_an_id_may_stand_once_only():
    with pytest.raises(TraceError, match="job id 'a' stands in rows 0 and 2"):
        JobTable.from_specs([job("a", 1.0), job("b", 2.0), job("a", 3.0)])


def test_joining_workloads_merges_by_submission_and_keeps_given_order_at_a_tie():
    first = JobTable.from_specs([job("a", 1.0), job("c", 3.0, tenant="x")])
    second = JobTable.from_specs([job("b", 2.0, tenant="y"), job("d", 3.0, queue="other")])
    both = JobTable.concatenate([first, second])
    assert both.job_id == ("a", "b", "c", "d")
    assert [both.spec(row).tenant for row in range(4)] == ["lab", "y", "x", "lab"]
    assert [both.spec(row).queue for row in range(4)] == ["main", "main", "main", "other"]


def test_joining_adds_up_what_was_skipped():
    part = JobTable.from_columns(
        job_id=["1"],
        kind="trace",
        queue="q",
        gpus=np.array([1]),
        submitted_s=np.array([0.0]),
        work=np.array([1.0]),
        requested_run_s=np.array([1.0]),
        order_id=np.array([1.0]),
        skipped={"never started": 2},
    )
    assert JobTable.concatenate([part, part.with_prefix("b-")]).skipped == {"never started": 4}


def test_joining_nothing_gives_no_jobs():
    assert len(JobTable.concatenate([])) == 0
    assert len(JobTable.concatenate([JobTable.empty(), JobTable.empty()])) == 0


def test_two_workloads_with_one_id_are_refused_until_prefixed():
    table = JobTable.from_specs([job("1")])
    with pytest.raises(TraceError, match="job id '1' stands in rows 0 and 1"):
        JobTable.concatenate([table, table])
    assert JobTable.concatenate([table, table.with_prefix("b-")]).job_id == ("1", "b-1")


def test_labels_round_trip():
    texts = ["b", "a", "b", "c"]
    labels = Labels.of(texts)
    assert labels.names == ("b", "a", "c")
    assert labels.texts() == texts
    assert Labels.joined([labels, Labels.of(["c", "d"])]).texts() == [*texts, "c", "d"]


def test_a_table_travels_between_processes():
    table = JobTable.from_specs([job("a", 1.0), job("b", 2.0)])
    assert list(pickle.loads(pickle.dumps(table))) == list(table)
