from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.decoder_time import Deployment
from simulator.performance.iteration_work import (
    executed_flop,
    streamed_context_tokens,
    streamed_weights_bytes,
    touched_experts,
)

CATALOG = Catalog.shipped()


def model(name):
    return Architecture.from_spec(CATALOG.model(name))


def flop(name, tokens, sequences=0, precision="bf16", pairs=0, gpus=1, gpu="h100-sxm"):
    return executed_flop(
        model(name),
        Deployment(gpus),
        precision,
        CATALOG.gpu(gpu),
        new_tokens=tokens,
        sequences=sequences,
        prefill_pairs=pairs,
    )


def test_a_dense_token_costs_two_operations_a_weight():
    llama = model("llama-3.1-8b")
    assert flop("llama-3.1-8b", 3, 2) == pytest.approx(
        2 * 3 * llama.active_layer_parameters + 2 * 2 * llama.embedding_parameters
    )
    assert flop("llama-3.1-8b", 3, 2, gpus=4) == flop("llama-3.1-8b", 3, 2) / 4


def test_pairs_of_a_prompt_cost_their_products_in_every_layer():
    assert flop("llama-3.1-8b", 1, pairs=10) - flop("llama-3.1-8b", 1) == 2 * 10 * (4096 + 4096) * 32


def test_a_lone_token_fills_a_tile_of_every_expert_it_visits():
    moe = model("qwen3-30b-a3b")
    useful = 2 * moe.active_layer_parameters
    padding = 2 * moe.moe_layers * moe.expert_parameters * moe.experts_per_token
    assert flop("qwen3-30b-a3b", 1) == pytest.approx(useful + 15 * padding)
    assert flop("qwen3-30b-a3b", 1, precision="fp8") == pytest.approx(useful + 63 * padding)


def test_full_tiles_hold_no_padding_to_speak_of():
    useful = 2 * model("qwen3-30b-a3b").active_layer_parameters * 65536
    assert flop("qwen3-30b-a3b", 65536) == pytest.approx(useful, rel=0.02)


def test_experts_are_touched_one_by_one():
    moe = model("qwen3-30b-a3b")
    assert touched_experts(moe, 1) == pytest.approx(8)
    assert touched_experts(moe, 2) == pytest.approx(8 + 8 * 120 / 128)
    assert streamed_weights_bytes(moe, 60e9, 10_000) == pytest.approx(60e9)
    assert streamed_weights_bytes(model("llama-3.1-8b"), 16e9, 1) == 16e9


def test_windowed_layers_read_their_window():
    gemma = model("gemma-3-27b")
    windowed = gemma.windowed_fraction
    read = streamed_context_tokens(gemma, 4, 40_000)
    assert read == pytest.approx((1 - windowed) * 40_000 + windowed * 4 * gemma.sliding_window)
    assert streamed_context_tokens(model("llama-3.1-8b"), 4, 40_000) == 40_000
