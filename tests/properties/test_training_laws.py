"""Laws of a training step: more of what helps never hurts, whatever the model and the layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.memory import training_memory
from simulator.performance.coefficients import training_coefficients
from simulator.performance.profile import BREAKDOWN_KEYS
from simulator.performance.training import check_divides, estimate

CATALOG = Catalog.shipped()
MODELS = [
    Architecture.from_spec(CATALOG.model(name))
    for name in ("llama-3.1-8b", "gpt3-20b", "mixtral-8x7b", "deepseek-v2-lite", "qwen3-32b")
]
NODES = [CATALOG.node(name) for name in ("hgx-a100-8", "hgx-h100-8", "hgx-b200-8", "gb200-nvl72")]
#: Zero-bubble fills with weight gradients, whose launch waits are a smooth maximum of their own:
#: next to the step's they leave a few parts in ten million.
EXACT = 1.0 + 1e-6
law = settings(max_examples=40, deadline=None)


@st.composite
def cases(draw):
    """Return (model, layout, gpu, node) that divide; memory is not asked."""
    model, node = draw(st.sampled_from(MODELS)), draw(st.sampled_from(NODES))
    tensor, stages = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from([1, 1, 2, 4, 8]))
    context, data = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 2, 4, 8, 32]))
    micro, count = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([8, 16, 24, 64]))
    experts = draw(st.sampled_from([1, 2, 4, 8])) if model.experts else 1
    schedules = ["1f1b"] if stages == 1 else ["1f1b", "zero-bubble"]
    schedule = draw(st.sampled_from(schedules))
    chunks = draw(st.sampled_from([1, 2])) if stages > 1 and schedule == "1f1b" else 1
    try:
        layout = Layout(
            tensor_parallel=tensor,
            pipeline_parallel=stages,
            context_parallel=context,
            data_parallel=data,
            expert_parallel=experts,
            interleave=chunks,
            schedule=schedule,
            micro_batch=micro,
            global_batch=micro * data * count,
            context_tokens=draw(st.sampled_from([2048, 8192])),
            recompute=draw(st.sampled_from(["none", "selective", "full"])),
            zero_stage=draw(st.sampled_from([0, 1, 3])) if stages == 1 else 1,
            precision=draw(st.sampled_from(["bf16", "fp8"])) if node.name != "hgx-a100-8" else "bf16",
        )
        check_divides(model, layout)
    except LayoutError:
        assume(False)
    return model, layout, CATALOG.gpu(node.gpu), node


def step(model, layout, gpu, node, **more):
    return estimate(model, layout, gpu, node, check_memory=False, **more)


@law
@given(cases())
def test_the_parts_are_the_step_and_none_is_negative(case):
    profile = step(*case)
    parts = profile.breakdown
    assert set(parts) == set(BREAKDOWN_KEYS)
    assert all(seconds >= 0.0 for seconds in parts.values())
    assert sum(parts.values()) == pytest.approx(profile.step_s, rel=1e-12)
    assert 0.0 < profile.mfu_fraction() < 1.0


@law
@given(cases(), st.floats(1.01, 8.0))
def test_more_of_the_machine_is_never_slower(case, factor):
    model, layout, gpu, node = case
    before = step(model, layout, gpu, node).step_s
    flops = {
        name: getattr(gpu, name) * factor
        for name in ("fp16_flop_per_s", "bf16_flop_per_s", "fp8_flop_per_s")
        if getattr(gpu, name)
    }
    for better in (
        replace(gpu, **flops),
        replace(gpu, memory_bandwidth_bytes_per_s=gpu.memory_bandwidth_bytes_per_s * factor),
        replace(gpu, scale_up_bandwidth_bytes_per_s=gpu.scale_up_bandwidth_bytes_per_s * factor),
    ):
        assert step(model, layout, better, node).step_s <= before * EXACT
    wide = replace(node, nic_bandwidth_bytes_per_s=node.nic_bandwidth_bytes_per_s * factor)
    assert step(model, layout, gpu, wide).step_s <= before * EXACT
    given_nic = step(
        model, layout, gpu, node, nic_bandwidth_bytes_per_s=node.nic_bandwidth_bytes_per_s * factor
    )
    assert given_nic.step_s == pytest.approx(step(model, layout, gpu, wide).step_s, rel=1e-12)


@law
@given(cases(), st.floats(0.3, 0.99), st.floats(0.05, 0.99))
def test_more_clock_and_more_of_the_links_are_never_slower(case, clock, share):
    profile = step(*case)
    whole_s, whole_w = profile.at(1.0, 1.0)
    slow_s, slow_w = profile.at(clock, 1.0)
    assert slow_s >= whole_s / EXACT
    assert slow_w <= whole_w * EXACT
    assert profile.at(1.0, share)[0] >= whole_s / EXACT
    assert profile.at(clock, share)[0] >= max(slow_s, profile.at(1.0, share)[0]) / EXACT


@law
@given(cases(), st.integers(2, 4))
def test_a_bigger_batch_never_lowers_mfu_of_a_layout(case, factor):
    model, layout, gpu, node = case
    bigger = replace(layout, global_batch=layout.global_batch * factor)
    assert step(model, bigger, gpu, node).mfu_fraction() >= step(*case).mfu_fraction() / EXACT


@law
@given(cases())
def test_fewer_stragglers_and_better_efficiencies_are_never_slower(case):
    model, layout, gpu, node = case
    share = training_coefficients(gpu.generation)
    before = step(model, layout, gpu, node, coefficients=share).step_s
    for name in ("straggler_sigma", "kernel_s", "scale_up_latency_s", "scale_out_latency_s"):
        better = replace(share, **{name: 0.5 * getattr(share, name)})
        assert step(model, layout, gpu, node, coefficients=better).step_s <= before * EXACT, name
    for name in ("gemm_efficiency", "memory_efficiency", "scale_up_efficiency", "scale_out_efficiency"):
        better = replace(share, **{name: min(1.0, 1.1 * getattr(share, name))})
        assert step(model, layout, gpu, node, coefficients=better).step_s <= before * EXACT, name


@law
@given(cases())
def test_recomputation_saves_memory_and_never_time(case):
    model, layout, gpu, node = case
    kinds = [replace(layout, recompute=kind) for kind in ("none", "selective", "full")]
    times = [step(model, one, gpu, node).step_s for one in kinds]
    sizes = [training_memory(model, one).total_bytes for one in kinds]
    assert times[0] <= times[1] * EXACT
    assert times[0] <= times[2] * EXACT
    assert sizes[0] >= sizes[1] / EXACT


@law
@given(cases())
def test_zero_bubble_is_never_slower_than_the_same_pipeline_without(case):
    model, layout, gpu, node = case
    assume(layout.pipeline_parallel > 1 and layout.microbatches >= layout.pipeline_parallel)
    plain = replace(layout, schedule="1f1b", interleave=1)
    filled = replace(plain, schedule="zero-bubble")
    assert step(model, filled, gpu, node).step_s <= step(model, plain, gpu, node).step_s * EXACT


@law
@given(cases())
def test_twice_the_layers_take_about_twice_the_time(case):
    """Never more than twice: what is done once a step does not double."""
    model, layout, gpu, node = case
    assume(layout.pipeline_parallel == 1 and not model.dense_layers)
    double = replace(model, layers=2 * model.layers)
    once, twice = step(model, layout, gpu, node).step_s, step(double, layout, gpu, node).step_s
    assert 1.5 * once <= twice <= 2.0 * once * EXACT
