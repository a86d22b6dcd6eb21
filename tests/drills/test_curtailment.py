"""Drill: a curtailment with ten minutes' notice, a battery, jobs and a service.

GPUs draw 500 W busy and 100 W idle, hosts 200 W and 100 W a GPU: 700 W and 200 W. The service is
given 400 W a GPU, so 600 W, whatever its requests. At the lowest clock of 0.35 the voltage stands
at its floor of 0.7: of what a GPU draws above 72 W, 0.35 x 0.49 = 0.1715 is left.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.accounting.ledger import measure
from simulator.catalog.shelf import Catalog
from simulator.facility.air_chiller import AirChiller
from simulator.foundation.step_series import StepSeries
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.performance.serving import serving_profile
from simulator.results.book_inputs import site_books

SITE = """
title: Called
start: 2024-01-01 00:00 UTC
duration: 4 h
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{{cooling}}}
    network_power: 0 W
    fabric: {{nodes_per_leaf: 8}}
    {site}
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 4
        power_model: {{gpu_load: 500 W, gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
scheduling: {{policy: {policy}, placement: lowest-numbered}}
workloads:
  - {{kind: service, name: chat, model: llama-3.1-8b, tensor_parallel: {tp}, replicas: {replicas},
     cold_start: 100 s, power_per_gpu: 400 W, path: {trace}}}
"""
RIDE = "power_policy: {policy: ride-through}"
BATTERY = "battery: {energy: 1 kWh, power: 5 kW, round_trip_efficiency: 81 %}"

TWO_JOBS = """
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 8, run: 10_000 s, checkpoint_every: 1000 s}
      - {id: b, gpus: 8, run: 10_000 s, checkpoint_every: 1000 s}
"""

PUE_125, NO_OVERHEAD = "plant: constant-pue, pue: 1.25", "plant: none"

#: From decision to effect of a clock.
DELAY_S = 40.0
CALL_S, END_S = 3600.0, 5400.0
TICK_S = 2.0**-20
FLOOR_W, LOWEST = 72.0, 0.35


def call(limit: str, notice: str = "10 min") -> str:
    return f"""
script:
  - {{kind: curtailment, at: 1 h, site: here, limit: {limit}, notice: {notice}, lasts: 30 min}}
"""


def gpu_w(full_w: float, clock: float) -> float:
    """Watts of a GPU at a clock."""
    voltage = max(1.0 - 0.65 * (1.0 - clock), 0.7)
    return FLOOR_W + (full_w - FLOOR_W) * clock * voltage**2


def slower(clock: float) -> float:
    """Time of a listed job's second: 60 % arithmetic, and memory that feels a tenth."""
    return 0.6 / clock + 0.4 * (1.0 + 0.1 * (1.0 / clock - 1.0))


def near(expected, rel=1e-9):
    """A clock found by halving, and rounding."""
    return pytest.approx(expected, rel=rel)


@pytest.fixture
def curtailed(drill, tmp_path):
    """Run the site with workloads and a script."""
    trace = tmp_path / "requests.csv"
    trace.write_text("arrived_s,prompt_tokens,output_tokens\n14400,1,1\n")

    def run(more, *, site=f"{BATTERY}\n    {RIDE}", cooling=PUE_125, policy="fcfs", tp=8, replicas=1):
        head = SITE.format(site=site, cooling=cooling, policy=policy, tp=tp, replicas=replicas, trace=trace)
        return drill(head + more)

    return run


def meter(run) -> list[tuple[float, float]]:
    """(time_s, W) of every change at the meter that lasts longer than a tick of the time grid."""
    series = run.books().sites[0].meter
    lasting = np.diff(series.start_s, append=series.end_s) > TICK_S
    series = StepSeries(series.start_s[lasting], series.value[lasting], series.end_s)
    changed = np.append(True, np.abs(np.diff(series.value)) > 1e-6)
    return list(zip(series.start_s[changed].tolist(), series.value[changed].tolist(), strict=True))


def within(run, limit_w: float, from_s: float = CALL_S, to_s: float = END_S) -> None:
    """The meter stays within the limit between two moments."""
    series = run.books().sites[0].meter
    at_s = np.append(from_s, series.start_s[(series.start_s > from_s) & (series.start_s < to_s)])
    assert series.at(at_s).max() <= limit_w


# ---------------------------------------------------------------------- battery and clocks


def shares_of_the_call() -> tuple[float, float]:
    """Return the clock of the jobs, and the battery's power, under a limit of 20 kW.

    Two jobs 11.2 kW, the service 4.8 kW, an idle node 1.6 kW: 17.6 kW of IT, 22 kW at the meter.
    1 % below the limit are 19.8 kW. The battery gives 3.6 MJ x 0.9, counted on to nine tenths:
    2.916 MJ over half an hour, 1.62 kW. 580 W are short at the meter, 464 W of IT. Down to the
    lowest clock, 16 GPUs give 16 x 428 W x (1 - 0.1715) over 0.65 of the clock, and along that
    chord 464 W; power lies below its chord, so the battery has a little less to carry.
    """
    span_w = 16 * 428.0 * (1.0 - 0.1715)
    clock = 1.0 - 0.65 * 464.0 / span_w
    above_w = 1.25 * (16 * (gpu_w(500.0, clock) + 200.0) + 4800.0 + 1600.0) - 19_800.0
    return clock, above_w


def test_the_battery_first_then_the_clocks_and_all_is_given_back(curtailed):
    """Told at 50 min, clocks are lowered 40 s before the hour and act on it; the battery carries
    the rest, so that the meter stands at 19.8 kW. At 90 min the battery recharges at half its
    power, and clocks are back 40 s later.
    """
    clock, above_w = shares_of_the_call()
    assert clock == pytest.approx(0.94684, abs=1e-5)
    assert 1100.0 < above_w < 1620.0
    run = curtailed(TWO_JOBS + call("20 kW"))
    slow_w = 19_800.0 + above_w
    full_s = END_S + above_w * 1800.0 / 0.9 / (2500.0 * 0.9)
    assert meter(run)[2:] == [
        (CALL_S, near(19_800.0)),
        (END_S, near(slow_w + 2500.0)),
        (END_S + DELAY_S, near(22_000.0 + 2500.0)),
        (pytest.approx(full_s, abs=2e-6), near(22_000.0)),
        (pytest.approx(run.job("a")["finished_s"], abs=1e-9), near(22_000.0 - 1.25 * 16 * 500.0)),
    ]
    assert dict(meter(run))[100.0] == near(22_000.0)
    within(run, 20_000.0)

    # Storage: 1.8 ks of discharge, then back what it took over both efficiencies.
    [(times_s, powers_w)] = run.record.storage.values()
    assert times_s.tolist() == [0.0, CALL_S, END_S, *[pytest.approx(full_s, abs=2e-6)] * 2]
    # Full within a tick of the time grid: what was left fills that tick, and no joule is lost.
    assert times_s[4] - times_s[3] == TICK_S
    assert powers_w.tolist()[:3] == [0.0, near(-above_w), 2500.0]
    assert powers_w[3] == pytest.approx(2500.0 * (full_s - times_s[3]) / TICK_S, abs=1.0)
    assert powers_w[4] == 0.0
    books = run.books()
    assert books.sites[0].totals["storage_energy_j"] == near(above_w * 1800.0 * (1.0 / 0.81 - 1.0))
    assert "here: storage stays within its bounds" in [entry.name for entry in books.audit]

    # Work: 1840 s slower.
    end_s = END_S + DELAY_S + 10_000.0 - CALL_S - 1840.0 / slower(clock)
    for name in ("a", "b"):
        assert [row[1:3] for row in run.segments(name)][:2] == [(0.0, CALL_S), (CALL_S, END_S + DELAY_S)]
        assert run.job(name)["finished_s"] == pytest.approx(end_s, abs=1e-5)
        assert run.job(name)["preemptions"] == 0


def test_who_told_whom_and_when_is_in_the_events(curtailed):
    clock, above_w = shares_of_the_call()
    run = curtailed(TWO_JOBS + call("20 kW"))
    # What jobs may draw above idle: 16 x 500 W, less the 464 W that are short.
    room_w = 8000.0 - 464.0
    rows = run.sink.columns("events")
    found = [
        row
        for row in zip(
            rows["time_s"].tolist(),
            rows["what"],
            rows["target"],
            rows["outcome"],
            rows["delay_s"].tolist(),
            rows["value"].tolist(),
            strict=True,
        )
        if row[0] < 5500.0 and row[1] != "storage"
    ]
    nothing = pytest.approx(math.nan, nan_ok=True)
    assert found == [
        (3000.0, "curtailment", "here", "announced", 0.0, 20_000.0),
        (3560.0, "Ceiling", "service:chat", "applied", 0.0, 8.0),
        (3560.0, "Ceiling", "jobs:here", "applied", 0.0, near(room_w)),
        (3600.0, "curtailment", "here", "began", 0.0, 20_000.0),
        (3600.0, "SetPower", "jobs:here", "applied", DELAY_S, near(clock)),
        (3600.0, "Store", "here", "applied", 0.0, near(-above_w)),
        (5400.0, "curtailment", "here", "ended", 0.0, 20_000.0),
        (5400.0, "Ceiling", "service:chat", "applied", 0.0, nothing),
        (5400.0, "Ceiling", "jobs:here", "applied", 0.0, nothing),
        (5400.0, "Store", "here", "applied", 0.0, 2500.0),
        (5440.0, "SetPower", "jobs:here", "applied", DELAY_S, 1.0),
    ]
    reasons = {
        reason for kind, reason in zip(rows["kind"], rows["reason"], strict=True) if kind == "decision"
    }
    assert reasons == {"by RideThrough"}
    # The decisions rested on the weather: another climate is another run.
    assert [(read.signal, read.reader) for read in run.record.signals_read] == [
        ("dry_bulb_c", "RideThrough"),
        ("wet_bulb_c", "RideThrough"),
    ]
    [(times_s, limits_w)] = run.record.limits.values()
    assert (times_s.tolist(), limits_w.tolist()) == ([0.0, CALL_S, END_S], [math.inf, 20_000.0, math.inf])


def test_the_policy_looks_after_what_it_decided_has_acted(curtailed):
    """A cap of somebody else acts five seconds before the call, so the one clock that acts caps is
    set anew just then. On the hour the policy must still see the lowered clocks: it would lower
    them again.
    """
    _, above_w = shares_of_the_call()
    other = "  - {kind: set-power, at: 3555 s, target: job b, clock: 100 %}\n"
    run = curtailed(TWO_JOBS + call("20 kW") + other)
    assert [row[0] for row in run.events("decision", "SetPower")] == [3595.0, 3600.0, 5440.0]
    assert run.record.storage[0][1].tolist()[1] == near(-above_w)


def test_without_notice_the_meter_obeys_as_soon_as_something_can_act(curtailed):
    """No battery: clocks are commanded on the hour and act at 3640 s; 40 s stay above the limit,
    and nothing after them. 2.2 kW are short: 1.76 kW of IT.
    """
    run = curtailed(TWO_JOBS + call("20 kW", notice="0 s"), site=RIDE)
    clock = 1.0 - 0.65 * 1760.0 / (16 * 428.0 * (1.0 - 0.1715))
    steps = dict(meter(run))
    assert steps[100.0] == near(22_000.0)
    assert CALL_S not in steps
    assert steps[CALL_S + DELAY_S] == near(1.25 * (16 * (gpu_w(500.0, clock) + 200.0) + 4800.0 + 1600.0))
    assert steps[END_S + DELAY_S] == near(22_000.0)
    within(run, 19_800.0, CALL_S + DELAY_S)


def test_the_battery_bridges_what_clocks_cannot_without_notice(curtailed):
    """2.2 kW from the battery until the clocks act, then what they leave of it: within the limit
    from the first second.
    """
    run = curtailed(TWO_JOBS + call("20 kW", notice="0 s"))
    clock, above_w = shares_of_the_call()
    [(times_s, powers_w)] = run.record.storage.values()
    assert times_s.tolist()[:4] == [0.0, CALL_S, CALL_S + DELAY_S, END_S]
    assert powers_w.tolist()[:3] == [0.0, near(-2200.0), near(-above_w)]
    assert run.segments("a")[1][4] == near(1.0 / slower(clock))
    within(run, 19_800.0 * (1 + 1e-12))


def test_recharging_stays_within_the_connection(curtailed):
    """A connection of 23 kW: at 90 min the slowed site leaves 23 kW less what it draws; once
    clocks are back, 1 kW.
    """
    site = f"{BATTERY}\n    {RIDE}\n    interconnection: {{limit: 23 kW}}"
    run = curtailed(TWO_JOBS + call("20 kW"), site=site)
    _, above_w = shares_of_the_call()
    first_w = 23_000.0 - (19_800.0 + above_w)
    assert first_w < 2500.0
    needed_j = above_w * 1800.0 / 0.9
    full_s = END_S + DELAY_S + (needed_j - first_w * 0.9 * DELAY_S) / 900.0
    [(times_s, powers_w)] = run.record.storage.values()
    assert times_s.tolist()[:4] == [0.0, CALL_S, END_S, END_S + DELAY_S]
    assert times_s[-1] == pytest.approx(full_s, abs=5e-6)
    assert powers_w.tolist()[:4] == [0.0, near(-above_w), near(first_w), near(1000.0)]
    within(run, 23_000.0 * (1 + 1e-12), 0.0, 14_400.0)
    # Full is full, to the joule.
    [(at_s, *_, charge_j)] = run.events("call", "storage")
    assert at_s == times_s[-1]
    assert charge_j == 3.6e6


def test_a_battery_that_begins_half_empty_is_filled_before_anybody_calls(curtailed):
    """1.8 MJ are missing; half its power, 2.5 kW, brings 2.25 kW of them: 800 s."""
    site = BATTERY.replace("81 %", "81 %, initial_fraction: 50 %") + f"\n    {RIDE}"
    run = curtailed(TWO_JOBS + call("20 kW"), site=site)
    [(times_s, powers_w)] = run.record.storage.values()
    assert times_s.tolist()[:2] == [0.0, 800.0]
    assert powers_w.tolist()[:2] == [2500.0, 0.0]
    run.books()


def test_the_battery_follows_the_weather_of_the_call(curtailed, epw):
    """From 1 h to 3 h, and the air warms from 10 C to 30 C at 2 h: cooling takes more, and on the
    hour the battery takes over what the limit leaves no room for. The plant's watts are its own.
    """
    weather = epw(lambda hour: 10.0 if hour < 2 else 30.0)
    longer = call("19.5 kW").replace("lasts: 30 min", "lasts: 2 h")
    site = f"battery: {{energy: 20 kWh, power: 10 kW}}\n    {RIDE}\n    weather: {weather}"
    run = curtailed(TWO_JOBS + longer, site=site, cooling="plant: air-chiller, capacity: 40 kW")
    air = site_books(run.scenario, run.record.horizon_s)["here"].weather
    plant = AirChiller(capacity_w=40_000.0)
    cool_w, warm_w = (17_600.0 + float(plant.draw(17_600.0, *air.at(t)).power_w) for t in (7199.0, 7200.0))
    allowed_w = 0.99 * 19_500.0
    held_w = 0.9 * 20.0 * 3.6e6 * math.sqrt(0.88) / 7200.0
    assert cool_w < allowed_w < warm_w < allowed_w + held_w
    [(times_s, powers_w)] = run.record.storage.values()
    # The jobs end at 10 000 s, and with them the need.
    assert times_s.tolist()[:3] == [0.0, 7200.0, 10_000.0]
    assert powers_w.tolist()[:3] == [0.0, near(allowed_w - warm_w), 0.0]
    assert run.events("decision", "SetPower") == []
    within(run, allowed_w * (1 + 1e-12), CALL_S, 10_800.0)


# ---------------------------------------------------------------------- who may start


@pytest.mark.parametrize("policy", ["fcfs", "sjf", "easy", "conservative"])
def test_no_job_starts_into_the_limit_and_its_wait_says_so(curtailed, policy):
    """c wants the idle node at 4000 s: 8 x 500 W more, and no room. It starts when the call is
    over, at the clock that still holds for 40 s.
    """
    clock, _ = shares_of_the_call()
    jobs = TWO_JOBS + "      - {id: c, submit: 4000 s, gpus: 8, run: 1000 s}\n"
    run = curtailed(jobs + call("20 kW"), policy=policy)
    assert run.waits("c") == [("power-cap", "power-cap", 4000.0, END_S)]
    slow, full = run.segments("c")
    assert slow[1:3] == (END_S, END_S + DELAY_S)
    assert slow[4:] == (near(1.0 / slower(clock)), near(8 * (gpu_w(500.0, clock) + 200.0)))
    assert full[5] == near(5600.0)
    within(run, 20_000.0)


def test_a_job_takes_the_place_of_one_that_ends(curtailed):
    """b ends at 4000 s of its own; c starts then, at b's clock: as much leaves as comes. d finds
    no room until the call is over.
    """
    clock, above_w = shares_of_the_call()
    jobs = """
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 8, run: 10_000 s}
      - {id: b, gpus: 8, run: 3700 s}
      - {id: c, submit: 3700 s, gpus: 8, run: 10_000 s}
      - {id: d, submit: 3800 s, gpus: 8, run: 10_000 s}
"""
    run = curtailed(jobs + call("20 kW"))
    b_s = CALL_S + 100.0 * slower(clock)
    c = run.job("c")
    assert run.job("b")["finished_s"] == c["started_s"] == pytest.approx(b_s, abs=1e-5)
    assert run.segments("c")[0][4] == near(1.0 / slower(clock))
    assert run.waits("c") == [("power-cap", "power-cap", 3700.0, c["started_s"])]
    assert run.job("d")["started_s"] == END_S
    within(run, 20_000.0)
    # The battery is asked again as b ends and c starts, and gives what it gave.
    [(times_s, powers_w)] = run.record.storage.values()
    assert times_s.tolist()[:4] == [0.0, CALL_S, c["started_s"], END_S]
    assert powers_w.tolist()[:4] == [0.0, near(-above_w), near(-above_w), 2500.0]


def test_a_limit_with_room_lets_jobs_start_as_far_as_it_goes(curtailed):
    """28 kW less 1 %, and 1.62 kW from the battery: 29.34 kW, 7.34 kW above the site's 22 kW, are
    5872 W of IT. c adds 4000 W above idle and starts; e would add 2000 W more and has to wait,
    f, behind it, too.
    """
    jobs = (
        TWO_JOBS
        + "      - {id: c, submit: 4000 s, gpus: 4, run: 9000 s}\n"
        + "      - {id: d, submit: 4000 s, gpus: 4, run: 9000 s}\n"
    )
    run = curtailed(jobs + call("28 kW"))
    assert run.job("c")["started_s"] == run.job("d")["started_s"] == 4000.0
    assert run.segments("c")[0][4] == 1.0
    # 4000 W above idle at 29.34 kW: 22 kW + 5 kW is 27 kW, within the limit without the battery.
    assert [row for row in meter(run) if row[0] == 4000.0] == [(4000.0, near(27_000.0))]
    assert run.record.storage[0][1].tolist() == [0.0]
    within(run, 27_720.0)
    lower = curtailed(jobs + call("26 kW"))
    # 25.74 + 1.62 kW leave 5.36 kW, 4288 W of IT: c and d fit, and the battery carries what is
    # above 25.74 kW.
    assert lower.job("d")["started_s"] == 4000.0
    assert lower.record.storage[0][1].tolist()[:2] == [0.0, near(-1260.0)]
    within(lower, 26_000.0)
    lowest = curtailed(jobs + call("25 kW"))
    # 24.75 + 1.62 kW leave 4.37 kW, 3496 W of IT: room for c alone.
    assert lowest.job("c")["started_s"] == 4000.0
    assert lowest.waits("d") == [("power-cap", "power-cap", 4000.0, END_S)]
    within(lowest, 25_000.0)


# ---------------------------------------------------------------------- pausing, and replicas

TRAINING = """
  - {kind: training, name: train, model: llama-3.1-8b, gpus: 16, steps: 2000, global_batch: 64,
     context: 8192, mfu: 40 %, power_per_gpu: 700 W, checkpoint: {every: 30 min, stall: 60 s}}
  - kind: list
    name: jobs
    jobs: [{id: b, gpus: 8, run: 10_000 s}]
"""


def test_training_saves_itself_and_stands_aside(curtailed):
    """No battery, no overhead, 9 kW: 8.91 kW allowed of 21.6 kW. Clocks could give 8.51 kW from
    24 GPUs of jobs and 2.17 kW from the service: 2.01 kW less than the 12.69 kW missing, so
    training must go; it saves at 3500 s for 60 s and is off the GPUs 40 s before the call. Then
    4.69 kW are missing: b gives 2.84 kW, all that clocks can, the service 1.85 of 2.17 kW.
    Training resumes with the end of the call.
    """
    run = curtailed(TRAINING + call("9 kW"), site=RIDE, cooling=NO_OVERHEAD)
    tokens = 64 * 8192
    model = Architecture.from_spec(Catalog.shipped().model("llama-3.1-8b"))
    flop = training_flop_per_token(model, 8192, FlopConvention.MODEL_FULL)
    step_s = tokens * flop / (0.4 * 989.5e12 * 16)
    n = round(1800.0 / step_s)
    cycle_s = n * step_s + 60.0
    assert cycle_s < 3500.0 < 2 * cycle_s - 60.0

    rows = [(phase, start, end, gpus) for phase, start, end, gpus, _, _ in run.segments("train")]
    assert rows[:4] == [
        ("running", 0.0, 3500.0, 16),
        ("stopping", 3500.0, 3560.0, 16),
        ("running", END_S, END_S + DELAY_S, 16),
        ("running", END_S + DELAY_S, run.job("train")["finished_s"], 16),
    ]
    done = n + (3500.0 - cycle_s) / step_s
    begun = DELAY_S * LOWEST / step_s
    left = 2000.0 - done - begun
    stalls = math.ceil((begun + left) / n) - 1
    finish_s = END_S + DELAY_S + left * step_s + stalls * 60.0
    job = run.job("train")
    assert job["finished_s"] == pytest.approx(finish_s, abs=1e-5)
    assert (job["lost_gpu_seconds"], job["restarts"], job["preemptions"]) == (0.0, 0, 1)
    assert job["tokens"] == 2000 * tokens

    # The meter in the call: b at the lowest clock, the service at its own, two idle nodes.
    b_w = 8 * (gpu_w(500.0, LOWEST) + 200.0)
    missing_w = 5600.0 + 4800.0 + 3200.0 - 8910.0 - (5600.0 - b_w)
    clock = 1.0 - 0.65 * missing_w / (8 * (400.0 - gpu_w(400.0, LOWEST)))
    assert LOWEST < clock < 0.5
    chat_w = 8 * (gpu_w(400.0, clock) + 200.0)
    steps = dict(meter(run))
    # A crowd's powers are whole milliwatts.
    assert steps[CALL_S] == pytest.approx(b_w + chat_w + 3200.0, abs=1e-3)
    assert steps[CALL_S] <= 8910.0
    assert run.segments("b")[1][1:3] == (CALL_S, END_S + DELAY_S)
    within(run, 9000.0)
    assert [row[2:5] for row in run.events("decision") if row[2] in ("Stop", "Resume")] == [
        ("Stop", "train", "applied"),
        ("Resume", "train", "applied"),
    ]


def test_half_the_replicas_go_last_and_come_back(curtailed):
    """Four replicas of two GPUs and two jobs that cannot save. No overhead: 17.6 kW drawn, 9 kW
    called, 8.91 kW allowed, 8.69 kW missing; clocks give 5.67 kW from jobs and 2.17 kW from the
    service. A replica at the lowest clock gives 2 x (328.25 - 200) = 256.5 W more when it goes: two
    of them are half, and all that may go.
    """
    jobs = """
  - kind: list
    name: jobs
    jobs: [{id: a, gpus: 8, run: 10_000 s}, {id: b, gpus: 8, run: 10_000 s}]
"""
    run = curtailed(jobs + call("9 kW"), site=RIDE, cooling=NO_OVERHEAD, tp=2, replicas=4)
    found = {name: [row[:3] for row in run.segments(name)] for name in run.record.jobs.job_id}
    ended = {name: run.job(name)["finished_s"] for name in found if name.startswith("chat")}
    # The newest two go when clocks are commanded; nothing was in flight.
    assert {name for name, at_s in ended.items() if at_s < END_S} == {"chat/2", "chat/3"}
    assert [at_s for at_s in ended.values() if at_s < END_S] == [pytest.approx(3560.0, abs=TICK_S)] * 2
    # Two new ones start with the end of the call, cold for 100 s.
    assert found["chat/4"][0] == ("starting", END_S, END_S + 100.0)
    assert found["chat/5"][0] == ("starting", END_S, END_S + 100.0)
    assert "chat/6" not in found
    lowest_w = 16 * (gpu_w(500.0, LOWEST) + 200.0) + 4 * (gpu_w(400.0, LOWEST) + 200.0) + 12 * 200.0
    assert dict(meter(run))[CALL_S] == near(lowest_w)
    assert run.job("a")["preemptions"] == 0


def test_a_service_may_draw_what_its_requests_ask_for_and_the_limit_holds(drill, tmp_path):
    """The service's watts are the model's, and prompts of 8000 tokens come at 5 a second and 20 s
    in a minute: nobody knows when. So it counts with its design power of 700 W a GPU, 7.2 kW with
    hosts, and clocks are lowered for 20 kW in all. Whatever it draws, at every moment from the
    first bin after the call began, the sum of all maxima is within the limit.
    """
    trace = tmp_path / "requests.csv"
    rows = [f"{60 * k + 0.2 * i:.1f},8000,50" for k in range(5, 240) for i in range(100)]
    trace.write_text("arrived_s,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\n14400,1,1\n")
    head = SITE.format(site=RIDE, cooling=NO_OVERHEAD, policy="fcfs", tp=8, replicas=1, trace=trace)
    text = (head + TWO_JOBS + call("15 kW")).replace("power_per_gpu: 400 W, ", "")
    run = drill(text)
    bound = measure(run.record).sites[0].bound_w
    assert bound.at(1800.0) > 19_000.0
    # 20 kW at most, 14.85 kW allowed: 5.15 kW of the jobs' 5.67 kW.
    clock = 1.0 - 0.65 * 5150.0 / (16 * 428.0 * (1.0 - 0.1715))
    assert run.segments("a")[1][4] == near(1.0 / slower(clock))
    # The iteration that runs when clocks change ends as it began: its maximum is in that bin.
    in_call = (bound.start_s >= CALL_S + 300.0) & (bound.start_s < END_S)
    # Two nodes of jobs, one of prompts, which draw what is modelled of their 700 W, one idle.
    model = Architecture.from_spec(Catalog.shipped().model("llama-3.1-8b"))
    replica = serving_profile(model, Catalog.shipped().gpu("h100-sxm"), tensor_parallel=8)
    prompt_w = replica.prompt_power_w(8000)
    assert 0.85 * 700.0 < prompt_w < 700.0
    drawn_w = 16 * (gpu_w(500.0, clock) + 200.0) + 8 * (prompt_w + 200.0) + 8 * 200.0
    assert bound.value[in_call].max() == pytest.approx(drawn_w, rel=1e-4)
    assert drawn_w + 8 * (700.0 - prompt_w) <= 14_850.0
    within(run, 15_000.0)


# ---------------------------------------------------------------------- nobody listens


def test_a_call_without_a_policy_is_noted_and_not_enforced(curtailed):
    """The same site without a power policy: nothing changes, and the record says why."""
    run = curtailed(TWO_JOBS + call("20 kW"), site=BATTERY)
    assert run.record.notes == [
        "here: 1 curtailment calls and no power_policy: nobody acts on them, and the limit is only checked"
    ]
    assert [row[3:6] for row in run.events("call")] == [
        ("here", "announced", 20_000.0),
        ("here", "began", 20_000.0),
        ("here", "ended", 20_000.0),
    ]
    assert run.events("decision") == []
    assert run.job("a")["finished_s"] == 10_000.0
    assert [row[0] for row in meter(run)] == [0.0, 100.0, 10_000.0]
    assert run.record.limits[0][1].tolist() == [math.inf, 20_000.0, math.inf]
    hours = run.books().sites[0].hourly
    assert hours["limit_w"].tolist()[1] == 20_000.0
    assert hours["peak_15min_power_w"][1] == near(22_000.0)


def test_a_call_that_outlasts_the_run_has_no_end_in_it(curtailed):
    """From 3 h 45 min for half an hour: the run is over at 4 h."""
    later = call("20 kW").replace("at: 1 h", "at: 225 min")
    run = curtailed(TWO_JOBS + later)
    assert [row[0:5:4] for row in run.events("call", "curtailment")] == [
        (12_900.0, "announced"),
        (13_500.0, "began"),
    ]
    run.books()


# ---------------------------------------------------------------------- another policy

HALVED = '''
from dataclasses import dataclass

from simulator.decisions import Ceiling, Remember, Reserve, SetPower, Wake


@dataclass(frozen=True)
class Halved:
    """Caps the service by watts and one queue by GPUs at 1000 s, lifts both at 2000 s."""

    def decide(self, view):
        if view.now_s < 1000.0:
            return [Wake(1000.0)]
        if view.memory is None:
            return [
                SetPower("service:chat", watts=200.0),
                SetPower("job:nobody", clock_fraction=0.5),
                Ceiling("queue:default", gpus=16),
                Ceiling("queue:nothing", gpus=16),
                Reserve(0, 0.0, 8),
                Remember("capped"),
                Wake(2000.0),
            ]
        if view.now_s < 2000.0:
            return []
        return [SetPower("service:chat", clock_fraction=1.0), Ceiling("queue:default")]
'''


def test_a_policy_of_ones_own_caps_lifts_and_is_told_what_cannot_be(curtailed, tmp_path):
    """The service's 400 W a GPU may be 200 W from 1040 s to 2040 s. The queue holds 16 GPUs - the
    service's eight and a's - so b, submitted at 1500 s, waits for the ceiling to go, at 2000 s.
    """
    (tmp_path / "halved.py").write_text(HALVED)
    site = f"power_policy: {{policy: '{tmp_path}/halved.py:Halved'}}\n    interconnection: {{limit: 1 MW}}"
    jobs = """
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 8, run: 10_000 s}
      - {id: b, submit: 1500 s, gpus: 8, run: 1000 s}
"""
    run = curtailed(jobs, site=site, cooling=NO_OVERHEAD)
    steps = dict(meter(run))
    # In the books a crowd's power is the mean of bins of five minutes.
    assert steps[1200.0] == pytest.approx(8 * (200.0 + 200.0) + 5600.0 + 16 * 200.0, abs=1e-3)
    assert run.waits("b") == [("power-cap", "power-cap", 1500.0, 2000.0)]
    rows = run.sink.columns("events")
    found = [
        (at_s, what, target, outcome)
        for at_s, kind, what, target, outcome in zip(
            rows["time_s"].tolist(), rows["kind"], rows["what"], rows["target"], rows["outcome"], strict=True
        )
        if kind == "decision"
    ]
    assert found == [
        (1000.0, "Ceiling", "queue:default", "applied"),
        (1000.0, "Ceiling", "queue:nothing", "refused"),
        (1000.0, "Reserve", "a", "refused"),
        (1040.0, "SetPower", "service:chat", "applied"),
        (1040.0, "SetPower", "job:nobody", "refused"),
        (2000.0, "Ceiling", "queue:default", "applied"),
        (2040.0, "SetPower", "service:chat", "applied"),
    ]
    assert "there is no 'job:nobody'" in rows["reason"]
    assert "there is no 'queue:nothing'" in rows["reason"]
