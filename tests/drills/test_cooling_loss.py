"""Drill: chillers are lost, clocks fall in levels, the cooling comes back; or the IT trips.

The loop relaxes in 300 s to 60 K above its set point for every rated heat that is not carried.
Clocks fall to 0.75 at 10 K and to 0.5 at 14 K, a level is left 3 K below where it began, the IT
trips at 25 K and may start again at 5 K; below 0.5 K the episode is over. From x to y on the way
to z takes 300 s x ln((z - x) / (z - y)).

Two nodes: 16 GPUs of 500 W and hosts of 200 W a GPU, 11.2 kW. At clock 0.75 the voltage is
1 - 0.65 x 0.25 = 0.8375, so a GPU draws 72 + 428 x 0.75 x 0.8375^2 = 297.15 W, the nodes 7.954 kW;
at 0.5 the voltage stands at 0.7: 176.86 W, and 6.030 kW.
"""

from __future__ import annotations

import math

import pytest

from simulator.facility.air_chiller import AirChiller

SCENARIO = """
title: Warm
start: 2024-01-01 00:00 UTC
duration: 6 h
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    weather: {{temperature: 15 C, wet_bulb: 10 C}}
    cooling: {{{cooling}}}
    network_power: 0 W
    fabric: {{nodes_per_leaf: 8}}
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 2
        power_model: {{gpu_load: 500 W, gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
workloads:
  - kind: list
    name: jobs
    jobs:
      - {{id: a, gpus: 16, run: 10_000 s, checkpoint_every: 1000 s}}
{more}
script:
  - {{kind: cooling-fault, at: 1 h, site: here, capacity: {left}, lasts: 30 min}}
"""

FAULT_S, BACK_S = 3600.0, 5400.0
FULL_W = 16 * 700.0
LEVEL_W = {
    0.75: 16 * (72.0 + 428.0 * 0.75 * 0.8375**2 + 200.0),
    0.5: 16 * (72.0 + 428.0 * 0.5 * 0.49 + 200.0),
}
IDLE_W = 16 * 200.0
#: Time of a listed job's second: 60 % arithmetic, and memory that feels a tenth.
SLOWER = {1.0: 1.0, 0.75: 0.6 / 0.75 + 0.4 * (1 + 0.1 / 3), 0.5: 0.6 / 0.5 + 0.4 * 1.1}


def takes_s(start_k: float, to_k: float, towards_k: float) -> float:
    return 300.0 * math.log((towards_k - start_k) / (towards_k - to_k))


def after(start_k: float, towards_k: float, for_s: float) -> float:
    return towards_k + (start_k - towards_k) * math.exp(-for_s / 300.0)


def scenario(cooling: str = "plant: constant-pue, pue: 1.2, capacity: 16 kW", left="25 %", more="") -> str:
    return SCENARIO.format(cooling=cooling, left=left, more=more)


def thermal(run) -> list[tuple[float, str, str, float]]:
    """(time_s, what, outcome, value) of the thermal events."""
    return [(at_s, what, outcome, value) for at_s, _, what, _, outcome, value in run.events("thermal")]


def near(at_s):
    """A moment, on the time grid."""
    return pytest.approx(at_s, abs=1e-5)


def test_clocks_fall_in_levels_hold_by_hysteresis_and_come_back(drill):
    """A quarter of 16 kW is left. Full clock heads for 60 x 7.2 / 16 = 27 K, level 1 for
    60 x 3.954 / 16 = 14.83 K, just above the second threshold, level 2 for 7.61 K: it is left at
    11 K, taken again at 14 K, left again, until the chillers are back at 90 min.
    """
    run = drill(scenario())
    warm_k = {1.0: 27.0, **{c: 60.0 * (w - 4000.0) / 16_000.0 for c, w in LEVEL_W.items()}}
    assert warm_k[0.75] == pytest.approx(14.829, abs=1e-3)
    assert warm_k[0.5] == pytest.approx(7.6116, abs=1e-4)
    first_s = FAULT_S + takes_s(0.0, 10.0, 27.0)
    second_s = first_s + takes_s(10.0, 14.0, warm_k[0.75])
    release_s = second_s + takes_s(14.0, 11.0, warm_k[0.5])
    again_s = release_s + takes_s(11.0, 14.0, warm_k[0.75])
    left_s = again_s + takes_s(14.0, 11.0, warm_k[0.5])
    assert first_s == pytest.approx(3738.79, abs=0.01)
    assert left_s < BACK_S < left_s + takes_s(11.0, 14.0, warm_k[0.75])
    # Back at 90 min, level 1 cools from here, towards nothing.
    there_k = after(11.0, warm_k[0.75], BACK_S - left_s)
    free_s = BACK_S + takes_s(there_k, 7.0, 0.0)
    over_s = free_s + takes_s(7.0, 0.5, 0.0)
    assert thermal(run) == [
        (FAULT_S, "cooling", "began", 0.25),
        (FAULT_S, "episode", "began", pytest.approx(7200.0)),
        (near(first_s), "throttle", "applied", 0.75),
        (near(second_s), "throttle", "applied", 0.5),
        (near(release_s), "release", "applied", 0.75),
        (near(again_s), "throttle", "applied", 0.5),
        (near(left_s), "release", "applied", 0.75),
        (BACK_S, "cooling", "ended", 1.0),
        (near(free_s), "release", "applied", 1.0),
        (near(over_s), "settled", "applied", 1.0),
        (near(over_s), "episode", "ended", 0.0),
    ]

    # The job: clock, rate and watts of every stretch; no delay, the firmware acts.
    edges_s = [0.0, first_s, second_s, release_s, again_s, left_s, free_s]
    clocks = [1.0, 0.75, 0.5, 0.75, 0.5, 0.75, 1.0]
    watts = {1.0: FULL_W, **LEVEL_W}
    rows = run.segments("a")
    assert [row[1] for row in rows] == [near(at_s) for at_s in edges_s]
    assert [row[5] for row in rows] == [pytest.approx(watts[c], rel=1e-12) for c in clocks]
    assert [row[4] for row in rows] == [pytest.approx(1 / SLOWER[c], rel=1e-8) for c in clocks]
    done = sum(
        (end - start) / SLOWER[c]
        for start, end, c in zip(edges_s[:-1], edges_s[1:], clocks[:-1], strict=True)
    )
    assert run.job("a")["finished_s"] == pytest.approx(free_s + 10_000.0 - done, abs=1e-4)
    assert run.job("a")["restarts"] == 0

    # The books: overheated while the fault lasts, as level 2 is still 6 kW of heat for 4 kW.
    books = run.books()
    assert books.totals["overheated_s"] == pytest.approx(BACK_S - FAULT_S, abs=1e-5)
    assert books.totals["pue"] == pytest.approx(1.2)
    [(times_s, working)] = run.record.thermal.values()
    assert times_s.tolist() == [0.0, FAULT_S, BACK_S]
    assert working.tolist() == [1.0, 0.25, 1.0]
    # What was decided rests on the weather.
    assert {(read.signal, read.reader) for read in run.record.signals_read} == {
        ("dry_bulb_c", "cooling"),
        ("wet_bulb_c", "cooling"),
    }


def test_too_little_cooling_trips_the_it_and_it_starts_again(drill):
    """Nothing of 12 kW is left: 56 K, 39.77 K and 30.15 K ahead, past every threshold. At 25 K the
    nodes are switched off and the job loses what it did since its checkpoint; b waits too. Idle
    nodes draw 3.2 kW: towards 16 K, so nothing starts before the chillers are back at 90 min, and
    the loop is down to 5 K.
    """
    run = drill(
        scenario(
            "plant: constant-pue, pue: 1.2, capacity: 12 kW",
            left="0 %",
            more="      - {id: b, submit: 4000 s, gpus: 8, run: 600 s, priority: 0}\n",
        )
    )
    warm_k = {c: 60.0 * w / 12_000.0 for c, w in LEVEL_W.items()}
    first_s = FAULT_S + takes_s(0.0, 10.0, 56.0)
    second_s = first_s + takes_s(10.0, 14.0, warm_k[0.75])
    trip_s = second_s + takes_s(14.0, 25.0, warm_k[0.5])
    assert trip_s == pytest.approx(4045.3, abs=0.1)
    there_k = after(25.0, 16.0, BACK_S - trip_s)
    assert 16.0 < there_k < 16.2
    restart_s = BACK_S + takes_s(there_k, 5.0, 0.0)
    over_s = restart_s + takes_s(5.0, 0.5, 0.0)
    assert thermal(run) == [
        (FAULT_S, "cooling", "began", 0.0),
        (FAULT_S, "episode", "began", pytest.approx(11_200.0)),
        (near(first_s), "throttle", "applied", 0.75),
        (near(second_s), "throttle", "applied", 0.5),
        (near(trip_s), "trip", "applied", 0.0),
        (BACK_S, "cooling", "ended", 1.0),
        (near(restart_s), "restart", "applied", 1.0),
        (near(over_s), "settled", "applied", 1.0),
        (near(over_s), "episode", "ended", 0.0),
    ]
    # Checkpoints every 1000 reference seconds: 3000 are safe.
    done = first_s + (second_s - first_s) / SLOWER[0.75] + (trip_s - second_s) / SLOWER[0.5]
    assert 3000.0 < done < 4000.0
    job = run.job("a")
    assert job["restarts"] == 1
    assert job["lost_gpu_seconds"] == pytest.approx((done - 3000.0) * SLOWER[0.5] * 16, rel=1e-7)
    assert job["finished_s"] == pytest.approx(restart_s + 7000.0, abs=1e-4)
    assert run.segments("a")[-1][1] == near(restart_s)
    assert run.segments("a")[-1][5] == FULL_W
    assert [row[2:] for row in run.waits("a")] == [(near(trip_s), near(restart_s))]
    assert run.job("b")["started_s"] == job["finished_s"]

    # The nodes are down from trip to restart, and draw their idle power.
    outages = run.record.outages
    assert sorted(outages["node"].tolist()) == [0, 1]
    assert outages["start_s"].tolist() == [near(trip_s)] * 2
    assert outages["end_s"].tolist() == [near(restart_s)] * 2
    assert [row[2:5] for row in run.events("failure")] == [
        ("thermal trip", "here.p.0", "began"),
        ("thermal trip", "here.p.1", "began"),
    ]
    books = run.books()
    assert books.gpu_seconds["down"] == pytest.approx(16 * (restart_s - trip_s), rel=1e-8)
    node = books.sites[0].power["gpu"].at(5000.0) + books.sites[0].power["host"].at(5000.0)
    assert node == pytest.approx(IDLE_W, rel=1e-12)


def test_a_node_in_repair_stays_out_when_the_site_starts_again(drill):
    """Node 1 breaks at 5000 s, while the site is switched off, and is repaired at 9000 s: a needs
    both nodes and waits for it.
    """
    text = scenario("plant: constant-pue, pue: 1.2, capacity: 12 kW", left="0 %")
    run = drill(text + "  - {kind: node-fault, at: 5000 s, node: here.p.1, lasts: 4000 s}\n")
    assert run.job("a")["finished_s"] == pytest.approx(9000.0 + 7000.0, abs=1e-4)
    run.books()


def test_replicas_are_lost_at_a_trip_and_come_back_after_it(drill, tmp_path):
    """A service of 16 GPUs with given watts heats as the job did, and serves again after a cold
    start of 100 s.
    """
    trace = tmp_path / "requests.csv"
    trace.write_text("arrived_s,prompt_tokens,output_tokens\n21600,1,1\n")
    service = f"""
  - {{kind: service, name: chat, model: llama-3.1-8b, tensor_parallel: 8, replicas: 2,
     cold_start: 100 s, power_per_gpu: 500 W, path: {trace}}}
"""
    text = scenario("plant: constant-pue, pue: 1.2, capacity: 12 kW", left="0 %", more="")
    head, _, tail = text.partition("  - kind: list")
    run = drill(head + service + "script:" + tail.partition("script:")[2])
    events = thermal(run)
    trip_s = next(row[0] for row in events if row[1] == "trip")
    restart_s = next(row[0] for row in events if row[1] == "restart")
    # The same watts as the job's, but for whole milliwatts.
    first_s = FAULT_S + takes_s(0.0, 10.0, 56.0)
    second_s = first_s + takes_s(10.0, 14.0, 60.0 * LEVEL_W[0.75] / 12_000.0)
    assert trip_s == pytest.approx(second_s + takes_s(14.0, 25.0, 60.0 * LEVEL_W[0.5] / 12_000.0), abs=1e-3)
    assert [run.job(f"chat/{n}")["state"] for n in range(4)] == ["failed", "failed", "running", "running"]
    assert run.job("chat/0")["finished_s"] == trip_s
    assert run.segments("chat/2")[0][:3] == ("starting", restart_s, near(restart_s + 100.0))
    run.books()


def test_a_fault_that_the_rest_can_carry_is_no_episode(drill):
    """70 % of 16 kW are 11.2 kW, just the heat of the site."""
    run = drill(scenario(left="70 %"))
    assert thermal(run) == [(FAULT_S, "cooling", "began", 0.7), (BACK_S, "cooling", "ended", 1.0)]
    assert run.job("a")["finished_s"] == 10_000.0
    assert run.books().totals["overheated_s"] == 0.0


def test_heat_above_a_whole_plant_throttles_too(drill):
    """No fault: a plant of 10 kW meets 11.2 kW when a second job joins at 2000 s. The loop heads
    for 60 x 1.2 / 10 = 7.2 K and stays below the first level: an episode without a measure, over
    when the job ends and the loop has cooled. A plant of 8 kW throttles.
    """
    jobs = """
      - {id: b, gpus: 8, run: 10_000 s}
      - {id: c, submit: 2000 s, gpus: 8, run: 2000 s}
"""
    text = scenario("plant: constant-pue, pue: 1.2, capacity: 10 kW", more=jobs)
    text = text.replace("      - {id: a, gpus: 16, run: 10_000 s, checkpoint_every: 1000 s}\n", "")
    text = text.partition("script:")[0]
    run = drill(text)
    there_k = after(0.0, 7.2, 2000.0)
    over_s = 4000.0 + takes_s(there_k, 0.5, 0.0)
    assert thermal(run) == [
        (2000.0, "episode", "began", pytest.approx(1200.0)),
        (near(over_s), "settled", "applied", 1.0),
        (near(over_s), "episode", "ended", 0.0),
    ]
    assert run.job("b")["finished_s"] == 10_000.0
    assert run.books().totals["overheated_s"] == pytest.approx(2000.0)

    small = drill(text.replace("10 kW", "8 kW"))
    first_s = 2000.0 + takes_s(0.0, 10.0, 60.0 * 3200.0 / 8000.0)
    assert thermal(small)[1] == (near(first_s), "throttle", "applied", 0.75)
    assert small.job("b")["finished_s"] > 10_000.0
    small.books()


def test_a_warm_hour_begins_an_episode_and_a_cold_one_ends_it(drill, epw):
    """Air economisers alone: what they carry is the distance of the air from the supply of 20 C, in
    units of 9 K, less the heat of the hall's fans. Hours are of 8 C, but for that from 2 h to 3 h,
    of 15 C: then 8.9 kW and a little less is carried of 16 kW rated, and 11.2 kW are offered. No
    fault, no job that changes: the air alone is looked at on the hour.
    """
    weather = epw(lambda hour: 15.0 if hour == 2 else 8.0)
    plant = AirChiller(capacity_w=16_000.0, pad_effectiveness_fraction=0.0, chiller_fraction=0.0)
    keys = "plant: air-chiller, capacity: 16 kW, pad_effectiveness: 0 %, chiller_fraction: 0 %"
    text = scenario(keys).partition("script:")[0].replace("run: 10_000 s", "run: 30_000 s")
    run = drill(text.replace("weather: {temperature: 15 C, wet_bulb: 10 C}", f"weather: {weather}"))

    def ahead_k(node_w: float) -> float:
        carried_w = float(plant.draw(node_w, 15.0, 5.0).capacity_w)
        assert 7_900.0 < carried_w < 16_000.0 * 5.0 / 9.0
        return 60.0 * (node_w - carried_w) / 16_000.0

    assert float(plant.draw(FULL_W, 8.0, 0.0).capacity_w) > FULL_W
    # 60 x 2.9 / 16: just above the first level. At that level the economisers suffice, the loop
    # cools to 7 K, warms again, and so on until the cold hour.
    warm_k = ahead_k(FULL_W)
    assert 10.0 < warm_k < 14.0
    assert LEVEL_W[0.75] < float(plant.draw(LEVEL_W[0.75], 15.0, 5.0).capacity_w)
    expected = [(7200.0, "episode", "began", pytest.approx(warm_k / 60.0 * 16_000.0))]
    at_s, from_k, clock = 7200.0, 0.0, 1.0
    while True:
        until = takes_s(from_k, 10.0, warm_k) if clock == 1.0 else takes_s(10.0, 7.0, 0.0)
        if at_s + until > 10_800.0:
            break
        at_s, from_k, clock = at_s + until, 10.0 if clock == 1.0 else 7.0, 0.75 if clock == 1.0 else 1.0
        what = "throttle" if clock < 1.0 else "release"
        expected.append((near(at_s), what, "applied", clock))
    assert len(expected) >= 3
    there_k = after(from_k, warm_k if clock == 1.0 else 0.0, 10_800.0 - at_s)
    if clock < 1.0:
        free_s = 10_800.0 + takes_s(there_k, 7.0, 0.0)
        expected.append((near(free_s), "release", "applied", 1.0))
        over_s = free_s + takes_s(7.0, 0.5, 0.0)
    else:
        over_s = 10_800.0 + takes_s(there_k, 0.5, 0.0)
    expected += [(near(over_s), "settled", "applied", 1.0), (near(over_s), "episode", "ended", 0.0)]
    assert thermal(run) == expected
    run.books()
