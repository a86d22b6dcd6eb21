"""Drill: EASY with a carbon gate - a wake at the clean hour, a reservation that holds."""

from __future__ import annotations

import pytest

HOUR_S = 3600.0

SCENARIO = """
title: Wait for wind
start: 2024-01-01 00:00 UTC
duration: 8 h
sites:
  - name: here
    grid: {{trace: {trace}, intensity_column: intensity_g_per_kwh}}
    tariff: {{energy: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    fabric: {{nodes_per_leaf: 8}}
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 2
        power_model: {{gpu_load: 500 W, gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
scheduling:
  policy: easy
  placement: consolidate
  admit: [{{policy: carbon-hold, threshold: 200 g/kWh, patience: 12 h, tenants: [flexible]}}]
workloads:
  - kind: list
    name: firm
    jobs:
      - {{id: a, gpus: 8, run: 3 h}}
      - {{id: flex, gpus: 8, run: 30 min, tenant: flexible}}
      - {{id: b, submit: 10 min, gpus: 16, run: 1 h}}
      - {{id: c, submit: 20 min, gpus: 8, run: 30 min}}
      - {{id: d, submit: 160 min, gpus: 8, run: 2 h}}
"""


@pytest.fixture
def run(drill, tmp_path):
    trace = tmp_path / "grid.csv"
    hours = [400, 400, 100, 400, 400, 400, 400, 400]
    lines = ["time_utc,intensity_g_per_kwh"]
    lines += [f"2024-01-01T{hour:02d}:00:00Z,{value}" for hour, value in enumerate(hours)]
    trace.write_text("\n".join(lines) + "\n")
    return drill(SCENARIO.format(trace=trace))


def test_starts_follow_the_wake_and_the_reservation(run):
    """Two nodes. a holds one until 3 h. flex is held: 400 g/kWh until 2 h, then 100, so the
    engine wakes at 2 h and starts it on the other node. b (both nodes) is EASY's head - a held
    job is none - with its shadow at 3 h, when a ends. c ends at 50 min, before the shadow: it
    backfills at 20 min. d (2 h from 2 h 40 min) would end after the shadow and extra is 0, so it
    waits for b's end at 4 h.
    """
    start_s = {name: run.job(name)["started_s"] for name in ("a", "flex", "b", "c", "d")}
    assert start_s == {
        "a": 0.0,
        "flex": 2 * HOUR_S,
        "b": 3 * HOUR_S,
        "c": HOUR_S / 3,
        "d": 4 * HOUR_S,
    }
    assert run.waits("flex") == [("carbon-hold", "carbon-hold", 0.0, 2 * HOUR_S)]
    assert run.waits("b") == [("capacity", "capacity", 600.0, 3 * HOUR_S)]
    assert run.waits("c") == []
    # d is behind b until 3 h, then the head itself.
    assert run.waits("d") == [
        ("behind", "capacity", 9600.0, 3 * HOUR_S),
        ("capacity", "capacity", 3 * HOUR_S, 4 * HOUR_S),
    ]


def test_the_held_job_emits_at_the_clean_hour(run):
    """flex: 8 GPUs x (500 W + 1600 W / 8) = 5.6 kW for half an hour = 2.8 kWh at 100 g/kWh. No
    cooling, no losses, no network: its facility energy is its IT energy, 280 g.
    """
    books = run.books()
    row = run.record.jobs.job_id.index("flex")
    assert books.jobs["it_energy_j"][row] == pytest.approx(2.8 * 3.6e6, rel=1e-12)
    assert books.jobs["location_gco2e"][row] == pytest.approx(280.0, rel=1e-12)
    # a: 5.6 kW for three hours at 400, 400 and 100 g/kWh.
    row = run.record.jobs.job_id.index("a")
    assert books.jobs["location_gco2e"][row] == pytest.approx(5.6 * 900.0, rel=1e-12)


def test_the_run_is_tied_to_the_signal_it_read(run):
    read = run.record.signals_read
    assert [(entry.site, entry.signal, entry.reader) for entry in read] == [
        ("here", "intensity_g_per_kwh", "carbon-hold")
    ]
