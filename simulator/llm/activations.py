"""What a transformer block keeps for its backward pass, tensor by tensor."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout


class KeptTensor(NamedTuple):
    """One tensor that a block keeps for each token.

    Parameters
    ----------
    name
        What it is.
    bytes_per_token
        Over all tensor-parallel ranks. [B]
    is_split
        Whether tensor parallelism splits it; the others are whole on every rank, unless
        sequence parallelism splits them.
    is_cheap
        Whether selective recomputation drops it in a block with fused attention.
    """

    name: str
    bytes_per_token: float
    is_split: bool
    is_cheap: bool = False


@lru_cache(maxsize=512)
def kept_tensors(
    architecture: Architecture, *, with_experts: bool, fused_attention: bool, context_tokens: int
) -> tuple[KeptTensor, ...]:
    """Return the tensors of one block, in 16 bits, without recomputation.

    Classic blocks (plain feed-forward layer) also keep two dropout masks. A gated activation is
    cheap to do again, and so is a norm that feeds a product; the scores of an unfused attention
    are what selective recomputation was made for.

    References
    ----------
    Korthikanti et al., "Reducing activation recomputation", 2022, section 4. arXiv:2205.05198
    """
    hidden = 2.0 * architecture.hidden
    gated = architecture.gated_mlp
    kept = [
        KeptTensor("input of the first norm", hidden, is_split=False),
        KeptTensor("input of attention", hidden, is_split=False, is_cheap=gated),
        KeptTensor("input of the second norm", hidden, is_split=False),
        KeptTensor("input of the feed-forward layer", hidden, is_split=False, is_cheap=gated),
    ]
    if not gated:
        kept.append(KeptTensor("two dropout masks", 2.0 * architecture.hidden, is_split=False))
    if architecture.is_latent:
        latents = architecture.q_rank + architecture.kv_rank + architecture.rope_dim
        kept.append(KeptTensor("latents", 2.0 * latents, is_split=False))
        key_value = architecture.query_width + architecture.value_width
    else:
        key_value = 2 * architecture.kv_heads * architecture.head_dim
    kept += [
        KeptTensor("queries", 2.0 * architecture.query_width, is_split=True),
        KeptTensor("keys and values", 2.0 * key_value, is_split=True),
        KeptTensor("output of attention", 2.0 * architecture.value_width, is_split=True),
    ]
    width = float(architecture.ffn)
    if with_experts:
        visited = architecture.experts_per_token
        width = visited * architecture.expert_ffn + architecture.shared_ffn
        kept.append(KeptTensor("tokens at their experts", visited * hidden, is_split=True))
    entries = 2.0 if gated else 1.0
    kept += [
        KeptTensor("before the activation", 2.0 * entries * width, is_split=True),
        KeptTensor("after the activation", 2.0 * width, is_split=True, is_cheap=gated),
    ]
    if not fused_attention:
        scores = 5.0 * architecture.heads * context_tokens
        kept.append(KeptTensor("scores of attention", scores, is_split=True))
    return tuple(kept)


@lru_cache(maxsize=512)
def _widths(
    architecture: Architecture, with_experts: bool, fused_attention: bool, context: int, selective: bool
) -> tuple[float, float]:
    """Return bytes for each token that stay (whole, split) over tensor-parallel ranks."""
    whole = split = 0.0
    for tensor in kept_tensors(
        architecture, with_experts=with_experts, fused_attention=fused_attention, context_tokens=context
    ):
        # With unfused attention selective recomputation is about the scores and nothing else.
        dropped = tensor.is_cheap if fused_attention else tensor.name == "scores of attention"
        if selective and dropped:
            continue
        if tensor.is_split:
            split += tensor.bytes_per_token
        else:
            whole += tensor.bytes_per_token
    return whole, split


def layer_activation_bytes(
    architecture: Architecture, layout: Layout, *, with_experts: bool | None = None
) -> float:
    """Return bytes that one layer keeps for the backward pass of one micro-batch, per GPU.

    The sum of `kept_tensors`: for a GPT block without recomputation
    s b h (10 + 24 / t + 5 a s / (h t)), and s b h / t (34 + 5 a s / h) with sequence
    parallelism. Full recomputation keeps the block's input alone.

    Parameters
    ----------
    with_experts
        Of a layer of experts or of a dense one; by default of the kind that the model mostly has.
    """
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    whole_split = layout.tensor_parallel if layout.sequence_parallel else 1
    if layout.recompute == "full":
        return 2.0 * tokens * architecture.hidden / whole_split
    experts = architecture.experts > 0 if with_experts is None else with_experts
    whole, split = _widths(
        architecture,
        experts,
        layout.fused_attention,
        0 if layout.fused_attention else layout.context_tokens,
        layout.recompute == "selective",
    )
    return tokens * (whole / whole_split + split / layout.tensor_parallel)
