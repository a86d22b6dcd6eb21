"""Serving time and watts against measured rows; fails when a change makes them worse.

Silicon points: AIConfigurator, load tests at a fixed concurrency, by engine and GPU; ML.ENERGY v3:
steady states. Tolerances are what was reached, rounded up; the targets (12 % and 20 % of the time
per token for dense models and models with experts, 25 % and 35 % to the first token, 8 % of the
watts) are printed by ``datahall validate serving`` with PASS or MISS. Which rows fixed which
number stands beside each set in ``serving_coefficients``.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from analysis.calibration.serving_power import fitted, left_out, phases, steady_states
from analysis.validation.serving_points import scored_points
from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.power_coefficients import power_coefficients
from simulator.performance.serving import serving_profile


@pytest.fixture(scope="module")
def groups(shared_data):
    found = defaultdict(list)
    for point in scored_points(shared_data):
        found[point.case.group].append(point)
    return found


def mean(errors):
    found = [abs(error) for error in errors if error is not None]
    return sum(found) / len(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "rows", "most"),
    [
        ("vllm h100-sxm dense fp8 agg", 40, 0.10),
        ("vllm h200-sxm experts mxfp4 agg", 60, 0.07),
        ("vllm h200-sxm experts int4 agg", 40, 0.12),
        ("vllm b200 dense fp8 agg", 50, 0.09),
        ("vllm b200 dense nvfp4 agg", 50, 0.08),
        ("vllm b200 experts nvfp4 agg", 70, 0.10),
        ("vllm b200 experts fp8 agg", 120, 0.10),
        ("vllm h100-sxm experts fp8 agg", 30, 0.18),
        ("sglang h200-sxm experts fp8 agg", 60, 0.10),
        ("sglang b200 experts nvfp4 agg", 80, 0.15),
        ("trtllm h200-sxm experts fp8 agg", 30, 0.08),
        ("trtllm b200 experts mxfp4 agg", 80, 0.10),
        ("trtllm h100-sxm dense bf16 agg", 150, 0.09),
        ("trtllm h200-sxm dense fp8 agg", 60, 0.12),
        ("trtllm b200 dense fp8 agg", 60, 0.11),
        ("trtllm b200 dense nvfp4 agg", 60, 0.09),
    ],
)
def test_time_per_token_of_load_tests(groups, group, rows, most):
    points = groups[group]
    assert len(points) >= rows
    assert mean(point.tpot_error for point in points) < most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "most"),
    [
        ("vllm h100-sxm dense fp8 agg", 0.25),
        ("vllm h200-sxm experts mxfp4 agg", 0.12),
        ("vllm h200-sxm experts int4 agg", 0.15),
        ("vllm b200 dense fp8 agg", 0.15),
        ("vllm b200 dense nvfp4 agg", 0.16),
        ("vllm b200 experts nvfp4 agg", 0.28),
        ("vllm b200 experts fp8 agg", 0.22),
        ("vllm h100-sxm experts fp8 agg", 0.30),
        ("sglang h200-sxm experts fp8 agg", 0.28),
        ("sglang b200 experts nvfp4 agg", 0.50),
        ("trtllm h200-sxm experts fp8 agg", 0.45),
        ("trtllm b200 experts mxfp4 agg", 0.22),
        ("trtllm h100-sxm dense bf16 agg", 0.28),
        ("trtllm h200-sxm dense fp8 agg", 0.16),
        ("trtllm b200 dense fp8 agg", 0.12),
        ("trtllm b200 dense nvfp4 agg", 0.16),
    ],
)
def test_time_to_first_token_of_load_tests(groups, group, most):
    assert mean(point.ttft_error for point in groups[group]) < most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "rows", "time", "watts"),
    [
        ("ML.ENERGY h100-sxm dense", 100, 0.07, 0.08),
        ("ML.ENERGY h100-sxm experts", 50, 0.09, 0.08),
        ("ML.ENERGY b200 dense", 80, 0.12, 0.09),
        ("ML.ENERGY b200 experts", 120, 0.12, 0.10),
    ],
)
def test_steady_states(groups, group, rows, time, watts):
    points = groups[group]
    assert len(points) >= rows
    assert mean(point.tpot_error for point in points) < time
    assert mean(point.power_error for point in points) < watts
    assert mean(point.joules_error for point in points) < 0.10


@pytest.mark.slow
@pytest.mark.parametrize(("gpu", "dense", "experts"), [("h100-sxm", 0.08, 0.07), ("b200", 0.06, 0.08)])
def test_watts_at_measured_step_times_of_models_left_out(shared_data, gpu, dense, experts):
    """The power law by itself, refitted without the model that it then predicts."""
    found = steady_states(shared_data)[gpu]
    errors = np.abs(left_out(found, power_coefficients(found.generation)))
    assert np.mean(errors[found.kinds == "dense"]) < dense
    assert np.mean(errors[found.kinds == "experts"]) < experts
    if gpu == "b200":
        assert np.mean(errors[found.kinds == "experts, copied attention"]) < 0.08


@pytest.mark.slow
def test_watts_of_prompts_of_models_left_out(shared_data):
    found = phases(shared_data)
    errors = np.abs(left_out(found, power_coefficients(found.generation)))
    assert np.mean(errors[found.kinds == "prompts"]) < 0.06
    assert np.mean(errors[found.kinds == "dense"]) < 0.08


@pytest.mark.slow
def test_the_shipped_power_law_is_the_fit(shared_data):
    for found in (phases(shared_data), *steady_states(shared_data).values()):
        shipped = power_coefficients(found.generation)
        refitted = fitted(found, shipped)
        assert np.allclose(found.errors(shipped), found.errors(refitted), atol=0.01)


def test_llama_70b_on_four_h100_draws_what_was_measured():
    """ML.ENERGY v3: 4 x H100, Llama 3.1 70B: 441 W a GPU at batch 8, 637 W at batch 898."""
    catalog = Catalog.shipped()
    model = Architecture.from_spec(catalog.get("models", "llama-3.1-70b"))
    profile = serving_profile(model, catalog.get("gpus", "h100-sxm"), tensor_parallel=4)
    assert profile.decode_power_w(8, 425) == pytest.approx(441, rel=0.10)
    assert profile.decode_power_w(898, 425) == pytest.approx(637, rel=0.15)
