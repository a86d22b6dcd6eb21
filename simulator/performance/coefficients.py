"""Measured efficiency of each GPU generation: a handful of numbers, each with what it was fitted on.

Peaks, bandwidths and watts come from the catalog; what is here says which part of them real
software reaches. One set for each generation; nothing here knows a model or a publication.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from simulator.performance.generations import measured_generation

#: Rows, columns and depth of what counts as a large product. [elements]
LARGE_PRODUCT: Final = 8192.0


@dataclass(frozen=True, slots=True)
class TrainingCoefficients:
    """What training software reaches on one GPU generation.

    Parameters
    ----------
    gemm_efficiency
        Fraction of the dense peak that an endless matrix multiplication reaches.
    gemm_half_size
        Size at which one dimension alone halves that efficiency. [elements]
    attention_efficiency
        Fraction of the 16-bit peak that the fused attention core reaches at heads of 128.
    exponential_head_size
        Head size at which the core's exponentials cost as much as its products. [elements]
    kernel_s
        Time the host needs to launch one kernel. [s]
    multiprocessors
        Of one GPU; rounds of tiles are counted over them. [count]
    scale_up_efficiency, scale_up_latency_s
        Fraction of the scale-up port that collectives reach; time of one hop. [s]
    collective_s
        Start and end of any collective, whatever its ranks. [s]
    tensor_overlap, pipeline_overlap
        Fraction of tensor- and pipeline-parallel communication that hides behind arithmetic.
    data_overlap
        Fraction of the backward pass that data-parallel communication may hide behind.
    fitted_on
        Rows that fixed these numbers.
    fp8_relative_efficiency, fp4_relative_efficiency
        What narrow formats reach of their own peak, relative to ``gemm_efficiency``.
    grouped_efficiency, grouped_half_size
        What the experts' grouped products reach of single ones when endless, and the size at
        which one dimension alone halves that. [-], [elements]
    wave_quantisation
        Share of a last, partly filled round of tiles that is lost.
    expert_host_s
        Host time that a layer of experts adds to a pass: routing, counts fetched to the host,
        sorting, start and end of two exchanges. [s]
    memory_efficiency
        Fraction of memory bandwidth that element-wise kernels reach.
    elementwise_passes
        Times the tensors between matrix multiplications go through memory.
    permute_passes
        Times each copy of a token passes memory on its way to its expert and back, in the
        same measure.
    expert_overlap
        Fraction of expert-parallel communication that hides behind arithmetic.
    scale_out_efficiency, scale_out_latency_s
        As scale-up, for the network between nodes.
    straggler_sigma
        Spread of one rank's step time around the mean, as a fraction.
    communication_tax
        What communication that hides behind arithmetic still costs, as a fraction of its time.
    bf16_gradient_bytes
        Bytes of a gradient on the wire in bf16 jobs whose weights are not sharded. Megatron-LM
        summed those in 32 bits by rule; NVIDIA's recipes for Hopper and later do not. [B]
    software_year
        Date of the software that the numbers above describe. [year]
    software_gain_per_year
        Fraction of a step's work that each year of software development takes away.
    """

    gemm_efficiency: float
    gemm_half_size: float
    attention_efficiency: float
    exponential_head_size: float
    kernel_s: float
    multiprocessors: float
    scale_up_efficiency: float
    scale_up_latency_s: float
    collective_s: float
    tensor_overlap: float
    pipeline_overlap: float
    data_overlap: float
    fitted_on: str
    fp8_relative_efficiency: float = 0.955
    fp4_relative_efficiency: float = 0.635
    grouped_efficiency: float = 0.588
    grouped_half_size: float = 780.0
    expert_host_s: float = 3.22e-3
    wave_quantisation: float = 0.164
    memory_efficiency: float = 0.775
    elementwise_passes: float = 1.519
    permute_passes: float = 3.645
    expert_overlap: float = 0.719
    scale_out_efficiency: float = 0.805
    scale_out_latency_s: float = 16.8e-6
    straggler_sigma: float = 0.00338
    communication_tax: float = 0.199
    bf16_gradient_bytes: float = 2.0
    software_year: float = 2026.0
    software_gain_per_year: float = 0.0898

    def product_efficiency(self, precision: str, size: float = LARGE_PRODUCT) -> float:
        """Return the fraction of a precision's peak that products of ``size`` cubed reach."""
        relative = {"fp8": self.fp8_relative_efficiency, "fp4": self.fp4_relative_efficiency}
        endless = self.gemm_efficiency * relative.get(precision, 1.0)
        return endless / (1.0 + 3.0 * self.gemm_half_size / size)


#: A100 rows that fixed Ampere's numbers, and those shared by all.
_AMPERE_ROWS: Final = "SC'21 table 1, Korthikanti table 5, MosaicML A100, vTrain (single node: 1 in 8)"

#: Rows that fixed the numbers of the three generations after it.
_RECENT_ROWS: Final = "NVIDIA's training tables 24.07 to 26.04, dense and experts, FP8, BF16 and NVFP4"

_AMPERE: Final = TrainingCoefficients(
    gemm_efficiency=0.794,
    gemm_half_size=113.6,
    attention_efficiency=0.305,
    exponential_head_size=3.75,
    kernel_s=37.3e-6,
    multiprocessors=108,
    scale_up_efficiency=0.853,
    scale_up_latency_s=5.16e-6,
    collective_s=28.9e-6,
    tensor_overlap=0.0,
    pipeline_overlap=0.0,
    data_overlap=0.194,
    scale_out_efficiency=0.820,
    bf16_gradient_bytes=4.0,
    software_year=2021.5,
    fitted_on=_AMPERE_ROWS,
)

_HOPPER: Final = TrainingCoefficients(
    gemm_efficiency=0.633,
    gemm_half_size=212.7,
    attention_efficiency=0.394,
    exponential_head_size=40.0,
    kernel_s=10.1e-6,
    multiprocessors=132,
    scale_up_efficiency=0.799,
    scale_up_latency_s=3e-6,
    collective_s=20e-6,
    tensor_overlap=0.546,
    pipeline_overlap=0.8,
    data_overlap=0.560,
    software_year=2024.0,
    fitted_on=_RECENT_ROWS,
)

_BLACKWELL: Final = replace(
    _HOPPER,
    gemm_efficiency=0.581,
    attention_efficiency=0.527,
    exponential_head_size=64.0,
    multiprocessors=148,
    software_year=2026.0,
)

#: Volta's rows are unfair ones: nothing of its own is fitted.
_TRAINING: Final = {
    "volta": replace(
        _AMPERE,
        gemm_efficiency=0.70,
        multiprocessors=80,
        scale_up_latency_s=8e-6,
        software_year=2020.0,
        fitted_on="nothing: Ampere with 0.70 of peak for products and the latency of V100 NCCL tables",
    ),
    "ampere": _AMPERE,
    "hopper": _HOPPER,
    "blackwell": _BLACKWELL,
    # Ultra has 1.1 to 1.2 times the watts for the same quoted peak, and sustains more of it.
    "blackwell ultra": replace(_BLACKWELL, gemm_efficiency=0.697),
}


def training_coefficients(generation: str) -> TrainingCoefficients:
    """Return what training software reaches on a GPU generation; CatalogError if unknown."""
    return _TRAINING[measured_generation(generation, _TRAINING)]
