"""Bytes on a GPU, against the paper that counts them and against what engines report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.foundation.units import GIB
from simulator.llm.activations import layer_activation_bytes
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.memory import (
    check_training_memory,
    in_flight_layers,
    kv_blocks,
    kv_bytes_per_token,
    state_bytes_per_parameter,
    training_memory,
    weight_bytes,
    weight_bytes_per_gpu,
)

CATALOG = Catalog.shipped()
GPT_22B = Architecture("22B", 48, 6144, 64, 64, 96, 24576, 51200, gated_mlp=False, tied_embeddings=True)
OLD = Layout(
    8, micro_batch=4, global_batch=4, sequence_parallel=False, fused_attention=False, precision="fp16"
)
LLAMA_70B = Architecture.from_spec(CATALOG.get("models", "llama-3.1-70b"))
DEEPSEEK = Architecture.from_spec(CATALOG.get("models", "deepseek-v3"))


def test_zero_shards_what_it_says():
    assert state_bytes_per_parameter(0, 8) == 18
    assert state_bytes_per_parameter(1, 8) == 2 + 4 + 12 / 8
    assert state_bytes_per_parameter(2, 8) == 2 + 16 / 8
    assert state_bytes_per_parameter(3, 8) == 18 / 8


def test_sequence_parallelism_splits_all_activations():
    together = replace(OLD, sequence_parallel=True)
    b, s, h, a, t = 4, 2048, 6144, 64, 8
    assert layer_activation_bytes(GPT_22B, together) == pytest.approx(s * b * h / t * (34 + 5 * a * s / h))


def test_selective_recomputation_drops_the_scores():
    selective = replace(OLD, sequence_parallel=True, recompute="selective")
    b, s, h, t = 4, 2048, 6144, 8
    assert layer_activation_bytes(GPT_22B, selective) == pytest.approx(34 * s * b * h / t)


def test_full_recomputation_keeps_the_input_of_each_layer():
    full = replace(OLD, recompute="full")
    assert layer_activation_bytes(GPT_22B, full) == 2 * 4 * 2048 * 6144


def test_a_pipeline_keeps_as_many_micro_batches_as_it_has_stages():
    layout = Layout(1, 4, 1, global_batch=16)
    assert in_flight_layers(GPT_22B, layout) == 12 * 4
    assert in_flight_layers(GPT_22B, replace(layout, global_batch=2)) == 12 * 2
    assert in_flight_layers(GPT_22B, replace(layout, interleave=2)) == 12 * 4 * (1 + 3 / 8)


def test_a_model_that_does_not_fit_is_refused_with_the_numbers():
    layout = Layout(8, 1, 2, global_batch=16, context_tokens=8192)
    with pytest.raises(LayoutError, match=r"needs \d+\.\d GiB on a GPU of 74\.5 GiB.*raise tp"):
        check_training_memory(LLAMA_70B, layout, 80e9)


def test_more_of_anything_that_shards_needs_less():
    base = Layout(4, 4, 4, global_batch=64, context_tokens=8192)
    need = training_memory(LLAMA_70B, base).total_bytes
    for other in (
        replace(base, tensor_parallel=8),
        replace(base, pipeline_parallel=8),
        replace(base, zero_stage=2),
        replace(base, recompute="full"),
        replace(base, context_parallel=2),
    ):
        assert training_memory(LLAMA_70B, other).total_bytes < need


def test_weights_of_a_served_model():
    assert weight_bytes(LLAMA_70B, "bf16") == 2 * LLAMA_70B.parameters
    eight_bits = weight_bytes(LLAMA_70B, "fp8")
    assert eight_bits == LLAMA_70B.layer_parameters + 2 * 2 * LLAMA_70B.embedding_parameters


def test_remembered_tokens_are_dealt_over_heads_and_no_further():
    whole = kv_bytes_per_token(LLAMA_70B, "bf16")
    assert whole == 2 * 2 * 80 * 8 * 128
    assert kv_bytes_per_token(LLAMA_70B, "bf16", 8) == whole / 8
    assert kv_bytes_per_token(LLAMA_70B, "bf16", 16) == whole / 8
    assert kv_bytes_per_token(LLAMA_70B, "fp8") == whole / 2


def test_blocks_fill_what_weights_leave():
    blocks = kv_blocks(
        LLAMA_70B, gpu_memory_bytes=80e9, tensor_parallel=4, precision="bf16", kv_precision="bf16"
    )
    used = blocks * 16 * kv_bytes_per_token(LLAMA_70B, "bf16", 4) + weight_bytes(LLAMA_70B, "bf16") / 4
    assert 0.84 * 80e9 < used < 0.9 * 80e9


def test_a_stated_reserve_is_taken_at_its_word():
    def blocks(reserved_bytes):
        return kv_blocks(
            LLAMA_70B,
            gpu_memory_bytes=80e9,
            tensor_parallel=4,
            precision="bf16",
            kv_precision="bf16",
            reserved_bytes=reserved_bytes,
        )

    block_bytes = 16 * kv_bytes_per_token(LLAMA_70B, "bf16", 4)
    assert blocks(0.0) - blocks(1000 * block_bytes) == 1000


def test_a_served_model_that_does_not_fit_is_refused():
    with pytest.raises(LayoutError, match="leave no room"):
        kv_blocks(LLAMA_70B, gpu_memory_bytes=80e9, tensor_parallel=1, precision="bf16", kv_precision="bf16")


def test_the_gpu_that_holds_22b_says_so_in_gibibytes():
    assert layer_activation_bytes(GPT_22B, OLD) * 48 / GIB == pytest.approx(59.25, abs=0.005)


def test_attention_groups_have_all_but_the_experts_each():
    experts = DEEPSEEK.moe_layers * DEEPSEEK.experts * DEEPSEEK.expert_parameters
    whole = weight_bytes(DEEPSEEK, "fp8")
    cut = weight_bytes_per_gpu(DEEPSEEK, "fp8", 8)
    copied = weight_bytes_per_gpu(DEEPSEEK, "fp8", 1, 8)
    assert cut == pytest.approx(whole / 8)
    # Seven more copies of what is not a routed expert, over eight GPUs.
    assert copied - cut == pytest.approx((whole - experts) * 7 / 8)
    assert weight_bytes_per_gpu(DEEPSEEK, "fp8", 2, 4) == pytest.approx(experts / 8 + (whole - experts) / 2)

    def blocks(tensor_parallel, groups):
        degrees = {"tensor_parallel": tensor_parallel, "attention_data_parallel": groups}
        given = {"gpu_memory_bytes": 141e9, "precision": "fp8", "kv_precision": "bf16"}
        return kv_blocks(DEEPSEEK, **degrees, **given)

    # Every rank of a cut latent attention remembers all tokens; groups remember their own.
    assert 8 * blocks(1, 8) > 4 * blocks(8, 1)
