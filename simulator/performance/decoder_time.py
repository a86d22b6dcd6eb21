"""Seconds of one forward pass of a decoder by its new tokens: every matrix product by its shape.

A product of m tokens with a k x n matrix costs a launch and a roofline with a round corner; the
grouped products of experts cost what the experts that were visited weigh; two all-reduces (or,
with experts dealt over GPUs, a dispatch and a combine) follow in every layer. What the engine
adds to each layer and to each pass is in its own coefficients. Attention over remembered tokens
and over the prompt is apart, because it grows with the context and not with the new tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import GpuSpec
from simulator.foundation.errors import LayoutError
from simulator.hardware.power_curve import ClockCurve
from simulator.hardware.roofline import peak_16_bit_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.memory import only_experts_narrow
from simulator.llm.number_formats import WeightFormat, weight_format
from simulator.performance.measured_gpu import clock_curve
from simulator.performance.serving_coefficients import (
    EngineCoefficients,
    ProductLaw,
    ServingCoefficients,
)

Seconds = NDArray[np.float64]

#: Windows up to this are taken as always full; longer ones as absent, so that a cost linear in
#: the context is never below what a short context costs by much. [tokens]
LONGEST_FULL_WINDOW = 2048


@dataclass(frozen=True)
class Deployment:
    """How one replica lies on its GPUs.

    Parameters
    ----------
    tensor_parallel
        GPUs that share one attention. [count]
    attention_data_parallel
        Groups of such GPUs that split the batch between them and advance together. [count]
    expert_parallel
        GPUs that the experts are dealt over; the rest of the replica's GPUs cut each expert.
        [count]
    domains
        Scale-up domains that the replica lies in, in equal parts. [count]
    """

    tensor_parallel: int = 1
    attention_data_parallel: int = 1
    expert_parallel: int = 1
    domains: int = 1

    @property
    def gpus(self) -> int:
        """Return the GPUs of the replica. [count]"""
        return self.tensor_parallel * self.attention_data_parallel

    def check(self, architecture: Architecture) -> None:
        """Raise LayoutError where the model does not divide."""
        if self.tensor_parallel < 1 or architecture.heads % self.tensor_parallel:
            raise LayoutError(
                f"{architecture.name}: tensor_parallel {self.tensor_parallel} does not divide "
                f"{architecture.heads} heads"
            )
        if self.expert_parallel < 1 or self.gpus % self.expert_parallel:
            raise LayoutError(
                f"{architecture.name}: expert_parallel {self.expert_parallel} does not divide the "
                f"replica's {self.gpus} GPUs"
            )
        if self.expert_parallel > 1 and not architecture.experts:
            raise LayoutError(f"{architecture.name} is dense: expert_parallel has nothing to deal")
        if self.attention_data_parallel > 1 and not architecture.experts:
            raise LayoutError(
                f"{architecture.name} is dense: its groups would share nothing; run replicas instead"
            )


@dataclass(frozen=True)
class Pass:
    """What a forward pass is computed from.

    Parameters
    ----------
    captured_tokens
        Widest pass whose launches were captured in a graph; None: the engine's. [tokens]
    """

    architecture: Architecture
    gpu: GpuSpec
    deployment: Deployment
    precision: str
    law: ServingCoefficients
    engine: EngineCoefficients
    clock_fraction: float = 1.0
    captured_tokens: int | None = None

    @cached_property
    def curve(self) -> ClockCurve:
        """Return how the GPU follows its clock."""
        return clock_curve(self.gpu)

    @property
    def weights(self) -> WeightFormat:
        """Return the format of the weights; of the experts' where only those are narrow."""
        return weight_format(self.precision)

    @property
    def dense_weights(self) -> WeightFormat:
        """Return the format of everything but routed experts."""
        return _wide(self.gpu) if only_experts_narrow(self.architecture, self.precision) else self.weights

    @property
    def _is_block_scaled(self) -> bool:
        """Return whether 8-bit weights carry a scale for each block: so models with experts do."""
        return bool(self.architecture.experts) and self.weights.path(self.gpu) == "fp8"

    def seconds(self, tokens: NDArray[np.float64]) -> Seconds:
        """Return the time of a pass by its new tokens, attention apart; never decreasing. [s]

        What the engine adds to a pass is in it, and so is a host that cannot launch the kernels
        of a pass without a graph as fast as the GPU runs them.

        Parameters
        ----------
        tokens
            (n,) - new tokens of the whole replica, rising.
        """
        engine = self.engine
        captured = engine.captured_tokens if self.captured_tokens is None else self.captured_tokens
        mine = np.ceil(tokens / self.deployment.attention_data_parallel)
        floor = np.where(mine > captured, engine.eager_launch_s * self.launches, 0.0)
        return np.maximum.accumulate(np.maximum(self.kernels_s(tokens), floor) + engine.step_s)

    def kernels_s(self, tokens: NDArray[np.float64]) -> Seconds:
        """Return the part of `seconds` that does not wait for the host; never decreasing. [s]"""
        architecture, engine = self.architecture, self.engine
        stretch = self.curve.compute_stretch(self.clock_fraction)
        groups = self.deployment.attention_data_parallel
        mine = np.ceil(tokens / groups)
        dense_layers = architecture.layers - architecture.moe_layers
        layer_s = self.law.attention_s + engine.layer_s
        if architecture.index_heads:
            layer_s += self.law.index_s
        total = np.full_like(tokens, layer_s * architecture.layers * stretch)
        for count, width_in, width_out in self._attention_products():
            total += architecture.layers * count * self._product_s(mine, width_in, width_out)
        if dense_layers:
            total += dense_layers * self._feed_forward_s(mine, architecture.ffn)
        if architecture.experts:
            total += architecture.moe_layers * (self._routing_s(mine) + self._grouped_s(tokens))
        total += self._exchange_s(tokens, mine)
        streamed = 2.0 * engine.passes * architecture.hidden * mine / self.gpu.memory_bandwidth_bytes_per_s
        total += architecture.layers * self.curve.memory_stretch(self.clock_fraction) * streamed
        # The head reads its matrix once; its arithmetic goes with sequences, not with tokens.
        head = self._product_s(np.ones(1), architecture.hidden, architecture.vocab / self.deployment.gpus, 16)
        total += head[0]
        return np.maximum.accumulate(total)

    def engaged_s(self, tokens: NDArray[np.float64]) -> Seconds:
        """Return what of `kernels_s` is products and streaming: neither launches, gaps nor exchanges. [s]"""
        engine = replace(self.engine, layer_s=0.0, exchange_stretch=0.0)
        law = replace(
            self.law,
            products=_unlaunched(self.law.products),
            experts=_unlaunched(self.law.experts),
            attention_s=0.0,
            index_s=0.0,
        )
        return replace(self, engine=engine, law=law).kernels_s(tokens)

    def arithmetic_s(self, tokens: NDArray[np.float64]) -> Seconds:
        """Return what of `engaged_s` arithmetic alone would take. [s]"""
        law = replace(self.law, products=_endless(self.law.products), experts=_endless(self.law.experts))
        engine = replace(self.engine, passes=0.0)
        return replace(self, engine=engine, law=law).engaged_s(tokens)

    @property
    def launches(self) -> int:
        """Return the kernels of one pass: what a host without captured graphs has to start. [count]

        A layer norms twice, turns, writes its cache, attends, and calls four products and an
        activation; narrow formats quantise the input of each product. Latent attention has two more
        products and norms, an indexer two products and four steps; experts are chosen, sorted, multiplied
        twice, activated and summed.
        """
        architecture, narrow = self.architecture, self.weights.bytes_per_value < 2.0
        products = 2 + (2 if architecture.is_latent else 0) + (2 if architecture.index_heads else 0)
        others = 5 + (2 if architecture.is_latent else 0) + (4 if architecture.index_heads else 0)
        if self.deployment.gpus > 1:
            others += 2
        dense = 2 * (2 if narrow else 1) + 1
        routed = 5 + (4 if narrow else 2) + (dense if architecture.shared_ffn else 0)
        plain = products * (2 if narrow else 1) + others
        dense_layers = architecture.layers - architecture.moe_layers
        return architecture.layers * plain + dense_layers * dense + architecture.moe_layers * routed

    def _attention_products(self) -> Iterator[tuple[int, float, float]]:
        """Yield (how many, input width, output width) of one layer's attention on one GPU."""
        architecture, cut = self.architecture, self.deployment.tensor_parallel
        hidden = float(architecture.hidden)
        if architecture.is_latent:
            latent = architecture.kv_rank + architecture.rope_dim
            yield 1, hidden, float(architecture.q_rank + latent)
            if architecture.q_rank:
                yield 1, float(architecture.q_rank), architecture.query_width / cut
            else:
                yield 1, hidden, architecture.query_width / cut
            absorbed = architecture.heads * architecture.head_dim + architecture.value_width
            yield 1, float(architecture.kv_rank), absorbed / cut
        else:
            kept = max(architecture.kv_heads / cut, 1.0) * architecture.head_dim
            yield 1, hidden, architecture.query_width / cut + 2.0 * kept
        yield 1, architecture.value_width / cut, hidden
        if architecture.index_heads:
            # The indexer is not cut: every GPU scores all remembered tokens.
            width = float(architecture.index_heads * architecture.index_dim)
            yield 1, float(architecture.q_rank or hidden), width
            yield 1, hidden, float(architecture.index_dim + architecture.index_heads)

    def _feed_forward_s(self, tokens: NDArray[np.float64], width: float) -> Seconds:
        """Return the time of one dense feed-forward layer. [s]"""
        architecture = self.architecture
        mine = width / self.deployment.tensor_parallel
        up = (architecture.mlp_matrices - 1) * mine
        return self._product_s(tokens, architecture.hidden, up) + self._product_s(
            tokens, mine, architecture.hidden
        )

    def _routing_s(self, mine: NDArray[np.float64]) -> Seconds:
        """Return the time of one layer's router and shared experts, on a group's own tokens. [s]"""
        architecture = self.architecture
        total = self._product_s(mine, architecture.hidden, architecture.experts, 16)
        if architecture.shared_ffn:
            total = total + self._feed_forward_s(mine, architecture.shared_ffn)
        return total

    def experts_s(self, tokens: NDArray[np.float64]) -> Seconds:
        """Return the part of `seconds` that goes with the tokens of all groups: routed experts. [s]"""
        return self.architecture.moe_layers * self._grouped_s(tokens)

    def _grouped_s(self, tokens: NDArray[np.float64]) -> Seconds:
        """Return the time of one layer's grouped products over the whole replica's tokens. [s]"""
        architecture, deployment = self.architecture, self.deployment
        stretch = self.curve.compute_stretch(self.clock_fraction)
        law = self.law.experts[self.weights.path(self.gpu)]
        gpus = deployment.gpus
        visits = tokens * architecture.experts_per_token
        chance = architecture.experts_per_token / architecture.experts
        touched = architecture.experts * (1.0 - (1.0 - chance) ** tokens)
        if self._is_block_scaled:
            touched = touched + self.engine.idle_experts * (architecture.experts - touched)
        # The fullest of the ranks that experts are dealt over sets the pace.
        crowding = 1.0
        if deployment.expert_parallel > 1:
            crowding = 1.0 + self.engine.expert_imbalance * (1.0 - 1.0 / deployment.expert_parallel)
        streamed = touched * architecture.expert_parameters * self.weights.bytes_per_value / gpus * crowding
        rows = visits
        if self._is_block_scaled and self.engine.expert_tile:
            # Whole tiles, the last of each expert half empty in the mean.
            tile = self.engine.expert_tile
            rows = np.maximum(touched * tile, visits + touched * tile / 2.0)
        arithmetic = 2.0 * rows * architecture.expert_parameters / gpus * crowding
        if self._is_block_scaled:
            arithmetic = arithmetic * self.engine.block_stretch
        bytes_per_s = law.bandwidth * self.gpu.memory_bandwidth_bytes_per_s
        flop_per_s = law.peak * self.weights.peak_flop_per_s(self.gpu)
        memory_stretch = self.curve.memory_stretch(self.clock_fraction)
        grouped = _corner(
            streamed / bytes_per_s * memory_stretch, arithmetic / flop_per_s * stretch, law.corner
        )
        per_value_s = law.visit_bytes / self.gpu.memory_bandwidth_bytes_per_s * memory_stretch
        moved = per_value_s * visits * architecture.hidden / deployment.expert_parallel
        grouped = grouped + moved + law.launch_s * stretch
        return self.engine.expert_stretch * grouped

    def _exchange_s(self, tokens: NDArray[np.float64], mine: NDArray[np.float64]) -> Seconds:
        """Return the time GPUs of the replica spend telling each other, all layers. [s]"""
        architecture, law, deployment = self.architecture, self.law, self.deployment
        size = 2.0 * architecture.hidden
        cut = deployment.tensor_parallel
        port = law.reduce_bandwidth * self.gpu.scale_up_bandwidth_bytes_per_s
        outside = 1.0 - 1.0 / deployment.domains
        total = np.zeros_like(tokens)
        reduces = 2.0 * architecture.layers
        if deployment.attention_data_parallel > 1:
            # Experts sit on all GPUs: tokens go out to them and come back, in place of one reduce.
            ranks = deployment.gpus
            reduces -= architecture.moe_layers
            moved = 2.0 * (ranks - 1) / ranks * size * mine * min(architecture.experts_per_token, ranks - 1)
            fixed = 2.0 * (law.reduce_s + law.reduce_rank_s * ranks)
            if deployment.domains > 1:
                fixed += 2.0 * law.network_s
                moved = moved * (1.0 - outside + outside * port / law.network_bytes_per_s)
            total += architecture.moe_layers * self.engine.exchange_stretch * (fixed + moved / port)
        if cut > 1:
            fixed = law.reduce_s + law.reduce_rank_s * cut
            moved = 2.0 * (cut - 1) / cut * size * mine
            inside = deployment.gpus // deployment.domains
            if cut > inside:
                # First inside each domain, then every GPU its part across, then inside again.
                fixed += law.network_s
                moved = moved + 2.0 * outside * size * mine / inside * port / law.network_bytes_per_s
            total += reduces * self.engine.exchange_stretch * (fixed + moved / port)
        return total

    def _product_s(
        self, tokens: NDArray[np.float64], width_in: float, width_out: float, bits: int = 0
    ) -> Seconds:
        """Return the time of one matrix product on one GPU. [s]"""
        weights = _wide(self.gpu) if bits == 16 else self.dense_weights
        law: ProductLaw = self.law.products[weights.path(self.gpu)]
        streamed = weights.bytes_per_value * width_in * width_out + 2.0 * tokens * (width_in + width_out)
        arithmetic = 2.0 * width_in * width_out * tokens
        if self._is_block_scaled and bits != 16:
            arithmetic = arithmetic * self.engine.block_stretch
        bytes_per_s = law.bandwidth * self.gpu.memory_bandwidth_bytes_per_s
        flop_per_s = law.peak * weights.peak_flop_per_s(self.gpu)
        compute = self.curve.compute_stretch(self.clock_fraction)
        memory = self.curve.memory_stretch(self.clock_fraction)
        both = _corner(
            self.engine.stream_stretch * streamed / bytes_per_s * memory,
            self.engine.arithmetic_stretch * arithmetic / flop_per_s * compute,
            law.corner,
        )
        return law.launch_s * compute + both


def _unlaunched(laws: Mapping[str, ProductLaw]) -> dict[str, ProductLaw]:
    """Return products whose launches take no time."""
    return {path: replace(law, launch_s=0.0) for path, law in laws.items()}


def _endless(laws: Mapping[str, ProductLaw]) -> dict[str, ProductLaw]:
    """Return products whose memory takes no time."""
    return {path: replace(law, bandwidth=inf, visit_bytes=0.0) for path, law in laws.items()}


def _wide(gpu: GpuSpec) -> WeightFormat:
    return weight_format("fp16" if gpu.bf16_flop_per_s is None else "bf16")


def _corner(streamed_s: Seconds, arithmetic_s: Seconds, sharpness: float) -> Seconds:
    """Return a roofline with a round corner: where both are alike, neither hides the other."""
    rounded: Seconds = (streamed_s**sharpness + arithmetic_s**sharpness) ** (1.0 / sharpness)
    return rounded


@dataclass(frozen=True)
class AttentionCost:
    """Attention over remembered tokens and over prompts, by what it is linear in, on one GPU.

    Parameters
    ----------
    context_s
        Of each remembered token that a decode reads. [s]
    sequence_s
        Of each sequence, its row of the head's product included. [s]
    pair_s
        Of each pair of a prompt token and a token it looks at. [s]
    token_s
        Of each prompt token, for windows that are always full. [s]
    """

    context_s: float
    sequence_s: float
    pair_s: float
    token_s: float


def attention_cost(work: Pass, kv_bytes_per_value: float) -> AttentionCost:
    """Return what attention costs; the whole replica's tokens, spread over its groups."""
    architecture, gpu, law, engine = work.architecture, work.gpu, work.law, work.engine
    cut, groups = work.deployment.tensor_parallel, work.deployment.attention_data_parallel
    memory = work.curve.memory_stretch(work.clock_fraction)
    compute = work.curve.compute_stretch(work.clock_fraction)
    peak = peak_16_bit_flop_per_s(gpu)
    full = float(architecture.layers)
    windowed = 0.0
    if 0 < architecture.sliding_window <= LONGEST_FULL_WINDOW:
        windowed = architecture.layers * architecture.windowed_fraction
        full = architecture.layers - windowed
    if architecture.is_latent:
        values = float(architecture.kv_rank + architecture.rope_dim)
        flop = 2.0 * architecture.heads / cut * (values + architecture.kv_rank)
        heads = 1.0
    else:
        heads = max(1.0, architecture.kv_heads / cut)
        values = 2.0 * heads * architecture.head_dim
        flop = 0.0
    rate = law.cache_bandwidth * gpu.memory_bandwidth_bytes_per_s
    token_s = values * kv_bytes_per_value / rate
    if kv_bytes_per_value < 2.0:
        token_s = max(token_s, values / law.narrow_cache_values_per_s)
    token_s = engine.cache_stretch * max(token_s * memory, flop / (law.latent_peak * peak) * compute)
    sequence_s = (
        architecture.layers * heads * law.cache_head_s + windowed * architecture.sliding_window * token_s
    )
    context_s = full * token_s
    widths = architecture.query_width + architecture.value_width
    pair_s = 2.0 * widths / cut / (law.prompt_attention * peak) * compute
    if architecture.index_heads:
        # Decoding reads what the indexer picked, and of all other tokens its 8-bit keys.
        sequence_s += architecture.layers * architecture.index_tokens * token_s
        context_s = architecture.layers * architecture.index_dim / rate * memory
        pair_s += 2.0 * architecture.index_heads * architecture.index_dim / (law.prompt_attention * peak)
    head_flop = 2.0 * architecture.embedding_parameters / work.deployment.tensor_parallel
    sequence_s += head_flop / (law.products["wide"].peak * peak) * compute
    return AttentionCost(
        context_s=context_s / groups,
        sequence_s=sequence_s / groups,
        pair_s=full * pair_s / groups,
        token_s=windowed * architecture.sliding_window * pair_s / groups,
    )
