"""Fit serving coefficients on per-layer profiles: ``python -m analysis.calibration.serving_layers DATA``.

DATA is the folder that holds ``serving/``. LLMServingSim publishes times of every layer of Llama
3.1 8B under vLLM 0.19 on two PCIe cards (RTX 4090, RTX PRO 6000 Blackwell), by new tokens,
sequences and context. Their sums are times of whole iterations without queue, batching rule or
host; coefficients are fitted on those, never on a run of an engine. Prints the coefficients of
each card and the error of single iterations.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.serving import PS_PER_S, serving_profile
from simulator.performance.serving_coefficients import (
    EngineCoefficients,
    ServingCoefficients,
    engine_coefficients,
    serving_coefficients,
)

#: Card as the profiles call it -> catalog name.
CARDS: Final = {"RTX4090": "rtx-4090", "RTXPRO6000": "rtx-pro-6000"}

_MODEL: Final = "llama-3.1-8b"
_LAYERS: Final = ("qkv_proj", "rotary_emb", "o_proj", "gate_up_proj", "act_fn", "down_proj")
_MOST_TOKENS: Final = 2048

#: What one card's profile says something about, in which range; the rest stays as it was.
_FITTED: Final = {
    "launch_s": (1e-7, 2e-5),
    "bandwidth": (0.3, 1.0),
    "peak": (0.2, 1.2),
    "corner": (1.0, 8.0),
    "attention_s": (1e-7, 1e-4),
    "cache_bandwidth": (0.2, 1.0),
    "cache_head_s": (1e-10, 1e-7),
    "prompt_attention": (0.05, 1.0),
    "mixed_context": (1.0, 3.0),
    "layer_s": (1e-7, 1e-4),
    "step_s": (1e-6, 2e-3),
    "sequence_s": (1e-7, 2e-5),
}
_PRODUCT: Final = ("launch_s", "bandwidth", "peak", "corner")
_ENGINE: Final = ("layer_s", "step_s", "sequence_s")

#: The engine that the layers were measured under.
_ENGINE_NAME: Final = "vllm"


@dataclass(frozen=True)
class Iteration:
    """One iteration, and how long its layers took."""

    decodes: int
    context_tokens: int
    """Of each decoding sequence."""
    chunk_tokens: int
    earlier_tokens: int
    measured_s: float


@dataclass(frozen=True)
class LayerProfile:
    """The measured layers of one card; reads the three tables of a folder."""

    folder: Path
    card: str
    tensor_parallel: int = 1

    def _columns(self, table: str, names: tuple[str, ...]) -> list[list[Any]]:
        import pyarrow.parquet as pq

        name = f"v2_{self.card}_Llama-3.1-8B_bf16_tp{self.tensor_parallel}_{table}.parquet"
        found = pq.read_table(self.folder / name)
        return [found[column].to_pylist() for column in names]

    @cached_property
    def _dense_us(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return _curves(*self._columns("dense", ("layer", "tokens", "time_us")))

    @cached_property
    def _sequence_us(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return _curves(*self._columns("per_sequence", ("layer", "sequences", "time_us")))

    @cached_property
    def attention(self) -> list[tuple[int, int, int, int, float]]:
        """(chunk, earlier tokens, decodes, context of each, microseconds of one layer)."""
        names = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
        return list(zip(*self._columns("attention", names), strict=True))

    def dense_s(self, tokens: int, sequences: int, layers: int) -> float:
        """Return the time of everything but attention. [s]"""

        def look(curves: dict[str, Any], name: str, at: int) -> float:
            return float(np.interp(at, *curves[name]))

        layer_us = sum(look(self._dense_us, name, tokens) for name in _LAYERS)
        layer_us += 2.0 * look(self._dense_us, "layernorm", tokens)
        once_us = look(self._dense_us, "embedding", tokens) + look(self._dense_us, "final_layernorm", tokens)
        once_us += sum(look(self._sequence_us, name, sequences) for name in ("lm_head", "sampler"))
        return (layers * layer_us + once_us) * 1e-6


def iterations(profile: LayerProfile, layers: int) -> Iterator[Iteration]:
    """Yield the iterations that a card with a chat's contexts runs."""
    for chunk, earlier, decodes, context, attention_us in profile.attention:
        tokens = chunk + decodes
        usual = 256 <= context <= 4096 and decodes * context <= 400_000 if decodes else True
        if not tokens or tokens > _MOST_TOKENS or earlier > 4096 or not usual:
            continue
        if chunk and (chunk < 128 or (decodes and (earlier or decodes > 64))):
            # Odd corners of the grid: wide decodes beside a prompt are rare and scattered.
            continue
        sequences = decodes + (1 if chunk else 0)
        total_s = profile.dense_s(tokens, sequences, layers) + layers * attention_us * 1e-6
        yield Iteration(decodes, context if decodes else 0, chunk, earlier, total_s)


@dataclass(frozen=True)
class Laws:
    """What a card's kernels reach, and what the engine adds around them."""

    kernels: ServingCoefficients
    engine: EngineCoefficients

    @classmethod
    def shipped(cls, card: str) -> Laws:
        """Return the shipped ones."""
        generation = Catalog.shipped().gpu(CARDS[card]).generation
        return cls(serving_coefficients(generation), engine_coefficients(_ENGINE_NAME, generation))

    def value(self, name: str) -> float:
        """Return one of the fitted numbers."""
        if name in _PRODUCT:
            return float(getattr(self.kernels.products["wide"], name))
        return float(getattr(self.engine if name in _ENGINE else self.kernels, name))

    def with_values(self, values: Mapping[str, float]) -> Laws:
        """Return these laws with other numbers, and without stretches of other parts."""
        wide = replace(self.kernels.products["wide"], **{name: values[name] for name in _PRODUCT})
        kernels: dict[str, Any] = {n: v for n, v in values.items() if n not in (*_PRODUCT, *_ENGINE)}
        around: dict[str, Any] = {name: values[name] for name in _ENGINE}
        return Laws(
            replace(self.kernels, products={**self.kernels.products, "wide": wide}, **kernels),
            replace(
                self.engine,
                stream_stretch=1.0,
                arithmetic_stretch=1.0,
                cache_stretch=1.0,
                **around,
            ),
        )


def predicted_s(card: str, cases: list[Iteration], laws: Laws) -> NDArray[np.float64]:
    """Return the modelled time of each iteration, without the host's. [s]"""
    catalog = Catalog.shipped()
    iteration = serving_profile(
        Architecture.from_spec(catalog.model(_MODEL)),
        catalog.gpu(CARDS[card]),
        tensor_parallel=1,
        cpu_overhead_s=0.0,
        most_tokens=_MOST_TOKENS,
        coefficients=laws.kernels,
        engine_law=laws.engine,
    ).iteration
    return np.array(
        [
            iteration.step_ps(
                case.decodes,
                case.decodes * case.context_tokens,
                [(case.chunk_tokens, case.earlier_tokens)] if case.chunk_tokens else (),
            )
            / PS_PER_S
            for case in cases
        ]
    )


def fit(card: str, cases: list[Iteration], start: Laws) -> Laws:
    """Return the laws with the least squared relative error of iterations."""
    measured_s = np.array([case.measured_s for case in cases])
    names = list(_FITTED)
    low, high = (np.log([_FITTED[name][end] for name in names]) for end in (0, 1))

    def made(logs: NDArray[np.float64]) -> Laws:
        return start.with_values(dict(zip(names, np.exp(logs).tolist(), strict=True)))

    def errors(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(predicted_s(card, cases, made(logs)) / measured_s))

    first = np.clip(np.log([start.value(name) for name in names]), low + 1e-3, high - 1e-3)
    return made(least_squares(errors, first, bounds=(low, high), diff_step=1e-2).x)


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data / "serving" / "profiles" / "llmservingsim"
    for card in CARDS:
        layers = Catalog.shipped().model(_MODEL).layers
        cases = list(iterations(LayerProfile(folder, card), layers))
        start = Laws.shipped(card)
        shipped = predicted_s(card, cases, start) / np.array([case.measured_s for case in cases]) - 1.0
        best = fit(card, cases, start)
        found = predicted_s(card, cases, best) / np.array([case.measured_s for case in cases]) - 1.0
        kinds = np.array(
            ["mixed" if c.decodes and c.chunk_tokens else "decode" if c.decodes else "prompt" for c in cases]
        )
        print(f"{card}: {len(cases)} iterations")
        for title, error in (("shipped", shipped), ("fitted", found)):
            parts = [
                f"{kind} {np.abs(error[kinds == kind]).mean():.1%} (bias {error[kinds == kind].mean():+.1%})"
                for kind in ("decode", "prompt", "mixed")
            ]
            print(f"  {title}: mean absolute error {', '.join(parts)}")
        print("  " + ", ".join(f"{field}={best.value(field):.3g}" for field in _FITTED))


def _curves(
    names: list[str], points: list[int], values: list[float]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for name, point, value in zip(names, points, values, strict=True):
        found.setdefault(name, []).append((point, value))
    return {
        name: (np.array([p for p, _ in sorted(rows)], dtype=float), np.array([v for _, v in sorted(rows)]))
        for name, rows in found.items()
    }


if __name__ == "__main__":
    main()
