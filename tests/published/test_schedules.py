"""Schedules job for job: recorded references on small logs, and a real GPU trace.

The plain references were computed apart from datahall (a ninety-line program, in turn checked
against AccaSim and CQSim); the Helios slice is the SC 2021 artifact's own output.
"""

from __future__ import annotations

import csv

import pytest

from simulator.engine import simulate
from simulator.scenario import load
from simulator.telemetry import MemorySink

CASES = [
    ("fcfs", "fcfs", ()),
    ("sjf", "sjf_blocking", ()),
    ("sjf", "sjf_skip", ("scheduling.policy.skip=true",)),
    ("easy", "easy", ()),
    ("conservative", "conservative_replan", ()),
]


@pytest.mark.parametrize(("log", "nodes"), [("kth9_p100", 100), ("lublin1500_p256", 256)])
@pytest.mark.parametrize(("policy", "reference", "more"), CASES, ids=[case[1] for case in CASES])
def test_every_start_equals_the_plain_reference(shared_data, log, nodes, policy, reference, more):
    folder = shared_data / "scheduling"
    overrides = [
        f"workloads.0.path={folder / 'inputs' / f'{log}.swf'}",
        f"sites.0.pools.0.nodes={nodes}",
        f"scheduling.policy={policy}",
        *more,
    ]
    record = simulate(load("replay/swf", overrides), MemorySink())
    with (folder / "reference" / "plain" / f"{log}__{reference}.csv").open() as rows:
        wanted = {row["job_id"]: float(row["start"]) for row in csv.DictReader(rows)}
    found = dict(zip(record.jobs.job_id, record.jobs.started_s.tolist(), strict=True))
    assert found == wanted


def test_the_helios_slice_waits_as_the_artifact_says(shared_data):
    """All 1,867 jobs; SC 2021 artifact, FIFO with consolidation. Mean queue of vcvGl 13,891.12 s,
    of vcvlY 360.43 s.
    """
    folder = shared_data / "scheduling"
    trace = folder / "traces" / "helios" / "venus_2vc_sept_fleetsim.csv.gz"
    record = simulate(load("replay/helios-venus", [f"workloads.0.path={trace}"]), MemorySink())
    jobs = record.jobs
    found = dict(zip(jobs.job_id, jobs.wait_s.tolist(), strict=True))
    wanted = {}
    for cluster in ("vcvGl", "vcvlY"):
        with (folder / "reference" / "helios" / f"slice_fifo_{cluster}.csv").open() as rows:
            wanted |= {row["job_id"]: float(row["queue"]) for row in csv.DictReader(rows)}
    assert len(wanted) == 1867
    assert found == wanted
    means = {
        cluster: sum(wait for wait, queue in zip(jobs.wait_s, jobs.queue, strict=True) if queue == cluster)
        / jobs.queue.count(cluster)
        for cluster in ("vcvGl", "vcvlY")
    }
    assert means == pytest.approx({"vcvGl": 13_891.12, "vcvlY": 360.43}, abs=0.005)
