"""What serving engines reach on each GPU generation: numbers with what fixed them.

Peaks and bandwidths come from the catalog; what is here says which part of them real software
reaches. Two layers: what kernels reach (`ServingCoefficients`, from tables of single
operations) and what an engine adds around them (`EngineCoefficients`, from whole measured runs).
Nothing here knows a model or a publication. ``python -m analysis.calibration.serving`` refits both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from simulator.foundation.errors import CatalogError
from simulator.foundation.names import nearest
from simulator.performance.generations import measured_generation


@dataclass(frozen=True, slots=True)
class ProductLaw:
    """Time of a matrix product: a launch and a roofline with a round corner.

    Parameters
    ----------
    launch_s
        Of a product of no size, quantising its input where the format asks for that. [s]
    bandwidth, peak
        Fractions of memory bandwidth and of the format's dense peak that large products reach.
    corner
        Sharpness of the corner: 1 adds both parts, infinity takes the longer.
    visit_s
        Grouped products of experts: moving one value of a token to and from one expert. [s]
    """

    launch_s: float
    bandwidth: float
    peak: float
    corner: float
    visit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ServingCoefficients:
    """What kernels reach on one GPU generation.

    Parameters
    ----------
    products, experts
        By path: ``wide`` (16 bits), ``fp8``, ``fp4``, ``widened`` (narrow weights, 16-bit
        arithmetic).
    attention_s
        Decode attention of one layer with nothing to read. [s]
    cache_bandwidth
        Fraction of memory bandwidth at which remembered tokens stream.
    narrow_cache_values_per_s
        Remembered 8-bit values a GPU widens in a second, which binds before bandwidth on some
        parts. [1/s]
    cache_head_s
        Of each key-value head of each sequence in each layer. [s]
    latent_peak
        Fraction of the 16-bit peak that attention over a latent cache reaches.
    prompt_attention
        Fraction of the 16-bit peak that the prompt's attention core reaches.
    reduce_s, reduce_rank_s
        Fixed time of an all-reduce, and of each rank in it. [s]
    reduce_bandwidth
        Fraction of the scale-up port that an all-reduce reaches.
    fitted_on
        Rows that fixed these numbers.
    index_s
        Picking tokens in one layer of sparse attention, its products and its keys' streaming apart:
        quantising, scoring, the top of a list, gathering. [s]
    mixed_context
        Reading remembered tokens beside a prompt, in one call, against reading them alone.
    """

    products: Mapping[str, ProductLaw]
    experts: Mapping[str, ProductLaw]
    attention_s: float
    cache_bandwidth: float
    narrow_cache_values_per_s: float
    cache_head_s: float
    latent_peak: float
    prompt_attention: float
    reduce_s: float
    reduce_rank_s: float
    reduce_bandwidth: float
    fitted_on: str
    mixed_context: float = 1.0
    index_s: float = 40e-6
    network_s: float = 25e-6
    network_bytes_per_s: float = 40e9


@dataclass(frozen=True, slots=True)
class EngineCoefficients:
    """What a serving engine adds around its kernels on one GPU generation.

    Parameters
    ----------
    layer_s
        Norms, positions, activations and gaps of one layer. [s]
    handover_s
        From the last of a prompt to the replica that decodes its answer: remembered tokens and
        two schedulers. [s]
    eager_launch_s, captured_tokens
        Host time of each operation of an iteration whose launches were not captured in a graph,
        and the widest iteration that was. [s], [tokens]
    passes
        Times that each token's hidden state streams through memory in a layer besides products:
        norms, residuals, quantising, activations; every GPU of a tensor group does them all.
    step_s
        Of an iteration: what of scheduling, sampling and detokenising does not hide. [s]
    sequence_s
        The same of each sequence. [s]
    request_s, prompt_token_s
        From a request's arrival at the server to the engine and from the engine's first token
        to the user: for a request, and for each token of its prompt, which the server's front end
        reads one prompt after the other; no part of an iteration. [s]
    stream_stretch, arithmetic_stretch
        Weights and arithmetic of products against what the operation tables say.
    block_stretch
        Arithmetic of 8-bit products with a scale for each block, as models with experts are
        published, against those with one scale.
    idle_experts
        Share of the experts that nobody chose that 8-bit grouped products stream nonetheless,
        because a captured launch covers all of them.
    cache_stretch
        Reading remembered tokens, likewise.
    expert_stretch, expert_imbalance
        Grouped products, likewise; and by how much the fullest of many ranks exceeds the mean.
    exchange_stretch
        All-reduces and dispatches, likewise.
    expert_tile
        Tokens of a tile of 8-bit grouped products: an expert that anybody chose computes whole
        tiles. 0: as many as chose it.
    pads_groups
        Every attention group runs as many tokens as the one that has most, through the experts,
        too (vLLM up to 0.11: vllm-project/vllm#26375).
    fitted_on
        Rows that fixed these numbers.
    """

    layer_s: float
    step_s: float
    sequence_s: float
    passes: float = 0.0
    request_s: float = 0.02
    prompt_token_s: float = 1e-6
    handover_s: float = 0.05
    eager_launch_s: float = 30e-6
    captured_tokens: int = 512
    stream_stretch: float = 1.0
    arithmetic_stretch: float = 1.0
    block_stretch: float = 1.0
    idle_experts: float = 0.0
    cache_stretch: float = 1.0
    expert_stretch: float = 1.0
    expert_imbalance: float = 0.4
    exchange_stretch: float = 1.0
    expert_tile: int = 0
    pads_groups: bool = False
    fitted_on: str = ""


def _laws(**laws: tuple[float, ...]) -> Mapping[str, ProductLaw]:
    return MappingProxyType({path: ProductLaw(*numbers) for path, numbers in laws.items()})


_AMPERE: Final = ServingCoefficients(
    products=_laws(
        wide=(5.4e-6, 0.75, 0.86, 1.6),
        widened=(6e-6, 0.75, 0.75, 1.6),
    ),
    experts=_laws(
        wide=(108e-6, 0.85, 0.33, 1.0, 4.5e-12),
        widened=(108e-6, 0.85, 0.2, 1.0, 4.5e-12),
    ),
    attention_s=17e-6,
    cache_bandwidth=0.75,
    narrow_cache_values_per_s=1.2e12,
    cache_head_s=32e-9,
    latent_peak=0.5,
    prompt_attention=0.57,
    reduce_s=4.2e-6,
    reduce_rank_s=0.3e-6,
    reduce_bandwidth=0.56,
    fitted_on="AIConfigurator operation tables, A100",
)
_HOPPER: Final = ServingCoefficients(
    products=_laws(
        wide=(3.6e-6, 0.85, 0.82, 2.6),
        fp8=(6.5e-6, 0.84, 0.80, 1.2),
        widened=(6e-6, 0.85, 0.65, 2.0),
    ),
    experts=_laws(
        wide=(50e-6, 1.0, 0.61, 1.0, 5e-12),
        fp8=(42e-6, 1.0, 0.36, 1.2, 3.8e-12),
        widened=(25e-6, 0.95, 0.30, 1.0, 4e-12),
    ),
    attention_s=11.5e-6,
    cache_bandwidth=0.91,
    narrow_cache_values_per_s=2.7e12,
    cache_head_s=25e-9,
    latent_peak=0.5,
    prompt_attention=0.66,
    reduce_s=4e-6,
    reduce_rank_s=0.15e-6,
    reduce_bandwidth=0.64,
    fitted_on="AIConfigurator operation tables, H100 and H200",
)
_BLACKWELL: Final = ServingCoefficients(
    products=_laws(
        wide=(3.2e-6, 0.74, 0.72, 2.6),
        fp8=(6.5e-6, 0.72, 0.85, 1.2),
        fp4=(7.7e-6, 0.84, 0.55, 1.3),
        widened=(6e-6, 0.74, 0.6, 2.0),
    ),
    experts=_laws(
        wide=(21e-6, 1.0, 0.41, 1.2, 1.7e-12),
        fp8=(22e-6, 1.0, 0.5, 1.14, 1.6e-12),
        fp4=(24e-6, 1.0, 0.6, 1.0, 2.2e-12),
        widened=(69e-6, 0.65, 0.2, 1.0, 4e-12),
    ),
    attention_s=9e-6,
    cache_bandwidth=0.93,
    narrow_cache_values_per_s=8e12,
    cache_head_s=10e-9,
    latent_peak=0.5,
    prompt_attention=0.58,
    reduce_s=6.5e-6,
    reduce_rank_s=0.2e-6,
    reduce_bandwidth=0.7,
    fitted_on="AIConfigurator operation tables, B200",
)

_ADA: Final = replace(
    _HOPPER,
    products={**_HOPPER.products, "wide": ProductLaw(0.1e-6, 0.851, 0.91, 2.54)},
    attention_s=0.1e-6,
    cache_bandwidth=0.969,
    cache_head_s=16.7e-9,
    prompt_attention=1.0,
    mixed_context=2.29,
    fitted_on="LLMServingSim's layers of Llama 3.1 8B on RTX 4090; experts and narrow weights: Hopper's",
)
_BLACKWELL_RTX: Final = replace(
    _BLACKWELL,
    products={**_BLACKWELL.products, "wide": ProductLaw(4.47e-6, 1.0, 0.779, 1.81)},
    attention_s=7e-6,
    cache_bandwidth=0.906,
    cache_head_s=0.1e-9,
    prompt_attention=0.573,
    mixed_context=1.65,
    fitted_on="LLMServingSim's layers of Llama 3.1 8B on RTX PRO 6000; experts and narrow weights: B200's",
)

_SERVING: Final[Mapping[str, ServingCoefficients]] = {
    "volta": _AMPERE,
    "ampere": _AMPERE,
    "ada": _ADA,
    "hopper": _HOPPER,
    "blackwell": _BLACKWELL,
    "blackwell rtx": _BLACKWELL_RTX,
}

_FITTED: Final[Mapping[str, Mapping[str, EngineCoefficients]]] = {
    "vllm": {
        "hopper": EngineCoefficients(
            request_s=0.0211,
            prompt_token_s=1.22e-06,
            eager_launch_s=4.19e-05,
            layer_s=1.04e-05,
            passes=15.4,
            step_s=0.000668,
            sequence_s=9.51e-06,
            stream_stretch=1,
            arithmetic_stretch=1.35,
            block_stretch=2.07,
            idle_experts=0.0213,
            cache_stretch=1.07,
            expert_stretch=1.22,
            exchange_stretch=0.926,
            expert_imbalance=0.115,
            handover_s=0.05,
            fitted_on="silicon points on H100 and H200",
        ),
        "ada": EngineCoefficients(
            layer_s=1e-07,
            step_s=0.00071,
            sequence_s=6.7e-06,
            fitted_on="LLMServingSim's layers on RTX 4090; what the host adds to a step: as on Hopper",
        ),
        "blackwell rtx": EngineCoefficients(
            layer_s=6.4e-06,
            step_s=0.00155,
            sequence_s=1e-07,
            fitted_on="LLMServingSim's layers on RTX PRO 6000; what the host adds to a step: as on Hopper",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0209,
            prompt_token_s=1.28e-06,
            eager_launch_s=4.68e-05,
            layer_s=7.13e-06,
            passes=68.5,
            step_s=0.000767,
            sequence_s=6.95e-06,
            stream_stretch=0.917,
            arithmetic_stretch=1.43,
            block_stretch=4.08,
            idle_experts=0.162,
            cache_stretch=0.862,
            expert_stretch=1.05,
            exchange_stretch=0.989,
            expert_imbalance=0.269,
            handover_s=0.186,
            fitted_on="silicon points on B200",
        ),
    },
    "vllm-0.11": {
        "hopper": EngineCoefficients(
            request_s=0.0183,
            prompt_token_s=1.45e-06,
            eager_launch_s=5.3e-05,
            layer_s=1.03e-05,
            passes=11.6,
            step_s=0.000367,
            sequence_s=4.44e-05,
            stream_stretch=1.05,
            arithmetic_stretch=0.805,
            block_stretch=2.25,
            idle_experts=1,
            cache_stretch=0.807,
            expert_stretch=1.11,
            exchange_stretch=0.808,
            expert_imbalance=0.172,
            handover_s=0.0505,
            expert_tile=16,
            pads_groups=True,
            fitted_on="ML.ENERGY v3 text rows on H100",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0209,
            prompt_token_s=1.28e-06,
            eager_launch_s=5.6e-05,
            layer_s=7.94e-06,
            passes=47.5,
            step_s=0.00074,
            sequence_s=2.81e-05,
            stream_stretch=0.949,
            arithmetic_stretch=0.604,
            block_stretch=5.32,
            idle_experts=0.49,
            cache_stretch=1.01,
            expert_stretch=1.42,
            exchange_stretch=0.99,
            expert_imbalance=0.442,
            handover_s=0.186,
            expert_tile=16,
            pads_groups=True,
            fitted_on="ML.ENERGY v3 text rows on B200",
        ),
    },
    "sglang": {
        "hopper": EngineCoefficients(
            request_s=0.0275,
            prompt_token_s=1.8e-06,
            eager_launch_s=0.000108,
            layer_s=7.72e-06,
            passes=20,
            step_s=0.000578,
            sequence_s=1.43e-05,
            stream_stretch=0.991,
            arithmetic_stretch=0.983,
            block_stretch=3.45,
            idle_experts=0.12,
            cache_stretch=0.96,
            expert_stretch=0.734,
            exchange_stretch=0.987,
            expert_imbalance=1.46,
            handover_s=0.0484,
            fitted_on="silicon points on H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0266,
            prompt_token_s=9.78e-07,
            eager_launch_s=6.37e-05,
            layer_s=8.27e-06,
            passes=168,
            step_s=0.00115,
            sequence_s=8.53e-06,
            stream_stretch=1.23,
            arithmetic_stretch=1.29,
            block_stretch=2.64,
            idle_experts=0.0354,
            cache_stretch=1.04,
            expert_stretch=0.877,
            exchange_stretch=1.17,
            expert_imbalance=0.344,
            handover_s=0.191,
            fitted_on="silicon points on B200",
        ),
    },
    "trtllm": {
        "hopper": EngineCoefficients(
            request_s=0.0288,
            prompt_token_s=8.82e-07,
            eager_launch_s=5.62e-05,
            layer_s=4.61e-06,
            passes=11.7,
            step_s=0.00411,
            sequence_s=4.2e-05,
            stream_stretch=0.8,
            arithmetic_stretch=1.17,
            block_stretch=2.09,
            idle_experts=0.064,
            cache_stretch=0.85,
            expert_stretch=0.896,
            exchange_stretch=0.663,
            expert_imbalance=0.277,
            handover_s=0.623,
            fitted_on="silicon points on H100 and H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.015,
            prompt_token_s=6.95e-07,
            eager_launch_s=5.26e-05,
            layer_s=4.77e-06,
            passes=109,
            step_s=0.000108,
            sequence_s=1.29e-06,
            stream_stretch=1.34,
            arithmetic_stretch=1.18,
            block_stretch=2.56,
            idle_experts=0.33,
            cache_stretch=1.08,
            expert_stretch=0.758,
            exchange_stretch=0.934,
            expert_imbalance=0.654,
            handover_s=0.0945,
            fitted_on="silicon points on B200",
        ),
    },
    "trtllm-1.1": {
        "hopper": EngineCoefficients(
            request_s=0.0278,
            prompt_token_s=8.82e-07,
            eager_launch_s=5.59e-05,
            layer_s=4.55e-06,
            passes=24.3,
            step_s=0.00103,
            sequence_s=8.69e-06,
            stream_stretch=0.823,
            arithmetic_stretch=1.41,
            block_stretch=2.37,
            idle_experts=0.179,
            cache_stretch=0.64,
            expert_stretch=1.01,
            exchange_stretch=0.652,
            expert_imbalance=0.281,
            handover_s=0.05,
            fitted_on="silicon points on H100 and H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0167,
            prompt_token_s=7.48e-07,
            eager_launch_s=4.06e-05,
            layer_s=7.06e-06,
            passes=27.7,
            step_s=0.000129,
            sequence_s=3.13e-06,
            stream_stretch=0.897,
            arithmetic_stretch=1.41,
            block_stretch=5.38,
            idle_experts=0.41,
            cache_stretch=0.998,
            expert_stretch=1.14,
            exchange_stretch=0.996,
            expert_imbalance=0.383,
            handover_s=0.05,
            fitted_on="silicon points on B200",
        ),
    },
}

#: vLLM 0.11 that was told to take FlashInfer's grouped products for 8 bits, as later releases do unasked.
_FLASHINFER: Final = replace(
    _FITTED["vllm-0.11"]["blackwell"],
    block_stretch=_FITTED["vllm"]["blackwell"].block_stretch,
    idle_experts=_FITTED["vllm"]["blackwell"].idle_experts,
    expert_tile=0,
    fitted_on="ML.ENERGY v3 text rows of other kernels on B200; grouped products: silicon points on B200",
)
_ENGINES: Final[Mapping[str, Mapping[str, EngineCoefficients]]] = {
    **_FITTED,
    "vllm-0.11-flashinfer": {**_FITTED["vllm-0.11"], "blackwell": _FLASHINFER},
}


def serving_coefficients(generation: str) -> ServingCoefficients:
    """Return what kernels reach on a GPU generation; CatalogError if unknown."""
    return _SERVING[measured_generation(generation, _SERVING)]


def engine_coefficients(engine: str, generation: str) -> EngineCoefficients:
    """Return what an engine adds on a GPU generation; CatalogError if either is unknown.

    A generation on which an engine was not measured takes the nearest measured one's: Hopper's
    for older parts.
    """
    if engine not in _ENGINES:
        near = nearest(engine, _ENGINES)
        hint = f"did you mean {near!r}? " if near else ""
        raise CatalogError(f"serving engine {engine!r} is not known; {hint}known: {', '.join(_ENGINES)}")
    measured = _ENGINES[engine]
    key = measured_generation(generation, _SERVING)
    return measured.get(key) or measured.get(key.split()[0]) or measured["hopper"]


def is_measured(generation: str) -> bool:
    """Return whether kernels were measured on a GPU generation."""
    try:
        measured_generation(generation, _SERVING)
    except CatalogError:
        return False
    return True
