"""How fast logs are read and requests drawn; prints figures, passes or fails nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from simulator.catalog.entries import JobClass, JobMixSpec, LengthsSpec
from simulator.foundation.calendar import Calendar
from simulator.foundation.step_series import StepSeries
from simulator.foundation.streams import Streams
from simulator.foundation.units import DAY_S
from simulator.workload.lengths import LognormalLengths
from simulator.workload.mix import JobMix
from simulator.workload.requests import DrawnRequests
from simulator.workload.swf import read_swf

pytestmark = pytest.mark.benchmark


def median_cpu_s(work: Callable[[], object]) -> float:
    spent_s = []
    for _ in range(5):
        before_s = time.process_time()
        work()
        spent_s.append(time.process_time() - before_s)
    return statistics.median(spent_s)


def test_reading_a_real_log(shared_data):
    path = shared_data / "scheduling" / "traces" / "swf" / "UniLu-Gaia-2014-2.swf.gz"
    print(f"51,987 lines of SWF: {median_cpu_s(lambda: read_swf(path)):.3f} CPU s")


def test_drawing_requests():
    lengths = LognormalLengths(LengthsSpec("chat", "Chat", 700.0, 0.9, 300.0, 0.8, 0.3, 8192, 4096))

    def drain() -> None:
        source = DrawnRequests(
            StepSeries.constant(1000.0, 1000.0), lengths, Streams(1), "chat", tier_shares=(0.1, 0.9)
        )
        while len(source.next_block(65_536)):
            pass

    print(f"a million requests: {median_cpu_s(drain):.3f} CPU s")


def test_drawing_a_year_of_jobs():
    spec = JobMixSpec("lab", "Lab", (JobClass(8, 1.0, 1000.0, 1.5),), 2e5, 1.5, 0.5, "flat")
    calendar = Calendar.from_text("2024-01-01 00:00")

    def draw() -> None:
        JobMix(spec).jobs("r", 240.0, calendar, 365 * DAY_S, Streams(1))

    print(f"a year of 300,000 jobs: {median_cpu_s(draw):.3f} CPU s")
