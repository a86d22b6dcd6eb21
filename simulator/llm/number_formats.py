"""Number formats of weights and of the cache: bytes, the arithmetic they run on, what they cost in quality.

One row a format. Where a GPU has no arithmetic for a format, its weights are widened on the way
in and multiplied in 16 bits: fewer bytes, no more arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from simulator.catalog.entries import GpuSpec
from simulator.foundation.errors import CatalogError
from simulator.foundation.names import hint


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are kept and multiplied.

    Parameters
    ----------
    bytes_per_value
        Scales included. [B]
    arithmetic
        Format that multiplies them where the GPU has it; ``bf16`` for narrow formats that are
        only ever widened.
    quality
        What a publication measured against 16 bits, with its source; nothing here recomputes it.
    """

    bytes_per_value: float
    arithmetic: str
    quality: str

    @property
    def is_narrow(self) -> bool:
        """Return whether a value takes less than 16 bits."""
        return self.bytes_per_value < 2.0

    def path(self, gpu: GpuSpec) -> str:
        """Return which products run: ``wide`` (16 bits), ``fp8``, ``fp4``, or ``widened``."""
        if not self.is_narrow:
            return "wide"
        if self.arithmetic == "bf16" or gpu.flop_per_s(self.arithmetic) is None:
            return "widened"
        return self.arithmetic

    def peak_flop_per_s(self, gpu: GpuSpec) -> float:
        """Return the dense peak these weights are multiplied at; CatalogError if blank. [flop/s]"""
        native = gpu.flop_per_s(self.arithmetic)
        if native is None and self.is_narrow:
            native = gpu.fp16_flop_per_s if gpu.bf16_flop_per_s is None else gpu.bf16_flop_per_s
        if native is None:
            raise CatalogError(
                f"GPU {gpu.name} has no {self.arithmetic} arithmetic in the catalog; choose another "
                f"precision, or set catalog.gpus.{gpu.name}.{self.arithmetic} in the scenario"
            )
        return native


_SIXTEEN: Final = "reference"

#: Weights by name in a scenario. Scales: one FP16 for 128 values (int4), one byte for 16 (nvfp4)
#: or 32 (mxfp4).
WEIGHTS: Final[Mapping[str, WeightFormat]] = MappingProxyType(
    {
        "fp32": WeightFormat(4.0, "fp32", _SIXTEEN),
        "tf32": WeightFormat(4.0, "tf32", _SIXTEEN),
        "bf16": WeightFormat(2.0, "bf16", _SIXTEEN),
        "fp16": WeightFormat(2.0, "fp16", _SIXTEEN),
        "fp8": WeightFormat(
            1.0,
            "fp8",
            "W8A8-FP8 keeps 99.9 % of the bf16 score on Open LLM Leaderboard v1 and v2, Llama 3.1 8B to "
            "405B (Kurtic et al. 2024, arXiv:2411.02355)",
        ),
        "int4": WeightFormat(
            0.5 + 2.0 / 128.0,
            "bf16",
            "W4A16 keeps 98.9 % (8B) to 99.6 % (405B) of the bf16 score on Open LLM Leaderboard v1 and "
            "v2 (Kurtic et al. 2024, arXiv:2411.02355)",
        ),
        "nvfp4": WeightFormat(
            0.5 + 1.0 / 16.0,
            "fp4",
            "DeepSeek-R1-0528 from FP8 to NVFP4: MMLU-Pro 85 to 84, GPQA 81 to 80, LiveCodeBench 77 to 76 "
            "(NVIDIA, Introducing NVFP4, 2025)",
        ),
        "mxfp4": WeightFormat(
            0.5 + 1.0 / 32.0,
            "fp4",
            "gpt-oss is released so, trained with the format in mind; no 16-bit reference is published "
            "(OpenAI model card 2025, arXiv:2508.10925)",
        ),
    }
)

#: ``fp4`` of earlier scenarios is NVFP4.
ALIASES: Final[Mapping[str, str]] = MappingProxyType({"fp4": "nvfp4"})

#: Bytes of one remembered value by name in a scenario.
CACHES: Final[Mapping[str, float]] = MappingProxyType({"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0})


def weight_format(precision: str) -> WeightFormat:
    """Return the format of a name in a scenario; CatalogError names the nearest if unknown."""
    name = ALIASES.get(precision, precision)
    if name not in WEIGHTS:
        raise CatalogError(f"unknown precision of weights {precision!r}; {hint(precision, WEIGHTS)}")
    return WEIGHTS[name]
