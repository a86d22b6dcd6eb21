"""Bytes a model needs on each GPU, for training and for serving."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulator.foundation.errors import LayoutError
from simulator.foundation.units import GIB
from simulator.llm.activations import layer_activation_bytes
from simulator.llm.architecture import Architecture
from simulator.llm.layout import PRECISION_BYTES, Layout
from simulator.llm.number_formats import weight_format
from simulator.llm.pipeline import microbatches_held, stage_layers, telling_stages, weight_copies

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
    """Bytes on one GPU of a training job, by what they hold. [B]

    Parameters
    ----------
    stage
        Pipeline stage of the GPU, from 0.
    """

    weight_bytes: float
    gradient_bytes: float
    optimizer_bytes: float
    activation_bytes: float
    head_bytes: float
    reserve_bytes: float
    stage: int = 0

    @property
    def state_bytes(self) -> float:
        """Return weights, gradients and optimiser. [B]"""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes

    @property
    def total_bytes(self) -> float:
        """Return the sum. [B]"""
        return self.state_bytes + self.activation_bytes + self.head_bytes + self.reserve_bytes

    def describe(self) -> str:
        """Return the parts for people: ``weights 1.2, gradients 2.4, ... GiB``."""
        parts = (
            ("weights", self.weight_bytes),
            ("gradients", self.gradient_bytes),
            ("optimiser", self.optimizer_bytes),
            ("activations", self.activation_bytes),
            ("logits", self.head_bytes),
            ("reserve", self.reserve_bytes),
        )
        return ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts if size) + " GiB"


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
    return sum(_state_bytes(zero_stage, shards))


def _state_bytes(zero_stage: int, shards: int) -> tuple[float, float, float]:
    """Return bytes of (weight, gradient, optimiser) for one parameter."""
    return (
        WEIGHT_BYTES / shards if zero_stage >= 3 else WEIGHT_BYTES,
        GRADIENT_BYTES / shards if zero_stage >= 2 else GRADIENT_BYTES,
        OPTIMIZER_BYTES / shards if zero_stage >= 1 else OPTIMIZER_BYTES,
    )


def in_flight_layers(architecture: Architecture, layout: Layout) -> float:
    """Return layers times micro-batches whose activations the first stage holds at once. [count]"""
    return math.ceil(architecture.layers / layout.pipeline_parallel) * microbatches_held(layout)


def stage_parameters(architecture: Architecture, layout: Layout, stage: int) -> tuple[float, float]:
    """Return (dense, expert) parameters of a pipeline stage on one of its GPUs. [count]

    Embeddings lie on the first and the last stage, a tied one as a copy on each; layers that
    predict further tokens on the last. Experts are dealt over expert-parallel ranks.
    """
    stages = layout.pipeline_parallel
    dense_layers, moe_layers = stage_layers(architecture, stages, stage)
    dense = dense_layers * (architecture.attention_parameters + architecture.dense_mlp_parameters)
    shared = architecture.mlp_matrices * architecture.hidden * architecture.shared_ffn
    router = architecture.hidden * architecture.experts
    dense += moe_layers * (architecture.attention_parameters + shared + router)
    if stage == 0:
        dense += architecture.embedding_parameters + architecture.learned_positions * architecture.hidden
    if stage == stages - 1:
        # A further prediction also joins the last output with the next token's embedding.
        dense += architecture.mtp_layers * 2.0 * architecture.hidden**2
        if stages > 1 or not architecture.tied_embeddings:
            dense += architecture.embedding_parameters
    experts = moe_layers * architecture.experts * architecture.expert_parameters
    return (
        dense / layout.tensor_parallel,
        experts / layout.expert_tensor_parallel / layout.expert_parallel,
    )


def parameters_on_gpu(architecture: Architecture, layout: Layout) -> tuple[float, float]:
    """Return (dense, expert) parameters of the fullest pipeline stage on one GPU. [count]"""
    found = [
        stage_parameters(architecture, layout, stage) for stage in telling_stages(layout.pipeline_parallel)
    ]
    return max(found, key=sum)


def stage_memory(architecture: Architecture, layout: Layout, stage: int) -> TrainingMemory:
    """Return what a GPU of one pipeline stage must hold.

    Parameters
    ----------
    stage
        From 0, the stage that has the input embedding and most micro-batches in flight.
    """
    stages = layout.pipeline_parallel
    dense, expert = stage_parameters(architecture, layout, stage)
    copies = weight_copies(layout)
    replicas = copies * layout.data_parallel * layout.context_parallel
    shards = layout.shard_ranks or replicas
    expert_ranks = layout.expert_parallel * layout.expert_tensor_parallel // layout.tensor_parallel
    expert_shards = min(shards, max(1, replicas // max(1, expert_ranks)))
    state = [
        copies * (dense * of_dense + expert * of_expert)
        for of_dense, of_expert in zip(
            _state_bytes(layout.zero_stage, shards),
            _state_bytes(layout.zero_stage, expert_shards),
            strict=True,
        )
    ]
    dense_layers, moe_layers = stage_layers(architecture, stages, stage)
    held = microbatches_held(layout, stage)
    activations = 0.0
    largest = 0.0
    inner = replace(layout, recompute="selective") if layout.recompute == "full" else layout
    for layers, with_experts in ((dense_layers, False), (moe_layers, True)):
        if not layers:
            continue
        activations += layers * held * layer_activation_bytes(architecture, layout, with_experts=with_experts)
        if layout.recompute == "full":
            # The layer being recomputed needs its full activations once.
            one = layer_activation_bytes(architecture, inner, with_experts=with_experts)
            largest = max(largest, one)
    if layout.zero_stage >= 3:
        # Two gathered layers: the one at work and the one being fetched.
        gathered = 2.0 * architecture.layer_parameters / architecture.layers
        state[0] += WEIGHT_BYTES * gathered / layout.tensor_parallel
    # Logits in 16 bits; their gradient overwrites them.
    head = 0.0
    if stage == stages - 1:
        tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
        head = 2.0 * 2.0 * tokens * architecture.vocab / layout.tensor_parallel
    return TrainingMemory(
        weight_bytes=state[0],
        gradient_bytes=state[1],
        optimizer_bytes=state[2],
        activation_bytes=activations + largest,
        head_bytes=head,
        reserve_bytes=TRAINING_RESERVE_BYTES,
        stage=stage,
    )


def training_memory(architecture: Architecture, layout: Layout) -> TrainingMemory:
    """Return what the fullest GPU of a training job must hold."""
    found = [stage_memory(architecture, layout, stage) for stage in telling_stages(layout.pipeline_parallel)]
    return max(found, key=lambda memory: memory.total_bytes)


def check_training_memory(
    architecture: Architecture, layout: Layout, gpu_memory_bytes: float
) -> TrainingMemory:
    """Return the memory of a layout, or raise LayoutError with the numbers."""
    memory = training_memory(architecture, layout)
    if memory.total_bytes > gpu_memory_bytes:
        where = f" (stage {memory.stage})" if layout.pipeline_parallel > 1 else ""
        raise LayoutError(
            f"{architecture.name} with {layout.describe()} needs "
            f"{memory.total_bytes / GIB:.1f} GiB on a GPU of {gpu_memory_bytes / GIB:.1f} GiB{where}: "
            f"{memory.describe()}; raise tp, pp or zero_stage, lower the micro-batch, or recompute"
        )
    return memory


def only_experts_narrow(architecture: Architecture, precision: str) -> bool:
    """Return whether checkpoints in a format keep all but routed experts in 16 bits.

    So are 4-bit models with experts released: gpt-oss (MXFP4), Kimi K2 (INT4), DeepSeek-R1 (NVFP4).
    """
    return bool(architecture.experts) and weight_format(precision).bytes_per_value < 1.0


def weight_bytes(architecture: Architecture, precision: str) -> float:
    """Return bytes of all weights for serving; embeddings stay in 16 bits. [B]"""
    copies = 1 if architecture.tied_embeddings else 2
    size = weight_format(precision).bytes_per_value
    wide = max(2.0, size)
    total = size * architecture.layer_parameters + wide * copies * architecture.embedding_parameters
    if only_experts_narrow(architecture, precision):
        routed = architecture.moe_layers * architecture.experts * architecture.expert_parameters
        total += (wide - size) * (architecture.layer_parameters - routed)
    return total


def weight_bytes_per_gpu(
    architecture: Architecture, precision: str, tensor_parallel: int, attention_data_parallel: int = 1
) -> float:
    """Return bytes of weights on one GPU of a serving replica. [B]

    Routed experts are spread over all of its GPUs; every attention group has all the rest, spread
    over the group's.
    """
    routed = architecture.moe_layers * architecture.experts * architecture.expert_parameters
    experts = weight_format(precision).bytes_per_value * routed
    rest = weight_bytes(architecture, precision) - experts
    return (rest + experts / attention_data_parallel) / tensor_parallel


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
    attention_data_parallel: int = 1,
    precision: str,
    kv_precision: str,
    block_tokens: int = 16,
    memory_fraction: float = 0.9,
    token_budget: int = 8192,
    reserved_bytes: float | None = None,
    given: int | None = None,
) -> int:
    """Return how many blocks of remembered tokens one replica has, or one of its attention groups.

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
    weights = weight_bytes_per_gpu(architecture, precision, tensor_parallel, attention_data_parallel)
    gpus = tensor_parallel * attention_data_parallel
    block_bytes = block_tokens * kv_bytes_per_token(architecture, kv_precision, tensor_parallel)
    if given is not None:
        if weights + given * block_bytes > gpu_memory_bytes:
            raise LayoutError(
                f"{architecture.name} in {precision} over {gpus} GPUs of "
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
            f"{architecture.name} in {precision} over {gpus} GPUs of "
            f"{gpu_memory_bytes / GIB:.0f} GiB: weights {weights / GIB:.1f} GiB a GPU leave no "
            f"room for a block of {block_tokens} tokens; raise tensor_parallel or lower the "
            "precision"
        )
    return blocks
