"""A job of which only its MFU is known: its watts follow it, as the model of a step would have them."""

from __future__ import annotations

import pytest

from simulator.llm.layout import Layout
from simulator.performance.coefficients import training_coefficients
from simulator.performance.given import GivenProfile
from simulator.performance.gpu_power import gpu_power
from simulator.performance.training import estimate


def watts(gpu, mfu_fraction, precision="bf16"):
    return GivenProfile.at_mfu(gpu, 1.0, 1.0, mfu_fraction, precision).load_w


def test_a_job_that_uses_less_of_its_gpus_draws_less(h100):
    drawn = [watts(h100, mfu) for mfu in (0.1, 0.2, 0.4, 0.6)]
    assert drawn == sorted(drawn)
    assert drawn[0] < 0.7 * drawn[-1]


def test_the_ends_by_hand(h100):
    power, reached = gpu_power(h100), training_coefficients(h100.generation)
    assert watts(h100, reached.product_efficiency("bf16")) == pytest.approx(power.compute_w)
    # More than big products reach is no more than products all the time.
    assert watts(h100, 0.95) == pytest.approx(power.compute_w)
    assert watts(h100, 1e-9) == pytest.approx(0.5 * (power.memory_w + power.communication_w))


def test_narrow_formats_are_measured_by_what_they_reach(h100):
    reached = training_coefficients(h100.generation)
    mfu = 0.5 * reached.product_efficiency("fp8")
    power = gpu_power(h100)
    rest_w = 0.5 * (power.memory_w + power.communication_w)
    assert watts(h100, mfu, "fp8") == pytest.approx(0.5 * (power.compute_w + rest_w))


@pytest.mark.parametrize("batch", [64, 512])
def test_near_the_watts_of_the_step_s_own_model(llama_70b, h100, hgx, batch):
    """Another way to the same number: given the MFU that a modelled step has, within 5 %."""
    layout = Layout(8, 4, 16, interleave=5, global_batch=batch, context_tokens=8192)
    profile = estimate(llama_70b, layout, h100, hgx)
    _, modelled_w = profile.at(1.0, 1.0)
    assert watts(h100, profile.mfu_fraction()) == pytest.approx(modelled_w, rel=0.05)
