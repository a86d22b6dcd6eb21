"""What one iteration asks of a GPU: bytes from its memory and operations of its tensor cores.

For watts, not for time: time knows shapes and launches (``decoder_time``), watts follow what is
moved and what is executed, the padding of tiles included.
"""

from __future__ import annotations

import math
from typing import Final

from simulator.catalog.entries import GpuSpec
from simulator.llm.architecture import Architecture
from simulator.llm.number_formats import weight_format
from simulator.performance.decoder_time import LONGEST_FULL_WINDOW, Deployment

#: Rows of a tile of grouped products: each expert's tokens are padded to a multiple. vLLM's default
#: for block-scaled fp8, for few tokens (no more than experts), and for many
#: (``fused_moe.get_default_config``). [tokens]
_FP8_TILE: Final = 64
_SMALL_TILE, _LARGE_TILE = 16, 64


def touched_experts(architecture: Architecture, new_tokens: float) -> float:
    """Return how many experts of a layer some token visits, routed evenly. [count]"""
    missed: float = (1.0 - architecture.experts_per_token / architecture.experts) ** new_tokens
    return architecture.experts * (1.0 - missed)


def streamed_weights_bytes(architecture: Architecture, weights_bytes: float, new_tokens: float) -> float:
    """Return bytes of weights that a GPU reads: all of its `weights_bytes` but those of idle experts. [B]"""
    if not architecture.experts:
        return weights_bytes
    routed = architecture.moe_layers * architecture.experts * architecture.expert_parameters
    idle = 1.0 - touched_experts(architecture, new_tokens) / architecture.experts
    return weights_bytes * (1.0 - idle * routed / architecture.parameters)


def streamed_context_tokens(architecture: Architecture, sequences: float, context_tokens: float) -> float:
    """Return tokens that decoding reads in the mean of all layers: windowed ones read their window.

    Parameters
    ----------
    sequences
        Decoding. [count]
    context_tokens
        That they remember in all. [tokens]
    """
    if not 0 < architecture.sliding_window <= LONGEST_FULL_WINDOW:
        return context_tokens
    windowed = architecture.windowed_fraction
    return (1.0 - windowed) * context_tokens + windowed * architecture.sliding_window * sequences


def executed_flop(
    architecture: Architecture,
    deployment: Deployment,
    precision: str,
    gpu: GpuSpec,
    *,
    new_tokens: float,
    sequences: float,
    prefill_pairs: float,
) -> float:
    """Return operations that a GPU executes, tiles of experts padded. [flop]

    Parameters
    ----------
    new_tokens, sequences, prefill_pairs
        As of ``IterationTime.iteration_ps``, of the whole replica.
    """
    flop = 2.0 * architecture.active_layer_parameters * new_tokens
    flop += 2.0 * architecture.embedding_parameters * sequences
    flop += 2.0 * (architecture.query_width + architecture.value_width) * architecture.layers * prefill_pairs
    if architecture.experts and new_tokens > 0.0:
        tile = _SMALL_TILE if new_tokens <= architecture.experts else _LARGE_TILE
        if weight_format(precision).path(gpu) == "fp8":
            tile = _FP8_TILE
        touched = touched_experts(architecture, new_tokens)
        visits = new_tokens * architecture.experts_per_token
        padding = touched * tile * math.ceil(visits / touched / tile) - visits
        flop += 2.0 * architecture.moe_layers * architecture.expert_parameters * padding
    return flop / deployment.gpus
