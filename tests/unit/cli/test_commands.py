"""Commands end to end: what they print, their exit status, and what they leave."""

from __future__ import annotations

import errno
import json

import pytest
from click.testing import CliRunner

from simulator.cli.commands import datahall
from simulator.scenario import load, load_text

THREE_JOBS = """\
title: Three jobs
sites:
  - name: s
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: constant-pue, pue: 1.2}
    network_power: 0 W
    pools: [{name: p, node: generic-1gpu, nodes: 4}]
workloads:
  - kind: list
    name: hand
    jobs:
      - {id: a, gpus: 1, run: 1 h}
      - {id: b, gpus: 4, run: 2 h, submit: 10 s}
      - {id: c, gpus: 1, run: 30 min}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.yaml").write_text(THREE_JOBS)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(datahall, list(arguments))


class TestRun:
    def test_it_leaves_a_folder_and_says_how_it_went(self, here):
        told = call("run", "jobs.yaml", "--no-report", "-o", "out")
        assert told.exit_code == 0, told.output
        assert told.stdout.startswith("Three jobs")
        assert (here / "out" / "run.json").is_file()
        assert not (here / "out" / "report.html").exists()
        jobs = json.loads((here / "out" / "summary.json").read_text())
        # a and c run beside each other at once; b needs all four GPUs and waits for a.
        assert jobs["makespan_s"] == 3600.0 + 7200.0

    def test_quiet_prints_nothing_and_json_prints_data(self, here):
        assert call("run", "jobs.yaml", "--no-report", "-q", "-o", "a").output == ""
        told = call("run", "jobs.yaml", "--no-report", "--json", "-o", "b")
        assert isinstance(json.loads(told.stdout), dict)

    def test_the_folder_is_named_after_scenario_and_hash(self, here):
        assert call("run", "jobs.yaml", "--no-report", "-q").exit_code == 0
        (folder,) = (here / "runs").iterdir()
        assert folder.name == f"jobs-{load('jobs.yaml').hash[:6]}"

    def test_run_json_reproduces_the_folder_to_the_byte(self, here):
        call("run", "jobs.yaml", "seed=3", "--no-report", "-q", "-o", "a")
        told = call("run", "a/run.json", "--no-report", "-q", "-o", "b")
        assert told.exit_code == 0, told.output
        names = sorted(path.relative_to(here / "a").as_posix() for path in (here / "a").rglob("*"))
        assert names == sorted(path.relative_to(here / "b").as_posix() for path in (here / "b").rglob("*"))
        for name in names:
            if name != "host.json" and (here / "a" / name).is_file():
                assert (here / "a" / name).read_bytes() == (here / "b" / name).read_bytes(), name

    def test_a_seed_on_the_command_line_is_an_override(self, here):
        call("run", "jobs.yaml", "--seed", "5", "--no-report", "-q", "-o", "a")
        assert json.loads((here / "a" / "run.json").read_text())["seed"] == 5

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
            (PermissionError(errno.EACCES, "Permission denied", "figures"), "figures: permission denied"),
            (MemoryError(), "not enough memory for a run of this size"),
        ],
    )
    def test_a_machine_that_cannot_is_told_without_a_traceback(self, here, monkeypatch, error, words):
        def fail(run):
            raise error

        monkeypatch.setattr("analysis.report.write_report", fail)
        told = call("run", "jobs.yaml")
        assert told.exit_code == 2
        assert told.stderr.startswith(words)
        assert "Traceback" not in told.output

    def test_a_trace_that_cannot_be_read_leaves_nothing(self, here):
        (here / "log.swf").write_text("1 0 -1 60 1\n")
        told = call("run", "replay/swf", "workloads.0.path=log.swf", "--no-report")
        assert told.exit_code == 2
        assert "log.swf:1" in told.stderr
        assert "Traceback" not in told.output
        assert {path.name for path in here.rglob("*")} == {"jobs.yaml", "log.swf"}


class TestCheck:
    def test_it_prints_a_scenario_that_is_the_same(self, here):
        told = call("check", "jobs.yaml")
        assert told.exit_code == 0
        assert load_text(told.stdout).hash == load("jobs.yaml").hash
        assert told.stdout.startswith(f"# jobs, resolved; hash {load('jobs.yaml').hash}\n")

    def test_assumptions_as_table_and_as_csv(self, here):
        assert "defaults that nobody set" in call("check", "jobs.yaml", "--assumptions").stdout
        text = call("check", "jobs.yaml", "--assumptions", "--csv").stdout
        assert text.startswith("key,value,unit,origin,source,date,basis")

    def test_mistakes_go_to_stderr_with_status_2(self, here):
        told = call("check", "jobs.yaml", "sites.0.pools.0.nodes=0")
        assert (told.exit_code, told.stdout) == (2, "")
        assert told.stderr == "command line: sites.s.pools.p.nodes: '0': must be at least 1\n"


class TestInit:
    def test_it_copies_a_scenario_that_runs(self, here):
        assert call("init", "quickstart").exit_code == 0
        assert load("quickstart.yaml").hash == load("quickstart").hash

    def test_it_never_overwrites(self, here):
        (here / "quickstart.yaml").write_text("mine")
        told = call("init", "quickstart")
        assert told.exit_code == 2
        assert "is there already; nothing was written" in told.stderr
        assert (here / "quickstart.yaml").read_text() == "mine"

    def test_without_a_name_it_lists_what_is_shipped(self, here):
        assert "training/llama3-405b" in call("init").stdout.splitlines()

    def test_a_wrong_name_gets_the_nearest(self, here):
        assert "did you mean 'quickstart'?" in call("init", "quickstrat").stderr


class TestCatalog:
    def test_kinds_entries_and_values(self):
        assert "hgx-h100-8" in call("catalog").stdout
        assert "h100-sxm" in call("catalog", "gpus").stdout
        told = call("catalog", "gpus", "h100-sxm").stdout
        assert "700 W" in told
        assert "nvidia-h100" in told

    def test_plugins_are_part_of_it(self):
        assert "conservative" in call("catalog", "policies").stdout
        assert "skip" in call("catalog", "policies", "sjf").stdout

    @pytest.mark.parametrize("words", [("gpu",), ("gpus", "h100"), ("policies", "fifo-x")])
    def test_what_is_not_there_is_told(self, words):
        told = call("catalog", *words)
        assert told.exit_code == 2
        assert "known:" in told.stderr

    def test_a_folder_of_ones_own_is_listed(self, here):
        (here / "own").mkdir()
        (here / "own" / "gpus.yaml").write_text("mine: {like: h100-sxm, title: Mine}\n")
        assert "mine" in call("catalog", "gpus", "--catalog", "own").stdout.split()


def test_schema_prints_json():
    assert json.loads(call("schema").stdout)["type"] == "object"


class TestAccount:
    @pytest.fixture
    def run(self, here):
        call("run", "jobs.yaml", "--no-report", "-q", "-o", "out")
        return "out"

    def test_alternatives_are_rows(self, run):
        told = call("account", run, "--grid", "DE,FR", "--price", "42 USD/MWh")
        assert told.exit_code == 0, told.output
        rows = told.stdout.splitlines()
        assert rows[1].startswith("grid DE")
        assert rows[2].startswith("grid FR")

    def test_json_holds_the_same(self, run):
        (row,) = json.loads(call("account", run, "--json").stdout)
        assert row["summary"]["pue"] == pytest.approx(1.2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--grid", "DEE"), "did you mean 'DE'?"),
            (("--price", "42"), "'42' has no unit"),
            (("--climate", "frankfort"), "did you mean 'frankfurt-typical'?"),
        ],
    )
    def test_mistakes_are_told(self, run, arguments, message):
        told = call("account", run, *arguments)
        assert told.exit_code == 2
        assert message in told.stderr

    def test_a_folder_that_is_no_run_is_told(self, here):
        told = call("account", "nowhere")
        assert told.exit_code == 2
        assert "there is no such run folder" in told.stderr


class TestTwoRuns:
    @pytest.fixture
    def runs(self, here):
        call("run", "jobs.yaml", "--no-report", "-q", "-o", "one")
        call("run", "jobs.yaml", "sites.s.grid.intensity=200 g/kWh", "--no-report", "-q", "-o", "two")
        return here

    def test_compare_says_what_was_different_and_what_changed(self, runs):
        told = call("compare", "one", "two", "--html", "page.html")
        assert told.exit_code == 0, told.output
        assert "sites.s.grid.intensity_g_per_kwh: 100.0 | 200.0" in told.stdout
        (row,) = [line for line in told.stdout.splitlines() if line.startswith("location_tco2e")]
        assert row.endswith("+100.0%")
        assert (runs / "page.html").read_text().startswith("<!DOCTYPE html>")

    def test_compare_needs_two(self, runs):
        told = call("compare", "one")
        assert told.exit_code == 2
        assert "at least two" in told.stderr

    def test_export_writes_csv(self, runs):
        told = call("export", "one", "--to", "csv")
        assert told.exit_code == 0, told.output
        lines = (runs / "one-csv" / "jobs.csv").read_text().splitlines()
        assert lines[0].startswith('"job_id"')
        assert len(lines) == 1 + 3 + 1  # heading, three jobs, the pool's idle row

    def test_export_of_one_table(self, runs):
        call("export", "one", "waits", "--to", "csv", "-o", "here")
        assert [path.name for path in (runs / "here").iterdir()] == ["waits.csv"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("one", "--to", "xlsx"), "cannot export to 'xlsx'"),
            (("one", "jos", "--to", "csv"), "did you mean 'jobs'?"),
            (("three", "--to", "csv"), "there is no such run folder"),
        ],
    )
    def test_export_refuses(self, runs, arguments, message):
        told = call("export", *arguments)
        assert told.exit_code == 2
        assert message in told.stderr

    def test_report_refuses_what_is_no_run_before_it_writes(self, runs):
        told = call("report", "one", "nowhere")
        assert told.exit_code == 2
        assert not (runs / "one" / "report.html").exists()
