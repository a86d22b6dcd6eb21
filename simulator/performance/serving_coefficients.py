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


@dataclass(frozen=True, slots=True)
class EngineCoefficients:
    """What a serving engine adds around its kernels on one GPU generation.

    Parameters
    ----------
    layer_s
        Norms, positions, activations and gaps of one layer. [s]
    eager_layer_s, captured_tokens
        Least time of a layer whose launches were not captured in a graph, and the widest
        iteration that was. [s], [tokens]
    step_s
        Of an iteration: what of scheduling, sampling and detokenising does not hide. [s]
    sequence_s
        The same of each sequence. [s]
    request_s
        From a request's arrival at the server to the engine and from the engine's first token
        to the user: no part of an iteration. [s]
    stream_stretch, arithmetic_stretch
        Weights and arithmetic of products against what the operation tables say.
    cache_stretch
        Reading remembered tokens, likewise.
    expert_stretch, expert_imbalance
        Grouped products, likewise; and by how much the fullest of many ranks exceeds the mean.
    exchange_stretch
        All-reduces and dispatches, likewise.
    fitted_on
        Rows that fixed these numbers.
    """

    layer_s: float
    step_s: float
    sequence_s: float
    request_s: float = 0.02
    eager_layer_s: float = 60e-6
    captured_tokens: int = 512
    stream_stretch: float = 1.0
    arithmetic_stretch: float = 1.0
    cache_stretch: float = 1.0
    expert_stretch: float = 1.0
    expert_imbalance: float = 0.4
    exchange_stretch: float = 1.0
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

_ENGINES: Final[Mapping[str, Mapping[str, EngineCoefficients]]] = {
    "vllm": {
        "hopper": EngineCoefficients(
            request_s=0.025,
            layer_s=1.03e-05,
            step_s=0.00071,
            sequence_s=1.3e-05,
            stream_stretch=1.01,
            arithmetic_stretch=1.04,
            cache_stretch=1.11,
            expert_stretch=1.17,
            exchange_stretch=1.11,
            expert_imbalance=0.33,
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
            request_s=0.057,
            layer_s=8.5e-06,
            step_s=0.0008,
            sequence_s=1.5e-05,
            stream_stretch=0.955,
            arithmetic_stretch=1.1,
            cache_stretch=1.07,
            expert_stretch=1.14,
            exchange_stretch=1.37,
            expert_imbalance=0.37,
            fitted_on="silicon points on B200",
        ),
    },
    "vllm-0.11": {
        "hopper": EngineCoefficients(
            request_s=0.025,
            layer_s=1.05e-05,
            step_s=0.00096,
            sequence_s=4.3e-05,
            stream_stretch=1.02,
            arithmetic_stretch=1.06,
            cache_stretch=1.03,
            expert_stretch=0.99,
            exchange_stretch=1.36,
            expert_imbalance=0.42,
            fitted_on="ML.ENERGY v3 text rows on H100",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.025,
            layer_s=1.2e-05,
            step_s=0.0016,
            sequence_s=4.8e-05,
            stream_stretch=1.04,
            arithmetic_stretch=0.97,
            cache_stretch=1.13,
            expert_stretch=1.52,
            exchange_stretch=1.1,
            expert_imbalance=0.52,
            fitted_on="ML.ENERGY v3 text rows on B200",
        ),
    },
    "sglang": {
        "hopper": EngineCoefficients(
            request_s=0.22,
            layer_s=1.17e-05,
            step_s=0.00135,
            sequence_s=1e-05,
            stream_stretch=1.0,
            arithmetic_stretch=1.0,
            cache_stretch=0.96,
            expert_stretch=1.07,
            exchange_stretch=1.27,
            expert_imbalance=0.58,
            fitted_on="silicon points on H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.22,
            layer_s=9.5e-06,
            step_s=0.0007,
            sequence_s=1e-05,
            stream_stretch=1.02,
            arithmetic_stretch=1.02,
            cache_stretch=1.01,
            expert_stretch=0.96,
            exchange_stretch=1.3,
            expert_imbalance=0.33,
            fitted_on="silicon points on B200",
        ),
    },
    "trtllm": {
        "hopper": EngineCoefficients(
            request_s=0.067,
            layer_s=7.8e-06,
            step_s=0.00085,
            sequence_s=2e-05,
            stream_stretch=0.89,
            arithmetic_stretch=1.13,
            cache_stretch=0.96,
            expert_stretch=1.17,
            exchange_stretch=1.0,
            expert_imbalance=0.37,
            fitted_on="silicon points on H100 and H200",
        ),
        "blackwell": EngineCoefficients(
            request_s=0.038,
            layer_s=7e-06,
            step_s=0.00036,
            sequence_s=8e-06,
            stream_stretch=0.94,
            arithmetic_stretch=1.08,
            cache_stretch=1.07,
            expert_stretch=1.0,
            exchange_stretch=1.08,
            expert_imbalance=0.44,
            fitted_on="silicon points on B200",
        ),
    },
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
