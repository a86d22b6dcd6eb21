"""Laws of the iteration time that hold for every model, GPU, engine and deployment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.performance.serving import serving_profile

CATALOG = Catalog.shipped()
MODELS = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "gemma-3-27b")
GPUS = ("a100-sxm-80gb", "h100-sxm", "h200-sxm", "b200")

deployments = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "gpu": st.sampled_from(GPUS),
        "engine": st.sampled_from(("vllm", "sglang", "trtllm")),
        "tensor_parallel": st.sampled_from((1, 2, 4, 8)),
        "precision": st.sampled_from(("bf16", "fp8", "nvfp4", "int4")),
        "kv_precision": st.sampled_from(("bf16", "fp8")),
    }
)
work = st.tuples(st.integers(1, 256), st.integers(0, 2_000_000))


def cost(said, *, gpu=None, **changes):
    said = {**said, **changes}
    architecture = Architecture.from_spec(CATALOG.model(said.pop("model")))
    chosen = gpu or CATALOG.gpu(said["gpu"])
    del said["gpu"]
    return serving_profile(architecture, chosen, cpu_overhead_s=0.0, most_tokens=1024, **said)


@settings(max_examples=40, deadline=None)
@given(said=deployments, done=work)
def test_more_work_takes_longer(said, done):
    batch, context = done
    iteration = cost(said).roofline
    base = iteration.iteration_ps(batch, batch, context)
    assert np.all(np.diff(iteration.tokens_ps) >= 0)
    assert iteration.iteration_ps(batch + 1, batch + 1, context) > base
    assert iteration.iteration_ps(batch, batch, context + 1) > base
    assert iteration.iteration_ps(batch, batch, context, 1_000_000) > base


@settings(max_examples=40, deadline=None)
@given(said=deployments, done=work)
def test_faster_memory_and_slower_clocks(said, done):
    batch, context = done
    gpu = CATALOG.gpu(said["gpu"])
    profile = cost(said)
    fast = replace(gpu, memory_bandwidth_bytes_per_s=1.4 * gpu.memory_bandwidth_bytes_per_s)
    base = profile.roofline.iteration_ps(batch, batch, context)
    quicker = cost(said, gpu=fast).roofline.iteration_ps(batch, batch, context)
    assert base / 1.4 <= quicker <= base
    slow = profile.at_clock(0.6)
    slower = slow.roofline.iteration_ps(batch, batch, context)
    assert base <= slower <= base / 0.6 * (1.0 + 1e-9)


@pytest.mark.parametrize("gpu", GPUS)
def test_a_lower_clock_slows_prompts_more_than_decodes(gpu):
    said = {"model": "llama-3.1-70b", "gpu": gpu, "engine": "vllm", "tensor_parallel": 4}
    full = cost(said)
    slow = full.at_clock(0.7)
    decode, prompt = (8, 8, 8000), (1024, 1, 0, 1024 * 512)
    slower = [slow.roofline.iteration_ps(*one) / full.roofline.iteration_ps(*one) for one in (decode, prompt)]
    assert 1.0 < slower[0] < slower[1] <= 1.0 / 0.7 * (1.0 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(said=deployments, tokens=st.integers(1, 1024))
def test_watts_stay_between_idle_and_design_power(said, tokens):
    profile = cost(said)
    watts = profile.iteration_power_w(new_tokens=tokens, sequences=tokens, context_tokens=500 * tokens)
    assert profile.power.loaded_idle_w <= watts <= profile.power.tdp_w
    assert profile.power.loaded_idle_w <= profile.prompt_power_w(tokens) <= profile.power.tdp_w


@pytest.mark.parametrize("gpu", GPUS)
def test_fewer_bits_never_slow_a_lone_answer_of_a_large_model(gpu):
    said = {"model": "llama-3.1-70b", "gpu": gpu, "engine": "vllm", "tensor_parallel": 4}
    times = [
        cost(said, precision=precision, kv_precision="bf16").roofline.iteration_ps(1, 1, 1000)
        for precision in ("bf16", "fp8", "int4")
    ]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("gpu", GPUS)
def test_more_gpus_never_slow_a_large_batch_of_a_large_model(gpu):
    said = {
        "model": "llama-3.1-70b",
        "gpu": gpu,
        "engine": "vllm",
        "precision": "fp8",
        "kv_precision": "bf16",
    }
    times = [cost(said, tensor_parallel=cut).roofline.iteration_ps(128, 128, 128_000) for cut in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)


@settings(max_examples=20, deadline=None)
@given(
    model=st.sampled_from(("deepseek-v3", "qwen3-30b-a3b")),
    cut=st.sampled_from((1, 2, 4, 8)),
    groups=st.sampled_from((1, 2, 4, 8)),
    dealt=st.sampled_from((1, 2, 4, 8, 16)),
)
def test_a_deployment_divides_or_is_refused(model, cut, groups, dealt):
    architecture = Architecture.from_spec(CATALOG.model(model))
    gpu = CATALOG.gpu("h200-sxm")
    degrees = {"tensor_parallel": cut, "attention_data_parallel": groups, "expert_parallel": dealt}
    if (cut * groups) % dealt:
        with pytest.raises(LayoutError, match="does not divide"):
            serving_profile(architecture, gpu, precision="fp8", **degrees)
        return
    profile = serving_profile(architecture, gpu, precision="fp8", most_tokens=256, **degrees)
    assume(cut * groups > 1)
    alone = serving_profile(architecture, gpu, precision="fp8", most_tokens=256, tensor_parallel=1)
    assert profile.roofline.context_ps <= alone.roofline.context_ps
    assert profile.weights_bytes < alone.weights_bytes
