"""The training step: what sums, what grows, what is refused."""

from __future__ import annotations

import math
import timeit
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.foundation.errors import CatalogError, LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.coefficients import training_coefficients
from simulator.performance.exchange import Links
from simulator.performance.profile import BREAKDOWN_KEYS
from simulator.performance.training import estimate

LAYOUT = Layout(8, 4, 16, interleave=5, global_batch=512, context_tokens=8192)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@pytest.fixture(scope="module")
def profile(llama_70b, h100, hgx):
    return estimate(llama_70b, LAYOUT, h100, hgx)


def test_the_parts_sum_to_the_step(profile):
    assert tuple(profile.breakdown) == BREAKDOWN_KEYS
    assert sum(profile.breakdown.values()) == pytest.approx(profile.at(1.0, 1.0)[0], rel=1e-12)
    assert sum(profile.parts(0.6, 0.3).values()) == pytest.approx(profile.at(0.6, 0.3)[0], rel=1e-12)


@shared
@given(a=st.floats(0.2, 1.0), b=st.floats(0.2, 1.0), share=st.floats(0.01, 1.0))
def test_a_lower_clock_is_never_faster_and_never_draws_more(profile, a, b, share):
    low, high = sorted((a, b))
    slow_s, low_w = profile.at(low, share)
    fast_s, high_w = profile.at(high, share)
    assert slow_s >= fast_s
    assert low_w <= high_w * (1 + 1e-9)


@shared
@given(a=st.floats(0.01, 1.0), b=st.floats(0.01, 1.0), clock=st.floats(0.2, 1.0))
def test_a_smaller_share_is_never_faster(profile, a, b, clock):
    low, high = sorted((a, b))
    assert profile.at(clock, low)[0] >= profile.at(clock, high)[0]


def test_arrays_give_what_numbers_give(profile):
    clocks = np.array([1.0, 0.7, 0.5])
    steps, watts = profile.at(clocks, 0.5)
    for index, clock in enumerate(clocks):
        assert (steps[index], watts[index]) == profile.at(float(clock), 0.5)


def test_watts_lie_between_idle_and_design_power(profile, h100):
    _, watts = profile.at(1.0, 1.0)
    assert 0.7 * h100.tdp_w < watts < h100.tdp_w
    assert h100.idle_w < profile.at(0.2, 0.01)[1] < watts


def test_twice_the_batch_takes_at_most_twice_as_long(llama_70b, h100, hgx, profile):
    twice = estimate(llama_70b, replace(LAYOUT, global_batch=1024), h100, hgx)
    assert profile.step_s < twice.step_s < 2 * profile.step_s


def test_more_replicas_shorten_a_step_of_the_same_batch(llama_70b, h100, hgx, profile):
    more = estimate(llama_70b, replace(LAYOUT, data_parallel=32), h100, hgx)
    assert 0.5 * profile.step_s < more.step_s < profile.step_s


def test_recomputing_costs_time_and_saves_memory(llama_70b, h100, hgx, profile):
    again = estimate(llama_70b, replace(LAYOUT, recompute="full"), h100, hgx)
    assert again.step_s > 1.15 * profile.step_s
    assert again.memory.total_bytes < profile.memory.total_bytes


def test_more_chunks_shrink_the_bubble(llama_70b, h100, hgx, profile):
    one = estimate(llama_70b, replace(LAYOUT, interleave=1), h100, hgx)
    assert one.breakdown["pp_bubble_s"] == pytest.approx(5 * profile.breakdown["pp_bubble_s"], rel=1e-9)


def test_tensor_parallelism_across_nodes_is_slow(llama_70b, h100, hgx):
    inside = estimate(
        llama_70b, Layout(8, 1, 2, global_batch=16, recompute="full"), h100, hgx, check_memory=False
    )
    across = estimate(
        llama_70b, Layout(16, 1, 1, global_batch=16, recompute="full"), h100, hgx, check_memory=False
    )
    assert across.breakdown["tp_comm_s"] > 3 * inside.breakdown["tp_comm_s"]
    assert across.at(1.0, 0.5)[0] > 1.1 * across.at(1.0, 1.0)[0]


def test_a_rack_scale_domain_keeps_it_inside(catalog, llama_70b):
    gpu, node = catalog.get("gpus", "gb200"), catalog.get("nodes", "gb200-nvl72")
    job = estimate(llama_70b, Layout(16, 1, 1, global_batch=16, recompute="full"), gpu, node)
    assert job.at(1.0, 0.1) == job.at(1.0, 1.0)


def test_a_job_in_one_node_sends_nothing_to_the_fabric(llama_8b, h100, hgx):
    small = Layout(1, 1, 8, global_batch=64, context_tokens=8192, zero_stage=3, recompute="full")
    assert estimate(llama_8b, small, h100, hgx).flow_bytes_per_step == 0.0
    large = replace(small, data_parallel=64)
    assert estimate(llama_8b, large, h100, hgx).flow_bytes_per_step > 0.0


def test_gradients_of_two_nodes_are_counted_byte_for_byte(llama_8b, h100, hgx):
    """Sixteen replicas on two nodes: an eighth of 2-byte gradients and weights crosses each NIC."""
    layout = Layout(1, 1, 16, global_batch=16, recompute="full", zero_stage=1, context_tokens=2048)
    found = estimate(llama_8b, layout, h100, hgx).flow_bytes_per_step
    assert found == pytest.approx(2 * (2 - 1) / 2 * 2 * llama_8b.parameters / 8, rel=1e-9)


def test_slower_links_between_pods_cost_time(llama_70b, h100, hgx):
    near = Spread.compact(512, 8)
    far = Spread.compact(512, 8, nodes_per_leaf=1, leaves_per_pod=8)
    assert estimate(llama_70b, LAYOUT, h100, hgx, far).step_s >= (
        estimate(llama_70b, LAYOUT, h100, hgx, near).step_s
    )


def test_experts_cost_less_than_all_their_weights(catalog, h100, hgx):
    moe = Architecture.from_spec(catalog.get("models", "qwen3-30b-a3b"))
    layout = Layout(1, 1, 8, expert_parallel=8, global_batch=64, context_tokens=4096)
    sparse = estimate(moe, layout, h100, hgx, check_memory=False)
    dense = Architecture("dense", 48, 2048, 32, 4, 128, 128 * 768, 151_936)
    whole = estimate(dense, replace(layout, expert_parallel=1), h100, hgx, check_memory=False)
    assert sparse.step_s < 0.5 * whole.step_s
    assert sparse.breakdown["ep_comm_s"] > 0.0


def test_a_layer_that_predicts_further_tokens_costs_a_layer_and_a_head(llama_8b, h100, hgx):
    layout = Layout(1, 1, 8, global_batch=64, context_tokens=4096)
    more = replace(llama_8b, layers=33)
    plain, longer, further = (
        estimate(model, layout, h100, hgx, check_memory=False).breakdown["compute_s"]
        for model in (llama_8b, more, replace(llama_8b, mtp_layers=1))
    )
    layer_s, head_s = longer - plain, further - longer
    assert head_s > 0.5 * layer_s
    assert further == pytest.approx(plain + layer_s + head_s)


def test_later_software_takes_less_of_the_arithmetic(llama_8b, h100, hgx):
    layout = Layout(1, 1, 8, global_batch=64, context_tokens=4096)
    share = training_coefficients(h100.generation)
    now, older = (
        estimate(llama_8b, layout, h100, hgx, software_year=year, check_memory=False).breakdown["compute_s"]
        for year in (share.software_year, share.software_year - 1.0)
    )
    assert older / now == pytest.approx(math.exp(share.software_gain_per_year))
    unsaid = estimate(llama_8b, layout, h100, hgx, check_memory=False).breakdown["compute_s"]
    assert unsaid == now


def test_experts_with_more_rows_each_take_less_time_for_a_token(catalog, h100, hgx):
    """The same tokens on 8 or 64 ranks: at 64 an expert's rows come from eight times as many."""
    moe = Architecture.from_spec(catalog.get("models", "deepseek-v3"))
    few, many = (
        estimate(
            moe,
            Layout(1, 8, 64, expert_parallel=ranks, global_batch=512, context_tokens=4096),
            h100,
            hgx,
            check_memory=False,
        ).breakdown
        for ranks in (8, 64)
    )
    assert many["compute_s"] < 0.95 * few["compute_s"]
    assert many["ep_comm_s"] > 2.0 * few["ep_comm_s"]  # and eight nodes instead of one are spoken to


def test_several_copies_for_one_domain_cross_the_network_once(h100, hgx):
    """Of 8 copies to 2 domains nearly every token has one for the other: 255/256 of its bytes."""
    spread = Spread.compact(16, 8)
    links = Links(h100, training_coefficients("hopper"), spread, hgx.nic_bandwidth_bytes_per_s)
    assert links.all_to_all(16, 1, 256.0, 8).wire_bytes == pytest.approx(255.0)
    assert links.all_to_all(16, 1, 256.0, 1).wire_bytes == pytest.approx(128.0)


def test_sends_that_hide_at_full_links_show_on_slow_ones(llama_70b, h100, hgx, profile):
    at_full = profile.parts(1.0, 1.0)
    assert at_full["pp_comm_s"] < 0.3 * profile.pp_network_s
    slow = 1.0 / 400.0
    assert profile.parts(1.0, slow)["pp_comm_s"] == pytest.approx(
        profile.pp_inner_s + profile.pp_network_s / slow - at_full["compute_s"]
    )


def test_hybrid_shards_talk_less_than_shards_over_all(llama_8b, h100, hgx):
    """Over eight nodes, of a micro-batch: 6 bytes gathered and scattered, or 2 reduced, there and back."""
    whole = Layout(1, 1, 64, global_batch=64, context_tokens=8192, zero_stage=3, recompute="full")
    hybrid = replace(whole, shard_ranks=8)
    all_, few = (estimate(llama_8b, layout, h100, hgx) for layout in (whole, hybrid))
    assert few.flow_bytes_per_step == pytest.approx(2.0 * 2.0 / 6.0 * all_.flow_bytes_per_step, rel=1e-9)


def test_waits_for_the_host_draw_what_waiting_draws(llama_8b, h100, hgx):
    """A thousand tokens keep the GPU less busy than the host, which keeps its pace at any clock."""
    tiny = estimate(
        llama_8b, Layout(8, 1, 1, global_batch=8, context_tokens=256), h100, hgx, check_memory=False
    )
    assert tiny.host_s > 0.3 * tiny.breakdown["compute_s"]
    large = estimate(llama_8b, Layout(8, 1, 1, global_batch=8, context_tokens=8192), h100, hgx)
    assert large.host_s < 0.01 * large.breakdown["compute_s"]
    assert tiny.at(1.0, 1.0)[1] < large.at(1.0, 1.0)[1]


def test_mfu_follows_its_convention(profile):
    full = profile.mfu_fraction(FlopConvention.MODEL_FULL)
    causal = profile.mfu_fraction(FlopConvention.MODEL_CAUSAL)
    assert 0.3 < causal < full < 0.6
    assert profile.mfu_fraction(step_s=2 * profile.step_s) == pytest.approx(full / 2)


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (Layout(3, 1, 8, global_batch=8), "tensor_parallel 3 does not divide 64 heads"),
        (Layout(1, 8, 1, interleave=16, global_batch=8), "128 chunks for 80 layers"),
        (Layout(1, 1, 8, expert_parallel=8, global_batch=8), "has no experts"),
        (Layout(1, 1, 8, global_batch=8), "needs .* GiB on a GPU of 79.7 GiB"),
    ],
)
def test_impossible_layouts_are_refused(llama_70b, h100, hgx, layout, text):
    with pytest.raises(LayoutError, match=text):
        estimate(llama_70b, layout, h100, hgx)


def test_a_placement_of_another_size_is_refused(llama_70b, h100, hgx):
    with pytest.raises(LayoutError, match="needs 512 GPUs, the placement has 256"):
        estimate(llama_70b, LAYOUT, h100, hgx, Spread.compact(256, 8))


def test_a_generation_nobody_measured_is_refused(llama_8b, h100, hgx):
    with pytest.raises(CatalogError, match="did you mean 'hopper'"):
        estimate(llama_8b, LAYOUT, replace(h100, generation="Hoper"), hgx, check_memory=False)


def test_a_variant_of_a_generation_is_that_generation():
    assert training_coefficients("Blackwell RTX") is training_coefficients("blackwell")
    # Ultra was measured apart: it sustains more of the same quoted peak, and shares the rest.
    ultra, first = training_coefficients("Blackwell Ultra"), training_coefficients("blackwell")
    assert ultra.gemm_efficiency > first.gemm_efficiency
    assert replace(ultra, gemm_efficiency=first.gemm_efficiency) == first


@pytest.mark.benchmark
def test_an_estimate_takes_a_tenth_of_a_millisecond(llama_70b, h100, hgx, profile):
    spread = Spread.compact(512, 8)
    each = min(timeit.repeat(lambda: estimate(llama_70b, LAYOUT, h100, hgx, spread), number=200, repeat=5))
    at = min(timeit.repeat(lambda: profile.at(0.8, 0.7), number=1000, repeat=5))
    print(f"\nestimate {each / 200 * 1e6:.0f} us, at {at / 1000 * 1e6:.1f} us")
