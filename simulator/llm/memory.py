"""Bytes a model needs on each GPU, for training and for serving."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulator.foundation.errors import LayoutError
from simulator.foundation.units import GIB
from simulator.llm.architecture import Architecture
from simulator.llm.layout import PRECISION_BYTES, Layout
from simulator.llm.pipeline import microbatches_held

#: Mixed-precision Adam: 16-bit weight, 32-bit gradient, and 32-bit master weight, momentum
#: and variance: 2 + 4 + 12 = 18 bytes a parameter, the rule behind Korthikanti et al. 2022
#: figure 1.
WEIGHT_BYTES = 2.0
GRADIENT_BYTES = 4.0
OPTIMIZER_BYTES = 12.0

#: Driver context, communication buffers and fragments that no tensor owns. Estimate: 8-GPU
#: NCCL jobs report 3 to 5 GB; the lower end, so that published layouts pass.
TRAINING_RESERVE_BYTES = 3.0 * GIB

#: The same for a serving engine, with its captured graphs. Estimate.
SERVING_RESERVE_BYTES = 3.0 * GIB


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes on the fullest GPU of a training job, by what they hold. [B]"""

    state_bytes: float
    activation_bytes: float
    head_bytes: float
    reserve_bytes: float

    @property
    def total_bytes(self) -> float:
        """Return the sum. [B]"""
        return self.state_bytes + self.activation_bytes + self.head_bytes + self.reserve_bytes


def state_bytes_per_parameter(zero_stage: int, shards: int) -> float:
    """Return bytes of weight, gradient and optimiser state for one parameter. [B]

    Parameters
    ----------
    zero_stage
        0 shards nothing, 1 the optimiser, 2 also gradients, 3 also weights.
    shards
        Ranks over which the sharded part is dealt. [count]

    Examples
    --------
    >>> state_bytes_per_parameter(0, 8), state_bytes_per_parameter(1, 4)
    (18.0, 9.0)
    """
    weight = WEIGHT_BYTES / shards if zero_stage >= 3 else WEIGHT_BYTES
    gradient = GRADIENT_BYTES / shards if zero_stage >= 2 else GRADIENT_BYTES
    optimizer = OPTIMIZER_BYTES / shards if zero_stage >= 1 else OPTIMIZER_BYTES
    return weight + gradient + optimizer


def layer_activation_bytes(architecture: Architecture, layout: Layout) -> float:
    """Return bytes that one layer keeps for the backward pass of one micro-batch, per GPU.

    Counted tensor by tensor for 16-bit values, so that grouped heads and gated
    feed-forward layers come out right; for a GPT block without recomputation it is
    s b h (10 + 24 / t + 5 a s / (h t)), and s b h / t (34 + 5 a s / h) with sequence
    parallelism.

    References
    ----------
    Korthikanti et al., "Reducing activation recomputation", 2022, eq. 1-6. arXiv:2205.05198
    """
    tensor = layout.tensor_parallel
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    hidden = float(architecture.hidden)
    whole_split = tensor if layout.sequence_parallel else 1
    if layout.recompute == "full":
        return 2.0 * tokens * hidden / whole_split
    # Selective recomputation with a fused attention core has only cheap outputs left to drop:
    # of the norms and of a gated activation.
    sparing = layout.recompute == "selective" and layout.fused_attention and architecture.gated_mlp
    # Inputs of two norms, of the attention and of the feed-forward layer; classic blocks
    # also keep two dropout masks of one byte.
    masks = 0.0 if architecture.gated_mlp else 2.0
    whole = (4.0 if sparing else 8.0 + masks) * tokens * hidden
    key_value = (
        2.0 * architecture.heads * (architecture.head_dim + architecture.rope_dim)
        if architecture.is_latent
        else 2.0 * architecture.kv_heads * architecture.head_dim
    )
    attention = 2.0 * (architecture.query_width + key_value + architecture.value_width)
    copies = 3.0 if architecture.gated_mlp and not sparing else 2.0
    if architecture.experts:
        visited = architecture.experts_per_token
        width = visited * architecture.expert_ffn + architecture.shared_ffn
        attention += 2.0 * visited * hidden
    else:
        width = architecture.ffn
    split = tokens * (attention + 2.0 * copies * width)
    scores = 0.0
    if layout.recompute == "none" and not layout.fused_attention:
        scores = 5.0 * architecture.heads * layout.context_tokens * tokens
    return whole / whole_split + (split + scores) / tensor


def in_flight_layers(architecture: Architecture, layout: Layout) -> float:
    """Return layers times micro-batches whose activations the first stage holds at once. [count]"""
    return math.ceil(architecture.layers / layout.pipeline_parallel) * microbatches_held(layout)


def parameters_on_gpu(architecture: Architecture, layout: Layout) -> tuple[float, float]:
    """Return (dense, expert) parameters of the fullest pipeline stage on one GPU. [count]

    Embeddings lie on the first and the last stage; experts are dealt over expert-parallel
    ranks, everything over tensor-parallel ranks.
    """
    stages = layout.pipeline_parallel
    routed = architecture.moe_layers * architecture.experts * architecture.expert_parameters
    dense = architecture.layer_parameters - routed
    embeddings = architecture.embedding_parameters
    if stages == 1 and not architecture.tied_embeddings:
        embeddings *= 2
    stage = dense / stages + embeddings
    return (
        stage / layout.tensor_parallel,
        routed / stages / layout.tensor_parallel / layout.expert_parallel,
    )


def training_memory(architecture: Architecture, layout: Layout) -> TrainingMemory:
    """Return what the fullest GPU of a training job must hold."""
    dense, expert = parameters_on_gpu(architecture, layout)
    replicas = layout.data_parallel * layout.context_parallel
    expert_replicas = max(1, replicas // layout.expert_parallel)
    state = dense * state_bytes_per_parameter(layout.zero_stage, replicas)
    state += expert * state_bytes_per_parameter(layout.zero_stage, expert_replicas)
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    layer = layer_activation_bytes(architecture, layout)
    activations = layer * in_flight_layers(architecture, layout)
    if layout.recompute == "full":
        # The layer being recomputed needs its full activations once.
        activations += layer_activation_bytes(architecture, replace(layout, recompute="selective"))
    if layout.zero_stage >= 3:
        # Two gathered layers: the one at work and the one being fetched.
        gathered = 2.0 * architecture.layer_parameters / architecture.layers
        state += WEIGHT_BYTES * gathered / layout.tensor_parallel
    # Logits in 16 bits; their gradient overwrites them. They live on the last stage, which
    # keeps one micro-batch in flight, so only a single stage holds them beside everything.
    head = 0.0
    if layout.pipeline_parallel == 1:
        head = 2.0 * 2.0 * tokens * architecture.vocab / layout.tensor_parallel
    return TrainingMemory(state, activations, head, TRAINING_RESERVE_BYTES)


def check_training_memory(
    architecture: Architecture, layout: Layout, gpu_memory_bytes: float
) -> TrainingMemory:
    """Return the memory of a layout, or raise LayoutError with the numbers."""
    memory = training_memory(architecture, layout)
    if memory.total_bytes > gpu_memory_bytes:
        raise LayoutError(
            f"{architecture.name} with {layout.describe()} needs "
            f"{memory.total_bytes / GIB:.1f} GiB on a GPU of {gpu_memory_bytes / GIB:.1f} GiB: "
            f"weights and optimiser {memory.state_bytes / GIB:.1f}, "
            f"activations {memory.activation_bytes / GIB:.1f}, "
            f"logits {memory.head_bytes / GIB:.1f}, reserve {memory.reserve_bytes / GIB:.1f} GiB; "
            "raise tp, pp or zero_stage, lower the micro-batch, or recompute"
        )
    return memory


def weight_bytes(architecture: Architecture, precision: str) -> float:
    """Return bytes of all weights for serving; embeddings stay in 16 bits. [B]"""
    copies = 1 if architecture.tied_embeddings else 2
    embeddings = copies * architecture.embedding_parameters
    size = PRECISION_BYTES[precision]
    if size < 1.0:
        size += 1.0 / 16.0  # a one-byte scale for every 16 values
    return size * architecture.layer_parameters + max(2.0, size) * embeddings


def kv_precision_of(precision: str) -> str:
    """Return the precision of a cache where none is given: 16 bits beside quantised weights.

    Examples
    --------
    >>> kv_precision_of("fp8"), kv_precision_of("fp16")
    ('bf16', 'fp16')
    """
    return precision if precision in ("fp32", "fp16", "bf16") else "bf16"


def kv_bytes_per_token(architecture: Architecture, precision: str, tensor_parallel: int = 1) -> float:
    """Return bytes that one GPU remembers for each token of context. [B]

    Heads are dealt over the tensor-parallel ranks and copied when there are more ranks than
    key-value heads; latent attention is copied on every rank.
    """
    size = PRECISION_BYTES[precision]
    values = architecture.kv_values_per_token
    if architecture.is_latent:
        return size * values
    return size * values / min(tensor_parallel, architecture.kv_heads)


def kv_blocks(
    architecture: Architecture,
    *,
    gpu_memory_bytes: float,
    tensor_parallel: int,
    precision: str,
    kv_precision: str,
    block_tokens: int = 16,
    memory_fraction: float = 0.9,
    token_budget: int = 8192,
    reserved_bytes: float | None = None,
    given: int | None = None,
) -> int:
    """Return how many blocks of remembered tokens one replica has.

    What ``memory_fraction`` of a GPU leaves after weights and ``reserved_bytes`` for context,
    graphs and activations; the latter are estimated from the ``token_budget`` when not given.
    A real engine's own count (``given``), where known, is better: it only has to fit beside the
    weights.

    Raises
    ------
    LayoutError
        If the model does not fit; the message gives the numbers and the next degree that
        does.
    """
    weights = weight_bytes(architecture, precision) / tensor_parallel
    block_bytes = block_tokens * kv_bytes_per_token(architecture, kv_precision, tensor_parallel)
    if given is not None:
        if weights + given * block_bytes > gpu_memory_bytes:
            raise LayoutError(
                f"{architecture.name} in {precision} over {tensor_parallel} GPUs of "
                f"{gpu_memory_bytes / GIB:.0f} GiB: weights {weights / GIB:.1f} GiB a GPU and {given} "
                f"KV blocks of {block_bytes / GIB:.4f} GiB do not fit; expected at most "
                f"{max(0, int((gpu_memory_bytes - weights) // block_bytes))} blocks, or more GPUs"
            )
        return given
    if reserved_bytes is None:
        widest = architecture.hidden + 2.0 * architecture.ffn / tensor_parallel
        widest = max(widest, architecture.vocab / tensor_parallel / 8.0)
        reserved_bytes = SERVING_RESERVE_BYTES + 2.0 * 2.0 * token_budget * widest
    room = memory_fraction * gpu_memory_bytes - weights - reserved_bytes
    blocks = int(room // block_bytes) if room > 0 else 0
    if blocks < 1:
        raise LayoutError(
            f"{architecture.name} in {precision} over {tensor_parallel} GPUs of "
            f"{gpu_memory_bytes / GIB:.0f} GiB: weights {weights / GIB:.1f} GiB a GPU leave no "
            f"room for a block of {block_tokens} tokens; raise tensor_parallel or lower the "
            "precision"
        )
    return blocks
