"""Score decoding time and watts on measured rows: ``python -m analysis.calibration.serving_quick DATA``.

DATA is the folder that holds ``serving/``. Two sources: ML.ENERGY text rows (inter-token
latency, tokens a second, watts; the coefficients were fitted on these) and AIConfigurator's
silicon points (time per output token at a fixed concurrency; not fitted on). Prints mean
absolute error and bias by GPU. Steady state only: time to first token needs the batching
engine and is scored elsewhere.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError, LayoutError
from simulator.llm.architecture import Architecture
from simulator.performance.serving import PS_PER_S, ServingProfile, prefill_pairs, serving_profile

#: Shapes of measured models that the shipped catalog does not name; public configurations.
_SHAPES = (
    Architecture("qwen3-8b", 36, 4096, 32, 8, 128, 12288, 151_936),
    Architecture("qwen3-14b", 40, 5120, 40, 8, 128, 17408, 151_936),
    Architecture("qwen3-32b", 64, 5120, 64, 8, 128, 25600, 151_936),
    Architecture(
        "qwen3-coder-480b-a35b",
        62,
        6144,
        96,
        8,
        128,
        0,
        151_936,
        experts=160,
        experts_per_token=8,
        expert_ffn=2560,
    ),
)

#: Catalog or local name by the beginning of a published model id, most specific first.
_NAMES = (
    ("Qwen/Qwen3-Coder-480B", "qwen3-coder-480b-a35b"),
    ("Qwen/Qwen3-Coder-30B", "qwen3-30b-a3b"),
    ("Qwen/Qwen3-235B", "qwen3-235b-a22b"),
    ("Qwen/Qwen3-30B", "qwen3-30b-a3b"),
    ("Qwen/Qwen3-32B", "qwen3-32b"),
    ("Qwen/Qwen3-14B", "qwen3-14b"),
    ("Qwen/Qwen3-8B", "qwen3-8b"),
    ("deepseek-ai/DeepSeek-", "deepseek-v3"),
    ("meta-llama/Llama-3.1-405B", "llama-3.1-405b"),
    ("meta-llama/Llama-3.1-70B", "llama-3.1-70b"),
    ("meta-llama/Llama-3.3-70B", "llama-3.3-70b"),
    ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
    ("nvidia/Llama-3.1-8B", "llama-3.1-8b"),
)

#: Mean prompt of each ML.ENERGY text task; its table does not say. Estimate. [tokens]
_PROMPT_TOKENS = {"gpqa": 250, "lm-arena-chat": 250, "sourcegraph-fim": 900}

_GPUS = {
    "H100": "h100-sxm",
    "B200": "b200",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200",
    "gb200": "gb200",
}


@dataclass(frozen=True)
class ServingPoint:
    """One measured steady state and what is predicted for it."""

    group: str
    label: str
    measured_s: float
    predicted_s: float
    measured_w: float | None = None
    predicted_w: float | None = None


def energy_points(data: Path) -> Iterator[ServingPoint]:
    """Yield ML.ENERGY text rows: mean time per token is batch over throughput; watts a GPU."""
    path = data / "serving" / "profiles" / "mlenergy" / "llm_energy.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            prompt = _PROMPT_TOKENS.get(row["task"])
            if prompt is None:
                continue
            precision = "fp8" if row["weight_precision"] == "fp8" else "bf16"
            gpus = int(row["num_gpus"])
            profile = _profile(row["model_id"], _GPUS[row["gpu_model"]], gpus, precision)
            if profile is None:
                continue
            batch = max(1, round(float(row["avg_batch_size"])))
            output = float(row["avg_output_len"])
            step = _Step(batch, prompt, output)
            yield ServingPoint(
                group=f"ML.ENERGY {row['gpu_model']} {_kind(profile)}",
                label=f"{row['model_id']} x{gpus} batch {batch}",
                measured_s=float(row["avg_batch_size"]) / float(row["output_throughput_tokens_per_sec"]),
                predicted_s=step.time_s(profile),
                measured_w=float(row["avg_power_watts"]) / gpus,
                predicted_w=step.power_w(profile),
            )


def silicon_points(data: Path) -> Iterator[ServingPoint]:
    """Yield AIConfigurator's aggregated points that use no data-parallel attention."""
    path = data / "serving" / "profiles" / "aiconfigurator" / "silicon_sample.csv.gz"
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["mode"] != "agg" or row["attention_dp_size"] not in ("", "0.0", "1.0"):
                continue
            precision = {"fp8": "fp8", "nvfp4": "fp4"}.get(row["gemm_quant_mode"], "bf16")
            gpus = int(float(row["tp_size"]))
            profile = _profile(row["model_path"], _GPUS[row["system"]], gpus, precision)
            batch = int(float(row["batch_size"]))
            if profile is None or batch > 1024:
                continue
            step = _Step(batch, int(row["isl"]), float(row["osl"]))
            yield ServingPoint(
                group=f"silicon {row['backend']} {row['system']} {_kind(profile)} {precision}",
                label=f"{row['model_path']} x{gpus} batch {batch} {row['isl']}/{row['osl']}",
                measured_s=float(row["silicon_tpot_ms"]) / 1e3,
                predicted_s=step.time_s(profile),
            )


class _Step:
    """The mean iteration of a full batch: decoding, and the prompts that replace finished ones."""

    def __init__(self, batch: int, prompt: int, output: float) -> None:
        arriving = batch / output
        self.sequences = batch
        self.new_tokens = min(8192, batch + round(arriving * prompt))
        self.context_tokens = int(batch * (prompt + output / 2.0))
        self.pairs = int(arriving * prefill_pairs(prompt))

    def time_s(self, profile: ServingProfile) -> float:
        total = profile.iteration.iteration_ps(
            self.new_tokens, self.sequences, self.context_tokens, self.pairs
        )
        return total / PS_PER_S

    def power_w(self, profile: ServingProfile) -> float:
        return profile.iteration_power_w(
            new_tokens=self.new_tokens,
            sequences=self.sequences,
            context_tokens=self.context_tokens,
            prefill_pairs=self.pairs,
        )


@lru_cache(maxsize=1024)
def _profile(model: str, gpu_name: str, gpus: int, precision: str) -> ServingProfile | None:
    known = next((name for start, name in _NAMES if model.startswith(start)), None)
    if known is None:
        return None
    catalog = _catalog()
    local = {shape.name: shape for shape in _SHAPES}
    architecture = local.get(known) or Architecture.from_spec(catalog.get("models", known))
    gpu: GpuSpec = catalog.get("gpus", gpu_name)
    try:
        return serving_profile(architecture, gpu, tensor_parallel=gpus, precision=precision)
    except (CatalogError, LayoutError):
        return None


@lru_cache(maxsize=1)
def _catalog() -> Catalog:
    return Catalog.shipped()


def _kind(profile: ServingProfile) -> str:
    return "experts" if profile.architecture.experts else "dense"


def main(arguments: Sequence[str] | None = None) -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    options = parser.parse_args(arguments)
    groups: dict[str, list[ServingPoint]] = defaultdict(list)
    for points in (energy_points(options.data), silicon_points(options.data)):
        for point in points:
            groups[point.group].append(point)
    for group, points_of_group in sorted(groups.items()):
        times = [point.predicted_s / point.measured_s - 1.0 for point in points_of_group]
        watts = [
            point.predicted_w / point.measured_w - 1.0
            for point in points_of_group
            if point.predicted_w is not None and point.measured_w is not None
        ]
        line = f"{group:44s} {len(times):4d} rows  time MAPE {_mape(times):6.1%} bias {_mean(times):+6.1%}"
        if watts:
            line += f"  watts MAPE {_mape(watts):6.1%} bias {_mean(watts):+6.1%}"
        print(line)


def _mape(errors: Sequence[float]) -> float:
    return sum(abs(error) for error in errors) / len(errors)


def _mean(errors: Sequence[float]) -> float:
    return sum(errors) / len(errors)


if __name__ == "__main__":
    main()
