"""Peaks of a GPU, and the time that the tighter of arithmetic and memory allows."""

from __future__ import annotations

from simulator.catalog.entries import GpuSpec
from simulator.foundation.errors import CatalogError


def peak_flop_per_s(gpu: GpuSpec, precision: str) -> float:
    """Return the dense peak of a GPU, or raise CatalogError naming what is blank. [flop/s]"""
    peak = gpu.flop_per_s(precision)
    if peak is None:
        raise CatalogError(
            f"GPU {gpu.name} has no {precision} arithmetic in the catalog; choose another "
            f"precision, or set catalog.gpus.{gpu.name}.{precision} in the scenario"
        )
    return peak


def peak_16_bit_flop_per_s(gpu: GpuSpec) -> float:
    """Return the dense 16-bit peak: bf16, or fp16 where a GPU knows no bf16. [flop/s]"""
    return peak_flop_per_s(gpu, "fp16" if gpu.bf16_flop_per_s is None else "bf16")


def roofline_s(flop: float, moved_bytes: float, flop_per_s: float, bytes_per_s: float) -> float:
    """Return the time of a kernel that overlaps arithmetic and memory perfectly. [s]

    Examples
    --------
    >>> roofline_s(4e12, 1e9, 1e12, 1e12)
    4.0
    """
    arithmetic_s = flop / flop_per_s
    streamed_s = moved_bytes / bytes_per_s
    return arithmetic_s if arithmetic_s > streamed_s else streamed_s
