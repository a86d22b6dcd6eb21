"""Drill: demand that is said in GPU-hours becomes so many requests."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.serving import prefill_pairs, serving_profile
from tests.drills.one_service import one_service

SCENARIO = one_service(
    """
    model: llama-3.1-8b
    replicas: 2
    warm_start: true
    demand: {gpu_hours: 24 per d, arrivals: constant}
    lengths: {prompt_mean: 64, output_mean: 640}
    """,
    duration="100 s",
)


@pytest.mark.parametrize(
    ("software", "kv", "prompt"),
    [("vllm", None, 64), ("trtllm", None, 64), ("vllm", "fp8", 64), ("vllm", None, 1200)],
    ids=["vllm", "trtllm", "narrow", "long"],
)
def test_24_gpu_hours_a_day_keep_one_gpu_busy(drill, software, kv, prompt):
    """By hand: 64 that remember a prompt and half of 640 tokens each take 640 passes for 64 answers, and
    each prompt is read in a pass of the 64, which takes as much longer.
    """
    catalog = Catalog.shipped()
    replica = serving_profile(
        Architecture.from_spec(catalog.model("llama-3.1-8b")),
        catalog.gpu("h100-sxm"),
        tensor_parallel=1,
        engine=software,
        kv_precision=kv or "bf16",
    )
    pass_s = replica.roofline.iteration_ps(64, 64, 64 * (prompt + 320)) / 1e12
    read = replica.roofline.iteration_ps(64 + prompt, 65, 64 * (prompt + 320), prefill_pairs(prompt))
    each_s = 640 * pass_s / 64 + read / 1e12 - pass_s
    said = f"software: {software}" + (f", kv_precision: {kv}" if kv else "")
    run = drill(SCENARIO, f"workloads.chat.engine={{{said}}}", f"workloads.chat.lengths.prompt_mean={prompt}")
    arrived = run.record.services[0].counters["requests_in"]
    assert arrived == pytest.approx(100.0 / each_s, abs=1.5)
    assert arrived > 500
