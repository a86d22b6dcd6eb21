"""What a finished run says of shared links: digest, closing print, summary and report."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from analysis.chapters.links import links
from simulator.results.closing import closing_lines
from simulator.results.execution import execute
from simulator.results.finished_run import open_run
from simulator.scenario import load

BADLY = [
    "scheduling.placement=spread",
    "workloads.first.rank_order=scattered",
    "workloads.second.rank_order=scattered",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    made = {}
    for name, overrides in (("well", []), ("badly", BADLY)):
        scenario = load("training/two-jobs-1to7", ["duration=1 h", *overrides])
        made[name] = open_run(execute(scenario, out=folder / name).path)
    return made


def test_a_run_that_nobody_held_up_says_nothing(runs):
    run = runs["well"]
    assert run.summary["link_loss_fraction"] == 0.0
    assert run.closing_data()["links"] == []
    assert not any(line.startswith("Links") for line in closing_lines(run))
    assert "No job was held up" in links(SimpleNamespace(digest=run.closing_data()))


def test_each_job_says_where_it_was_held_up_and_by_whom(runs):
    run = runs["badly"]
    found = run.closing_data()["links"]
    assert sorted(loss["job"] for loss in found) == ["first", "second"]
    for loss in found:
        assert loss["part"] == "dp_exposed_s"
        assert loss["step_worst_s"] > loss["step_alone_s"]
        slowdown = 1 - loss["step_alone_s"] / loss["step_worst_s"]
        assert loss["lost_fraction"] == pytest.approx(slowdown, rel=1e-6)
        assert loss["capacity_bytes_per_s"] == pytest.approx(384 * 8 * 50e9 / 7)
        assert sorted((row["job"], row["exchange"]) for row in loss["crossing"]) == [
            ("first", "data-parallel"),
            ("first", "pipeline"),
            ("second", "data-parallel"),
            ("second", "pipeline"),
        ]
        offered = sum(row["offered_bytes_per_s"] for row in loss["crossing"])
        assert 0.0 < offered < loss["capacity_bytes_per_s"]
    lost_h = sum(loss["lost_gpu_hours"] for loss in found)
    assert run.summary["link_loss_fraction"] == pytest.approx(lost_h / 16_384.0, rel=1e-9)


def test_the_closing_print_and_the_report_name_link_and_jobs(runs):
    run = runs["badly"]
    text = "\n".join(closing_lines(run))
    assert "Links" in text
    assert "21.94 TB/s" in text or "21.9 TB/s" in text
    page = links(SimpleNamespace(digest=run.closing_data()))
    for word in ("hall.pod-", "first", "second", "data-parallel", "Share it gets", "dp exposed"):
        assert word in page
