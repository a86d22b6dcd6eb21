"""Mistakes in what a service is asked to be: one message, status 2, nothing written."""

from __future__ import annotations

import gzip

import pytest
from click.testing import CliRunner

from simulator.cli.commands import datahall

REPLAY, DAY, PREMIUM = "replay/requests", "serving/peak-hours", "serving/premium-tiers"


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
        (PREMIUM, ["workloads.chat.tiers.premium.tpot_slo=-1 ms"], "tpot_slo: '-1 ms': must be above 0 s"),
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
