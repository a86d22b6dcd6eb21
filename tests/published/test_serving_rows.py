"""Decoding time and watts against measured rows; fails when a change makes them worse.

Hopper's and Blackwell's coefficients were fitted on ML.ENERGY text rows; the silicon points
were not fitted on. Tolerances are what was reached, rounded up; Blackwell's rows of small
models are bound by their host and far off.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from analysis.calibration.serving_quick import energy_points, silicon_points
from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.serving import serving_profile


@pytest.fixture(scope="module")
def groups(shared_data):
    found = defaultdict(list)
    for points in (energy_points(shared_data), silicon_points(shared_data)):
        for point in points:
            found[point.group].append(point)
    return found


@pytest.mark.parametrize(
    ("group", "rows", "bound"),
    [
        ("ML.ENERGY H100 dense", 80, 0.13),
        ("ML.ENERGY H100 experts", 40, 0.28),
        ("silicon vllm h100_sxm dense fp8", 40, 0.10),
        ("silicon trtllm h100_sxm dense bf16", 150, 0.16),
        ("silicon vllm b200_sxm dense fp8", 50, 0.18),
        ("silicon vllm b200_sxm dense fp4", 50, 0.15),
    ],
)
def test_time_per_output_token(groups, group, rows, bound):
    points = groups[group]
    assert len(points) >= rows
    assert sum(abs(p.predicted_s / p.measured_s - 1) for p in points) / len(points) < bound


@pytest.mark.parametrize(
    ("group", "bound"),
    [("ML.ENERGY H100 dense", 0.10), ("ML.ENERGY H100 experts", 0.14), ("ML.ENERGY B200 dense", 0.28)],
)
def test_watts(groups, group, bound):
    points = groups[group]
    assert sum(abs(p.predicted_w / p.measured_w - 1) for p in points) / len(points) < bound


def test_llama_70b_on_four_h100_draws_what_was_measured():
    """ML.ENERGY v3: 4 x H100, Llama 3.1 70B: 441 W a GPU at batch 8, 637 W at batch 898."""
    catalog = Catalog.shipped()
    model = Architecture.from_spec(catalog.get("models", "llama-3.1-70b"))
    profile = serving_profile(model, catalog.get("gpus", "h100-sxm"), tensor_parallel=4)
    assert profile.decode_power_w(8, 425) == pytest.approx(441, rel=0.10)
    assert profile.decode_power_w(898, 425) == pytest.approx(637, rel=0.15)
