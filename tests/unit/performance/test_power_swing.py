"""Power swings of a step: by hand on invented parts, and on a real profile."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.performance.given import GivenProfile
from simulator.performance.power_swing import SUPPLY_S, power_swing
from simulator.performance.training import estimate

WATTS = {"compute": 650.0, "memory": 500.0, "communication": 300.0, "waiting": 250.0, "idle": 130.0}


def step(**parts: float) -> SimpleNamespace:
    """A profile of 600 W in what interleaves, and the parts at the end of the step."""
    seconds = {"compute_s": 4.0, "dp_exposed_s": 0.0, "optimizer_s": 0.0, "straggler_s": 0.0} | parts
    joules = 600.0 * 4.0 + 300.0 * seconds["dp_exposed_s"] + 500.0 * seconds["optimizer_s"]
    joules += 250.0 * seconds["straggler_s"]
    step_s = sum(seconds.values())
    return SimpleNamespace(breakdown=seconds, phase_power=WATTS, at=lambda c, s: (step_s, joules / step_s))


def test_a_long_exchange_pulls_all_the_way_down():
    """1 s of exchange after 4 s of work: from 600 W to 300 W, once in 5 s."""
    found = power_swing(step(dp_exposed_s=1.0))
    assert found.busy_w == pytest.approx(600.0)
    assert found.swing_w == pytest.approx(300.0, abs=1e-6)
    assert (found.period_s, found.low_s) == (5.0, 1.0)
    assert found.ramp_w_per_s == pytest.approx(300.0 / SUPPLY_S)


def test_a_short_one_is_carried_by_the_supply():
    """One time constant of the supply: 1 - 1/e of the way."""
    found = power_swing(step(dp_exposed_s=SUPPLY_S))
    assert found.swing_w == pytest.approx(300.0 * (1.0 - math.exp(-1.0)), rel=1e-9)


def test_the_deepest_part_counts():
    found = power_swing(step(dp_exposed_s=1.0, straggler_s=0.5, optimizer_s=0.2))
    assert found.swing_w == pytest.approx(350.0, abs=1e-6)


def test_a_step_without_an_end_does_not_swing():
    assert power_swing(step()).swing_w == 0.0


def test_a_given_profile_has_no_parts_to_tell():
    gpu = Catalog.shipped().gpu("h100-sxm")
    assert power_swing(GivenProfile.on(gpu, 1.0, 2.0)) is None


def test_a_real_run_swings_less_than_its_whole_power_and_more_than_nothing():
    """POLCA (arXiv:2308.12908): a training fleet's worst swing in 2 s was 37.5 % of provisioned power.

    A single job swings by more than a fleet: the bound is its whole dynamic power.
    """
    catalog = Catalog.shipped()
    model = Architecture.from_spec(catalog.get("models", "llama-2-13b"))
    layout = Layout(2, 1, 64, global_batch=256, context_tokens=4096, zero_stage=1)
    profile = estimate(
        model, layout, catalog.get("gpus", "a100-sxm-80gb"), catalog.get("nodes", "hgx-a100-8")
    )
    found = power_swing(profile)
    assert 0.0 < found.swing_w < profile.power.compute_w - profile.power.idle_w
    assert found.period_s == pytest.approx(profile.step_s)
