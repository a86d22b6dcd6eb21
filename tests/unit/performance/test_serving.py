"""Iteration time in integers: a leap equals its steps, and nothing gets cheaper by growing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.foundation.errors import CatalogError, LayoutError
from simulator.llm.architecture import Architecture
from simulator.performance.serving import prefill_pairs, serving_profile
from simulator.performance.serving_coefficients import engine_coefficients

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@pytest.fixture(scope="module")
def replica(llama_70b, h100):
    return serving_profile(llama_70b, h100, tensor_parallel=4, precision="fp8")


@shared
@given(steps=st.integers(0, 300), batch=st.integers(1, 256), context=st.integers(0, 2_000_000))
def test_a_leap_is_exactly_its_steps(replica, steps, batch, context):
    iteration = replica.iteration
    one_by_one = sum(iteration.iteration_ps(batch, batch, context + step * batch) for step in range(steps))
    assert iteration.decode_ps(steps, batch, context) == one_by_one


@shared
@given(tokens=st.integers(0, 8191), batch=st.integers(0, 1024), context=st.integers(0, 10_000_000))
def test_more_work_is_never_cheaper(replica, tokens, batch, context):
    cost = replica.iteration.iteration_ps
    base = cost(tokens, batch, context, 1000)
    assert isinstance(base, int)
    assert cost(tokens + 1, batch, context, 1000) >= base
    assert cost(tokens, batch + 1, context, 1000) > base
    assert cost(tokens, batch, context + 1, 1000) > base
    assert cost(tokens, batch, context, 100_000) > base


def test_weights_make_a_plateau(replica):
    table = replica.iteration.tokens_ps
    assert table[32] < 1.1 * table[1]


def test_arithmetic_makes_a_slope(replica):
    table = replica.iteration.tokens_ps
    assert table[8192] > 1.8 * table[4096] > 3.2 * table[2048]


def test_a_host_that_starts_every_kernel_sets_the_least_time_of_a_wide_iteration(llama_70b, h100):
    """Beyond the widest captured graph each of a layer's operations costs the host its launch."""
    law = engine_coefficients("vllm", "Hopper")
    slow = replace(law, eager_launch_s=1e-3)
    table = serving_profile(llama_70b, h100, tensor_parallel=8, engine_law=slow).iteration.tokens_ps
    assert table[512] < 0.05e12
    # 80 layers of (2 products, 5 others, 2 reduces) and (2 products, an activation): 12 launches.
    assert table[544] == pytest.approx(80 * 12 * 1e-3 * 1e12, rel=0.01)


def test_a_tensor_group_over_two_domains_waits_for_the_network(llama_70b, h100):
    near, far = (
        serving_profile(llama_70b, h100, tensor_parallel=16, domains=domains).iteration.tokens_ps[1]
        for domains in (1, 2)
    )
    assert 160 * 15e-6 < (far - near) / 1e12 < 160 * 40e-6


def test_the_table_cannot_be_changed(replica):
    with pytest.raises(ValueError, match="read-only"):
        replica.iteration.tokens_ps[0] = 1


def test_chunks_of_a_prompt_meet_as_many_pairs_as_the_whole():
    assert sum(prefill_pairs(512, start) for start in range(0, 4096, 512)) == prefill_pairs(4096)


def test_more_gpus_and_fewer_bits_are_faster(llama_70b, h100):
    def decode(gpus, precision):
        profile = serving_profile(llama_70b, h100, tensor_parallel=gpus, precision=precision)
        return profile.iteration.iteration_ps(32, 32, 32_000)

    assert decode(8, "bf16") < decode(4, "bf16") < decode(2, "bf16")
    assert decode(4, "fp8") < decode(4, "bf16")


def test_more_bandwidth_is_faster(catalog, llama_70b, h100):
    h200 = catalog.get("gpus", "h200-sxm")
    near = serving_profile(llama_70b, h100, tensor_parallel=4).iteration.iteration_ps(8, 8, 8_000)
    wide = serving_profile(llama_70b, h200, tensor_parallel=4).iteration.iteration_ps(8, 8, 8_000)
    assert wide < near


def test_a_lower_clock_slows_prompts_more_than_decoding(replica):
    slow = replica.at_clock(0.6)
    prompt = slow.iteration.iteration_ps(8192, 1, 0) / replica.iteration.iteration_ps(8192, 1, 0)
    decode = slow.iteration.iteration_ps(8, 8, 8_000) / replica.iteration.iteration_ps(8, 8, 8_000)
    assert 1.0 < decode < prompt
    assert slow.at_clock(1.0).iteration.iteration_ps(8, 8, 8_000) == (
        replica.iteration.iteration_ps(8, 8, 8_000)
    )
    assert slow.decode_power_w(64) < replica.decode_power_w(64)
    assert slow.prompt_power_w(2048) < replica.prompt_power_w(2048)


@pytest.mark.parametrize("clock", [0.9, 0.6])
def test_a_lower_clock_counts_once_in_the_watts(replica, clock):
    """What an H100 draws above its 72 W floor falls with the clock and the square of the voltage.

    By hand: 72 + (w - 72) x c (0.35 + 0.65 c)^2 for a load that draws w at full clock, whatever
    the load. The slower pace of the work at the lower clock is in that already.
    """
    left = clock * (0.35 + 0.65 * clock) ** 2
    slow = replica.at_clock(clock)
    for full_w, slow_w in (
        (replica.decode_power_w(8, 1000.0), slow.decode_power_w(8, 1000.0)),
        (replica.decode_power_w(256, 1000.0), slow.decode_power_w(256, 1000.0)),
        (replica.prompt_power_w(4096), slow.prompt_power_w(4096)),
        (replica.prompt_power_w(64), slow.prompt_power_w(64)),
    ):
        assert slow_w == pytest.approx(72.0 + (full_w - 72.0) * left, rel=1e-9)


def test_longer_prompts_draw_more_until_the_design_power(replica, h100):
    watts = [replica.prompt_power_w(tokens) for tokens in (1, 16, 128, 512)]
    assert watts == sorted(watts)
    assert watts[0] == pytest.approx(replica.decode_power_w(1, 0.0), rel=0.01)
    assert 0.9 * h100.tdp_w < replica.prompt_power_w(8192) <= h100.tdp_w


def test_watts_rise_with_the_batch_and_prompts_draw_most(replica, h100):
    batches = [replica.decode_power_w(batch, 500) for batch in (1, 8, 32, 128)]
    assert batches == sorted(batches)
    assert replica.idle_power_w == replica.decode_power_w(0) < batches[0]
    assert batches[-1] < replica.prompt_power_w(8192) <= h100.tdp_w


def test_host_time_hides_or_does_not(llama_8b, h100):
    hidden = serving_profile(llama_8b, h100, tensor_parallel=1, cpu_overhead_s=2e-3)
    shown = serving_profile(llama_8b, h100, tensor_parallel=1, cpu_overhead_s=2e-3, overlaps_cpu=False)
    assert shown.iteration.tokens_ps[8] - hidden.iteration.tokens_ps[8] == 2_000_000_000
    slow_host = serving_profile(llama_8b, h100, tensor_parallel=1, cpu_overhead_s=20e-3)
    assert slow_host.iteration.tokens_ps[8] == 20_000_000_000


def test_experts_stream_as_they_are_touched(catalog, h100):
    moe = Architecture.from_spec(catalog.get("models", "qwen3-30b-a3b"))
    profile = serving_profile(moe, h100, tensor_parallel=1)
    assert profile.streamed_weights_bytes(1) < 0.2 * profile.weights_bytes
    assert profile.streamed_weights_bytes(512) == pytest.approx(profile.weights_bytes, rel=1e-3)
    table = profile.iteration.tokens_ps
    assert table[64] > 1.5 * table[1]


def test_every_attention_group_reads_its_own_copy_of_all_but_the_experts(catalog):
    """DeepSeek-V3: 671 GB in 8 bits, of which 58 layers x 256 experts x 44 MB are 654 GB; on eight GPUs
    a pass of one token reads the rest, 17 GB and the 16-bit embeddings' 2 GB, and 8 of 256 experts.
    """
    h200 = catalog.get("gpus", "h200-sxm")
    moe = Architecture.from_spec(catalog.get("models", "deepseek-v3-no-mtp"))
    experts_bytes = 58 * 256 * 3 * 7168 * 2048
    groups = serving_profile(moe, h200, tensor_parallel=1, attention_data_parallel=8, precision="fp8")
    alone = serving_profile(moe, h200, tensor_parallel=8, precision="fp8")
    rest_bytes = 8 * alone.weights_bytes - experts_bytes
    assert rest_bytes == pytest.approx(19e9, rel=0.05)
    for tokens, share in zip((100_000, 1), (1.0, 8 / 256), strict=True):
        read_bytes = groups.streamed_weights_bytes(tokens)
        assert read_bytes == pytest.approx(rest_bytes + share * experts_bytes / 8, rel=0.02)
        whole_bytes = (rest_bytes + share * experts_bytes) / 8
        assert alone.streamed_weights_bytes(tokens) == pytest.approx(whole_bytes, rel=0.05)
    # In 50 ms that keeps the memory busier, and the watts of the pass count it.
    more = groups.load(0.05, 8, 8, 80).streaming - alone.load(0.05, 8, 8, 80).streaming
    assert more == pytest.approx(7 / 8 * rest_bytes / 0.05 / h200.memory_bandwidth_bytes_per_s, rel=0.02)


def test_degrees_and_precisions_that_cannot_be_are_refused(catalog, llama_70b):
    with pytest.raises(LayoutError, match="tensor_parallel 3 does not divide 64 heads"):
        serving_profile(llama_70b, catalog.get("gpus", "h100-sxm"), tensor_parallel=3)
    with pytest.raises(CatalogError, match="v100-sxm2-32gb has no bf16"):
        serving_profile(llama_70b, catalog.get("gpus", "v100-sxm2-32gb"), tensor_parallel=8)
    with pytest.raises(LayoutError, match="expert_parallel 2 does not divide the replica's 1 GPUs"):
        serving_profile(llama_70b, catalog.get("gpus", "h100-sxm"), tensor_parallel=1, expert_parallel=2)
    with pytest.raises(LayoutError, match="is dense: expert_parallel has nothing to deal"):
        serving_profile(llama_70b, catalog.get("gpus", "h100-sxm"), tensor_parallel=2, expert_parallel=2)


def test_narrow_weights_are_widened_where_a_gpu_has_no_such_arithmetic(catalog, llama_70b):
    """An A100 streams half the bytes in FP8, and multiplies no faster."""
    a100 = catalog.get("gpus", "a100-sxm-80gb")
    wide, narrow = (
        serving_profile(llama_70b, a100, tensor_parallel=4, precision=precision).iteration
        for precision in ("bf16", "fp8")
    )
    assert narrow.tokens_ps[1] < 0.7 * wide.tokens_ps[1]
    assert narrow.tokens_ps[8192] == pytest.approx(wide.tokens_ps[8192], rel=0.2)
