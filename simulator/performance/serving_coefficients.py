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
    visit_bytes
        Grouped products of experts: what moving one value of a token to and from one expert takes
        of the memory. [B]
    """

    launch_s: float
    bandwidth: float
    peak: float
    corner: float
    visit_bytes: float = 0.0


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
        wide=(108e-6, 0.85, 0.33, 1.0, 9.2),
        widened=(108e-6, 0.85, 0.2, 1.0, 9.2),
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
        fp8=(6.5e-6, 0.84, 0.74, 1.6),
        widened=(6e-6, 0.85, 0.65, 2.0),
    ),
    experts=_laws(
        wide=(50e-6, 1.0, 0.61, 1.0, 16.8),
        fp8=(42e-6, 1.0, 0.36, 1.2, 12.7),
        widened=(25e-6, 0.95, 0.30, 1.0, 13.4),
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
        fp8=(6.5e-6, 0.76, 0.56, 1.3),
        fp4=(7.7e-6, 0.84, 0.55, 1.3),
        widened=(6e-6, 0.74, 0.6, 2.0),
    ),
    experts=_laws(
        wide=(21e-6, 1.0, 0.41, 1.2, 13.1),
        fp8=(22e-6, 1.0, 0.5, 1.14, 12.3),
        fp4=(24e-6, 1.0, 0.6, 1.0, 16.9),
        widened=(69e-6, 0.65, 0.2, 1.0, 30.8),
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

#: What engines have in common on a generation, where a single one's numbers are looked for.
_TYPICAL: Final[Mapping[str, EngineCoefficients]] = {
    "hopper": EngineCoefficients(
        request_s=0.0219,
        prompt_token_s=9.02e-07,
        eager_launch_s=5.31e-05,
        layer_s=8.54e-06,
        passes=18.5,
        step_s=0.000729,
        sequence_s=8.17e-06,
        stream_stretch=0.979,
        arithmetic_stretch=1.31,
        block_stretch=2.47,
        idle_experts=0.0157,
        cache_stretch=0.835,
        expert_stretch=1.23,
        exchange_stretch=0.999,
        expert_imbalance=0.288,
        handover_s=0.184,
        fitted_on="silicon points of all engines",
    ),
    "blackwell": EngineCoefficients(
        request_s=0.0198,
        prompt_token_s=1.08e-06,
        eager_launch_s=4.87e-05,
        layer_s=7.54e-06,
        passes=75.3,
        step_s=7.27e-05,
        sequence_s=2.25e-06,
        stream_stretch=1,
        arithmetic_stretch=0.926,
        block_stretch=2.62,
        idle_experts=0.133,
        cache_stretch=1.03,
        expert_stretch=1.12,
        exchange_stretch=0.985,
        expert_imbalance=0.365,
        handover_s=0.137,
        fitted_on="silicon points of all engines",
    ),
}

_FITTED: Final[Mapping[str, Mapping[str, EngineCoefficients]]] = {
    "vllm": {
        "hopper": EngineCoefficients(
            request_s=0.0222,
            prompt_token_s=9.24e-07,
            eager_launch_s=4.64e-05,
            layer_s=9.66e-06,
            passes=17.1,
            step_s=0.000688,
            sequence_s=8.73e-06,
            stream_stretch=1.03,
            arithmetic_stretch=1.31,
            block_stretch=2.27,
            idle_experts=0.0111,
            cache_stretch=0.977,
            expert_stretch=1.26,
            exchange_stretch=0.982,
            expert_imbalance=0.188,
            handover_s=0.184,
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
            request_s=0.0204,
            prompt_token_s=1.45e-06,
            eager_launch_s=4.87e-05,
            layer_s=1.02e-05,
            passes=78.6,
            step_s=8.48e-05,
            sequence_s=2.29e-06,
            stream_stretch=1,
            arithmetic_stretch=1.02,
            block_stretch=3.37,
            idle_experts=0.163,
            cache_stretch=0.998,
            expert_stretch=1.12,
            exchange_stretch=1.01,
            expert_imbalance=0.323,
            handover_s=0.173,
            fitted_on="silicon points on B200",
        ),
    },
    "vllm-0.11": {
        "hopper": EngineCoefficients(
            request_s=0.0262,
            prompt_token_s=1.15e-06,
            eager_launch_s=5.13e-05,
            layer_s=9.18e-06,
            passes=16.4,
            step_s=0.000561,
            sequence_s=3.5e-05,
            stream_stretch=1.03,
            arithmetic_stretch=1.17,
            block_stretch=2.28,
            idle_experts=1,
            cache_stretch=0.93,
            expert_stretch=1.13,
            exchange_stretch=0.97,
            expert_imbalance=0.189,
            handover_s=0.183,
            expert_tile=16,
            pads_groups=True,
            fitted_on="ML.ENERGY v3 text rows on H100",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0204,
            prompt_token_s=1.45e-06,
            eager_launch_s=5.51e-05,
            layer_s=1.11e-05,
            passes=52,
            step_s=8.66e-05,
            sequence_s=2.68e-05,
            stream_stretch=1.01,
            arithmetic_stretch=0.69,
            block_stretch=4.93,
            idle_experts=0.49,
            cache_stretch=1.07,
            expert_stretch=1.51,
            exchange_stretch=1.01,
            expert_imbalance=0.364,
            handover_s=0.173,
            expert_tile=16,
            pads_groups=True,
            fitted_on="ML.ENERGY v3 text rows on B200",
        ),
    },
    "sglang": {
        "hopper": EngineCoefficients(
            request_s=0.0743,
            prompt_token_s=1.24e-06,
            eager_launch_s=8.36e-05,
            layer_s=8.9e-06,
            passes=18.3,
            step_s=0.00114,
            sequence_s=6.75e-06,
            stream_stretch=0.985,
            arithmetic_stretch=1.26,
            block_stretch=2.66,
            idle_experts=0.0151,
            cache_stretch=0.804,
            expert_stretch=0.862,
            exchange_stretch=1.06,
            expert_imbalance=1.3,
            handover_s=0.125,
            fitted_on="silicon points on H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0201,
            prompt_token_s=1.22e-06,
            eager_launch_s=6.52e-05,
            layer_s=9e-06,
            passes=163,
            step_s=7.64e-05,
            sequence_s=2.28e-06,
            stream_stretch=1.21,
            arithmetic_stretch=1.01,
            block_stretch=2.5,
            idle_experts=0.0367,
            cache_stretch=1,
            expert_stretch=1.05,
            exchange_stretch=1.16,
            expert_imbalance=0.353,
            handover_s=0.145,
            fitted_on="silicon points on B200",
        ),
    },
    "trtllm": {
        "hopper": EngineCoefficients(
            request_s=0.0219,
            prompt_token_s=1e-06,
            eager_launch_s=5.42e-05,
            layer_s=6.21e-06,
            passes=14.1,
            step_s=0.000978,
            sequence_s=1.03e-05,
            stream_stretch=0.816,
            arithmetic_stretch=1.49,
            block_stretch=1.58,
            idle_experts=0.16,
            cache_stretch=0.832,
            expert_stretch=1.09,
            exchange_stretch=0.842,
            expert_imbalance=0.272,
            handover_s=0.608,
            fitted_on="silicon points on H100 and H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.0191,
            prompt_token_s=1.31e-06,
            eager_launch_s=4.8e-05,
            layer_s=4.62e-06,
            passes=85.3,
            step_s=5.16e-05,
            sequence_s=1.66e-06,
            stream_stretch=1.04,
            arithmetic_stretch=0.901,
            block_stretch=2.48,
            idle_experts=0.268,
            cache_stretch=1.1,
            expert_stretch=0.899,
            exchange_stretch=0.881,
            expert_imbalance=0.488,
            handover_s=0.105,
            fitted_on="silicon points on B200",
        ),
    },
    "trtllm-1.1": {
        "hopper": EngineCoefficients(
            request_s=0.0214,
            prompt_token_s=1e-06,
            eager_launch_s=5.33e-05,
            layer_s=6.14e-06,
            passes=19,
            step_s=0.000893,
            sequence_s=8.64e-06,
            stream_stretch=0.849,
            arithmetic_stretch=1.41,
            block_stretch=1.55,
            idle_experts=0.118,
            cache_stretch=0.685,
            expert_stretch=1.11,
            exchange_stretch=0.822,
            expert_imbalance=0.269,
            handover_s=0.184,
            fitted_on="silicon points on H100 and H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.019,
            prompt_token_s=1.2e-06,
            eager_launch_s=3.33e-05,
            layer_s=6.99e-06,
            passes=47.8,
            step_s=5.92e-05,
            sequence_s=1.96e-06,
            stream_stretch=0.954,
            arithmetic_stretch=0.941,
            block_stretch=2.92,
            idle_experts=0.426,
            cache_stretch=1.06,
            expert_stretch=1.16,
            exchange_stretch=0.916,
            expert_imbalance=0.368,
            handover_s=0.137,
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


def typical_engine(generation: str) -> EngineCoefficients:
    """Return what engines have in common on a GPU generation; Hopper's for those not measured."""
    key = measured_generation(generation, _SERVING)
    return _TYPICAL.get(key) or _TYPICAL.get(key.split()[0]) or _TYPICAL["hopper"]


def is_measured(generation: str) -> bool:
    """Return whether kernels were measured on a GPU generation."""
    try:
        measured_generation(generation, _SERVING)
    except CatalogError:
        return False
    return True
