"""Seconds that one GPU works on one transformer layer: matrix products, attention, the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simulator.catalog.entries import GpuSpec
from simulator.hardware.roofline import peak_16_bit_flop_per_s, peak_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.layout import PRECISION_BYTES, Layout
from simulator.performance.coefficients import TrainingCoefficients

#: Kernels of one layer's forward pass that the host launches one by one: products, norms,
#: residuals, activation, position, reshapes. Counted in Megatron-LM's layer of 2021.
KERNELS_PER_LAYER: Final = 24.0

#: Rows and columns of the output that one multiprocessor makes in a round.
TILE_ROWS: Final = 128.0
TILE_COLUMNS: Final = 256.0

#: Times the scores of an unfused attention go through memory, forward: softmax and dropout,
#: each read and written.
SCORE_PASSES: Final = 4.0

#: Bytes that adding a micro-batch's gradient to the sum over micro-batches moves for each
#: weight: 32 bits read, and written.
GRADIENT_SUM_BYTES: Final = 8.0

#: Bytes that casting one 16-bit value to a narrow format moves: read, and written for the
#: forward and, transposed, for the backward pass.
CAST_BYTES: Final = {"fp8": 4.0, "fp4": 3.0}


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Forward seconds of one layer and one micro-batch on one GPU, by what bounds them.

    Parameters
    ----------
    products_s
        Matrix products with weights; the backward pass through inputs costs as much again. [s]
    gradients_s
        Matrix products that make the weights' gradients, added to what earlier micro-batches
        left in memory. [s]
    attention_s
        The attention core: scores and mixing. [s]
    streaming_s
        Kernels bound by memory. [s]
    launch_s
        What the host needs to launch the layer's kernels one by one. [s]
    scores_s
        Part of ``streaming_s`` that an unfused attention spends on its scores. [s]
    """

    products_s: float
    gradients_s: float
    attention_s: float
    streaming_s: float
    launch_s: float
    scores_s: float = 0.0

    def mixed(self, other: LayerTime, share: float) -> LayerTime:
        """Return the mean layer where ``share`` of the layers are ``other``."""
        return LayerTime(
            self.products_s + share * (other.products_s - self.products_s),
            self.gradients_s + share * (other.gradients_s - self.gradients_s),
            self.attention_s,
            self.streaming_s + share * (other.streaming_s - self.streaming_s),
            self.launch_s + share * (other.launch_s - self.launch_s),
            self.scores_s,
        )


class ProductTimer:
    """Times matrix products on one GPU at one precision."""

    __slots__ = (
        "_bytes_per_s",
        "_flop_per_s",
        "_grouped",
        "_half_size",
        "_multiprocessors",
        "_value_bytes",
        "_wave_share",
    )

    def __init__(self, gpu: GpuSpec, share: TrainingCoefficients, precision: str) -> None:
        endless = share.product_efficiency(precision, math.inf)
        self._flop_per_s = endless * peak_flop_per_s(gpu, precision)
        self._half_size = share.gemm_half_size
        self._grouped = (share.grouped_efficiency, share.grouped_half_size)
        self._bytes_per_s = gpu.memory_bandwidth_bytes_per_s * share.memory_efficiency
        self._value_bytes = PRECISION_BYTES[precision]
        self._multiprocessors = share.multiprocessors
        self._wave_share = share.wave_quantisation

    def product_s(
        self, rows: float, columns: float, inner: float, repeats: float = 1.0, *, grouped: bool = False
    ) -> tuple[float, float]:
        """Return the times of a (rows x inner) by (inner x columns) product and of its gradient. [s]

        Efficiency falls when any dimension is short: by half where one equals the
        generation's half size; and where the output's tiles fill the multiprocessors' last
        round in part only. The three products of a layer (forward, and two backward) permute
        the same dimensions, so their arithmetic costs the same; the gradient of the (inner x
        columns) weights is added to a sum in memory. ``repeats`` products of one shape run as
        one kernel, with the efficiency of ``grouped`` ones if their rows come and go by expert.
        """
        flop = 2.0 * rows * columns * inner
        reached, half_size = self._grouped if grouped else (1.0, self._half_size)
        slow = (1.0 + half_size * (1.0 / rows + 1.0 / columns + 1.0 / inner)) / reached
        if self._wave_share:
            tiles = repeats * math.ceil(rows / TILE_ROWS) * math.ceil(columns / TILE_COLUMNS)
            padded = tiles * TILE_ROWS * TILE_COLUMNS / (repeats * rows * columns)
            waves = tiles / self._multiprocessors
            tail = math.ceil(waves) / waves if waves > 1.0 else 1.0
            slow *= 1.0 + self._wave_share * (padded * tail - 1.0)
        arithmetic_s = flop * slow / self._flop_per_s
        sides = self._value_bytes * rows * inner
        weights = inner * columns
        forward_s = (sides + self._value_bytes * weights + 2.0 * rows * columns) / self._bytes_per_s
        gradient_s = (
            sides + self._value_bytes * rows * columns + GRADIENT_SUM_BYTES * weights
        ) / self._bytes_per_s
        return (
            repeats * (arithmetic_s if arithmetic_s > forward_s else forward_s),
            repeats * (arithmetic_s if arithmetic_s > gradient_s else gradient_s),
        )


def layer_time(
    architecture: Architecture,
    layout: Layout,
    gpu: GpuSpec,
    share: TrainingCoefficients,
    *,
    with_experts: bool,
) -> LayerTime:
    """Return the forward time of one layer of one micro-batch on one GPU.

    ``with_experts`` chooses between a layer of experts and a dense one.
    """
    tensor = layout.tensor_parallel
    hidden = float(architecture.hidden)
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    product_s = ProductTimer(gpu, share, layout.precision).product_s
    query = architecture.query_width / tensor
    value = architecture.value_width / tensor
    # Products as (columns, inner); the rows of each are the tokens.
    shapes: list[tuple[float, float]] = []
    if architecture.is_latent:
        if architecture.q_rank:
            shapes += [(architecture.q_rank, hidden), (query, architecture.q_rank)]
        else:
            shapes.append((query, hidden))
        expanded = architecture.heads * architecture.head_dim / tensor + value
        shapes += [(architecture.kv_rank + architecture.rope_dim, hidden), (expanded, architecture.kv_rank)]
        # Queries and keys are put together from two parts, and compressed ones normalised.
        rotated = 4.0 * query + 2.0 * (architecture.q_rank + architecture.kv_rank)
    else:
        shapes.append((query + 2.0 * architecture.kv_heads * architecture.head_dim / tensor, hidden))
        rotated = query
    shapes.append((hidden, value))
    entries = 2.0 if architecture.gated_mlp else 1.0
    split = tensor if layout.sequence_parallel else 1
    norms = 10.0 * hidden / split
    launch_s = KERNELS_PER_LAYER * share.kernel_s
    grouped_s = grouped_gradients_s = 0.0
    cast = 0.0
    if with_experts:
        local = architecture.experts / layout.expert_parallel
        # Tensor ranks that hold whole experts see only their own part of the tokens.
        cut = layout.expert_tensor_parallel
        visited = architecture.experts_per_token * cut / tensor
        rows = tokens * visited / local
        width = architecture.expert_ffn / cut
        for columns, inner in ((entries * width, hidden), (hidden, width)):
            one_s, gradient_s = product_s(rows, columns, inner, local, grouped=True)
            grouped_s += one_s
            grouped_gradients_s += gradient_s
        cast += visited * (hidden + width)
        always = architecture.shared_ffn / tensor
        activation = (entries + 1.0) * (visited * width + always)
        # Each copy of a token is written for its expert, sorted there, and summed on return.
        norms += share.permute_passes * architecture.experts_per_token * hidden / split
        launch_s += share.expert_host_s
    else:
        always = architecture.ffn / tensor
        activation = (entries + 1.0) * always
    if always:
        shapes += [(entries * always, hidden), (hidden, always)]
    products_s, gradients_s = grouped_s, grouped_gradients_s
    for columns, inner in shapes:
        one_s, gradient_s = product_s(tokens, columns, inner)
        products_s += one_s
        gradients_s += gradient_s
        cast += inner

    bandwidth = share.memory_efficiency * gpu.memory_bandwidth_bytes_per_s
    scores_s = 0.0
    if layout.fused_attention:
        attention_s = _fused_core_s(architecture, layout, gpu, share, tokens)
    else:
        context = architecture.attended_tokens(layout.context_tokens)
        batched = ProductTimer(gpu, share, "fp16")
        heads = architecture.heads / tensor * layout.micro_batch
        core_s, _ = batched.product_s(tokens / layout.micro_batch, context, architecture.head_dim, heads)
        attention_s = 2.0 * core_s
        written = 2.0 * SCORE_PASSES * architecture.heads / tensor * tokens * context
        scores_s = written / bandwidth
    streaming = share.elementwise_passes * 2.0 * (norms + activation + rotated)
    streaming += CAST_BYTES.get(layout.precision, 0.0) * cast
    return LayerTime(
        products_s,
        gradients_s,
        attention_s,
        tokens * streaming / bandwidth + scores_s,
        launch_s,
        scores_s,
    )


def _fused_core_s(
    architecture: Architecture, layout: Layout, gpu: GpuSpec, share: TrainingCoefficients, tokens: float
) -> float:
    """Return the forward time of an attention core that keeps its scores on chip. [s]

    It skips the half above the diagonal of a causal mask; a window has no such half. Each
    score costs one exponential beside its products, so small heads reach less.
    """
    tensor = layout.tensor_parallel
    seen = 0.5 * layout.context_tokens
    window = float(architecture.sliding_window)
    if window and window < layout.context_tokens:
        part = architecture.windowed_fraction
        seen = part * min(window, seen) + (1.0 - part) * seen
    width = (architecture.query_width + architecture.value_width) / tensor
    small = 1.0 + 2.0 * share.exponential_head_size * architecture.heads / tensor / width
    at_128 = 1.0 + share.exponential_head_size / 128.0
    flop = 2.0 * tokens * seen * width * small / at_128
    return flop / (share.attention_efficiency * peak_16_bit_flop_per_s(gpu))


def head_time_s(
    architecture: Architecture, layout: Layout, gpu: GpuSpec, share: TrainingCoefficients
) -> float:
    """Return the mean pass through the output embedding and the loss, in 16 bits. [s]

    Of three: forward, and backward through inputs and weights.
    """
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    precision = layout.precision if layout.precision in ("fp16", "bf16", "fp32") else "bf16"
    columns = architecture.vocab / layout.tensor_parallel
    product_s, gradient_s = ProductTimer(gpu, share, precision).product_s(
        tokens, columns, architecture.hidden
    )
    bandwidth = share.memory_efficiency * gpu.memory_bandwidth_bytes_per_s
    # The loss reads the 16-bit logits, and reads and writes them in 32 bits.
    return (2.0 * product_s + gradient_s) / 3.0 + 10.0 * tokens * columns / bandwidth
