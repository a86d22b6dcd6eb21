"""Seconds that one GPU works on one transformer layer: matrix products, attention, the rest."""

from __future__ import annotations

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

#: Times the scores of an unfused attention go through memory, forward: softmax and dropout,
#: each read and written.
SCORE_PASSES: Final = 4.0


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Forward seconds of one layer and one micro-batch on one GPU, by what bounds them.

    Parameters
    ----------
    products_s
        Matrix products with weights. [s]
    attention_s
        The attention core: scores and mixing. [s]
    streaming_s
        Kernels bound by memory, and waits for the host to launch the next. [s]
    scores_s
        Part of ``streaming_s`` that an unfused attention spends on its scores. [s]
    """

    products_s: float
    attention_s: float
    streaming_s: float
    scores_s: float = 0.0


class ProductTimer:
    """Times matrix products on one GPU at one precision."""

    __slots__ = ("_bytes_per_s", "_flop_per_s", "_half_size", "_value_bytes")

    def __init__(self, gpu: GpuSpec, share: TrainingCoefficients, precision: str) -> None:
        efficiency = share.gemm_efficiency
        if precision == "fp8":
            efficiency *= share.fp8_relative_efficiency
        elif precision == "fp4":
            efficiency *= share.fp4_relative_efficiency
        self._flop_per_s = efficiency * peak_flop_per_s(gpu, precision)
        self._half_size = share.gemm_half_size
        self._bytes_per_s = gpu.memory_bandwidth_bytes_per_s * share.memory_efficiency
        self._value_bytes = PRECISION_BYTES[precision]

    def product_s(self, rows: float, columns: float, inner: float, repeats: float = 1.0) -> float:
        """Return the time of a (rows x inner) by (inner x columns) product. [s]

        Efficiency falls when any dimension is short: by half where one equals the
        generation's half size. The three products of a layer (forward, and two backward)
        permute the same dimensions, so they cost the same. ``repeats`` products of one
        shape run as one grouped kernel.
        """
        flop = 2.0 * rows * columns * inner
        short = self._half_size * (1.0 / rows + 1.0 / columns + 1.0 / inner)
        arithmetic_s = repeats * flop * (1.0 + short) / self._flop_per_s
        moved = self._value_bytes * (rows * inner + inner * columns + rows * columns)
        streamed_s = repeats * moved / self._bytes_per_s
        return arithmetic_s if arithmetic_s > streamed_s else streamed_s


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
    products = ProductTimer(gpu, share, layout.precision)
    query = architecture.query_width / tensor
    value = architecture.value_width / tensor
    if architecture.is_latent:
        products_s = products.product_s(tokens, architecture.q_rank or query, hidden)
        if architecture.q_rank:
            products_s += products.product_s(tokens, query, architecture.q_rank)
        products_s += products.product_s(tokens, architecture.kv_rank + architecture.rope_dim, hidden)
        expanded = architecture.heads * architecture.head_dim / tensor + value
        products_s += products.product_s(tokens, expanded, architecture.kv_rank)
    else:
        key_value = 2.0 * architecture.kv_heads * architecture.head_dim / tensor
        products_s = products.product_s(tokens, query + key_value, hidden)
    products_s += products.product_s(tokens, hidden, value)
    entries = 2.0 if architecture.gated_mlp else 1.0
    if with_experts:
        local = architecture.experts / layout.expert_parallel
        rows = tokens * architecture.experts_per_token / local
        width = architecture.expert_ffn / tensor
        products_s += products.product_s(rows, entries * width, hidden, local)
        products_s += products.product_s(rows, hidden, width, local)
        feed_forward = architecture.experts_per_token * architecture.expert_ffn + architecture.shared_ffn
        if architecture.shared_ffn:
            shared = architecture.shared_ffn / tensor
            products_s += products.product_s(tokens, entries * shared, hidden)
            products_s += products.product_s(tokens, hidden, shared)
    else:
        feed_forward = architecture.ffn
        width = architecture.ffn / tensor
        products_s += products.product_s(tokens, entries * width, hidden)
        products_s += products.product_s(tokens, hidden, width)

    context = architecture.attended_tokens(layout.context_tokens)
    core = 2.0 * tokens * context * (query + value)
    bandwidth = share.memory_efficiency * gpu.memory_bandwidth_bytes_per_s
    scores_s = 0.0
    if layout.fused_attention:
        # The fused core skips the half above the diagonal of a causal mask.
        attention_s = 0.5 * core / (share.attention_efficiency * peak_16_bit_flop_per_s(gpu))
    else:
        batched = ProductTimer(gpu, share, "fp16")
        heads = architecture.heads / tensor * layout.micro_batch
        attention_s = 2.0 * batched.product_s(
            tokens / layout.micro_batch, context, architecture.head_dim, heads
        )
        written = 2.0 * SCORE_PASSES * architecture.heads / tensor * tokens * context
        scores_s = written / bandwidth
    split = tensor if layout.sequence_parallel else 1
    norms = 10.0 * hidden / split
    activation = (entries + 1.0) * feed_forward / tensor + query
    if with_experts:
        norms += 4.0 * architecture.experts_per_token * hidden / split  # permute there and back
    streaming_s = share.elementwise_passes * 2.0 * tokens * (norms + activation) / bandwidth
    # Kernels too small to keep the GPU busy wait for the host's next launch.
    launch_s = KERNELS_PER_LAYER * share.kernel_s
    idle_s = max(0.0, launch_s - products_s - attention_s - streaming_s - scores_s)
    return LayerTime(products_s, attention_s, streaming_s + scores_s + idle_s, scores_s)


def head_time_s(
    architecture: Architecture, layout: Layout, gpu: GpuSpec, share: TrainingCoefficients
) -> float:
    """Return the forward time of the output embedding and the loss, in 16 bits. [s]"""
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    precision = layout.precision if layout.precision in ("fp16", "bf16", "fp32") else "bf16"
    columns = architecture.vocab / layout.tensor_parallel
    product_s = ProductTimer(gpu, share, precision).product_s(tokens, columns, architecture.hidden)
    bandwidth = share.memory_efficiency * gpu.memory_bandwidth_bytes_per_s
    # The loss reads the 16-bit logits, and reads and writes them in 32 bits.
    return product_s + 10.0 * tokens * columns / bandwidth
