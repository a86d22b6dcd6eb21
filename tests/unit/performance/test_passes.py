from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.decoder_time import Deployment, Pass
from simulator.performance.serving import serving_profile
from simulator.performance.serving_coefficients import engine_coefficients, serving_coefficients

CATALOG = Catalog.shipped()


def one(model, gpu, *, captured=None, precision="bf16", **engine):
    spec = CATALOG.gpu(gpu)
    return Pass(
        architecture=Architecture.from_spec(CATALOG.model(model)),
        gpu=spec,
        deployment=Deployment(),
        precision=precision,
        law=serving_coefficients(spec.generation),
        engine=replace(engine_coefficients("vllm", spec.generation), **engine),
        captured_tokens=captured,
    )


def test_experts_compute_whole_tiles():
    """One token visits 8 experts; each computes 16 rows for it in place of one.

    By hand: 15 rows more in 8 experts of 94 layers, each of 18.9 million weights, at 0.5 of 4.5
    PFLOP/s and with every stretch 1.
    """
    plain = {"block_stretch": 1.0, "expert_stretch": 1.0, "idle_experts": 0.0}
    alone, tiled = (
        one("qwen3-235b-a22b", "b200", precision="fp8", expert_tile=tile, **plain) for tile in (0, 16)
    )
    law = tiled.law.experts["fp8"]
    weights = 3 * 4096 * 1536
    more_s = 94 * 15 * 8 * 2.0 * weights / (law.peak * 4.5e15)
    (few,), (many,) = (work.arithmetic_s(np.array([1.0])) for work in (alone, tiled))
    assert many - few == pytest.approx(more_s, rel=1e-6)
    # So many tokens fill tiles but for half of each expert's last one.
    (few,), (many,) = (work.arithmetic_s(np.array([8192.0])) for work in (alone, tiled))
    assert many - few == pytest.approx(94 * 128 * 8 * 2.0 * weights / (law.peak * 4.5e15), rel=1e-4)


def test_a_pass_beyond_the_graphs_takes_its_launches():
    """32 layers of 10 kernels at 50 us are 16 ms, more than 20 tokens take; and 20 are few enough for 32."""
    for captured, eager in ((16, True), (32, False), (None, False)):
        work = one("llama-3.1-8b", "b200", captured=captured, eager_launch_s=50e-6, step_s=1e-3)
        tokens = np.array([20.0])
        expected_s = 16e-3 if eager else work.kernels_s(tokens)[0]
        assert work.seconds(tokens)[0] == pytest.approx(expected_s + 1e-3)


def test_parts_of_a_pass_hold_each_other():
    work = one("qwen3-30b-a3b", "h100-sxm")
    tokens = np.arange(1.0, 4096.0, 37.0)
    whole, kernels, engaged, arithmetic = (
        part(tokens) for part in (work.seconds, work.kernels_s, work.engaged_s, work.arithmetic_s)
    )
    assert (whole > kernels).all()
    assert (kernels > engaged).all()
    assert (engaged > arithmetic).all()
    assert (arithmetic > 0.0).all()


def test_a_gpu_that_waits_for_launches_draws_less_than_one_with_a_graph():
    model = Architecture.from_spec(CATALOG.model("llama-3.1-8b"))
    eager, graph = (
        serving_profile(model, CATALOG.gpu("b200"), tensor_parallel=1, captured_tokens=captured)
        for captured in (8, 1024)
    )
    assert eager.iteration.iteration_ps(256, 1, 0) > 2 * graph.iteration.iteration_ps(256, 1, 0)
    assert eager.prompt_power_w(256) < 0.8 * graph.prompt_power_w(256)
    assert eager.at_clock(0.5).captured_tokens == 8
