"""Drill: a job moves between two sites, and a service's requests are divided between them."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.telemetry import PHASES

#: Multiply-adds of Llama 3.1 8B for a token: 32 layers of attention and gated MLP, and the head.
_LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336
_MATMUL = 32 * _LAYER + 4096 * 128256
#: Operations to train on one token with 8192 of context, attention in full.
FLOP = 6 * _MATMUL + 12 * 32 * 4096 * 8192
#: The utilization at which 16 H100 take 2 s for a step of 16 sequences.
MFU = 16 * 8192 * FLOP / (2.0 * 16 * 989.5e12)

SITES = """
title: Two sites
start: 2024-01-01 00:00 UTC
duration: {duration}
sites:
  - name: east
    grid: {{intensity: 400 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: constant-pue, pue: 1.25}}
    network_power: 0 W
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 2
        power_model: {{gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
  - name: west
    grid: {{intensity: 50 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    pools:
      - name: p
        node: hgx-h100-8
        nodes: 2
        power_model: {{gpu_idle: 100 W, host_active: 1600 W, host_idle: 800 W}}
links_between_sites:
  - {{from: east, to: west, bandwidth: 10 Gb/s, latency: 500 ms}}
scheduling: {{policy: fcfs, placement: lowest-numbered}}
"""

#: 5000 steps of 2 s, saved every 1000 s of work; 200 GB at 2 GB/s is a pause of 100 s.
TRAINING = (
    SITES.format(duration="20_000 s").replace(
        "    pools:", "    storage: {write_bandwidth: 2 GB/s}\n    pools:", 1
    )
    + f"""
workloads:
  - kind: training
    name: run
    model: llama-3.1-8b
    steps: 5000
    gpus: 16
    context: 8192
    global_batch: 16
    mfu: {MFU!r}
    power_per_gpu: 700 W
    checkpoint: {{every: 1000 s, size: 200 GB}}
    queue: east
  - kind: list
    name: jobs
    queue: west
    power_per_gpu: 500 W
    jobs:
      - {{id: before, gpus: 16, run: 4000 s}}
script:
  - {{kind: move, at: 2500 s, job: run, site: west}}
"""
)


def by_site(run, job_id: str) -> dict[str, float]:
    """GPU-seconds of a job at each site."""
    table = run.record.segments
    own = table["job"] == run.record.jobs.job_id.index(job_id)
    spans = (table["end_s"] - table["start_s"]) * table["gpus"]
    names = [site.name for site in run.record.sites]
    return {name: float(spans[own & (table["site"] == code)].sum()) for code, name in enumerate(names)}


def test_a_job_stops_by_checkpoint_moves_and_goes_on(drill):
    """At 2500 s it has done 2300 s of work: two cycles of 1000 s and a pause of 100 s, and 300 s.
    The stop writes for 100 s; 200 GB over 10 Gb/s take 160 s, and half a second of latency: at
    2760.5 s it queues at the other site, where 4000 s are taken. From then on 7700 s of work and
    seven pauses are left: done at 12 400 s. Nothing was lost, nothing done twice.
    """
    run = drill(TRAINING)
    job = run.job("run")
    assert job["finished_s"] == pytest.approx(12_400.0, abs=2e-6)
    assert job["work_done"] == pytest.approx(5000 * 16 * 8192, rel=1e-12)
    assert (job["lost_gpu_seconds"], job["restarts"], job["preemptions"]) == (0.0, 0, 1)
    assert job["state"] == "done"
    assert run.record.sites[job["site"]].name == "west"
    assert run.waits("run") == [
        ("moving", "moving", 2600.0, 2760.5),
        ("capacity", "capacity", 2760.5, 4000.0),
    ]
    assert job["wait_s"] == 1400.0
    segments = run.segments("run")
    assert [row[:4] for row in segments] == [
        ("running", 0.0, 2500.0, 16),
        ("stopping", 2500.0, 2600.0, 16),
        ("running", 4000.0, job["finished_s"], 16),
    ]
    tokens_per_s = 16 * 8192 / 2.0
    assert [row[4] for row in segments] == pytest.approx(
        [tokens_per_s * 2300 / 2500, 0.0, tokens_per_s * 7700 / 8400], rel=1e-9
    )
    assert job["stalled_gpu_seconds"] == pytest.approx((2 + 7) * 100.0 * 16, rel=1e-9)
    used = by_site(run, "run")
    assert used["east"] == pytest.approx(16 * 2600.0, rel=1e-12)
    assert used["west"] == pytest.approx(16 * 8400.0, rel=1e-9)
    assert run.events("decision") == [
        (2500.0, "decision", "Move", "run", "applied", pytest.approx(np.nan, nan_ok=True))
    ]


def test_each_site_has_its_own_meter_and_grid(drill):
    """A GPU trains at 500 W beside 200 W of host; while it writes it draws 115 W (loaded, idle),
    so over a cycle of 1100 s it draws 500 - 385 / 11 = 465 W, with the host 665 W. While it
    stops: 115 W + 100 W of idle host. East pays for cooling, 1.25 at 400 g/kWh; west 50 g/kWh.
    """
    run = drill(TRAINING)
    books = run.books()
    row = run.record.jobs.job_id.index("run")
    ran_s = run.job("run")["finished_s"] - 4000.0
    east_j = 16 * (665.0 * 2500.0 + 215.0 * 100.0)
    west_j = 16 * 665.0 * ran_s
    assert books.jobs["it_energy_j"][row] == pytest.approx(east_j + west_j, rel=1e-9)
    assert books.jobs["facility_energy_j"][row] == pytest.approx(1.25 * east_j + west_j, rel=1e-9)
    grams = (1.25 * east_j * 400.0 + west_j * 50.0) / 3.6e6
    assert books.jobs["location_gco2e"][row] == pytest.approx(grams, rel=1e-9)
    # The rest of each site: idle GPUs at 100 W + 100 W, and west's other job at 500 W + 200 W.
    idle_east_j = 200.0 * 16 * (20_000.0 - 2600.0)
    idle_west_j = 200.0 * 16 * (20_000.0 - 4000.0 - ran_s)
    other_j = 16 * 700.0 * 4000.0
    east, west = books.sites
    assert east.totals["facility_energy_j"] == pytest.approx(1.25 * (east_j + idle_east_j), rel=1e-9)
    assert west.totals["facility_energy_j"] == pytest.approx(west_j + idle_west_j + other_j, rel=1e-9)
    assert east.totals["location_gco2e"] == pytest.approx(
        1.25 * (east_j + idle_east_j) * 400.0 / 3.6e6, rel=1e-9
    )
    assert west.totals["location_gco2e"] == pytest.approx(
        (west_j + idle_west_j + other_j) * 50.0 / 3.6e6, rel=1e-9
    )


def test_a_checkpoint_that_is_cut_short_saves_nothing(drill):
    """A node fails at 2550 s, half way through the write: what counts is the checkpoint of 2000 s
    of work, so 300 s x 16 GPUs are lost. It moves all the same, from 2550 s to 2710.5 s, and has
    8000 s of work and seven pauses left: done at 12 700 s.
    """
    run = drill(
        TRAINING,
        "script=[{kind: move, at: 2500 s, job: run, site: west}, "
        "{kind: node-fault, at: 2550 s, node: east.p.0, lasts: 1 h}]",
    )
    job = run.job("run")
    assert job["lost_gpu_seconds"] == pytest.approx(300.0 * 16, rel=1e-9)
    assert run.waits("run")[0] == ("moving", "moving", 2550.0, 2710.5)
    assert job["finished_s"] == pytest.approx(12_700.0, abs=2e-6)
    assert job["work_done"] == pytest.approx(5000 * 16 * 8192, rel=1e-12)
    run.books()


def test_what_it_saved_on_leaving_is_durable(drill):
    """A node of the other site fails at 4500 s for an hour: of the 500 s of work since the move all
    are lost, of the 2300 s before it none. At 8100 s it starts again with 7700 s and seven pauses
    left: done at 16 500 s.
    """
    run = drill(
        TRAINING,
        "script=[{kind: move, at: 2500 s, job: run, site: west}, "
        "{kind: node-fault, at: 4500 s, node: west.p.1, lasts: 1 h}]",
    )
    job = run.job("run")
    assert job["lost_gpu_seconds"] == pytest.approx(500.0 * 16, rel=1e-9)
    assert job["finished_s"] == pytest.approx(16_500.0, abs=2e-6)
    run.books()


def test_a_job_that_waits_moves_at_once_and_stands_behind_those_already_there(drill):
    """`late` never started, so it has nothing to carry: at 500 s it changes queues, and starts
    when `before` is done. `other`, submitted later but at west from the start, is behind it: the
    order is that of submission.
    """
    run = drill(
        TRAINING,
        "workloads.jobs.jobs=[{id: before, gpus: 16, run: 4000 s}, "
        "{id: late, submit: 100 s, gpus: 16, run: 10 s, queue: east}, "
        "{id: other, submit: 200 s, gpus: 16, run: 10 s}]",
        "script=[{kind: move, at: 500 s, job: late, site: west}]",
    )
    assert run.waits("late") == [
        ("capacity", "capacity", 100.0, 500.0),
        ("capacity", "capacity", 500.0, 4000.0),
    ]
    assert run.job("late")["started_s"] == 4000.0
    assert run.job("other")["started_s"] == 4010.0
    assert run.job("late")["queue"] == "west"
    run.books()


def test_what_cannot_move_is_told_why(drill):
    """Twice at once, to where it is, after its end, without room, without a line."""
    run = drill(
        TRAINING,
        "workloads.jobs.jobs=[{id: before, gpus: 16, run: 4000 s}]",
        "sites.west.pools.p.nodes=2",
        "script=[{kind: move, at: 100 s, job: run, site: east}, "
        "{kind: move, at: 2500 s, job: run, site: west}, "
        "{kind: move, at: 2550 s, job: run, site: west}, "
        "{kind: move, at: 2700 s, job: run, site: east}, "
        "{kind: move, at: 15_000 s, job: before, site: east}]",
    )
    rows = run.sink.columns("events")
    told = [
        (time_s, outcome, reason)
        for time_s, kind, outcome, reason in zip(
            rows["time_s"], rows["kind"], rows["outcome"], rows["reason"], strict=True
        )
        if kind == "decision"
    ]
    assert told == [
        (100.0, "refused", "the job is at 'east' already"),
        (2500.0, "applied", "by script"),
        (2550.0, "refused", "the job is stopping already"),
        (2700.0, "refused", "the job is moving already"),
        (15_000.0, "refused", "the job has ended"),
    ]
    assert run.job("run")["finished_s"] == pytest.approx(12_400.0, abs=2e-6)
    small = drill(TRAINING, "sites.west.pools.p.nodes=1", "workloads.jobs.jobs=[{id: x, gpus: 8, run: 1 s}]")
    assert small.sink.columns("events")["reason"] == ["no pool at 'west' could ever hold its 16 GPUs"]
    apart = drill(TRAINING, "links_between_sites=[]")
    assert apart.sink.columns("events")["reason"] == ["there is no line to 'west' for the job's state"]
    assert apart.job("run")["finished_s"] == pytest.approx(10_900.0, abs=2e-6)


SERVICE = (
    SITES.format(duration="3600 s")
    + """
workloads:
  - kind: service
    name: chat
    model: llama-3.1-8b
    tensor_parallel: 8
    replicas: 2
    sites: [east, west]
    demand: {requests: 1 per s, arrivals: constant}
    lengths: {prompt_mean: 500, output_mean: 20}
    cold_start: 100 s
    power_per_gpu: 400 W
script:
  - {kind: route, at: 600 s, service: chat, weights: {east: 3, west: 1}}
  - {kind: route, at: 2400 s, service: chat, weights: {east: 0, west: 1}}
"""
)


def test_requests_go_to_sites_by_weight(drill):
    """One request a second, at half seconds, and a replica at each site, warm at 100 s. Until
    600 s the least loaded takes the next: they answer in less than a second, so both are empty
    and the first of equals is east's. The 100 that waited when both became warm are dealt out
    one by one. From 600 s to 2400 s three of four go east: 1350 and 450. From 2400 s all go west.
    """
    run = drill(SERVICE)
    assert [run.job(f"chat/{n}")["queue"] for n in range(2)] == ["east", "west"]
    rows = run.sink.columns("requests")
    arrived_s, site = np.asarray(rows["arrived_s"]), np.asarray(rows["site"])

    def count(start_s: float, end_s: float) -> tuple[int, int]:
        inside = (arrived_s > start_s) & (arrived_s < end_s)
        return int(np.sum(site[inside] == "east")), int(np.sum(site[inside] == "west"))

    assert count(0.0, 100.0) == (50, 50)
    assert count(101.0, 600.0) == (499, 0)
    assert count(600.0, 2400.0) == (1350, 450)
    assert count(2400.0, 3590.0) == (0, 1190)
    assert np.asarray(rows["e2e_s"])[arrived_s > 101.0].max() < 1.0
    counters = run.record.services[0].counters
    assert counters["requests_in"] == 3600
    assert counters["requests_out"] == len(arrived_s)
    assert counters["requests_out"] + counters["in_flight"] == 3600
    assert [(row[0], row[2], row[4]) for row in run.events("decision")] == [
        (600.0, "Route", "applied"),
        (2400.0, "Route", "applied"),
    ]


def test_each_replica_is_on_its_own_sites_meter(drill):
    """While it loads, a GPU draws 115 W beside 100 W of idle host, 100 s long; then 400 W beside
    200 W, busy or not, 3500 s long. The site's other node idles at 8 x 100 W + 800 W.
    """
    run = drill(SERVICE)
    books = run.books()
    replica_j = 8 * (215.0 * 100.0 + 600.0 * 3500.0)
    idle_j = 8 * 200.0 * 3600.0
    for site, factor, grams in zip(books.sites, (1.25, 1.0), (400.0, 50.0), strict=True):
        joules = factor * (replica_j + idle_j)
        assert site.totals["facility_energy_j"] == pytest.approx(joules, rel=1e-9)
        assert site.totals["location_gco2e"] == pytest.approx(joules / 3.6e6 * grams, rel=1e-9)
    for row, (factor, grams) in enumerate(((1.25, 400.0), (1.0, 50.0))):
        own_g = factor * replica_j / 3.6e6 * grams
        assert books.jobs["location_gco2e"][row] == pytest.approx(own_g, rel=1e-9)
    phases = {PHASES[code] for code in run.record.segments["phase"]}
    assert phases == {"starting", "running"}


def test_a_route_to_a_site_without_replicas_is_refused(drill):
    """The service runs in the east only."""
    run = drill(SERVICE, "workloads.chat.sites=[east]")
    rows = run.sink.columns("events")
    assert rows["outcome"][:1] == ["refused"]
    assert rows["reason"][0] == "service 'chat' has no replicas at 'west'; it runs at east"
    assert set(run.sink.columns("requests")["site"]) == {"east"}
    run.books()
