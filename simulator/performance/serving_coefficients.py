"""Measured efficiency of serving engines and watts of each GPU generation, with what each was fitted on.

Peaks, bandwidths and watts come from the catalog; what is here says which part of them real
software reaches. Nothing here knows a model or a publication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulator.foundation.errors import CatalogError
from simulator.foundation.names import nearest


@dataclass(frozen=True, slots=True)
class ServingCoefficients:
    """What serving engines reach on one GPU generation.

    Parameters
    ----------
    gemm_efficiency
        Fraction of the dense peak that a wide matrix multiplication reaches.
    attention_efficiency
        Fraction of the 16-bit peak that the prompt's attention core reaches.
    weight_efficiency
        Fraction of memory bandwidth at which weights stream.
    cache_efficiency
        Fraction of memory bandwidth at which remembered tokens stream.
    expert_efficiency
        Fraction of both (peak and bandwidth) that grouped products of experts reach, relative
        to the two above.
    layer_s, expert_layer_s
        Fixed time of one layer: kernels that are too small to fill the GPU; and what routing
        adds to a layer of experts. [s]
    reduce_s
        Fixed time of one all-reduce between GPUs of a scale-up domain. [s]
    reduce_efficiency
        Fraction of the scale-up port that an all-reduce reaches.
    sequence_s
        Sampling and bookkeeping of one sequence. [s]
    fitted_on
        Rows that fixed these numbers.
    """

    gemm_efficiency: float
    attention_efficiency: float
    weight_efficiency: float
    cache_efficiency: float
    expert_efficiency: float
    layer_s: float
    expert_layer_s: float
    reduce_s: float
    reduce_efficiency: float
    sequence_s: float
    fitted_on: str


@dataclass(frozen=True, slots=True)
class PowerCoefficients:
    """How much of its thermal design power a GPU draws at each kind of work, at full clock.

    Decoding draws
    ``decode_base + decode_memory x (bandwidth in use) + decode_compute x sqrt(peak in use)``.
    ``loaded_idle`` is used only where the catalog leaves the figure blank.
    """

    loaded_idle: float
    compute: float
    memory: float
    communication: float
    prefill: float
    decode_base: float
    decode_memory: float
    decode_compute: float
    fitted_on: str


_SERVING: Final = {
    "volta": ServingCoefficients(
        gemm_efficiency=0.72,
        attention_efficiency=0.45,
        weight_efficiency=0.78,
        cache_efficiency=0.7,
        expert_efficiency=0.9,
        layer_s=2.4e-05,
        expert_layer_s=4.5e-05,
        reduce_s=2e-05,
        reduce_efficiency=0.6,
        sequence_s=4.5e-05,
        fitted_on="nothing: Hopper's, with slower launches",
    ),
    "ampere": ServingCoefficients(
        gemm_efficiency=0.72,
        attention_efficiency=0.45,
        weight_efficiency=0.78,
        cache_efficiency=0.7,
        expert_efficiency=0.9,
        layer_s=2.4e-05,
        expert_layer_s=4.5e-05,
        reduce_s=2e-05,
        reduce_efficiency=0.6,
        sequence_s=4.5e-05,
        fitted_on="nothing: Hopper's, with slower launches",
    ),
    "hopper": ServingCoefficients(
        gemm_efficiency=0.7,
        attention_efficiency=0.45,
        weight_efficiency=0.78,
        cache_efficiency=0.68,
        expert_efficiency=0.95,
        layer_s=2.1e-05,
        expert_layer_s=3.8e-05,
        reduce_s=1.7e-05,
        reduce_efficiency=0.6,
        sequence_s=4.5e-05,
        fitted_on="ML.ENERGY v3 text rows, H100; checked on silicon points",
    ),
    "blackwell": ServingCoefficients(
        gemm_efficiency=0.65,
        attention_efficiency=0.45,
        weight_efficiency=0.72,
        cache_efficiency=0.6,
        expert_efficiency=0.63,
        layer_s=2e-05,
        expert_layer_s=3e-05,
        reduce_s=2.4e-05,
        reduce_efficiency=0.6,
        sequence_s=3.3e-05,
        fitted_on="ML.ENERGY v3 text rows, B200; checked on silicon points",
    ),
}

#: Training shares are estimates: dense training runs at 0.85 to 0.97 of TDP (POLCA, 8-GPU H100
#: node studies), waiting in a collective near 0.4 of it (POLCA's dips between iterations).
_POWER: Final = {
    "volta": PowerCoefficients(
        loaded_idle=0.22,
        compute=0.92,
        memory=0.7,
        communication=0.42,
        prefill=0.96,
        decode_base=0.49,
        decode_memory=0.14,
        decode_compute=0.6,
        fitted_on="decode and prefill: Hopper's; training: estimate",
    ),
    "ampere": PowerCoefficients(
        loaded_idle=0.2,
        compute=0.92,
        memory=0.7,
        communication=0.42,
        prefill=0.96,
        decode_base=0.49,
        decode_memory=0.14,
        decode_compute=0.6,
        fitted_on="decode and prefill: Hopper's; training: estimate",
    ),
    "hopper": PowerCoefficients(
        loaded_idle=0.18,
        compute=0.92,
        memory=0.7,
        communication=0.42,
        prefill=0.96,
        decode_base=0.49,
        decode_memory=0.14,
        decode_compute=0.6,
        fitted_on="decode: ML.ENERGY v3 text rows, H100; training: estimate",
    ),
    "blackwell": PowerCoefficients(
        loaded_idle=0.18,
        compute=0.92,
        memory=0.7,
        communication=0.42,
        prefill=0.96,
        decode_base=0.3,
        decode_memory=0.6,
        decode_compute=0.7,
        fitted_on="decode: ML.ENERGY v3 text rows, B200; training: estimate",
    ),
}


_UNMEASURED_POWER: Final = PowerCoefficients(
    loaded_idle=0.20,
    compute=0.92,
    memory=0.70,
    communication=0.42,
    prefill=0.95,
    decode_base=0.45,
    decode_memory=0.25,
    decode_compute=0.60,
    fitted_on="nothing: between Hopper's and Blackwell's",
)


def serving_coefficients(generation: str) -> ServingCoefficients:
    """Return what serving engines reach on a GPU generation; CatalogError if unknown."""
    return _SERVING[_key(generation)]


def power_coefficients(generation: str) -> PowerCoefficients:
    """Return how a GPU generation draws power; a middling set for one that nobody measured.

    Unlike time, watts between idle and design power can be guessed for any part, and jobs of
    which only a run time is known need nothing else.
    """
    try:
        return _POWER[_key(generation)]
    except CatalogError:
        return _UNMEASURED_POWER


def _key(generation: str) -> str:
    key = generation.casefold()
    if key in _SERVING:
        return key
    first = key.split()[0] if key.strip() else ""
    if first in _SERVING:  # "Blackwell Ultra" is Blackwell with more of it
        return first
    near = nearest(key, _SERVING)
    hint = f"did you mean {near!r}? " if near else ""
    raise CatalogError(
        f"GPU generation {generation!r} has no measured efficiencies; {hint}known: "
        f"{', '.join(_SERVING)}; set catalog.gpus.NAME.generation to the nearest of them"
    )
