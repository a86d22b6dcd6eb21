"""From a small scenario to a finished folder: complete, balanced, the same bytes again."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import simulator
from simulator.foundation.errors import AccountingRefusal, AuditError, RunFolderError
from simulator.results import execute, open_run, reaccount
from simulator.results.export import export
from simulator.scenario import load_text
from simulator.telemetry import TABLES
from simulator.telemetry.glossary import SUMMARY

HALL = """
title: Two days in a small hall
question: How long do three jobs wait?
start: 2024-03-04 00:00 Europe/Berlin
duration: 2 d
currency: EUR
sites:
  - name: hall
    climate: frankfurt-typical
    grid: DE
    tariff: {energy: 95 EUR/MWh, demand_charge: 100 EUR/kW-yr}
    interconnection: {limit: 100 kW, service: firm}
    cooling: {plant: air-chiller}
    pools:
      - {name: h100, node: hgx-h100-8, nodes: 8}
workloads:
  - name: batch
    kind: list
    jobs:
      - {id: a, submit: 0 s, gpus: 16, run: 20 h}
      - {id: b, submit: 1 h, gpus: 64, run: 10 h}
      - {id: c, submit: 2 h, gpus: 8, run: 40 h}
limits:
  - {pue: 1.5}
  - {mean_wait: 10 min}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return execute(load_text(HALL, name="hall.yaml"), out=tmp_path_factory.mktemp("runs") / "hall")


def test_the_folder_holds_what_is_promised(run):
    names = {path.name for path in run.path.iterdir()}
    expected = {f"{table}.parquet" for table in TABLES}
    expected |= {"run.json", "host.json", "summary.json", "summary_meta.json", "assumptions.csv"}
    assert expected | {"trace.json.gz", "record.json", "record.parquet"} == names


def test_every_promised_number_is_there_with_its_meaning(run):
    assert set(run.summary) == set(SUMMARY)
    assert set(run.summary_meta) == set(SUMMARY)
    for name, value in run.summary.items():
        meta = run.summary_meta[name]
        assert meta["unit"] == SUMMARY[name].unit
        assert meta["basis"] in {"measured", "calibrated", "modelled", "assumed"}
        assert meta["source"]
        # A number that is missing says why; a number that is there says nothing of the kind.
        assert (meta["reason"] is None) == (value is not None)


def test_the_numbers_are_those_counted_by_hand(run):
    """FCFS on 64 GPUs: a 0-20 h; b waits for all 64 until 20 h, ends at 30 h; c 30-48 h (cut)."""
    jobs = {row["job_id"]: row for row in run.table("jobs").to_pylist()}
    assert jobs["a"]["wait_s"] == 0
    assert jobs["b"]["wait_s"] == pytest.approx(19 * 3600)
    assert jobs["c"]["wait_s"] == pytest.approx(28 * 3600)
    assert (jobs["a"]["state"], jobs["b"]["state"], jobs["c"]["state"]) == ("done", "done", "running")
    assert jobs["c"]["finished_s"] is None
    assert jobs["b"]["wait_reason"] == "capacity"
    held = 16 * 20 + 64 * 10 + 8 * 18
    assert run.summary["allocated_fraction"] == pytest.approx(held / (64 * 48))
    assert run.summary["mean_wait_s"] == pytest.approx((19 + 28) / 3 * 3600)
    assert run.summary["makespan_s"] == pytest.approx(30 * 3600)
    assert jobs["idle/hall.h100"]["gpu_seconds"] == pytest.approx((64 * 48 - held) * 3600)


def test_rows_and_hours_add_up_to_the_meter(run):
    jobs, hourly = run.table("jobs"), run.table("hourly")
    meter_j = run.summary["facility_energy_mwh"] * 3.6e9
    for table in (jobs, hourly):
        assert sum(table.column("facility_energy_j").to_pylist()) == pytest.approx(meter_j, rel=1e-9)
    parts = run.provenance["books"]["cost_usd"]
    assert sum(jobs.column("cost_usd").to_pylist()) == pytest.approx(sum(parts.values()), rel=1e-9)
    assert run.summary["total_cost_usd"] == pytest.approx(sum(parts.values()), rel=1e-9)
    power = run.table("power").to_pylist()
    edges = np.append(np.unique([row["time_s"] for row in power]), run.horizon_s)
    total = np.zeros(len(edges) - 1)
    for component in {row["component"] for row in power}:
        mine = [row for row in power if row["component"] == component]
        times = np.array([row["time_s"] for row in mine])
        values = np.array([row["power_w"] for row in mine])
        total += values[np.searchsorted(times, edges[:-1], side="right") - 1]
    assert float(total @ np.diff(edges)) == pytest.approx(meter_j, rel=1e-9)


def test_a_run_from_its_own_run_json_is_the_same_to_the_byte(run, tmp_path):
    again = execute(simulator.load(run.path / "run.json"), out=tmp_path / "again")
    names = sorted(path.name for path in run.path.iterdir() if path.is_file())
    assert names == sorted(path.name for path in again.path.iterdir() if path.is_file())
    different = [
        name
        for name in names
        if (run.path / name).read_bytes() != (again.path / name).read_bytes() and name != "report.html"
    ]
    assert different == ["host.json"]


def test_two_hash_seeds_give_the_same_bytes(tmp_path):
    """Another order of sets and hashes moves nothing, the report included."""
    scenario = tmp_path / "hall.yaml"
    scenario.write_text(HALL)
    code = (
        "import sys, simulator; from analysis.report import write_report;"
        "write_report(simulator.run(simulator.load(sys.argv[1]), out=sys.argv[2]))"
    )
    root = Path(simulator.__file__).parent.parent
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        subprocess.run(
            [sys.executable, "-c", code, str(scenario), str(tmp_path / seed)], check=True, env=environment
        )
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert Path("report.html") in files
    assert len(files) > 35
    different = [
        str(name)
        for name in files
        if (tmp_path / "1" / name).read_bytes() != (tmp_path / "2" / name).read_bytes()
    ]
    assert different == ["host.json"]


def test_a_failing_run_leaves_nothing(tmp_path, monkeypatch):
    import simulator.engine

    def fail(scenario, sink, progress):
        sink.write("events", {name: [] for name in TABLES["events"].names})
        raise RuntimeError("power cut")

    monkeypatch.setattr(simulator.engine, "simulate", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        execute(load_text(HALL, name="hall.yaml"), out=tmp_path / "deep" / "hall")
    assert list(tmp_path.iterdir()) == []


def test_books_that_do_not_balance_are_an_error_of_ours(tmp_path, monkeypatch):
    import simulator.accounting as accounting

    settle = accounting.settle

    def wrong(*arguments, **options):
        books = settle(*arguments, **options)
        entry = accounting.AuditEntry("one is two", 1.0, 2.0)
        return type(books)(**{**_fields(books), "audit": (*books.audit, entry)})

    monkeypatch.setattr(accounting, "settle", wrong)
    with pytest.raises(AuditError, match="one is two") as raised:
        execute(load_text(HALL, name="hall.yaml"), out=tmp_path / "hall")
    assert raised.value.exit_status == 3
    assert list(tmp_path.iterdir()) == []


def _fields(books):
    return {name: getattr(books, name) for name in type(books).__slots__}


def test_the_closing_print_fits_and_never_keeps_silent(run):
    lines = run.closing_lines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    assert "1 seed" in lines[0]
    words = "GPU-hours,Work,Power,Carbon,Water,Cost,Who waited,Limits,Moves most,Watch,Audit"
    for word in words.split(","):
        assert any(line.startswith(word) for line in lines), word
    assert "pue 1." in text
    assert "<= 1.5 PASS" in text
    assert "mean wait 15.7 h > 10 min FAIL" in text
    assert "limit on mean_wait_s is not met" in text


@pytest.mark.parametrize(
    ("later", "tail"),
    [
        ("", {"gpu_hours": 64 * 34.0, "gpus": 64, "job": "a", "ended_s": 14 * 3600.0}),
        # Others take its GPUs an hour later and keep them: nothing is left of it.
        ("      - {id: b, submit: 15 h, gpus: 56, run: 40 h}\n", None),
    ],
)
def test_an_idle_tail_is_what_really_stood_free(tmp_path, later, tail):
    head, _, rest = HALL.partition("      - {id: a")
    text = f"{head}      - {{id: a, gpus: 64, run: 14 h}}\n{later}limits:{rest.partition('limits:')[2]}"
    found = execute(load_text(text, name="hall.yaml"), out=tmp_path / "hall").closing_data()
    assert found["gpu_hours"]["idle_tail"] == tail


def test_the_closing_data_is_json(run):
    data = json.loads(json.dumps(run.closing_data(), allow_nan=False))
    assert data["gpu_hours"]["provided"] == pytest.approx(64 * 48)
    hours = data["gpu_hours"]
    parts = ("productive", "overhead", "lost")
    assert sum(hours[name] for name in parts) == pytest.approx(hours["allocated"])
    rest = ("allocated", "free", "held", "down", "maintenance")
    assert sum(hours[name] for name in rest) == pytest.approx(hours["provided"])
    assert data["waiting"]["by_reason"]["capacity"] > 0.5
    assert [limit["passed"] for limit in data["limits"]] == [True, False]


def test_the_trace_is_what_perfetto_reads(run):
    with gzip.open(run.path / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert {event["name"].split()[0] for event in slices} == {"a", "b", "c"}
    assert sum(event["dur"] * event["args"]["gpus"] for event in slices) == pytest.approx(
        1e6 * 3600 * (16 * 20 + 64 * 10 + 8 * 18), rel=1e-6
    )
    # No two slices of one lane overlap: a viewer would drop or nest them.
    lanes = {}
    for event in sorted(slices, key=lambda event: event["ts"]):
        key = event["pid"], event["tid"]
        assert event["ts"] >= lanes.get(key, 0)
        lanes[key] = event["ts"] + event["dur"]
    assert (run.path / "trace.json.gz").read_bytes()[4:8] == b"\0\0\0\0"  # no time in the gzip header


@pytest.mark.parametrize("grid", ["FR", "PL", "US-CAISO"])
def test_another_grid_afterwards_equals_running_under_it(run, tmp_path, grid):
    (found,) = reaccount(run, grids=[grid])
    other = execute(load_text(HALL, [f"sites.hall.grid={grid}"], name="hall.yaml"), out=tmp_path / grid)
    for name, value in found.summary.items():
        if other.summary[name] is None:
            assert value is None, name
        else:
            assert value == pytest.approx(other.summary[name], rel=1e-12), name
    assert found.summary["location_tco2e"] != pytest.approx(run.summary["location_tco2e"], rel=0.01)
    hourly = other.table("hourly").column("location_gco2e").to_numpy()
    assert found.hourly["hall"]["location_gco2e"] == pytest.approx(hourly, rel=1e-12)


def test_accounting_again_as_run_gives_the_runs_own_numbers(run):
    (found,) = reaccount(run)
    assert found.label == "as run"
    for name, value in found.summary.items():
        mine = run.summary[name]
        assert value == mine or (value is None and mine is None), name


def test_alternatives_multiply(run):
    found = reaccount(run, grids=["DE", "FR"], prices_usd_per_kwh=[0.05, 0.1], climates=["singapore"])
    assert [item.label for item in found] == [
        "grid DE, price 50 USD/MWh, climate singapore",
        "grid DE, price 100 USD/MWh, climate singapore",
        "grid FR, price 50 USD/MWh, climate singapore",
        "grid FR, price 100 USD/MWh, climate singapore",
    ]
    assert found[1].cost_usd["energy"] == pytest.approx(2 * found[0].cost_usd["energy"])
    assert found[0].summary["facility_energy_mwh"] > run.summary["facility_energy_mwh"]


def test_a_signal_that_a_policy_read_is_not_changed_afterwards(run, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run.path.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    said = json.loads((copy / "run.json").read_text())
    said["signals_read"] = [{"site": "hall", "signal": "intensity_g_per_kwh", "reader": "CarbonHold"}]
    (copy / "run.json").write_text(json.dumps(said))
    with pytest.raises(AccountingRefusal, match="CarbonHold read intensity_g_per_kwh of hall"):
        reaccount(open_run(copy), grids=["FR"])
    reaccount(open_run(copy), prices_usd_per_kwh=[0.01])


def test_export_writes_every_table(run, tmp_path):
    paths = export(run, tmp_path / "out")
    assert [path.name for path in paths] == [f"{name}.csv" for name in TABLES]
    with (tmp_path / "out" / "jobs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["job_id"] for row in rows] == ["a", "b", "c", "idle/hall.h100"]
    assert rows[2]["finished_s"] == ""
    assert float(rows[0]["cost_usd"]) == run.table("jobs").column("cost_usd")[0].as_py()
    with pytest.raises(RunFolderError, match="xlxs"):
        export(run, tmp_path / "no", to="xlxs")
    with pytest.raises(RunFolderError, match="did you mean 'jobs'"):
        export(run, tmp_path / "no", tables=["job"])
    assert not (tmp_path / "no").exists()


def test_the_node_price_of_the_scenario_counts(tmp_path):
    text = HALL + "books: {cost: {node: 100_000 USD}}\n"
    cheap = execute(load_text(text, name="hall.yaml"), out=tmp_path / "cheap")
    dear = execute(load_text(text.replace("100_000", "200_000"), name="hall.yaml"), out=tmp_path / "dear")
    costs = [found.provenance["books"]["cost_usd"]["hardware"] for found in (cheap, dear)]
    assert costs[1] == pytest.approx(2 * costs[0])
    (again,) = reaccount(dear)
    assert again.cost_usd["hardware"] == costs[1]


def test_progress_is_told_the_time(tmp_path):
    heard = []
    execute(load_text(HALL, name="hall.yaml"), out=tmp_path / "hall", progress=heard.append)
    assert all(math.isfinite(moment) and 0 <= moment <= 2 * 86400 for moment in heard)


def test_the_layout_of_a_training_job_is_told_with_its_runners_up(tmp_path):
    head, _, _ = HALL.partition("workloads:")
    jobs = """workloads:
  - {name: chosen, kind: training, model: llama-3.1-8b, tokens: 1 B, gpus: 32}
  - {name: given, kind: training, model: llama-3.1-8b, tokens: 1 B, gpus: 8, parallelism: {tp: 2}}
  - {name: published, kind: training, model: llama-3.1-8b, tokens: 1 B, gpus: 8, mfu: 30 %}
"""
    done = execute(load_text(head + jobs, name="hall.yaml"), out=tmp_path / "hall")
    chosen, given = done.provenance["layouts"]  # what was given by its MFU has no layout
    assert (chosen["workload"], given["workload"]) == ("chosen", "given")
    assert chosen["reasons"][0].startswith(chosen["layout"])
    # A loser is slower, or faster but too big: the line says which.
    for line in chosen["reasons"][1:]:
        assert "% slower, " in line or "% faster, but needs " in line
    assert len(chosen["reasons"]) > 1
    assert given["layout"].startswith("tp2")
    assert len(given["reasons"]) == 1
    for facts in (chosen, given):
        assert facts["step_s"]["compute_s"] == max(facts["step_s"].values())
