"""How fast the main job is: CPU seconds and ratios, medians; prints figures, fails nothing.

Run with ``python -m pytest -m benchmark -s tests/benchmarks``.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

import pytest

from simulator.engine import simulate
from simulator.results.execution import execute
from simulator.scenario import load
from simulator.telemetry import MemorySink

pytestmark = pytest.mark.benchmark

SMALLEST = """
title: Smallest
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    pools: [{name: p, node: hgx-h100-8, nodes: 1}]
workloads:
  - {kind: list, name: jobs, jobs: [{id: a, gpus: 8, run: 1 h}]}
"""


def cpu_s(work):
    before_s = time.process_time()
    work()
    return time.process_time() - before_s


def child_cpu_s(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("policy", ["fcfs", "easy"])
def test_swf_replay_between_25_and_50_thousand_jobs(shared_data, tmp_path, policy):
    """Power, carbon, audit and files included; what both sizes share (imports, catalog) cancels."""
    path = shared_data / "scheduling" / "traces" / "swf" / "UniLu-Gaia-2014-2.swf.gz"

    def replay(jobs, *more):
        scenario = load(
            "replay/swf",
            [
                f"workloads.0.path={path}",
                f"workloads.0.first_jobs={jobs}",
                "sites.0.pools.0.nodes=2004",
                f"scheduling.policy={policy}",
            ],
        )
        return cpu_s(lambda: execute(scenario, out=tmp_path / f"{policy}-{jobs}"))

    replay(1000)
    slopes = []
    for _ in range(5):
        half, whole = replay(25_000), replay(50_000)
        slopes.append(25_000 / (whole - half))
    print(f"\n{policy}: {statistics.median(slopes):,.0f} jobs per CPU s between 25,000 and 50,000 jobs")


def test_the_twin_of_a_chat_service():
    """420,000 requests of the quickstart's service alone, without files."""
    scenario = load("quickstart", ["failures=none", "workloads.research.load=1 GPUs on average"])
    sink = MemorySink()
    spent_s = cpu_s(lambda: simulate(scenario, sink))
    print(f"\nquickstart on the twin: {420_000 / spent_s:,.0f} requests per CPU s ({spent_s:.1f} s)")


def test_a_training_estimate():
    from simulator.llm.architecture import Architecture
    from simulator.llm.layout import Layout
    from simulator.performance.layouts import choose_layout
    from simulator.performance.training import estimate

    catalog = load("quickstart").catalog
    architecture = Architecture.from_spec(catalog.model("llama-3.1-405b"))
    gpu, node = catalog.gpu("h100-sxm"), catalog.node("hgx-h100-8")
    layouts = [
        Layout(
            tensor_parallel=8,
            pipeline_parallel=16,
            data_parallel=dp,
            global_batch=16 * dp,
            context_tokens=8192,
            recompute="full",
        )
        for dp in range(32, 160)
    ]
    estimate(architecture, layouts[0], gpu, node)
    spent_s = [cpu_s(lambda: [estimate(architecture, one, gpu, node) for one in layouts]) for _ in range(5)]
    print(f"\nestimate: {statistics.median(spent_s) / len(layouts) * 1e6:.0f} us")
    profile = estimate(architecture, layouts[-1], gpu, node)
    spent_s = [cpu_s(lambda: [profile.at(0.9, 0.8) for _ in range(1000)]) for _ in range(5)]
    print(f"profile.at: {statistics.median(spent_s) * 1e3:.1f} us")
    spent = cpu_s(
        lambda: choose_layout(architecture, gpu, node, gpus=16384, global_batch=2048, context_tokens=8192)
    )
    print(f"auto layout, 405B on 16,384 GPUs: {spent:.2f} s")


def test_cold_starts(tmp_path):
    scenario = tmp_path / "smallest.yaml"
    scenario.write_text(SMALLEST)
    datahall = (sys.executable, "-m", "simulator.cli")
    cold = [
        child_cpu_s(*datahall, "run", str(scenario), "-o", str(tmp_path / "run"), "--no-report", "-q")
        for _ in range(5)
    ]
    print(f"\nsmallest scenario, cold, without report: {statistics.median(cold):.2f} CPU s")
    helped = [child_cpu_s(*datahall, "--help") for _ in range(5)]
    print(f"--help: {statistics.median(helped):.2f} CPU s")


def test_reaccounting_six_grids(tmp_path):
    from simulator.results.reaccounting import reaccount

    run = execute(load("quickstart"), out=tmp_path / "quickstart")
    grids = ("DE", "FR", "GB", "PL", "US-PJM", "US-CAISO")
    print(f"\nsix grids over the finished quickstart: {cpu_s(lambda: reaccount(run, grids=grids)):.2f} CPU s")
