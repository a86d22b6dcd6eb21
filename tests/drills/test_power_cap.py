"""Drill: clocks and watts are capped in the middle of training and of serving, after 40 s.

A clock of 0.8 leaves a voltage of 1 - 0.65 x 0.2 = 0.87, so 0.8 x 0.87 x 0.87 = 0.60552 of the
watts above the floor of 72 W that no clock removes. A training step is all arithmetic here and
takes 1 / 0.8 = 1.25 times as long; a listed job is 60 % arithmetic and 40 % memory, which feels a
tenth of the clock: 0.6 / 0.8 + 0.4 x (1 + 0.1 x 0.25) = 1.16 times as long.
"""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.serving import serving_profile
from simulator.performance.training import estimate
from simulator.serving.replica_costs import ReplicaCosts
from simulator.telemetry import PHASES

SITE = """
title: Caps
start: 2024-01-01 00:00 UTC
duration: {duration}
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    pools:
      - name: p
        node: hgx-h100-8
        nodes: {nodes}
        power_model: {{gpu_load: 500 W, gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
scheduling: {{policy: fcfs, placement: lowest-numbered}}
"""

#: Floor, and watts of one GPU at clock 0.8, with the host's share of a node of eight.
FLOOR_W = 72.0
CAPPED_GPU_W = FLOOR_W + (500.0 - FLOOR_W) * 0.60552
FULL_W, CAPPED_W = 8 * (500.0 + 200.0), 8 * (CAPPED_GPU_W + 200.0)
SLOWER = 1.16
#: From decision to effect.
DELAY_S = 40.0
#: One tick of the time grid, to which ends are rounded up.
TICK_S = 2.0**-20

LIST = """
workloads:
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 8, run: 10_000 s}
      - {id: b, gpus: 8, run: 10_000 s}
"""


def scenario(more: str, *, duration: str = "until done", nodes: int = 2) -> str:
    return SITE.format(duration=duration, nodes=nodes) + more


def near(expected):
    """Floats of one closed form: rounding only."""
    return pytest.approx(expected, rel=1e-12)


# ---------------------------------------------------------------------- jobs


def test_a_clock_cap_slows_after_its_delay_and_is_lifted_after_another(drill):
    """Commanded at 1000 s and 5000 s, the cap holds from 1040 s to 5040 s. Each job has done
    1040 s of work by then and does 4000 / 1.16 = 3448.28 s under it; the last 5511.72 s run at
    full clock: done at 10 551.72 s.
    """
    run = drill(
        scenario(LIST)
        + """
script:
  - {kind: set-power, at: 1000 s, target: here, clock: 80 %}
  - {kind: set-power, at: 5000 s, target: here, clock: 100 %}
"""
    )
    end_s = 5040.0 + (10_000.0 - 1040.0 - 4000.0 / SLOWER)
    assert end_s == pytest.approx(10_551.7241, abs=1e-4)
    for name in ("a", "b"):
        assert run.job(name)["finished_s"] == pytest.approx(end_s, abs=TICK_S)
        first, capped, last = run.segments(name)
        assert first == ("running", 0.0, 1040.0, 8, 1.0, FULL_W)
        assert capped == ("running", 1040.0, 5040.0, 8, near(1 / SLOWER), near(CAPPED_W))
        assert last[:2] == ("running", 5040.0)
        # The last second ends on the time grid: its rate is that much less than 1.
        assert last[4:] == (pytest.approx(1.0, rel=1e-9), near(FULL_W))
        assert run.job(name)["work_done"] == near(10_000.0)
    assert run.events("decision") == [
        (1040.0, "decision", "SetPower", "site:here", "applied", 0.8),
        (5040.0, "decision", "SetPower", "site:here", "applied", 1.0),
    ]
    events = run.sink.columns("events")
    assert events["delay_s"].tolist() == [DELAY_S, DELAY_S]
    assert events["reason"] == ["by script", "by script"]
    energy_j = 2 * (FULL_W * (1040.0 + end_s - 5040.0) + CAPPED_W * 4000.0)
    assert run.books().jobs["it_energy_j"].sum() == pytest.approx(energy_j, rel=1e-9)


def test_a_watt_cap_finds_the_clock_that_keeps_it(drill):
    """A cap at just what clock 0.8 draws, 331.16 W a GPU, is that clock; at 600 W nothing slows."""
    run = drill(
        scenario(LIST)
        + f"""
script:
  - {{kind: set-power, at: 100 s, target: here.p, watts: 600 W}}
  - {{kind: set-power, at: 1000 s, target: here.p, watts: {CAPPED_GPU_W!r} W}}
"""
    )
    assert pytest.approx(331.16256, abs=1e-9) == CAPPED_GPU_W
    full, capped = run.segments("a")
    assert full == ("running", 0.0, 1040.0, 8, 1.0, FULL_W)
    # The clock is found by halving, from below: never above the cap.
    assert capped[4:] == (pytest.approx(1 / SLOWER, rel=1e-8), pytest.approx(CAPPED_W, rel=1e-8))
    assert capped[5] <= CAPPED_W
    run.books()


def test_of_two_caps_the_lower_one_holds(drill):
    """The pool at 0.8 from 140 s, job a at 0.5 from 240 s; a's cap lifted at 340 s, the pool's at
    440 s. At half clock voltage stands at its floor of 0.7: 0.5 x 0.49 = 0.245 of the watts above
    72 W, and a second takes 0.6 / 0.5 + 0.4 x 1.1 = 1.64 s.
    """
    run = drill(
        scenario(LIST)
        + """
script:
  - {kind: set-power, at: 100 s, target: here.p, clock: 80 %}
  - {kind: set-power, at: 200 s, target: job a, clock: 50 %}
  - {kind: set-power, at: 300 s, target: job a, clock: 100 %}
  - {kind: set-power, at: 400 s, target: here.p, clock: 100 %}
"""
    )
    half_w = 8 * (FLOOR_W + 428.0 * 0.245 + 200.0)
    steps = [
        (0.0, 140.0, 1.0, FULL_W),
        (140.0, 240.0, 1 / SLOWER, CAPPED_W),
        (240.0, 340.0, 1 / 1.64, half_w),
        (340.0, 440.0, 1 / SLOWER, CAPPED_W),
    ]
    found = [(start, end, rate, power) for _, start, end, _, rate, power in run.segments("a")]
    assert found[:4] == [tuple(near(value) for value in step) for step in steps]
    done = sum((end - start) * rate for start, end, rate, _ in steps)
    assert run.job("a")["finished_s"] == pytest.approx(440.0 + 10_000.0 - done, abs=2 * TICK_S)
    # b knows only the pool's cap.
    assert [row[1:3] for row in run.segments("b")][:2] == [(0.0, 140.0), (140.0, 440.0)]
    run.books()


def test_a_cap_waits_for_the_job_that_is_not_there_yet(drill):
    """c is queued when its own cap and the pool's come into force, and starts with the lower."""
    run = drill(
        scenario(LIST, nodes=2)
        + """
      - {id: c, gpus: 16, run: 116 s}
script:
  - {kind: set-power, at: 100 s, target: job c, clock: 80 %}
  - {kind: set-power, at: 200 s, target: here.p, clock: 90 %}
  - {kind: set-power, at: 300 s, target: here.p, clock: 100 %}
"""
    )
    job = run.job("c")
    assert [row[5] for row in run.segments("c")] == [near(2 * CAPPED_W)]
    assert job["finished_s"] - job["started_s"] == pytest.approx(116.0 * SLOWER, abs=TICK_S)
    run.books()


def test_a_job_that_was_capped_comes_back_at_full_clock_once_the_cap_is_gone(drill):
    """a runs capped until its node fails at 2000 s; while it waits for the repair at 3000 s the
    cap is lifted. Nothing is saved: 10 000 s from the start, done at 13 000 s.
    """
    run = drill(
        scenario("", nodes=1)
        + """
workloads:
  - {kind: list, name: jobs, jobs: [{id: a, gpus: 8, run: 10_000 s}]}
script:
  - {kind: set-power, at: 1000 s, target: here, clock: 80 %}
  - {kind: node-fault, at: 2000 s, node: here.p.0, lasts: 1000 s}
  - {kind: set-power, at: 2500 s, target: here, clock: 100 %}
"""
    )
    assert run.job("a")["finished_s"] == 13_000.0
    assert run.segments("a")[-1] == ("running", 3000.0, 13_000.0, 8, 1.0, FULL_W)
    run.books()


def test_a_watt_cap_that_no_clock_can_keep_is_said(drill):
    """At the lowest clock of 0.35 a GPU draws 72 + 428 x 0.35 x 0.49 = 145.4 W: 100 W cannot be
    kept. The clock goes as low as it can, and the events say that this was not enough.
    """
    run = drill(
        scenario(LIST)
        + """
script:
  - {kind: set-power, at: 1000 s, target: job a, watts: 100 W}
"""
    )
    lowest_w = FLOOR_W + 428.0 * 0.35 * 0.49
    assert run.segments("a")[1][5] == near(8 * (lowest_w + 200.0))
    exceeded, applied = run.events("decision", "SetPower")
    assert exceeded[:5] == (1040.0, "decision", "SetPower", "a", "exceeded")
    assert exceeded[5] == near(lowest_w)
    assert applied[3:] == ("job:a", "applied", 100.0)
    assert run.sink.columns("events")["reason"][0] == (
        "a GPU draws 145.4 W at the lowest clock of 0.35, the cap is 100 W"
    )
    assert run.segments("b")[0][1:3] == (0.0, run.job("b")["finished_s"])
    run.books()


def test_a_clock_that_no_part_accepts_is_refused_when_it_would_act(drill):
    run = drill(
        scenario(LIST)
        + """
script:
  - {kind: set-power, at: 1000 s, target: here, clock: 10 %}
"""
    )
    assert run.events("decision") == [(1040.0, "decision", "SetPower", "site:here", "refused", 0.1)]
    assert run.sink.columns("events")["reason"] == ["a clock fraction of 0.1 lies outside 0.15 to 1"]
    assert run.job("a")["finished_s"] == 10_000.0
    run.books()


# ---------------------------------------------------------------------- training


def test_training_with_given_mfu_takes_a_quarter_longer_under_the_cap(drill):
    """1000 steps of 64 x 8192 tokens on 16 GPUs at an MFU of 0.4 take
    64 x 8192 x flop / (0.4 x 989.5 TFLOP/s x 16) each, and 700 W of system watts a GPU are 500 W
    at the GPU. At clock 0.8 a step takes 1.25 times that.
    """
    run = drill(
        scenario("")
        + """
workloads:
  - {kind: training, name: train, model: llama-3.1-8b, gpus: 16, steps: 1000, global_batch: 64,
     context: 8192, mfu: 40 %, power_per_gpu: 700 W}
script:
  - {kind: set-power, at: 1000 s, target: job train, clock: 80 %}
  - {kind: set-power, at: 3000 s, target: job train, clock: 100 %}
"""
    )
    tokens = 64 * 8192
    model = Architecture.from_spec(Catalog.shipped().model("llama-3.1-8b"))
    flop = training_flop_per_token(model, 8192, FlopConvention.MODEL_FULL)
    step_s = tokens * flop / (0.4 * 989.5e12 * 16)
    assert 3.0 < step_s < 6.0
    rate = tokens / step_s
    end_s = 3040.0 + 1000 * step_s - 1040.0 - 2000.0 / 1.25
    first, capped, last = run.segments("train")
    assert first[1:] == (0.0, 1040.0, 16, near(rate), near(2 * FULL_W))
    assert capped[1:] == (1040.0, 3040.0, 16, near(rate / 1.25), near(2 * CAPPED_W))
    assert last[1] == 3040.0
    assert last[5] == near(2 * FULL_W)
    job = run.job("train")
    assert job["finished_s"] == pytest.approx(end_s, abs=TICK_S)
    assert job["tokens"] == 1000 * tokens
    books = run.books()
    # 0.4 at full clock and 0.32 under the cap, in the mean over the time.
    row = run.record.jobs.job_id.index("train")
    mfu = 0.4 * (1000 * step_s) / end_s
    assert books.jobs["mfu_fraction"][row] == pytest.approx(mfu, rel=1e-9)


def test_modelled_training_saves_itself_by_steps_whatever_the_clock(drill):
    """Watts and step time are the model's own at both clocks; time, work, stalls and the last
    durable checkpoint are counted by hand.

    A checkpoint every n = round(300 s / step at full clock) steps, then 30 s of stall. The cap
    comes at 1040 s; the fault at 2000 s undoes what was done since the last checkpoint.
    """
    run = drill(
        scenario("", nodes=1)
        + """
workloads:
  - {kind: training, name: train, model: llama-3.1-8b, gpus: 8, steps: 400, global_batch: 64,
     context: 8192, parallelism: {tp: 8}, checkpoint: {every: 300 s, stall: 30 s}}
script:
  - {kind: set-power, at: 1000 s, target: here, clock: 80 %}
  - {kind: node-fault, at: 2000 s, node: here.p.0, lasts: 100 s}
"""
    )
    catalog = Catalog.shipped()
    gpu, node = catalog.gpu("h100-sxm"), catalog.node("hgx-h100-8")
    profile = estimate(
        Architecture.from_spec(catalog.model("llama-3.1-8b")),
        Layout(tensor_parallel=8, global_batch=64, context_tokens=8192),
        gpu,
        node,
        Spread.of_nodes({0: 8}),
    )
    (full_s, full_w), (slow_s, slow_w) = profile.at(1.0, 1.0), profile.at(0.8, 1.0)
    assert full_s < slow_s < 1.25 * full_s
    assert slow_w < full_w
    # Steps done at full clock, in cycles of n steps and a stall.
    n = round(300.0 / full_s)
    cycles, rest_s = divmod(1040.0, n * full_s + 30.0)
    assert rest_s < n * full_s
    since = rest_s / full_s
    done = cycles * n + since
    # Then slower: the checkpoint comes when n steps are full.
    left_s = (n - since) * slow_s + 30.0
    assert 0.0 < left_s < 960.0
    more, rest_s = divmod(960.0 - left_s, n * slow_s + 30.0)
    assert rest_s < n * slow_s
    done += (n - since) + more * n + rest_s / slow_s
    lost = rest_s / slow_s

    job = run.job("train")
    tokens = profile.unit_per_step
    rows = run.segments("train")
    assert rows[0][:4] == ("running", 0.0, 1040.0, 8)
    assert rows[1][:4] == ("running", 1040.0, 2000.0, 8)
    assert sum((end - start) * rate for _, start, end, _, rate, _ in rows[:2]) == near(done * tokens)
    # Power is the mean over the cycle: steps at their watts, the stall at loaded idle, 115 W.
    full_cycle_w = (full_w * n * full_s + 115.0 * 30.0) / (n * full_s + 30.0)
    slow_cycle_w = (slow_w * n * slow_s + 115.0 * 30.0) / (n * slow_s + 30.0)
    assert rows[0][5] == near(8 * (full_cycle_w + 200.0))
    assert rows[1][5] == near(8 * (slow_cycle_w + 200.0))
    assert job["lost_gpu_seconds"] == near(lost * slow_s * 8)
    # Back at 2100 s, still capped: what is left, with a stall after every n steps but the last.
    left = 400.0 - (done - lost)
    stalls = -(-left // n) - 1
    assert job["finished_s"] == pytest.approx(2100.0 + left * slow_s + stalls * 30.0, abs=2 * TICK_S)
    run.books()


# ---------------------------------------------------------------------- serving

SERVICE = """
workloads:
  - {{kind: service, name: chat, model: llama-3.1-8b, path: {trace}, tensor_parallel: 2,
     replicas: 1, cold_start: 100 s}}
"""
PROMPT, OUTPUT = 1000, 120_001


@pytest.fixture
def one_long_answer(tmp_path):
    """A request at 200 s for one replica of two GPUs that is warm since 100 s, then nothing."""
    trace = tmp_path / "requests.csv"
    trace.write_text(f"arrived_s,prompt_tokens,output_tokens\n200,{PROMPT},{OUTPUT}\n1800,1,1\n")
    return SERVICE.format(trace=trace)


@pytest.fixture(scope="module")
def replica():
    """Time and watts of the replica's iterations at full clock; `at_clock` gives others."""
    catalog = Catalog.shipped()
    return serving_profile(
        Architecture.from_spec(catalog.model("llama-3.1-8b")),
        catalog.gpu("h100-sxm"),
        tensor_parallel=2,
        cpu_overhead_s=catalog.engine("vllm-v1").cpu_overhead_s,
    )


def watts_of_bins(run) -> list[tuple[float, float, float, float]]:
    """(start_s, end_s, mean GPU watts, largest GPU watts) of the replica while it serves."""
    table = run.record.segments
    host_w = 2 * 200.0
    return [
        (float(start), float(end), float(gpu_w), float(max_w) - host_w)
        for phase, start, end, gpu_w, max_w in zip(
            table["phase"],
            table["start_s"],
            table["end_s"],
            table["gpu_power_w"],
            table["max_power_w"],
            strict=True,
        )
        if PHASES[phase] == "running"
    ]


def test_an_answer_slows_from_the_first_token_after_the_delay(drill, replica, one_long_answer):
    """The prompt is one iteration; then 120 000 tokens follow, one an iteration, each reading all
    before it. The iteration that runs at 300 s ends at the old clock, the rest run at 0.6.

    Step times and watts are the model's own at both clocks. Powers are whole milliwatts, and the
    watts of decoding are those of the context at its beginning, to the nearest 512 tokens: 1024
    at first.
    """
    run = drill(
        scenario(one_long_answer, nodes=1, duration="1800 s")
        + """
script:
  - {kind: set-power, at: 260 s, target: service chat, clock: 60 %}
"""
    )
    fast, slow = replica.iteration, replica.at_clock(0.6).iteration
    prompt_ps = fast.iteration_ps(PROMPT, 1, 0, PROMPT * (PROMPT + 1) // 2)
    first_s = 200.0 + prompt_ps / 1e12
    left_ps = 100 * 10**12 - prompt_ps
    steps = 0
    while fast.decode_ps(steps, 1, PROMPT) <= left_ps:
        steps += 1
    switch_s = first_s + fast.decode_ps(steps, 1, PROMPT) / 1e12
    assert 300.0 < switch_s < 300.02
    end_s = switch_s + slow.decode_ps(OUTPUT - 1 - steps, 1, PROMPT + steps) / 1e12
    assert first_s + fast.decode_ps(OUTPUT - 1, 1, PROMPT) / 1e12 < end_s < 1500.0

    requests = run.sink.columns("requests")
    assert requests["first_token_s"].tolist() == [pytest.approx(first_s, abs=1e-9)]
    assert requests["finished_s"].tolist() == [pytest.approx(end_s, abs=1e-9)]

    # Two GPUs: idle, prompt, decoding before and after, idle again.
    bucket = 512 * ((PROMPT + steps + 256) // 512)
    prompt_w = ReplicaCosts(replica, 2).prompt_mw[PROMPT] / 1000.0
    assert prompt_w == pytest.approx(2.0 * replica.prompt_power_w(PROMPT), rel=2e-3)
    before_w, after_w, idle_w = (
        round(2000.0 * watts) / 1000.0
        for watts in (
            replica.decode_power_w(1, 1024.0),
            replica.at_clock(0.6).decode_power_w(1, float(bucket)),
            replica.idle_power_w,
        )
    )
    assert after_w < 0.8 * before_w
    bins = watts_of_bins(run)
    assert [row[:2] for row in bins][:3] == [(100.0, 300.0), (300.0, 600.0), (600.0, 900.0)]
    # Bins are cut where the clock ticks; one iteration of the next one is 5 ms of 300 s.
    assert bins[0][2] * 200.0 == near(
        idle_w * 100.0 + prompt_w * (first_s - 200.0) + before_w * (300.0 - first_s)
    )
    assert bins[1][2] * 300.0 == near(before_w * (switch_s - 300.0) + after_w * (600.0 - switch_s))
    assert bins[2][2:] == (near(after_w), near(after_w))
    energy_j = sum((end - start) * mean_w for start, end, mean_w, _ in bins)
    assert energy_j == near(
        idle_w * (100.0 + 1800.0 - end_s)
        + prompt_w * (first_s - 200.0)
        + before_w * (switch_s - first_s)
        + after_w * (end_s - switch_s)
    )
    assert run.events("decision", "SetPower") == [
        (300.0, "decision", "SetPower", "service:chat", "applied", 0.6)
    ]
    run.books()


def test_a_watt_cap_bounds_whatever_the_requests_ask_for(drill, replica, tmp_path):
    """No work draws more than the design power of 700 W: at the clock where that becomes 400 W,
    nothing does. Prompts of 8000 tokens come every ten seconds; each fills an iteration, which
    draws most.
    """
    trace = tmp_path / "requests.csv"
    rows = [f"{at_s},8000,100" for at_s in range(110, 1801, 10)]
    trace.write_text("arrived_s,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    run = drill(
        scenario(SERVICE.format(trace=trace), nodes=1, duration="1800 s")
        + """
script:
  - {kind: set-power, at: 555 s, target: here.p, watts: 400 W}
"""
    )
    bins = watts_of_bins(run)
    prompt_w = ReplicaCosts(replica, 2).prompt_mw[8000] / 1000.0
    assert prompt_w > 2 * 650.0
    assert [row[3] for row in bins[:2]] == [prompt_w, prompt_w]
    # 400 = 72 + 628 x c (0.35 + 0.65 c)^2, the voltage being above its floor.
    low, high = 0.54, 1.0
    while high - low > 1e-12:
        c = 0.5 * (low + high)
        low, high = (c, high) if 628.0 * c * (0.35 + 0.65 * c) ** 2 <= 328.0 else (low, c)
    capped_w = ReplicaCosts(replica.at_clock(low), 2).prompt_mw[8000] / 1000.0
    assert 700.0 < capped_w < 800.0
    later = [row for row in bins if row[0] >= 600.0]
    assert len(later) == 4
    assert [row[3] for row in later] == [pytest.approx(capped_w, abs=2e-3)] * 4
    run.books()
