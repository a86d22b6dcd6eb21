"""Bytes that training sends and keeps, counted by hand and by acting out; nothing is shared."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.units import GIB
from simulator.llm.activations import kept_tensors, layer_activation_bytes
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.memory import stage_memory, training_memory
from simulator.performance.training import estimate

CATALOG = Catalog.shipped()
HGX, H100 = CATALOG.node("hgx-h100-8"), CATALOG.gpu("h100-sxm")
#: 4 layers of 12 h^2 and one embedding: 4 x 12 x 1024^2 + 32,768 x 1024 parameters.
SMALL = Architecture("small", 4, 1024, 16, 16, 64, 4096, 32_768, gated_mlp=False, tied_embeddings=True)
SMALL_PARAMETERS = 4 * 12 * 1024**2 + 32_768 * 1024


def ring_all_reduce_sent(ranks, size):
    """Return the bytes that each rank of a ring sends: chunk by chunk, reduce then spread."""
    chunk = size / ranks
    sent = [0.0] * ranks
    have = [[{rank} for _ in range(ranks)] for rank in range(ranks)]
    for step in range(2 * (ranks - 1)):
        moves = []
        for rank in range(ranks):
            index = (rank - step) % ranks
            moves.append(((rank + 1) % ranks, index, set(have[rank][index])))
            sent[rank] += chunk
        for target, index, parts in moves:
            have[target][index] |= parts
    assert all(parts == set(range(ranks)) for rank in have for parts in rank)
    return sent


@pytest.mark.parametrize("nodes", [2, 3, 8, 64])
@pytest.mark.parametrize("zero_stage", [0, 1])
def test_gradients_on_the_wire_are_those_of_a_ring_over_the_nodes(nodes, zero_stage):
    """8 GPUs of a node reduce among themselves first: each sends an eighth across."""
    layout = Layout(
        data_parallel=8 * nodes, global_batch=8 * nodes, context_tokens=512, zero_stage=zero_stage
    )
    profile = estimate(SMALL, layout, H100, HGX)
    sent = ring_all_reduce_sent(nodes, 2.0 * SMALL_PARAMETERS / 8)
    assert profile.flow_bytes_per_step == pytest.approx(sent[0], rel=1e-12)


def test_a_pipeline_sends_each_micro_batch_on_and_its_gradient_back():
    """One GPU a stage, each in a node of its own: 2 x m x b s h values of 2 bytes."""
    node = CATALOG.node("generic-1gpu") if "generic-1gpu" in CATALOG.names("nodes") else HGX
    layout = Layout(pipeline_parallel=4, global_batch=12, context_tokens=512, micro_batch=2)
    profile = estimate(SMALL, layout, H100, node)
    expected = 2 * 6 * (2 * 512 * 1024) * 2
    assert profile.flow_bytes_per_step == pytest.approx(expected if node is not HGX else 0.0)


def test_sharded_weights_travel_three_times_a_micro_batch():
    """ZeRO-3 over n nodes: gathered twice, scattered once, each (n - 1) / n of an eighth."""
    layout = Layout(data_parallel=32, global_batch=64, context_tokens=512, zero_stage=3)
    profile = estimate(SMALL, layout, H100, HGX)
    assert profile.flow_bytes_per_step == pytest.approx(2 * 3 * 2.0 * SMALL_PARAMETERS / 8 * 3 / 4)


@pytest.mark.parametrize(
    ("zero_stage", "shard_ranks", "bytes_each"),
    [
        (0, 0, 2 + 4 + 12),
        (1, 0, 2 + 4 + 12 / 16),
        (2, 0, 2 + 4 / 16 + 12 / 16),
        (3, 0, 18 / 16),
        (1, 8, 2 + 4 + 12 / 8),
        (3, 8, 18 / 8),
        (3, 1, 18),
    ],
)
def test_state_is_sharded_as_the_stage_says(zero_stage, shard_ranks, bytes_each):
    layout = Layout(
        data_parallel=16, global_batch=16, context_tokens=512, zero_stage=zero_stage, shard_ranks=shard_ranks
    )
    gathered = 2 * 2 * 12 * 1024**2 if zero_stage == 3 else 0
    found = training_memory(SMALL, layout).state_bytes
    assert found == pytest.approx(SMALL_PARAMETERS * bytes_each + gathered)


def test_korthikanti_22b_by_hand():
    """48 layers, h 6144, 64 heads, s 2048, b 4, t 8: 59.25 GiB; with both savers 34 s b h / t."""
    model = Architecture("22B", 48, 6144, 64, 64, 96, 24576, 51200, gated_mlp=False, tied_embeddings=True)
    plain = Layout(8, micro_batch=4, global_batch=4, sequence_parallel=False, fused_attention=False)
    assert 48 * layer_activation_bytes(model, plain) / GIB == pytest.approx(59.25, abs=0.005)
    both = Layout(8, micro_batch=4, global_batch=4, recompute="selective", fused_attention=False)
    assert 48 * layer_activation_bytes(model, both) / GIB == pytest.approx(
        48 * 34 * 2048 * 4 * 6144 / 8 / GIB
    )


def test_a_gated_grouped_block_tensor_by_tensor():
    """Llama 3.1 8B: h 4096, 8 of 32 heads keep keys and values, f 14336; 2 bytes a value."""
    model = Architecture.from_spec(CATALOG.model("llama-3.1-8b"))
    kept = kept_tensors(model, with_experts=False, fused_attention=True, context_tokens=0)
    assert {tensor.name: tensor.bytes_per_token for tensor in kept} == {
        "input of the first norm": 2 * 4096,
        "input of attention": 2 * 4096,
        "input of the second norm": 2 * 4096,
        "input of the feed-forward layer": 2 * 4096,
        "queries": 2 * 4096,
        "keys and values": 2 * 2 * 1024,
        "output of attention": 2 * 4096,
        "before the activation": 2 * 2 * 14336,
        "after the activation": 2 * 14336,
    }
    layout = Layout(2, global_batch=1, context_tokens=8192)
    total = sum(tensor.bytes_per_token for tensor in kept)
    assert layer_activation_bytes(model, layout) == pytest.approx(8192 * total / 2)
    spared = Layout(2, global_batch=1, context_tokens=8192, recompute="selective")
    assert layer_activation_bytes(model, spared) == pytest.approx(
        8192 * (total - 2 * (2 * 4096) - 2 * 14336) / 2
    )


def test_experts_lie_where_expert_parallelism_deals_them():
    """Mixtral 8x7B, 8 experts over 8 ranks of 16 replicas: one expert a GPU, two copies of each."""
    model = Architecture.from_spec(CATALOG.model("mixtral-8x7b"))
    layout = Layout(data_parallel=16, expert_parallel=8, global_batch=16, context_tokens=2048, zero_stage=1)
    expert = 32 * 3 * 4096 * 14336
    dense = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 4096 * 8) + 2 * 32000 * 4096
    expected = dense * (6 + 12 / 16) + expert * (6 + 12 / 2)
    assert training_memory(model, layout).state_bytes == pytest.approx(expected)


def test_experts_may_take_tensor_ranks():
    """8 ranks deal the experts over tensor 2 x data 4: none is cut, each is there once."""
    model = Architecture.from_spec(CATALOG.model("mixtral-8x7b"))
    layout = Layout(
        tensor_parallel=2, data_parallel=4, expert_parallel=8, global_batch=4, context_tokens=2048
    )
    assert layout.expert_tensor_parallel == 1
    expert = 32 * 3 * 4096 * 14336
    dense = (32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 4096 * 8) + 2 * 32000 * 4096) / 2
    expected = dense * (6 + 12 / 4) + expert * 18
    assert training_memory(model, layout).state_bytes == pytest.approx(expected)


def test_stages_of_a_pipeline_hold_what_is_theirs():
    """Two stages: the first has the embedding and two micro-batches, the last its copy and logits."""
    layout = Layout(pipeline_parallel=2, global_batch=8, context_tokens=512, zero_stage=0)
    half = 2 * 12 * 1024**2 + 32_768 * 1024
    block = 512 * 1024 * 34
    first, last = stage_memory(SMALL, layout, 0), stage_memory(SMALL, layout, 1)
    assert (first.state_bytes, last.state_bytes) == (18 * half, 18 * half)
    assert (first.activation_bytes, last.activation_bytes) == (2 * 2 * block, 2 * block)
    assert (first.head_bytes, last.head_bytes) == (0, 4 * 512 * 32_768)
    assert training_memory(SMALL, layout) in (first, last)
    assert "activations" in first.describe()


def test_dualpipe_keeps_two_copies_of_the_weights():
    one = Layout(pipeline_parallel=2, global_batch=8, context_tokens=512, zero_stage=0)
    two = Layout(pipeline_parallel=2, global_batch=8, context_tokens=512, zero_stage=0, schedule="dualpipe")
    assert stage_memory(SMALL, two, 0).weight_bytes == 2 * stage_memory(SMALL, one, 0).weight_bytes
    assert stage_memory(SMALL, two, 0).activation_bytes == 1.5 * stage_memory(SMALL, one, 0).activation_bytes


def test_latents_shared_experts_and_further_predictions_by_hand():
    """A small DeepSeek: 4 layers, the first dense; ranks 96 and 32, 2 heads of 16 + 8, values of 16."""
    model = Architecture(
        "latent", 4, 64, 2, 2, 16, 256, 1000, experts=4, experts_per_token=2, expert_ffn=32, shared_ffn=48,
        dense_layers=1, q_rank=96, kv_rank=32, rope_dim=8, value_dim=16, mtp_layers=1,
    )  # fmt: skip
    attention = 64 * 96 + 96 * 2 * 24 + 64 * (32 + 8) + 32 * 2 * (16 + 16) + 2 * 16 * 64
    routed, shared, router = 3 * 64 * 32, 3 * 64 * 48, 64 * 4
    block = attention + 4 * routed + shared + router
    expected = attention + 3 * 64 * 256 + 4 * block + 2 * 64 * 64 + 2 * 1000 * 64
    layout = Layout(global_batch=1, context_tokens=16, zero_stage=0)
    assert training_memory(model, layout).state_bytes == pytest.approx(18 * expected)
    kept = {
        tensor.name: tensor.bytes_per_token
        for tensor in kept_tensors(model, with_experts=True, fused_attention=True, context_tokens=0)
    }
    assert kept["latents"] == 2 * (96 + 32 + 8)
    assert kept["keys and values"] == 2 * (2 * 24 + 2 * 16)
    assert kept["tokens at their experts"] == 2 * 2 * 64
    assert kept["after the activation"] == 2 * (2 * 32 + 48)


def test_the_second_stage_is_the_fullest_where_the_first_is_dense():
    """Three stages of 2 layers, the first two layers dense and small."""
    model = Architecture(
        "late", 6, 64, 2, 2, 32, 64, 10, experts=16, experts_per_token=2, expert_ffn=64, dense_layers=2
    )
    layout = Layout(pipeline_parallel=3, global_batch=6, context_tokens=16, zero_stage=0)
    held = [stage_memory(model, layout, stage).total_bytes for stage in range(3)]
    assert max(held) == held[1]
    assert training_memory(model, layout).stage == 1


def test_a_steps_watts_are_its_parts_watts_weighted_by_time():
    profile = estimate(SMALL, Layout(2, data_parallel=16, global_batch=64, context_tokens=512), H100, HGX)
    step_s, watts = profile.at(1.0, 1.0)
    levels = profile.phase_power
    between = sorted((levels["memory"], levels["compute"], levels["communication"]))
    assert between[0] <= watts <= between[-1]
    parts = profile.breakdown
    # Only what computes can draw more than communication does.
    talking = step_s - parts["compute_s"] - parts["optimizer_s"]
    busiest = max(levels["compute"], levels["memory"])
    assert watts <= (talking * levels["communication"] + (step_s - talking) * busiest) / step_s * (1 + 1e-12)


def test_keys_and_values_go_round_three_times_and_four_where_recomputed():
    """Context over 8 GPUs that lie a node apart each: gathered twice, scattered once."""
    node = CATALOG.node("hgx-h100-8")
    sent = {}
    for recompute in ("none", "full"):
        layout = Layout(
            tensor_parallel=8, context_parallel=8, global_batch=1, context_tokens=4096, recompute=recompute
        )
        sent[recompute] = estimate(SMALL, layout, H100, node).flow_bytes_per_step
    gathered = 4 * 2 * 4096 * (2 * 16 / 8 * 64) * 7 / 8
    gradients = ring_all_reduce_sent(8, 2.0 * SMALL_PARAMETERS / 8)[0]
    assert sent["none"] == pytest.approx(3 * gathered + gradients)
    assert sent["full"] == pytest.approx(4 * gathered + gradients)
