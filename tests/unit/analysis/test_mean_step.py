from __future__ import annotations

import math

import pytest

from analysis.estimation.serving import MeanStep
from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.serving import serving_profile
from simulator.performance.serving_coefficients import engine_coefficients


def test_prompts_come_as_a_poisson_number():
    """Half an answer ends in a step: some does in 1 - exp(-1/2) of them, and then 0.5 over that do."""
    step = MeanStep.of(100.0, 300, 200.0)
    assert step.share == pytest.approx(1.0 - math.exp(-0.5))
    assert step.share * step.prompts == pytest.approx(0.5)
    assert step.widest == step.prompts


def test_a_decoder_that_reads_no_prompts_remembers_them():
    """64 sequences of 4,000 tokens and half of 1,000: 288,000 that each iteration looks at."""
    here, apart = (MeanStep.of(64.0, 4000, 1000.0, reads=reads) for reads in (True, False))
    assert here.context_tokens == apart.context_tokens == 288_000
    assert (apart.share, apart.prompt) == (0.0, 0)
    catalog = Catalog.shipped()
    model, gpu = Architecture.from_spec(catalog.model("llama-3.1-8b")), catalog.gpu("h100-sxm")
    profile = serving_profile(model, gpu, tensor_parallel=1)
    assert apart.time_s(profile) == profile.iteration.iteration_ps(64, 64, 288_000) / 1e12
    ((weight, load),) = apart.loads(profile)
    assert weight == 1.0
    assert load == profile.load(apart.time_s(profile), 64, 64, 288_000)


def test_of_two_groups_the_one_with_most_prompts_counts():
    """Two Poisson numbers of mean m: the larger is their mean plus half the mean of what they differ by.

    For small m that is twice m: hardly ever do both have one.
    """
    step = MeanStep.of(2.0, 300, 1000.0, groups=2)
    assert step.share * step.widest == pytest.approx(2.0 * 0.001, rel=1e-3)
    many = MeanStep.of(2000.0, 300, 10.0, groups=2)
    # Means of 100, differing by a normal number of variance 200: half of its mean size is 5.6.
    assert many.widest == pytest.approx(100.0 + 0.5 * math.sqrt(2.0 / math.pi * 200.0), rel=1e-3)


def test_where_groups_are_padded_every_group_runs_what_the_widest_does():
    catalog = Catalog.shipped()
    model, gpu = Architecture.from_spec(catalog.model("qwen3-235b-a22b")), catalog.gpu("b200")
    said = {"tensor_parallel": 1, "attention_data_parallel": 8, "expert_parallel": 8, "precision": "fp8"}
    plain, padded = (
        serving_profile(model, gpu, **said, engine_law=law, most_tokens=65536)
        for law in (engine_coefficients("vllm", "Blackwell"), engine_coefficients("vllm-0.11", "Blackwell"))
    )
    assert plain.iteration.experts_ps is not None
    assert padded.iteration.experts_ps is None
    step = MeanStep.of(64.0, 1500, 250.0, groups=8)
    assert step._parts(padded)[3] == pytest.approx(8.0 * step.widest * 1500.0 + 64.0, abs=1.0)
    assert step._parts(plain)[3] == pytest.approx(step.prompts * 1500.0 + 64.0, abs=1.0)
