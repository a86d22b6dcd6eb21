"""Measured efficiency of each GPU generation: a handful of numbers, each with what it was fitted on.

Peaks, bandwidths and watts come from the catalog; what is here says which part of them real
software reaches. One set for each generation; nothing here knows a model or a publication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulator.foundation.errors import CatalogError
from simulator.foundation.names import nearest


@dataclass(frozen=True, slots=True)
class TrainingCoefficients:
    """What training software reaches on one GPU generation.

    Parameters
    ----------
    gemm_efficiency
        Fraction of the dense peak that an endless matrix multiplication reaches.
    gemm_half_size
        Size at which one dimension alone halves that efficiency. [elements]
    fp8_relative_efficiency, fp4_relative_efficiency
        What narrow formats reach of their own peak, relative to ``gemm_efficiency``.
    attention_efficiency
        Fraction of the 16-bit peak that the fused attention core reaches.
    memory_efficiency
        Fraction of memory bandwidth that element-wise kernels reach.
    elementwise_passes
        Times the tensors between matrix multiplications go through memory.
    kernel_s
        Time the host needs to launch one kernel. [s]
    scale_up_efficiency, scale_up_latency_s
        Fraction of the scale-up port that collectives reach; time of one hop. [s]
    collective_s
        Start and end of any collective, whatever its ranks. [s]
    scale_out_efficiency, scale_out_latency_s
        The same for the network between nodes.
    tensor_overlap, pipeline_overlap
        Fraction of tensor- and pipeline-parallel communication that hides behind arithmetic.
    data_overlap
        Fraction of the backward pass that data-parallel communication may hide behind.
    straggler_sigma
        Spread of one rank's step time around the mean, as a fraction.
    fitted_on
        Rows that fixed these numbers.
    """

    gemm_efficiency: float
    gemm_half_size: float
    fp8_relative_efficiency: float
    fp4_relative_efficiency: float
    attention_efficiency: float
    memory_efficiency: float
    elementwise_passes: float
    kernel_s: float
    scale_up_efficiency: float
    scale_up_latency_s: float
    collective_s: float
    scale_out_efficiency: float
    scale_out_latency_s: float
    tensor_overlap: float
    pipeline_overlap: float
    data_overlap: float
    straggler_sigma: float
    fitted_on: str


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


_TRAINING: Final = {
    "volta": TrainingCoefficients(
        gemm_efficiency=0.70,
        gemm_half_size=160.0,
        fp8_relative_efficiency=0.85,
        fp4_relative_efficiency=0.7,
        attention_efficiency=0.30,
        memory_efficiency=0.80,
        elementwise_passes=1.45,
        kernel_s=34e-6,
        scale_up_efficiency=0.75,
        scale_up_latency_s=8e-6,
        collective_s=30e-6,
        scale_out_efficiency=0.80,
        scale_out_latency_s=20e-6,
        tensor_overlap=0.0,
        pipeline_overlap=0.0,
        data_overlap=0.2,
        straggler_sigma=0.002,
        fitted_on="nothing: Ampere with 0.70 of peak for products and the latencies of V100 NCCL tables",
    ),
    "ampere": TrainingCoefficients(
        gemm_efficiency=0.82,
        gemm_half_size=160.0,
        fp8_relative_efficiency=0.85,
        fp4_relative_efficiency=0.7,
        attention_efficiency=0.30,
        memory_efficiency=0.80,
        elementwise_passes=1.45,
        kernel_s=34e-6,
        scale_up_efficiency=0.76,
        scale_up_latency_s=4e-6,
        collective_s=30e-6,
        scale_out_efficiency=0.85,
        scale_out_latency_s=15e-6,
        tensor_overlap=0.0,
        pipeline_overlap=0.0,
        data_overlap=0.2,
        straggler_sigma=0.002,
        fitted_on="SC21 table 1, Korthikanti table 5, MosaicML A100, vTrain; link rates from NCCL tables",
    ),
    "hopper": TrainingCoefficients(
        gemm_efficiency=0.62,
        gemm_half_size=250.0,
        fp8_relative_efficiency=1.06,
        fp4_relative_efficiency=0.7,
        attention_efficiency=0.45,
        memory_efficiency=0.80,
        elementwise_passes=1.45,
        kernel_s=8e-6,
        scale_up_efficiency=0.8,
        scale_up_latency_s=3e-6,
        collective_s=20e-6,
        scale_out_efficiency=0.85,
        scale_out_latency_s=15e-6,
        tensor_overlap=0.5,
        pipeline_overlap=0.8,
        data_overlap=0.5,
        straggler_sigma=0.005,
        fitted_on="FP8: Llama 3 8B, 70B, NVIDIA 25.09 to 26.04; BF16: level of Llama 3 405B, table 4 row 1",
    ),
    "blackwell": TrainingCoefficients(
        gemm_efficiency=0.66,
        gemm_half_size=340.0,
        fp8_relative_efficiency=0.85,
        fp4_relative_efficiency=0.62,
        attention_efficiency=0.40,
        memory_efficiency=0.80,
        elementwise_passes=1.45,
        kernel_s=6e-6,
        scale_up_efficiency=0.74,
        scale_up_latency_s=3e-6,
        collective_s=20e-6,
        scale_out_efficiency=0.85,
        scale_out_latency_s=15e-6,
        tensor_overlap=0.3,
        pipeline_overlap=0.9,
        data_overlap=0.8,
        straggler_sigma=0.005,
        fitted_on="Llama 3 8B and 70B in FP8 and NVFP4 on B200 and GB200, NVIDIA 25.09 to 26.04",
    ),
}

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


def training_coefficients(generation: str) -> TrainingCoefficients:
    """Return what training software reaches on a GPU generation; CatalogError if unknown."""
    return _TRAINING[_key(generation)]


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
    if key in _TRAINING:
        return key
    first = key.split()[0] if key.strip() else ""
    if first in _TRAINING:  # "Blackwell Ultra" is Blackwell with more of it
        return first
    near = nearest(key, _TRAINING)
    hint = f"did you mean {near!r}? " if near else ""
    raise CatalogError(
        f"GPU generation {generation!r} has no measured efficiencies; {hint}known: "
        f"{', '.join(_TRAINING)}; set catalog.gpus.NAME.generation to the nearest of them"
    )
