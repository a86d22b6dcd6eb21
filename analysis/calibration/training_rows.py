"""Published training steps as cases for the model: rows of ``training_steps.csv`` and its kin."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout

#: Node of each ``gpu_type``, by its beginning; the first that fits counts.
NODES = (
    ("a100_40gb", "hgx-a100-40gb-8"),
    ("A100 (memory", "hgx-a100-8"),
    ("A100", "hgx-a100-8"),
    ("a100_80gb", "hgx-a100-8"),
    ("V100", "hgx-v100-8"),
    ("DGX-H100", "hgx-h100-8"),
    ("DGX-B200", "hgx-b200-8"),
    ("DGX-B300", "hgx-b300-8"),
    ("DGX-GB200", "gb200-nvl72"),
    ("DGX-GB300", "gb300-nvl72"),
)

#: Network bandwidth of one GPU where a row states another than the node's. [B/s]
STATED_NETWORK = (("800 Gb/s per node", 12.5e9),)


@dataclass(frozen=True)
class TrainingCase:
    """One measured step and what it was measured on."""

    source: str
    model: str
    architecture: Architecture
    layout: Layout
    gpu: GpuSpec
    node: NodeSpec
    nic_bandwidth_bytes_per_s: float
    step_s: float


def read_cases(folder: Path, name: str = "training_steps.csv") -> Iterator[TrainingCase]:
    """Yield the complete rows (tier A, or no tier) that their file calls fair.

    The sequence's fused attention and the sharded optimiser follow the era, read from the
    precision: rows in fp16 are from software of 2021 and before, without either.
    """
    catalog = Catalog.shipped()
    shapes: dict[str, dict[str, str]] = {}
    with (folder / "models.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            shapes[row["model"]] = row
    with (folder / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            fair = row.get("fair") or "yes"
            if row["tier"] not in ("", "A") or not fair.startswith("yes") or not row["iter_time_s"]:
                continue
            try:
                layout = _layout(row)
            except LayoutError:
                continue
            if layout.gpus != _count(row["n_gpus"]):
                continue
            gpu_type = row["gpu_type"]
            node = catalog.get("nodes", next(n for start, n in NODES if gpu_type.startswith(start)))
            nic = node.nic_bandwidth_bytes_per_s
            for text, stated in STATED_NETWORK:
                if text in gpu_type:
                    nic = stated
            yield TrainingCase(
                source=_source(row),
                model=row["model"],
                architecture=_architecture(row, shapes.get(row["model"], {})),
                layout=layout,
                gpu=catalog.get("gpus", node.gpu),
                node=node,
                nic_bandwidth_bytes_per_s=nic,
                step_s=float(row["iter_time_s"]),
            )


def _layout(row: dict[str, str]) -> Layout:
    precision = row["precision"].lower()
    if "fp4" in precision:
        precision = "fp4"
    elif "fp8" in precision:
        precision = "fp8"
    elif "bf16" in precision:
        precision = "bf16"
    old = precision == "fp16"
    pipeline = _count(row["PP"], 1)
    sharded = row["FSDP"] not in ("", "0", "1")
    return Layout(
        tensor_parallel=_count(row["TP"], 1),
        pipeline_parallel=pipeline,
        data_parallel=_count(row["DP"], 1),
        context_parallel=_count(row["CP"], 1),
        expert_parallel=_count(row["EP"], 1),
        interleave=_count(row["VP_interleave"], 1) if pipeline > 1 else 1,
        micro_batch=_count(row["micro_batch"], 1),
        global_batch=_count(row["global_batch_seqs"]),
        context_tokens=_count(row["seq_len"]),
        sequence_parallel=row["seq_parallel"] != "0",
        recompute=row["recompute"] or "none",
        zero_stage=3 if sharded else 0 if old else 1,
        precision=precision,
        fused_attention=not old,
    )


def _architecture(row: dict[str, str], shape: dict[str, str]) -> Architecture:
    def number(column: str, default: int = 0) -> int:
        return _count(row.get(column) or shape.get(column) or "", default)

    heads = number("heads")
    gpt = row["family"] in ("gpt-dense", "mpt-dense")
    gated = (shape.get("gated_mlp") or ("0" if gpt else "1")) == "1"
    experts = number("experts")
    shared = number("shared_experts")
    return Architecture(
        name=row["model"],
        layers=number("layers"),
        hidden=number("hidden"),
        heads=heads,
        kv_heads=number("kv_heads", heads) or heads,
        head_dim=number("qk_nope_head_dim") or number("head_dim") or number("hidden") // heads,
        ffn=_count(shape.get("ffn") or row["ffn"]),
        vocab=number("vocab", 32_000 if not gpt else 51_200),
        gated_mlp=gated,
        tied_embeddings=gpt,
        experts=experts,
        experts_per_token=number("topk"),
        expert_ffn=number("expert_ffn"),
        shared_ffn=shared * (number("shared_expert_ffn") or number("expert_ffn")),
        dense_layers=number("dense_layers"),
        q_rank=number("q_lora_rank"),
        kv_rank=number("kv_lora_rank"),
        rope_dim=number("qk_rope_head_dim"),
        value_dim=number("v_head_dim"),
        sliding_window=number("sliding_window"),
        windowed_fraction=0.5 if number("sliding_window") else 1.0,
    )


def _source(row: dict[str, str]) -> str:
    first = row["source"].split(" (")[0].split(": ")[0]
    return f"{first}, {row['gpu_type'].split(' ')[0]}" if "Mosaic" in first else first


def _count(text: str, default: int = 0) -> int:
    try:
        return int(float(text)) or default
    except ValueError:
        return default
