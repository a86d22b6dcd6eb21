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


def training_coefficients(generation: str) -> TrainingCoefficients:
    """Return what training software reaches on a GPU generation; CatalogError if unknown."""
    return _TRAINING[_key(generation)]


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
