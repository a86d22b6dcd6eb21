"""Training steps for rows with the columns of ``training_steps.csv``: seconds, MFU, bytes, watts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from analysis.calibration.training_rows import TrainingCase, case_of
from analysis.estimation.case_file import Prediction, Row
from analysis.estimation.model_shapes import CatalogShapes
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import DatahallError, LayoutError
from simulator.foundation.units import GIB
from simulator.hardware.roofline import peak_flop_per_s
from simulator.llm.flops import FlopConvention
from simulator.llm.memory import training_memory
from simulator.performance.profile import BREAKDOWN_KEYS
from simulator.performance.training import TrainingProfile

REQUIRED: Final = ("model", "gpu_type", "n_gpus")

PREDICTED: Final = (
    "predicted_step_s",
    "predicted_tflops_per_gpu",
    "predicted_mfu",
    "memory_bytes_per_gpu",
    "power_w_per_gpu",
    *BREAKDOWN_KEYS,
    "flop_convention",
    "layout",
    "assumed",
)

#: Columns that may be blank or absent.
OPTIONAL: Final = (
    *("source", "family", "params_B", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab"),
    *("seq_len", "TP", "PP", "DP", "VP_interleave", "CP", "EP", "FSDP", "micro_batch"),
    *("global_batch_seqs", "precision", "recompute", "seq_parallel", "iter_time_s"),
    *("peak_tflops_used_for_mfu", "tflops_kind"),
)

#: Columns of counts, which must be whole numbers where they are given.
_COUNTS: Final = (
    *("n_gpus", "TP", "PP", "DP", "VP_interleave", "CP", "EP"),
    *("micro_batch", "global_batch_seqs", "seq_len"),
)

#: GPUs by what their name contains, and how `case_of` calls them; the first that fits counts.
_GPUS: Final = (
    (r"a100.{0,8}40 ?gb", "a100_40gb"),
    (r"gb300", "gb300"),
    (r"gb200", "gb200"),
    (r"b300", "b300"),
    (r"b200", "b200"),
    (r"h200", "h200"),
    (r"h100", "h100"),
    (r"a100", "a100"),
    (r"v100", "v100"),
)

#: Tokens of a step where a row gives no batch: as published runs of 2023 to 2025 use.
_BATCH_TOKENS: Final = 4_194_304

_MICRO_BATCHES: Final = (1, 2, 4, 8, 16, 32)


def predictor(catalog: Catalog) -> Callable[[Row], Prediction]:
    """Return the function from a row to its prediction."""
    shapes = CatalogShapes(catalog)

    def predict(row: Row) -> Prediction:
        open_row = OpenRow.of(row)
        assumed = list(open_row.assumed)
        tried = [(case, case.profile()) for case in open_row.cases(shapes, catalog)]
        case, profile = min(tried, key=_preference)
        if len(tried) > 1:
            assumed.append(f"{', '.join(open_row.searched)}: fastest of {len(tried)}")
        assumed += shapes.assumed(row)
        return _answer(open_row.row, case, profile, assumed)

    return predict


@dataclass(frozen=True)
class OpenRow:
    """A row with defaults for what it leaves out, and what is still to be chosen.

    Parameters
    ----------
    row
        Every column, blanks filled where one value is the obvious one.
    assumed
        Each default in words.
    searched
        Columns whose values are chosen as the fastest that fits.
    """

    row: Mapping[str, str]
    assumed: tuple[str, ...]
    searched: tuple[str, ...]

    @classmethod
    def of(cls, said: Row) -> OpenRow:
        """Return a row completed; LayoutError where it contradicts itself."""
        row = {**dict.fromkeys(OPTIONAL, ""), **said}
        assumed: list[str] = []
        for column in _COUNTS:
            row[column] = _whole(column, row[column])
        row["gpu_type"] = _gpu(row["gpu_type"])
        gpus = int(row["n_gpus"] or 0)
        context = int(row["CP"] or 1)
        if row["CP"] == "":
            row["CP"] = "1"
        degrees = [int(row[column]) if row[column] else None for column in ("TP", "PP", "DP")]
        if not gpus:
            if None in degrees:
                raise LayoutError("n_gpus is blank, and TP, PP and DP are not all given")
            gpus = int(row["TP"]) * int(row["PP"]) * int(row["DP"]) * context
            row["n_gpus"] = str(gpus)
            assumed.append(f"n_gpus {gpus}: the product of the degrees")
        searched: list[str] = []
        given = context
        for degree in degrees:
            given *= degree or 1
        if gpus % given:
            raise LayoutError(f"{_said(row)} = {given} ranks do not divide n_gpus {gpus}")
        if degrees[2] is None and not (degrees[0] is None and degrees[1] is None):
            row["TP"], row["PP"] = row["TP"] or "1", row["PP"] or "1"
            row["DP"] = str(gpus // (context * int(row["TP"]) * int(row["PP"])))
            assumed.append(f"DP {row['DP']}: what the other degrees leave")
        elif None in degrees:
            searched += [column for column in ("TP", "PP", "DP") if not row[column]]
        elif given != gpus:
            raise LayoutError(f"{_said(row)} = {given} ranks, and n_gpus is {gpus}")
        if not row["seq_len"]:
            row["seq_len"] = "8192" if "a100" not in row["gpu_type"] else "2048"
            assumed.append(f"seq_len {row['seq_len']}")
        if not row["precision"]:
            row["precision"] = "fp16" if row["gpu_type"].startswith("v100") else "bf16"
            assumed.append(f"precision {row['precision']}")
        if not row["global_batch_seqs"]:
            unit = int(row["DP"] or 1) * int(row["micro_batch"] or 1)
            batch = max(1, round(_BATCH_TOKENS / int(row["seq_len"]) / unit)) * unit
            row["global_batch_seqs"] = str(batch)
            assumed.append(f"global_batch_seqs {batch}: about four million tokens")
        if not row["micro_batch"]:
            searched.append("micro_batch")
        if not row["VP_interleave"] and row["PP"] != "1":
            searched.append("VP_interleave")
        if row["EP"] == "":
            row["EP"] = "1"
        return cls(row, tuple(assumed), tuple(searched))

    def cases(self, shapes: CatalogShapes, catalog: Catalog) -> list[TrainingCase]:
        """Return the case of every choice that divides.

        Raises
        ------
        DatahallError
            If there is none: what is wrong with the first one.
        """
        found: list[TrainingCase] = []
        first: DatahallError | None = None
        for choice in self._choices(shapes):
            try:
                case = case_of({**self.row, **choice}, shapes, catalog)
                # Layouts that the step model refuses are no choice.
                case.profile()
            except DatahallError as error:
                first = first or error
                continue
            found.append(case)
        if not found:
            raise first or LayoutError("no way to cut the model over the GPUs")
        return found

    def _choices(self, shapes: CatalogShapes) -> Iterator[dict[str, str]]:
        row = self.row
        layers = shapes.layers(row)
        for tensor, pipeline, data in self._degrees():
            micros = [int(row["micro_batch"])] if row["micro_batch"] else _MICRO_BATCHES
            chunks = [int(row["VP_interleave"])] if row["VP_interleave"] else _interleaves(layers, pipeline)
            for micro, chunk in itertools.product(micros, chunks):
                yield {
                    "TP": str(tensor),
                    "PP": str(pipeline),
                    "DP": str(data),
                    "micro_batch": str(micro),
                    "VP_interleave": str(chunk),
                }

    def _degrees(self) -> Iterator[tuple[int, int, int]]:
        row = self.row
        ranks = int(row["n_gpus"]) // int(row["CP"])
        for tensor in [int(row["TP"])] if row["TP"] else [n for n in (1, 2, 4, 8) if ranks % n == 0]:
            rest = ranks // tensor
            if row["PP"]:
                stages = [int(row["PP"])]
            elif row["DP"]:
                stages = [rest // int(row["DP"])]
            else:
                stages = [n for n in range(1, min(rest, 128) + 1) if rest % n == 0]
            for pipeline in stages:
                data = int(row["DP"]) if row["DP"] else rest // pipeline
                if pipeline and tensor * pipeline * data == ranks:
                    yield tensor, pipeline, data


def _interleaves(layers: int, stages: int) -> list[int]:
    """Return the chunks a stage may have: those that divide its layers."""
    if stages == 1 or layers % stages:
        return [1]
    each = layers // stages
    return [chunk for chunk in range(1, each + 1) if each % chunk == 0]


def _preference(found: tuple[TrainingCase, TrainingProfile]) -> tuple[float, float]:
    """Return what orders choices: those that fit by time, then the rest by how much is missing."""
    case, profile = found
    need = training_memory(case.architecture, case.layout).total_bytes
    missing = max(0.0, need - case.gpu.memory_bytes)
    return missing, profile.step_s


def _answer(
    row: Mapping[str, str], case: TrainingCase, profile: TrainingProfile, assumed: list[str]
) -> Prediction:
    counted, useful = conventions(row)
    step_s, power_w = profile.at(1.0, 1.0)
    stated = _number("peak_tflops_used_for_mfu", row)
    peak = stated * 1e12 if stated else peak_flop_per_s(case.gpu, case.layout.precision)
    memory = training_memory(case.architecture, case.layout).total_bytes
    if memory > case.gpu.memory_bytes:
        assumed.append(
            f"needs {memory / GIB:.0f} GiB of {case.gpu.memory_bytes / GIB:.0f} GiB as counted here; "
            "estimated all the same"
        )
    if not row["recompute"]:
        assumed.append(f"recompute {case.layout.recompute}: the least that fits")
    if not row["tflops_kind"]:
        assumed.append(f"FLOP counted as {counted.value}")
    return {
        "predicted_step_s": step_s,
        "predicted_tflops_per_gpu": profile.flop_per_gpu(counted) / step_s / 1e12,
        "predicted_mfu": profile.flop_per_gpu(useful) / step_s / peak,
        "memory_bytes_per_gpu": memory,
        "power_w_per_gpu": power_w,
        **{key: profile.breakdown[key] for key in BREAKDOWN_KEYS},
        "flop_convention": counted.value,
        "layout": case.layout.describe(),
        "assumed": "; ".join(assumed),
    }


def conventions(row: Mapping[str, str]) -> tuple[FlopConvention, FlopConvention]:
    """Return which operations a row's TFLOP/s count, and which its MFU counts.

    The MFU never counts recomputation; attention counts in both as the row says, in full where
    it does not. ``tflops_kind`` says ``hardware`` where recomputation counts, ``causal`` where
    half of attention does.
    """
    kind = row["tflops_kind"].casefold()
    causal = "causal" in kind
    useful = FlopConvention.MODEL_CAUSAL if causal else FlopConvention.MODEL_FULL
    if "hardware" in kind and not kind.startswith("model"):
        return (FlopConvention.HARDWARE_CAUSAL if causal else FlopConvention.HARDWARE_FULL), useful
    return useful, useful


def _gpu(text: str) -> str:
    for pattern, name in _GPUS:
        if re.search(pattern, text.casefold()):
            return text if text.casefold().startswith(name) else f"{name} {text}"
    known = ", ".join(name for _, name in _GPUS)
    raise LayoutError(f"gpu_type {text!r} is not known; known: {known}")


def _said(row: Mapping[str, str]) -> str:
    return " x ".join(f"{column} {row[column]}" for column in ("TP", "PP", "CP", "DP") if row[column])


def _whole(column: str, text: str) -> str:
    if not text:
        return ""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1 <= value < 1e9 or value != int(value):
        raise LayoutError(f"{column} is {text!r}; expected a whole number of at least 1, or a blank")
    return str(int(value))


def _number(column: str, row: Mapping[str, str]) -> float:
    if not row[column]:
        return 0.0
    try:
        value = float(row[column])
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise LayoutError(f"{column} is {row[column]!r}; expected a number, or a blank")
    return value
