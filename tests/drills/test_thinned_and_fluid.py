"""Drill: a service thinned to a cell, and as a flow, against every request of it in full."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.foundation.errors import BuildError
from simulator.serving.crowd import ServiceError
from tests.drills.one_service import one_service

#: Four replicas of a GPU each, about a fifth loaded; requests are dealt out in turn.
SCENARIO = """
title: Three ways to serve
start: 2024-01-01 00:00 UTC
duration: 20 min
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    network_power: 0 W
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 1
        power_model: {host_active: 1600 W, host_idle: 800 W}
scheduling: {policy: fcfs, placement: lowest-numbered}
workloads:
  - kind: service
    name: chat
    model: llama-3.1-8b
    replicas: 4
    router: round-robin
    demand: {requests: 24 per s}
    lengths: {prompt_mean: 800, prompt_median: 500, output_mean: 150, output_median: 100}
    cold_start: 0 s
"""
THINNED = ("workloads.chat.mode=thinned", "workloads.chat.thin=1/2")
MINUTES = np.arange(0.0, 1201.0, 60.0)
EACH = (
    "request_id",
    "arrived_s",
    "first_token_s",
    "finished_s",
    "prompt_tokens",
    "output_tokens",
    "e2e_s",
    "ttft_s",
)


@pytest.fixture(scope="module")
def modes(drill):
    """The same demand in full, thinned to one of two cells, and as a flow; each is run once."""
    return {
        "full": drill(SCENARIO),
        "thinned": drill(SCENARIO, *THINNED),
        "fluid": drill(SCENARIO, "workloads.chat.mode=fluid"),
    }


def rows(run, **where: int) -> dict[str, np.ndarray]:
    """The service's requests as columns, by number; of some replicas only."""
    columns = run.sink.columns("requests")
    found = {name: np.asarray(columns[name]) for name in (*EACH, "replica", "weight")}
    order = np.argsort(found["request_id"])
    for name, wanted in where.items():
        order = order[found[name][order] == wanted]
    return {name: values[order] for name, values in found.items()}


def gpu_energy_j(run, job_id: str) -> float:
    table = run.record.segments
    own = table["job"] == run.record.jobs.job_id.index(job_id)
    return float(np.sum((table["gpu_power_w"] * (table["end_s"] - table["start_s"]))[own]))


def test_a_thinned_services_requests_are_the_full_ones_own(modes):
    """Dealt in turn, requests 0, 2, 4, ... go to cell 0 and inside it to its replicas in turn: its
    first replica gets 0, 4, 8, ..., as the full service's replica 0 does, its second 2, 6, 10,
    ..., as replica 2 does. So each request that is simulated is, to the picosecond, what it is in
    full; it counts twice.
    """
    full, thinned = modes["full"], modes["thinned"]
    for own, like in ((0, 0), (1, 2)):
        mine, theirs = rows(thinned, replica=own), rows(full, replica=like)
        assert len(mine["request_id"]) > 7000
        for name in EACH[1:]:
            assert mine[name].tolist() == theirs[name].tolist(), name
        assert set(mine["weight"].tolist()) == {2.0}
    assert set(rows(thinned)["replica"].tolist()) == {0, 1}


def test_a_thinned_service_counts_every_request(modes):
    """In = out + in flight, in requests and tokens (the audit compares them); twice the half that
    is simulated is the whole number to one request, the last that is dealt out.
    """
    full, thinned = (modes[mode].record.services[0].counters for mode in ("full", "thinned"))
    assert full["requests_in"] > 28_000
    assert abs(thinned["requests_in"] - full["requests_in"]) <= 1.0
    assert thinned["requests_out"] == rows(modes["thinned"])["weight"].sum()
    assert thinned["requests_in"] == thinned["requests_out"] + thinned["in_flight"]
    for mode in ("full", "thinned"):
        modes[mode].books()


def test_what_the_sample_misses_is_its_sampling_error(modes):
    """The half that is simulated against the half that is not: independent replicas, so the means
    of latency and tokens of the two differ by chance. 4 standard errors from 20 minutes' means
    each: one false alarm in some 3000 for each of four numbers.
    """
    full = rows(modes["full"])
    simulated = np.isin(full["replica"], (0, 2))
    values = {
        "ttft_s": full["ttft_s"],
        "e2e_s": full["e2e_s"],
        "tpot_s": full["e2e_s"] - full["ttft_s"],
        "output_tokens": full["output_tokens"].astype(float),
    }
    minute = np.searchsorted(MINUTES, full["arrived_s"], side="right") - 1
    for name, value in values.items():
        halves = []
        for half in (simulated, ~simulated):
            count = np.bincount(minute[half], minlength=20)
            halves.append(np.bincount(minute[half], value[half], minlength=20) / count)
        error = math.sqrt(sum(np.var(half, ddof=1) / len(half) for half in halves))
        assert abs(np.mean(halves[0]) - np.mean(halves[1])) < 4.0 * error, name
        # The sample is worth having: its error is a few percent at most.
        assert error < 0.04 * np.mean(halves[0]), name


def test_replicas_that_are_not_simulated_draw_what_their_like_do(modes):
    """Two replicas in full, two that draw their mean in every bin: twice the energy of the full
    service's replicas 0 and 2. The hosts' 1600 W are shared by eight GPUs, of which four serve;
    the other four idle at 72 W + 100 W.
    """
    full, thinned = modes["full"], modes["thinned"]
    sampled_j = gpu_energy_j(full, "chat/0") + gpu_energy_j(full, "chat/2")
    mirrored_j = sum(gpu_energy_j(thinned, f"chat/{number}") for number in range(4))
    assert mirrored_j == pytest.approx(2.0 * sampled_j, rel=1e-9)
    whole_j = sum(gpu_energy_j(full, f"chat/{number}") for number in range(4))
    assert mirrored_j == pytest.approx(whole_j, rel=0.02)
    site = thinned.books().sites[0]
    expected_j = 2.0 * sampled_j + 4 * 200.0 * 1200.0 + 4 * (72.0 + 100.0) * 1200.0
    assert site.totals["facility_energy_j"] == pytest.approx(expected_j, rel=1e-9)


def test_a_flow_carries_the_rate_itself(modes):
    """24 a second for 1200 s are 28 800 requests, no more and no less; in full they come by
    chance, 28 800 +- 170. Tokens are requests times the mean of 4096 drawn lengths.
    """
    flow, full = (modes[mode].record.services[0].counters for mode in ("fluid", "full"))
    assert flow["requests_in"] == pytest.approx(28_800.0, rel=1e-12)
    assert flow["requests_in"] == pytest.approx(
        flow["requests_out"] + flow["in_flight"] + flow["shed"], rel=1e-12
    )
    assert abs(full["requests_in"] - 28_800.0) < 4.0 * math.sqrt(28_800.0)
    # Output lengths spread as exp(0.9): 1.1 of their mean, over 4096 and some 28 900 draws.
    assert flow["tokens_out"] / 28_800.0 == pytest.approx(
        full["tokens_out"] / full["requests_out"], rel=4.0 * 1.12 / math.sqrt(4096)
    )
    assert len(modes["fluid"].sink.columns("requests")["request_id"]) == 0
    modes["fluid"].books()


def test_a_flow_answers_and_draws_about_as_the_full_service_does(modes):
    """What a flow may be off by at a fifth of capacity: medians and the mean 5 %, the 99th
    percentile of the first token 20 %, watts 3 %. (Its tables are made with 900 requests a load,
    and straight lines between loads; the full run's own error is a percent or two.)
    """
    flow, full = (modes[mode].record.services[0].summary for mode in ("fluid", "full"))
    for name, within in (
        ("ttft_p50_s", 0.05),
        ("tpot_p50_s", 0.05),
        ("e2e_p50_s", 0.05),
        ("e2e_mean_s", 0.05),
        ("ttft_p99_s", 0.2),
        ("tpot_p99_s", 0.2),
    ):
        assert flow[name] == pytest.approx(full[name], rel=within), name
    assert flow["stability"] == full["stability"] == "stable"
    assert flow["headroom_fraction"] == pytest.approx(full["headroom_fraction"], abs=0.05)
    drawn_j = [
        sum(gpu_energy_j(modes[mode], f"chat/{number}") for number in range(4)) for mode in ("fluid", "full")
    ]
    assert drawn_j[0] == pytest.approx(drawn_j[1], rel=0.03)


def log_of(path, count: int, gap_s: float) -> str:
    """A log of requests at even moments, of lengths that go round."""
    lines = [
        f"{gap_s * (number + 0.5)!r},{200 + 37 * (number % 50)},{20 + number % 31}" for number in range(count)
    ]
    path.write_text("\n".join(["arrived_s,prompt_tokens,output_tokens", *lines]))
    return SCENARIO.replace("    demand: {requests: 24 per s}\n", f"    path: {path}\n").replace(
        "    lengths: {prompt_mean: 800, prompt_median: 500, output_mean: 150, output_median: 100}\n", ""
    )


def test_a_log_is_thinned_and_flows_too(drill, tmp_path):
    """2002 requests, one each 0.3 s; the run's 600 s hold 2000. Thinned, every second of them is
    the full run's own, twice. As a flow, 2000 requests in 600 s.
    """
    text = log_of(tmp_path / "log.csv", 2002, 0.3)
    full, thinned, flow = (
        drill(text, "duration=600 s", *overrides)
        for overrides in ((), THINNED, ("workloads.chat.mode=fluid",))
    )
    assert [run.record.services[0].counters["requests_in"] for run in (full, thinned, flow)] == [
        2000.0,
        2000.0,
        pytest.approx(2000.0, rel=1e-12),
    ]
    every, sample = rows(full), rows(thinned)
    chosen = np.isin(every["replica"], (0, 2))
    for name in ("arrived_s", "prompt_tokens", "finished_s"):
        assert sample[name].tolist() == every[name][chosen].tolist()
    for run in (full, thinned, flow):
        run.books()


def test_a_lost_replica_keeps_its_weight(drill):
    """The node fails at 300 s for 100 s: what the two simulated replicas held is lost and begins
    again, each counting twice; nothing else is. All four come back.
    """
    fault = "script=[{kind: node-fault, at: 300 s, node: here.p.0, lasts: 100 s}]"
    run = drill(SCENARIO, *THINNED, fault, "duration=600 s")
    counters = run.record.services[0].counters
    assert counters["retried"] > 0
    assert counters["retried"] % 2 == 0
    assert counters["requests_in"] == counters["requests_out"] + counters["in_flight"]
    states = [(run.job(f"chat/{n}")["state"], run.job(f"chat/{n}")["started_s"]) for n in range(8)]
    assert states == [("failed", 0.0)] * 4 + [("running", 400.0)] * 4
    run.books()


def test_what_a_sample_or_a_flow_cannot_show_is_refused(drill):
    """Unequal cells, scaling, prefill apart from decode, even arrivals of a flow."""
    with pytest.raises(
        ServiceError, match=r"thin 0\.3\d* does not split 4 replicas.*nearest good share is 1/4"
    ):
        drill(SCENARIO, "workloads.chat.mode=thinned", "workloads.chat.thin=1/3")
    with pytest.raises(BuildError, match="a thinned service keeps its replicas"):
        drill(SCENARIO, *THINNED, "workloads.chat.replicas={min: 2, max: 4, autoscale: queue}")
    for mode in (THINNED, ("workloads.chat.mode=fluid",)):
        with pytest.raises(BuildError, match="does not part prefill from decode"):
            drill(SCENARIO, *mode, "workloads.chat.disaggregated={prefill: 2, decode: 2}")
    with pytest.raises(BuildError, match="arrivals: constant has no effect in mode fluid"):
        drill(SCENARIO, "workloads.chat.mode=fluid", "workloads.chat.demand.arrivals=constant")


def test_decisions_that_a_sample_or_a_flow_cannot_show_are_refused_with_the_reason(drill):
    """Shares of sites tie cells together and divide a flow; the run goes on."""
    route = "script=[{kind: route, at: 10 s, service: chat, weights: {here: 1}}]"
    for mode in (THINNED, ("workloads.chat.mode=fluid",)):
        run = drill(SCENARIO, *mode, route, "duration=60 s")
        events = run.sink.columns("events")
        assert events["outcome"] == ["refused"]
        assert "has no shares of sites; use mode full" in events["reason"][0]


def test_the_same_seed_gives_the_same_flow(drill):
    """Tables come from a named stream of the run."""
    first, again, other = (
        drill(SCENARIO, "workloads.chat.mode=fluid", "duration=60 s", f"seed={seed}") for seed in (1, 1, 2)
    )
    assert first.record.services[0].summary == again.record.services[0].summary
    assert first.record.services[0].summary["ttft_p50_s"] != other.record.services[0].summary["ttft_p50_s"]


OUTSIDE = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Last:
    """The highest-numbered replica."""

    def pick(self, turn, candidates, loads, found, filled):
        return candidates[-1]
'''


@pytest.mark.parametrize(("mode", "share"), [((), 1.0), (THINNED, 0.5)])
def test_a_large_service_that_is_not_compiled_says_so(drill, monkeypatch, tmp_path, mode, share):
    (tmp_path / "last.py").write_text(OUTSIDE)
    more = ("duration=60 s", f"workloads.chat.router={tmp_path}/last.py:Last")
    expected = 24.0 * 60.0 * share
    for threshold, told in ((expected + 1.0, False), (expected - 1.0, True)):
        for module in ("engine.build_services", "serving.full_crowd"):
            monkeypatch.setattr(f"simulator.{module}.COMPILED_FROM", threshold)
        record = drill(SCENARIO, *mode, *more).record
        assert any("router Last is not compiled" in note for note in record.notes) == told
        assert record.services[0].form == ("twin", "router Last is not compiled")


CHATS = one_service(
    """
    path: LOG
    model: llama-3.1-8b
    engine: {policy: vllm-v1, prefix_caching: true}
    replicas: 4
    warm_start: true
    """,
    duration="590 s",
)


def found_fraction(run):
    counters = run.record.services[0].counters
    return counters["prefix_tokens_hit"] / counters["prefix_tokens_looked"]


@pytest.mark.parametrize("router", ["least-outstanding", "prefix-aware"])
def test_a_flow_finds_in_the_cache_what_the_full_service_finds(drill, repository, router):
    """400 shipped chats of up to six turns: 0.66 of the prompts' tokens are found where turns go
    anywhere, 0.75 where they come back. Two runs of ten minutes differ by a percent; the first
    token's median, which is mostly what is not found, within 10 %.
    """
    log = repository / "scenarios" / "serving" / "prefix-cached-chat.jsonl"
    text = CHATS.replace("LOG", str(log))
    full, flow = (
        drill(text, f"workloads.chat.router={router}", f"workloads.chat.mode={mode}")
        for mode in ("full", "fluid")
    )
    assert found_fraction(full) > 0.6
    assert found_fraction(flow) == pytest.approx(found_fraction(full), abs=0.02)
    seen, true = flow.record.services[0].summary, full.record.services[0].summary
    for name, within in (("ttft_p50_s", 0.1), ("tpot_p50_s", 0.05), ("e2e_mean_s", 0.1)):
        assert seen[name] == pytest.approx(true[name], rel=within), name
    flow.books()


def test_chats_that_come_back_do_not_split_into_cells(drill, repository):
    text = CHATS.replace("LOG", str(repository / "scenarios" / "serving" / "prefix-cached-chat.jsonl"))
    half = ("workloads.chat.mode=thinned", "workloads.chat.thin=1/2")
    with pytest.raises(ServiceError, match="a chat would leave the replica that remembers it"):
        drill(text, *half, "workloads.chat.router=prefix-aware")
    full, thinned = (drill(text, "workloads.chat.router=round-robin", *more) for more in ((), half))
    # 1,326 requests, half of them seen.
    assert found_fraction(thinned) == pytest.approx(found_fraction(full), abs=0.03)
