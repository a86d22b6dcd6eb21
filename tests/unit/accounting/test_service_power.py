"""Peaks of a service's GPU power against its mean, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from simulator.accounting.service_power import ServicePower, service_power


def record(rows, horizon_s=900.0):
    """Rows of (job, start, end, gpus, IT power, GPU power, largest IT power)."""
    names = ("job", "start_s", "end_s", "gpus", "power_w", "gpu_power_w", "max_power_w")
    columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return SimpleNamespace(segments=columns, jobs=range(3), horizon_s=horizon_s)


SERVICE = SimpleNamespace(replica_jobs=[0, 2])


def test_peak_and_mean_by_hand():
    found = service_power(
        record(
            [
                (0, 0.0, 300.0, 2, 1000.0, 800.0, 1500.0),
                (0, 300.0, 900.0, 2, 600.0, 400.0, 700.0),
                (1, 0.0, 900.0, 8, 9000.0, 8000.0, 9900.0),  # somebody else's
                (2, 150.0, 450.0, 4, 1400.0, 1000.0, 1800.0),
            ]
        ),
        SERVICE,
    )
    # 0-300 s: 800 + 1000/2; 300-600 s: 400 + 1000/2; 600-900 s: 400.
    assert found.gpu_power_peak_5min_w == pytest.approx(1300.0)
    assert found.gpu_power_mean_w == pytest.approx((1300.0 + 900.0 + 400.0) / 3)
    assert found.gpu_power_mean_w_per_gpu == pytest.approx((1300.0 + 900.0 + 400.0) * 300.0 / 3000.0)
    # The first replica's 1500 W less 200 W of its host, on two GPUs.
    assert found.gpu_power_largest_w_per_gpu == pytest.approx(650.0)
    numbers = found.numbers()
    assert numbers["gpu_power_peak_to_mean_ratio"] == pytest.approx(1.5)
    assert numbers["gpu_power_largest_to_mean_ratio"] == pytest.approx(2.5)


def test_a_run_of_less_than_five_minutes_is_one_mean():
    found = service_power(record([(0, 10.0, 60.0, 1, 300.0, 240.0, 400.0)], horizon_s=60.0), SERVICE)
    assert found.gpu_power_peak_5min_w == pytest.approx(200.0)
    assert found.gpu_power_peak_5min_w == pytest.approx(found.gpu_power_mean_w)


def test_a_service_without_gpus_has_no_power():
    found = service_power(record([(1, 0.0, 900.0, 8, 9000.0, 8000.0, 9900.0)]), SERVICE)
    assert found == ServicePower()
    assert set(found.numbers().values()) == {None}
