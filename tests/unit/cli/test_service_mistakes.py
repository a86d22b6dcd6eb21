"""Mistakes in what a service is asked to be: one message, status 2, nothing written."""

from __future__ import annotations

import gzip
import json

import pytest
from click.testing import CliRunner

from simulator.cli.commands import datahall

REPLAY, DAY, PREMIUM = "replay/requests", "serving/peak-hours", "serving/premium-tiers"
SCALED, CHATS = "serving/autoscaled-day", "serving/prefix-cached-chat"


@pytest.mark.parametrize(
    ("scenario", "change", "words"),
    [
        (REPLAY, ["workloads.0.engine.policy=vlm-v1"], "did you mean 'vllm-v1'?"),
        (REPLAY, ["workloads.0.engine.speculative.acceptance=0.7"], "engine.speculative.drafts: missing"),
        (REPLAY, ["workloads.0.router=prefix-aware"], "log with prefixes"),
        (REPLAY, ["workloads.0.expert_parallel=2", "workloads.0.tensor_parallel=2"], "is dense"),
        (REPLAY, ["workloads.0.transform.kind=shrink"], "known: prune-depth, prune-width, distill"),
        (REPLAY, ["workloads.0.engine.kv_blocks=1"], "no request of its log fits 1 blocks of 16 tokens"),
        (REPLAY, ["workloads.0.engine={kv_blocks: 100, memory: 50 %}"], "so memory has no effect"),
        (REPLAY, ["workloads.0.engine={policy: static, watermark: 1 %}"], "a watermark has no effect"),
        (REPLAY, ["workloads.0.engine.cpu_overhead=-1 ms"], "cpu_overhead: '-1 ms': must be at least 0 s"),
        (REPLAY, ["workloads.0.engine.memory=120 %"], "memory: '120 %' is not a fraction"),
        (DAY, ["workloads.chat.demand={users: 100, think_time: -5 s}"], "think_time: '-5 s': must be above"),
        (DAY, ["workloads.chat.demand.arrivals=gamma", "workloads.chat.demand.cv=0"], "cv: '0': must be"),
        (DAY, ["workloads.chat.demand.doubling=0 s"], "doubling: '0 s': must be above 0 s"),
        (DAY, ["workloads.chat.engine.kv_blocks=1"], "not even the mean request fits 1 blocks"),
        (
            DAY,
            ["workloads.chat.demand.requests=1e12 per day"],
            "about 1.25 T requests would be simulated one by one",
        ),
        (DAY, ["workloads.chat.demand={users: 1000000000, think_time: 1 s}"], "at most 10,000,000"),
        (DAY, ["workloads.chat.engine.token_budget=1000000000000"], "at most 1,048,576"),
        (DAY, ["workloads.chat.engine.block_tokens=100000"], "at most 65,536"),
        (DAY, ["workloads.chat.demand.peak_to_mean=1000"], "workloads.chat.demand: peak_to_mean 1000 would"),
        (DAY, ["workloads.chat.replicas=1000000000"], "the pools have room for 4"),
        (DAY, ["workloads.chat.demand.doubling=1 s"], "doubles 86,400 times in 24 h; expected at most 40"),
        (SCALED, ["workloads.chat.replicas.autoscale.every=1 us"], "expected 0.1 s or more"),
        (DAY, ["duration=100000 yr"], "longer than 100 yr"),
        (PREMIUM, ["workloads.chat.tiers.premium.tpot_slo=-1 ms"], "tpot_slo: '-1 ms': must be above 0 s"),
        (
            CHATS,
            ["workloads.chat.engine.block_tokens=48"],
            "pieces of 512 tokens do not go with blocks of 48",
        ),
        (CHATS, ["workloads.chat.engine.speculative={drafts: 2, acceptance: 50 %}"], "together with drafts"),
        (PREMIUM, ["workloads.chat.tiers.premium.tpot_slo=50 ms", "workloads.chat.mode=fluid"], "both"),
    ],
)
def test_one_message_and_nothing_written(tmp_path, monkeypatch, scenario, change, words):
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(datahall, ["run", scenario, *change])
    assert told.exit_code == 2
    assert told.stdout == ""
    assert words in told.stderr
    assert "Traceback" not in told.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("0,10,5\n5,10,5\n3,10,5\n", 4, "3 comes after 5 on line 3"),
        ("0,10,5\n1,-3,5\n", 3, "-3 is below 0"),
        ("0,10,5\n1,1e20,5\n", 3, "is above 1e+08"),
        ("0,10,5\n4e9,10,5\n", 3, "expected seconds from 0 to 100 yr"),
        ("1700000000,10,5\n1700000001,10,5\n", 2, "these look like Unix times"),
        ("0,10,5\n1,nan,5\n", 3, "nan is not finite"),
        ("0,10,5\n1,10\n", 3, "2 cells; expected 3"),
        ("0,ten,5\n", 2, "'ten' is not a number"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, monkeypatch, rows, line, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("arrived_s,prompt_tokens,output_tokens\n" + rows)
    told = CliRunner().invoke(datahall, ["run", REPLAY, "workloads.0.path=log.csv"])
    assert told.exit_code == 2
    assert f"log.csv:{line}:" in told.stderr
    assert words in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_what_a_killed_run_left_is_told_by_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = tmp_path / ".out.incomplete-4711-0"
    left.mkdir()
    (left / "INCOMPLETE").write_text("This run was not finished.\n")
    other = tmp_path / ".other.incomplete-4711-0"
    other.mkdir()
    (other / "INCOMPLETE").write_text("")
    told = CliRunner().invoke(datahall, ["run", REPLAY, "-o", "out", "--no-report"])
    assert told.exit_code == 0, told.output
    assert ".out.incomplete-4711-0 is of an earlier run of this name that was killed" in told.stderr
    assert ".other" not in told.stderr
    assert left.is_dir()


def test_a_log_cut_inside_its_gzip_names_the_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{number}.0,{100 + number % 7},{20 + number % 5}\n" for number in range(2000))
    whole = gzip.compress(("arrived_s,prompt_tokens,output_tokens\n" + lines).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    told = CliRunner().invoke(datahall, ["run", REPLAY, "workloads.0.path=cut.csv.gz"])
    assert told.exit_code == 2
    assert "cut.csv.gz:" in told.stderr
    assert "ends early" in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cut.csv.gz"]


@pytest.mark.parametrize(
    ("change", "away", "why"),
    [
        ("engine={policy: vllm-v0, token_budget: 256}", 2, ", longer than its engine takes (token_budget"),
        ("admission.queued_per_replica=1", 8, ", more than its admission lets wait, or longer"),
    ],
)
def test_requests_that_are_turned_away_are_told(tmp_path, monkeypatch, change, away, why):
    """Of ten at once two are longer than 256 tokens; or one is served, one waits, eight must go."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{0.001 * number},{300 if number in (3, 7) else 20},5\n" for number in range(10))
    (tmp_path / "log.csv").write_text("arrived_s,prompt_tokens,output_tokens\n" + rows)
    told = CliRunner().invoke(
        datahall,
        ["run", REPLAY, "workloads.0.path=log.csv", "workloads.0.engine.max_sequences=1", "-o", "out",
         f"workloads.0.{change}"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    counts = {
        fate: summary[f"service.log.{fate}"]
        for fate in ("requests", "requests_arrived", "requests_turned_away", "requests_in_flight")
    }
    assert counts == {
        "requests": 10 - away, "requests_arrived": 10, "requests_turned_away": away, "requests_in_flight": 0,
    }  # fmt: skip
    assert f"log: {10 - away} of 10 requests; TTFT" in told.stdout
    assert f"log: {away} of 10 requests turned away{why}" in " ".join(told.stdout.split())
    assert f">{away}</td>" in (tmp_path / "out" / "report.html").read_text()


def test_rows_left_out_and_requests_beyond_the_context_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "0,100,0\n1,0,5\n2,100,5\n3,131073,1\n"
    (tmp_path / "log.csv").write_text("arrived_s,prompt_tokens,output_tokens\n" + rows)
    told = CliRunner().invoke(
        datahall, ["run", REPLAY, "workloads.0.path=log.csv", "-o", "out", "--no-report"]
    )
    said = " ".join(told.stdout.split())
    assert "log: rows of log.csv left out, no prompt tokens: 1" in said
    assert "log: rows of log.csv left out, no output tokens: 1" in said
    assert "longer than the 131,072 tokens that llama-3.1-8b was released for" in said
    assert "served all the same: 1 of 2" in said


def test_a_limit_that_is_passed_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    limit = "sites.site.interconnection.limit=1 kW"
    told = CliRunner().invoke(datahall, ["run", REPLAY, limit, "-o", "out", "--no-report"])
    assert "above the interconnection's 1 kW: that is checked, not enforced" in " ".join(told.stdout.split())


def test_a_service_that_was_never_ready_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(
        datahall, ["run", DAY, "duration=1 min", "workloads.chat.warm_start=false", "--no-report",
                   "workloads.chat.cold_start=10 min"]
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "BACKLOGGED" in told.stdout or "OVERLOADED" in told.stdout
    assert "requests was answered by the end" in " ".join(told.stdout.split())


def test_a_run_that_ends_within_its_first_answer_has_no_backlog(tmp_path, monkeypatch):
    """One request of 3,000 tokens on a free replica, and a run of 3 s."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("arrived_s,prompt_tokens,output_tokens\n0.5,20,3000\n4,20,1\n")
    told = CliRunner().invoke(
        datahall, ["run", REPLAY, "workloads.0.path=log.csv", "duration=3 s", "-o", "out", "--no-report"]
    )
    assert told.exit_code == 0, told.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["service.log.requests"], summary["service.log.requests_in_flight"]) == (0.0, 1.0)
    assert summary["service.log.stability"] == "stable"
    assert "none of 1 requests was answered by the end" in " ".join(told.stdout.split())
