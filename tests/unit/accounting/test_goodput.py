from __future__ import annotations

import numpy as np
import pytest

from simulator.accounting import BookRules, account
from simulator.foundation.units import HOUR_S
from simulator.telemetry import Phase


def totals(record, site_books, *args, **options):
    return account(record(*args, **options), {"here": site_books()}, BookRules())


def test_the_day_of_a_job_that_failed(record, site_books, segment):
    """An hour started, an hour detecting and recovering, two hours running of which half is lost."""
    rows = [
        segment(0, 0.0, HOUR_S),
        segment(0, HOUR_S, 1.5 * HOUR_S, phase=Phase.DETECTING),
        segment(0, 1.5 * HOUR_S, 2 * HOUR_S, phase=Phase.RECOVERING),
        segment(0, 2 * HOUR_S, 4 * HOUR_S),
    ]
    books = totals(
        record,
        site_books,
        rows,
        jobs={
            "lost_gpu_seconds": np.array([4 * HOUR_S]),
            "stalled_gpu_seconds": np.array([2 * HOUR_S]),
            "bubble_share": np.array([0.5]),
        },
    )
    use = {name: seconds / HOUR_S for name, seconds in books.gpu_seconds.items()}
    assert use == pytest.approx(
        {
            "owned": 128.0,
            "allocated": 32.0,
            "productive": (24 - 4 - 2) / 2,
            "overhead": 32 - 9 - 4,
            "lost": 4.0,
            "down": 0.0,
            "maintenance": 0.0,
            "free": 96.0,
        }
    )
    assert books.totals["ettr_fraction"] == pytest.approx(18 / 32)
    assert books.totals["allocated_fraction"] == pytest.approx(0.25)
    assert books.jobs["productive_gpu_seconds"] == pytest.approx([9 * HOUR_S])


def test_waiting_lowers_ettr(record, site_books, segment):
    books = totals(record, site_books, [segment(0, HOUR_S, 2 * HOUR_S)], jobs={"wait_s": np.array([HOUR_S])})
    assert books.totals["ettr_fraction"] == pytest.approx(0.5)


def test_mfu_counts_running_time_and_executed_work(record, site_books, segment):
    """1,000 tokens/s of 1e12 FLOP on 8 GPUs of 312e12 is 40.06 %."""
    rows = [
        segment(0, 0.0, HOUR_S, phase=Phase.STARTING, rate=0.0),
        segment(0, HOUR_S, 3 * HOUR_S, rate=1000.0),
        segment(1, 0.0, HOUR_S, rate=5.0),
    ]
    books = totals(
        record,
        site_books,
        rows,
        jobs={
            "flop_per_unit": np.array([1e12, np.nan]),
            "peak_flop_per_s": np.array([312e12, np.nan]),
        },
    )
    assert books.jobs["mfu_fraction"][0] == pytest.approx(1e15 / (8 * 312e12))
    assert np.isnan(books.jobs["mfu_fraction"][1])
    assert books.totals["mfu_fraction"] == pytest.approx(1e15 / (8 * 312e12))


def test_a_node_that_is_down_is_not_free_and_not_counted_twice_while_held(record, site_books, segment):
    """The node fails at 1 h while a job holds it; the job leaves at 2 h; repair at 3 h."""
    books = totals(
        record,
        site_books,
        [segment(0, 0.0, 2 * HOUR_S, gpus=32)],
        outages=[(0, HOUR_S, 3 * HOUR_S, 8, 0), (0, 2 * HOUR_S, 9 * HOUR_S, 16, 1)],
    )
    use = {name: seconds / HOUR_S for name, seconds in books.gpu_seconds.items()}
    assert use["down"] == pytest.approx(8.0)
    assert use["maintenance"] == pytest.approx(32.0)
    assert use["free"] == pytest.approx(128 - 64 - 8 - 32)
    assert books.totals["down_fraction"] == pytest.approx(40 / 128)


def test_an_empty_run_has_no_ratios_and_no_error(record, site_books):
    books = totals(record, site_books)
    assert np.isnan(books.totals["mfu_fraction"])
    assert np.isnan(books.totals["ettr_fraction"])
    assert np.isnan(books.totals["usd_per_productive_gpu_hour"])
