"""The Helios reader: both forms of the log, its choices, and the real slice of Venus."""

from __future__ import annotations

import csv

import pytest

from simulator.foundation.errors import TraceError
from simulator.workload.helios import read_helios

PUBLISHED = """\
job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue
7,u1,vcA,8,64,1,COMPLETED,2020-09-01 06:00:00,2020-09-01 06:00:00,2020-09-01 06:01:00,60,0
8,u2,vcB,0,4,1,COMPLETED,2020-09-01 07:00:00,2020-09-01 07:00:00,2020-09-01 07:01:00,60,0
9,u2,vcB,1,4,1,FAILED,2020-09-02 00:00:01,2020-09-02 00:00:01,2020-09-02 00:01:00,59,0
10,u2,vcB,1,4,1,CANCELLED,2020-09-02 00:00:02,None,2020-09-02 00:01:00,,
11,u1,vcA,2,4,1,COMPLETED,2020-09-03 12:00:00,2020-09-03 12:00:00,2020-09-03 12:01:00,60,0
"""

FLEETSIM = """\
# a comment
job_id,user,tenant,class,submit_time,num_chips,chip_type,num_nodes,duration_s,walltime_limit_s,final_status
5,u1,vcA,finetune,1500000,16,,2,24.5,100.0,COMPLETED
6,u1,vcB,finetune,2000000,1,,1,7.0,,FAILED
"""


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "cluster_log.csv"
    path.write_text(PUBLISHED)
    return path


@pytest.fixture
def fleetsim(tmp_path):
    path = tmp_path / "slice.csv"
    path.write_text(FLEETSIM)
    return path


def test_the_published_form_counts_from_the_first_midnight(published):
    table = read_helios(published)
    assert [(job.job_id, job.submitted_s) for job in table] == [
        ("7", 21600.0),
        ("9", 86401.0),
        ("11", 216000.0),
    ]
    assert table.skipped == {"no GPUs (a CPU job)": 1, "never started": 1}


def test_without_an_estimate_the_run_time_stands_in(published):
    job = read_helios(published).spec(1)
    assert (job.work, job.requested_run_s) == (59.0, 59.0)


def test_each_virtual_cluster_is_a_queue_and_a_tenant(published):
    assert [(job.queue, job.tenant) for job in read_helios(published)] == [
        ("vcA", "vcA"),
        ("vcB", "vcB"),
        ("vcA", "vcA"),
    ]
    assert {job.queue for job in read_helios(published, queue="one")} == {"one"}


def test_dates_choose_jobs_and_set_second_zero(published):
    table = read_helios(published, start="2020-09-02", end="2020-09-03 12:00:00")
    assert [(job.job_id, job.submitted_s) for job in table] == [("9", 1.0)]
    assert table.skipped == {"outside the dates asked for": 3, "never started": 1}


def test_virtual_clusters_can_be_chosen(published):
    table = read_helios(published, virtual_clusters=["vcA"])
    assert table.job_id == ("7", "11")
    assert table.skipped == {"in another virtual cluster": 3}


def test_an_unknown_virtual_cluster_is_named_with_those_there(published):
    with pytest.raises(TraceError, match="no virtual cluster 'vcAA'; did you mean 'vcA'"):
        read_helios(published, virtual_clusters=["vcAA"])


def test_fleetsims_form_has_microseconds_and_limits(fleetsim):
    found = [
        (job.job_id, job.submitted_s, job.gpus, job.work, job.requested_run_s)
        for job in read_helios(fleetsim)
    ]
    assert found == [("5", 1.5, 16, 24.5, 100.0), ("6", 2.0, 1, 7.0, 7.0)]


def test_dates_have_no_effect_on_fleetsims_form_and_are_refused(fleetsim):
    with pytest.raises(TraceError, match="start and end have no effect"):
        read_helios(fleetsim, start="2020-09-02")


@pytest.mark.parametrize("text", ["yesterday", "2020-13-01", "2020-09-01T00:00"])
def test_a_choice_that_is_no_date_is_refused(published, text):
    with pytest.raises(TraceError, match="expected YYYY-MM-DD"):
        read_helios(published, end=text)


def test_a_choice_that_leaves_nothing_is_refused(published):
    with pytest.raises(TraceError, match="no GPU job is left"):
        read_helios(published, start="2021-01-01")


def test_the_venus_slice_is_read_as_the_reference_saw_it(shared_data):
    """1,867 jobs in two virtual clusters; every job's submission, size and run time."""
    folder = shared_data / "scheduling"
    table = read_helios(folder / "traces" / "helios" / "venus_2vc_sept_fleetsim.csv.gz")
    assert len(table) == 1_867
    assert not table.skipped
    for cluster, count in (("vcvGl", 1_452), ("vcvlY", 415)):
        with (folder / "reference" / "helios" / f"slice_fifo_{cluster}.csv").open() as file:
            expected = {
                row["job_id"]: (float(row["s"]), float(row["dur"]), int(row["num_chips"]))
                for row in csv.DictReader(file)
            }
        found = {job.job_id: (job.submitted_s, job.work, job.gpus) for job in table if job.queue == cluster}
        assert len(found) == count
        assert found == expected
