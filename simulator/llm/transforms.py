"""Smaller models made from a large one: pruned in depth or width, or distilled into a student.

A transform changes the shape, hence bytes, time and watts; what it costs in quality is quoted from
publications and never computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from simulator.foundation.errors import LayoutError
from simulator.foundation.names import hint
from simulator.llm.architecture import Architecture

#: Widths that kernels like: kept widths are rounded to a multiple of this.
_WIDTH_STEP: Final = 128


@dataclass(frozen=True, slots=True)
class TransformKind:
    """One way to make a model smaller.

    Parameters
    ----------
    title
        For people.
    quality
        What a publication measured, with its source.
    """

    title: str
    quality: str


#: By name in a scenario.
TRANSFORMS: Final[Mapping[str, TransformKind]] = MappingProxyType(
    {
        "prune-depth": TransformKind(
            "layers dropped, then distilled from the whole model",
            "Llama 3.1 8B with 16 of 32 layers, distilled on 94 B tokens: MMLU 65.3 to 58.7 (Sreenivas et "
            "al. 2024, arXiv:2408.11796)",
        ),
        "prune-width": TransformKind(
            "hidden and feed-forward width cut, then distilled from the whole model",
            "Llama 3.1 8B with hidden 3,072 of 4,096 and feed-forward 9,216 of 14,336, distilled on 94 B "
            "tokens: MMLU 65.3 to 60.5 (Sreenivas et al. 2024, arXiv:2408.11796)",
        ),
        "distill": TransformKind(
            "a student of its own shape, trained on the large model's answers",
            "DeepSeek-R1 into Qwen 2.5 32B: AIME 2024 79.8 to 72.6, MATH-500 97.3 to 94.3 (DeepSeek 2025, "
            "arXiv:2501.12948)",
        ),
    }
)


def transformed(
    architecture: Architecture,
    kind: str,
    *,
    keep_fraction: float = 1.0,
    student: Architecture | None = None,
) -> Architecture:
    """Return the smaller model.

    Parameters
    ----------
    kind
        ``prune-depth``, ``prune-width`` or ``distill``.
    keep_fraction
        Of the layers, or of the hidden and feed-forward widths, that stay; for pruning.
    student
        The model distilled into; for ``distill``.

    Raises
    ------
    LayoutError
        If nothing would be left, or the student is larger than its teacher.
    """
    if kind not in TRANSFORMS:
        raise LayoutError(f"no transform {kind!r}; {hint(kind, TRANSFORMS)}")
    if kind == "distill":
        if student is None:
            raise LayoutError("distill: name the student")
        if student.active_parameters > architecture.active_parameters:
            raise LayoutError(
                f"distill: {student.name} has {student.active_parameters / 1e9:.3g} B active weights, more "
                f"than its teacher {architecture.name} with {architecture.active_parameters / 1e9:.3g} B"
            )
        return replace(student, name=f"{student.name} (distilled from {architecture.name})")
    name = f"{architecture.name} ({kind} to {keep_fraction:.0%})"
    if kind == "prune-depth":
        layers = max(1, round(architecture.layers * keep_fraction))
        dense = min(architecture.dense_layers, layers)
        return replace(architecture, name=name, layers=layers, dense_layers=dense)
    return replace(
        architecture,
        name=name,
        hidden=_kept(architecture.hidden, keep_fraction),
        ffn=_kept(architecture.ffn, keep_fraction),
        expert_ffn=_kept(architecture.expert_ffn, keep_fraction),
        shared_ffn=_kept(architecture.shared_ffn, keep_fraction),
    )


def _kept(width: int, fraction: float) -> int:
    if not width:
        return 0
    return max(_WIDTH_STEP, round(width * fraction / _WIDTH_STEP) * _WIDTH_STEP)
