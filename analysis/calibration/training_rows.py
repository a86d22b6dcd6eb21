"""Published training steps as cases for the model: rows of ``training_steps.csv`` and its kin."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.memory import training_memory
from simulator.performance.coefficients import TrainingCoefficients
from simulator.performance.training import TrainingProfile, estimate

#: Node of each ``gpu_type``, by its beginning; the first that fits counts.
NODES = (
    ("a100_40gb", "hgx-a100-40gb-8"),
    ("a100", "hgx-a100-8"),
    ("v100", "hgx-v100-8"),
    ("dgx-h100", "hgx-h100-8"),
    ("h100", "hgx-h100-8"),
    ("h200", "hgx-h200-8"),
    ("dgx-h200", "hgx-h200-8"),
    ("dgx-b200", "hgx-b200-8"),
    ("b200", "hgx-b200-8"),
    ("dgx-b300", "hgx-b300-8"),
    ("b300", "hgx-b300-8"),
    ("dgx-gb200", "gb200-nvl72"),
    ("gb200", "gb200-nvl72"),
    ("dgx-gb300", "gb300-nvl72"),
    ("gb300", "gb300-nvl72"),
)

#: Network bandwidth of one GPU where a row states another than the node's. [B/s]
STATED_NETWORK = (("800 Gb/s per node", 12.5e9),)

#: Generations whose software attended without fused kernels.
UNFUSED = ("Volta", "Ampere")

#: A year and month of a software release, such as "26.04", behind the name of its maker.
RELEASE = re.compile(r"\b(2\d)\.(0[1-9]|1[0-2])\b")

#: A note in ``models.csv`` on a vocabulary that was not read: "256000 fits to 0.1 %".
FITTING_VOCABULARY = re.compile(r"\b(\d{5,6}) fits\b")

Row = Mapping[str, str]


@dataclass(frozen=True)
class TrainingCase:
    """One measured step and what it was measured on.

    Parameters
    ----------
    source, model
        Who printed it, of which model.
    release_year
        When the software came out, as a year with a fraction; None where the row does not say.
    step_s
        Measured seconds of a step; 0 where the row gives none. [s]
    """

    source: str
    model: str
    architecture: Architecture
    layout: Layout
    gpu: GpuSpec
    node: NodeSpec
    nic_bandwidth_bytes_per_s: float
    release_year: float | None
    step_s: float

    @property
    def label(self) -> str:
        """Return model, GPUs and layout in one line."""
        return f"{self.model}, {self.layout.gpus} {self.gpu.name}, {self.layout.describe()}"

    def profile(self, coefficients: TrainingCoefficients | None = None) -> TrainingProfile:
        """Return the predicted step, by the generation's coefficients or by others."""
        return estimate(
            self.architecture,
            self.layout,
            self.gpu,
            self.node,
            nic_bandwidth_bytes_per_s=self.nic_bandwidth_bytes_per_s,
            software_year=self.release_year,
            check_memory=False,
            coefficients=coefficients,
        )


class Shapes:
    """Architectures of the models in ``models.csv``: one name may mean several shapes."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self._named: dict[str, list[Row]] = {}
        for row in rows:
            self._named.setdefault(row["model"], []).append(row)

    @classmethod
    def read(cls, folder: Path) -> Shapes:
        """Return the shapes of ``models.csv`` in a folder."""
        with (folder / "models.csv").open(newline="", encoding="utf-8") as file:
            return cls(list(csv.DictReader(file)))

    def of(self, row: Row) -> Row:
        """Return what is known of a row's model: the entry whose user is named by its source."""
        found = self._named.get(row["model"], [])
        if not found:
            return {}
        text = row.get("source", "").casefold()

        def fit(shape: Row) -> tuple[bool, int]:
            same = all(
                not row.get(column) or not shape.get(column) or row[column] == shape[column]
                for column in ("layers", "hidden", "heads")
            )
            return same, sum(word.casefold() in text for word in shape.get("used_by", "").split())

        return max(found, key=fit)


def read_cases(folder: Path, name: str = "training_steps.csv") -> Iterator[TrainingCase]:
    """Yield the rows that their file calls fair and that name all that a step depends on."""
    catalog = Catalog.shipped()
    shapes = Shapes.read(folder)
    with (folder / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not (row.get("fair") or "yes").startswith("yes") or not row["iter_time_s"]:
                continue
            try:
                case = case_of(row, shapes, catalog)
            except LayoutError:
                continue
            if case.layout.gpus == _count(row["n_gpus"]):
                yield case


def case_of(row: Row, shapes: Shapes, catalog: Catalog) -> TrainingCase:
    """Return the case that a row describes.

    What rows leave out follows their era and their memory. Rows in fp16 are from software of
    2022 and before, without a sharded optimiser. Megatron on V100 and A100 had no fused attention
    unless a row's notes say "flash"; sharded weights (FSDP) came with it. Where recomputation is not
    printed, the least that fits is taken; a layout that does not fit even with all of it is
    taken to shard its weights, too. A micro-batch that is not printed is one sequence.

    Raises
    ------
    LayoutError
        If the row's degrees contradict each other, or its GPU or its model's sizes are unknown.
    """
    gpu_type = row["gpu_type"]
    named = [node for start, node in NODES if gpu_type.casefold().startswith(start)]
    if not named:
        raise LayoutError(f"GPU {gpu_type!r} is not known; known: {', '.join(start for start, _ in NODES)}")
    node = catalog.node(named[0])
    gpu = catalog.gpu(node.gpu)
    architecture = _architecture(row, shapes.of(row))
    nic = node.nic_bandwidth_bytes_per_s
    for text, stated in STATED_NETWORK:
        if text in gpu_type:
            nic = stated
    layout = _layout(row)
    if gpu.generation in UNFUSED and layout.zero_stage < 3 and "flash" not in row.get("notes", "").lower():
        layout = replace(layout, fused_attention=False)
    if not row["recompute"]:
        layout = _least_recompute(architecture, layout, gpu)
    release = RELEASE.search(row.get("source", ""))
    return TrainingCase(
        source=_source(row),
        model=row["model"],
        architecture=architecture,
        layout=layout,
        gpu=gpu,
        node=node,
        nic_bandwidth_bytes_per_s=nic,
        release_year=2000 + int(release[1]) + (int(release[2]) - 1) / 12 if release else None,
        step_s=float(row["iter_time_s"] or 0.0),
    )


def _least_recompute(architecture: Architecture, layout: Layout, gpu: GpuSpec) -> Layout:
    """Return the layout with the least recomputation that fits the GPU.

    Beyond ``selective``, NVIDIA's software moves activations to the host rather than recompute
    everything, so ``full`` is never inferred; it only shows that weights must be sharded.
    """

    def fits(recompute: str) -> bool:
        needed = training_memory(architecture, replace(layout, recompute=recompute))
        return needed.total_bytes <= gpu.memory_bytes

    if fits("none"):
        return layout
    if fits("selective") or fits("full") or layout.pipeline_parallel > 1:
        return replace(layout, recompute="selective")
    return replace(layout, recompute="selective", zero_stage=3)


def _layout(row: Row) -> Layout:
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
    )


def _architecture(row: Row, shape: Row) -> Architecture:
    def number(column: str, default: int = 0) -> int:
        return _count(row.get(column) or shape.get(column) or "", default)

    heads = number("heads")
    if not heads or not number("hidden") or not number("layers"):
        raise LayoutError(f"model {row['model']!r}: its layers, width or heads are not printed")
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
        vocab=number("vocab") or _vocabulary(shape, gated=gated),
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
        mtp_layers=number("mtp_layers"),
    )


def _vocabulary(shape: Row, *, gated: bool) -> int:
    """Return a vocabulary that is not printed: what fits the published FLOP, or the family's own."""
    noted = FITTING_VOCABULARY.search(shape.get("source", ""))
    if noted:
        return int(noted[1])
    return 32_000 if gated else 51_200


def _source(row: Row) -> str:
    first = row["source"].split(" (")[0].split(": ")[0]
    return f"{first}, {row['gpu_type'].split(' ')[0]}" if "Mosaic" in first else first


def _count(text: str, default: int = 0) -> int:
    try:
        return int(float(text)) or default
    except ValueError:
        return default
