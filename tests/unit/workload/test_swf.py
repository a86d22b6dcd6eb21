"""The SWF reader: which columns it takes, what -1 means, and the real logs."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime

import pytest

from simulator.foundation.errors import TraceError
from simulator.workload.swf import read_swf, read_swf_header

#       id sub wait run alloc cpu mem req rtime rmem st user grp exe q part prec think
LOG = """\
; Computer: Toy
; MaxProcs: 64
; UnixStartTime: 1400749079
; TimeZoneString: Europe/Luxembourg

 2   10  -1  100   4 -1 -1   8  200 -1 1 3 5 -1 2 -1 -1 -1
 1   10  -1   50   4 -1 -1  -1   -1 -1 1 4 5 -1 2 -1 -1 -1
 3   11  -1   -1   4 -1 -1   8  200 -1 5 3 5 -1 2 -1 -1 -1
 4   12  -1   60  -1 -1 -1  -1  200 -1 1 3 5 -1 2 -1 -1 -1
 5   13  -1    0   1 -1 -1   1    9 -1 1 -1 5 -1 2 -1 -1 -1
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "toy.swf"
    path.write_text(LOG)
    return path


def test_processors_and_estimates_fall_back_as_the_format_says(log):
    table = read_swf(log)
    found = [(job.job_id, job.gpus, job.work, job.requested_run_s) for job in table]
    assert found == [("1", 4, 50.0, 50.0), ("2", 8, 100.0, 200.0), ("5", 1, 0.0, 9.0)]


def test_simultaneous_jobs_are_in_the_order_of_their_numbers(log):
    table = read_swf(log)
    assert table.submitted_s.tolist() == [10.0, 10.0, 13.0]
    assert table.order_id.tolist() == [1.0, 2.0, 5.0]


def test_what_is_left_out_is_counted_by_reason(log):
    assert read_swf(log).skipped == {"run time unknown (-1)": 1, "no processors named": 1}


def test_jobs_are_of_kind_trace_in_the_queue_given(log):
    job = read_swf(log, queue="batch", tenant="site").spec(0)
    assert (job.kind, job.queue, job.tenant) == ("trace", "batch", "site")


def test_tenants_may_come_from_a_column(log):
    table = read_swf(log, tenant_field="user")
    assert [job.tenant for job in table] == ["user-4", "user-3", "user-unknown"]
    with pytest.raises(ValueError, match="tenant_field 'owner'; expected one of user, group"):
        read_swf(log, tenant_field="owner")


def test_gzip_is_recognised_by_content_not_by_name(log, tmp_path):
    packed = tmp_path / "toy.log"
    packed.write_bytes(gzip.compress(LOG.encode()))
    assert list(read_swf(packed)) == list(read_swf(log))


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_are_read(log, tmp_path, end):
    other = tmp_path / "other.swf"
    other.write_bytes(LOG.replace("\n", end).encode())
    assert list(read_swf(other)) == list(read_swf(log))


def test_the_header_tells_the_machine(log):
    header = read_swf_header(log)
    assert header.computer == "Toy"
    assert header.maximum_processors == 64
    assert header.maximum_nodes is None
    assert header.start_utc == datetime(2014, 5, 22, 8, 57, 59, tzinfo=UTC)
    assert header.timezone == "Europe/Luxembourg"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("; MaxProcs: many", r"bad.swf:1: MaxProcs 'many'; expected a whole number"),
        ("; UnixStartTime: 99999999999999", r"bad.swf:1: UnixStartTime .*; expected seconds since 1970"),
    ],
)
def test_a_header_that_is_no_number_is_refused(tmp_path, line, message):
    path = tmp_path / "bad.swf"
    path.write_text(line + "\n")
    with pytest.raises(TraceError, match=message):
        read_swf_header(path)


def test_the_gaia_log_has_its_known_jobs(shared_data):
    """51,987 lines, 28 of them of jobs that never ran."""
    path = shared_data / "scheduling" / "traces" / "swf" / "UniLu-Gaia-2014-2.swf.gz"
    table = read_swf(path)
    assert len(table) == 51_959
    assert table.skipped == {"run time unknown (-1)": 28}
    first, last = table.spec(0), table.spec(len(table) - 1)
    assert (first.job_id, first.gpus, first.work, first.requested_run_s) == ("1", 160, 35541.0, 108000.0)
    assert (last.job_id, last.submitted_s, last.gpus, last.work) == ("51987", 7694207.0, 12, 2883.0)
    header = read_swf_header(path)
    assert (header.maximum_processors, header.maximum_nodes) == (2004, 151)


def test_the_lublin_log_names_only_allocated_processors(shared_data):
    table = read_swf(shared_data / "scheduling" / "traces" / "swf" / "lublin_256.swf.gz")
    assert len(table) == 10_000
    assert not table.skipped
    job = table.spec(0)
    assert (job.gpus, job.requested_run_s) == (16, job.work)


@pytest.mark.parametrize("name", ["kth9_p100", "lublin1500_p256"])
def test_inputs_are_read_as_the_reference_schedules_saw_them(shared_data, name):
    folder = shared_data / "scheduling"
    table = read_swf(folder / "inputs" / f"{name}.swf")
    with (folder / "reference" / "plain" / f"{name}__fcfs.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (float(row["submit"]), int(row["job_id"])))
    expected = [
        (
            row["job_id"],
            float(row["submit"]),
            float(row["run"]),
            int(row["procs"]),
            float(row["requested_time"]),
        )
        for row in rows
    ]
    found = [(job.job_id, job.submitted_s, job.work, job.gpus, job.requested_run_s) for job in table]
    assert found == expected
