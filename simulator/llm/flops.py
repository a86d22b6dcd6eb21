"""How much arithmetic a transformer does. Pure functions; no hardware, no clock."""

from __future__ import annotations

from enum import Enum

from simulator.llm.architecture import Architecture


class FlopConvention(Enum):
    """Which operations count; four rulers are in use and differ by 7 to 33 %.

    ``MODEL_FULL`` is PaLM's: every query meets every key. ``MODEL_CAUSAL`` counts the half
    that a causal mask leaves (NVIDIA from 25.09 on). ``HARDWARE_FULL`` and
    ``HARDWARE_CAUSAL`` add what the backward pass recomputes (SC'21 counts so).
    """

    MODEL_FULL = "model-full"
    MODEL_CAUSAL = "model-causal"
    HARDWARE_FULL = "hardware-full"
    HARDWARE_CAUSAL = "hardware-causal"

    @property
    def counts_recomputation(self) -> bool:
        """Return whether recomputed operations count."""
        return self in (FlopConvention.HARDWARE_FULL, FlopConvention.HARDWARE_CAUSAL)

    @property
    def attention_share(self) -> float:
        """Return the share of query-key pairs that count."""
        causal = self in (FlopConvention.MODEL_CAUSAL, FlopConvention.HARDWARE_CAUSAL)
        return 0.5 if causal else 1.0


def attention_flop_per_token(architecture: Architecture, context_tokens: float) -> float:
    """Return operations of the attention core for one token, forward, full context.

    Scores (query times key) and mixing (score times value); projections are not counted.

    Parameters
    ----------
    context_tokens
        Keys each query meets. [tokens]

    Returns
    -------
    float
        Operations over all layers; a multiply-add counts as two. [flop]
    """
    width = architecture.query_width + architecture.value_width
    return 2.0 * architecture.layers * width * architecture.attended_tokens(context_tokens)


def forward_flop_per_token(
    architecture: Architecture,
    context_tokens: float,
    convention: FlopConvention = FlopConvention.MODEL_FULL,
) -> float:
    """Return operations of one forward pass for one token, output embedding included. [flop]"""
    core = attention_flop_per_token(architecture, context_tokens)
    return 2.0 * architecture.matmul_parameters + convention.attention_share * core


def training_flop_per_token(
    architecture: Architecture,
    context_tokens: float,
    convention: FlopConvention = FlopConvention.MODEL_FULL,
    recompute: str = "none",
) -> float:
    """Return operations to train on one token, forward and backward.

    Products with weights cost 6 per weight met; the attention core three times its forward
    pass. Recomputation (``selective``: the attention core, ``full``: all layers) counts
    only under a hardware convention. The input embedding is a look-up and costs nothing. Layers
    that predict further tokens count, each with a pass of the output embedding.

    Parameters
    ----------
    context_tokens
        Tokens of one sequence. [tokens]
    recompute
        ``none``, ``selective`` or ``full``.

    Returns
    -------
    float
        Operations per trained token; a multiply-add counts as two. [flop]

    References
    ----------
    Chowdhery et al., "PaLM", 2022, appendix B. arXiv:2204.02311
    Narayanan et al., "Efficient large-scale language model training", 2021, eq. 3.
    arXiv:2104.04473

    Examples
    --------
    >>> gpt3 = Architecture("gpt-3", 96, 12288, 96, 96, 128, 49152, 51200, gated_mlp=False)
    >>> round(training_flop_per_token(gpt3, 2048) / 1e12, 3)
    1.076
    """
    core = convention.attention_share * attention_flop_per_token(architecture, context_tokens)
    core *= 1.0 + architecture.mtp_layers / architecture.layers
    total = 6.0 * (architecture.matmul_parameters + architecture.mtp_matmul_parameters) + 3.0 * core
    if convention.counts_recomputation:
        if recompute == "full":
            total += 2.0 * architecture.active_layer_parameters + core
        elif recompute == "selective":
            total += core
    return total
