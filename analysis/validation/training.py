"""Predicted training steps against published ones: by source, and by the targets set beforehand.

Three columns of errors stand beside each other. ``shipped`` uses the coefficients as they are,
which were fitted on most of these rows. ``source left out`` comes from fits, run here, that never
saw a row of that source (each of NVIDIA's releases is one); ``model left out`` from fits that
never saw that model, under any name, from anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.calibration.training import family, left_out, predicted_s, read_all, shipped
from analysis.calibration.training_rows import TrainingCase
from analysis.validation import MeasurementsMissing
from analysis.validation.score import Column, Score, Table, verdict

#: A relative error and the case that it belongs to.
Error = tuple[float, TrainingCase]

SOURCES = (
    Column("source"),
    Column("rows", "count"),
    Column("shipped", "percent"),
    Column("bias", "signed"),
    Column("source left out", "percent"),
    Column("model left out", "percent"),
    Column("worst", "signed"),
    Column("worst row, shipped"),
)

TARGETS = (
    Column("group"),
    Column("rows", "count"),
    Column("left out"),
    Column("MAPE", "percent"),
    Column("target", "percent"),
    Column("verdict"),
)

MODELS = (
    Column("model"),
    Column("rows", "count"),
    Column("shipped", "percent"),
    Column("model left out", "percent"),
    Column("bias", "signed"),
)


@dataclass(frozen=True)
class Group:
    """Rows with a target of their own.

    Parameters
    ----------
    title
        What they are.
    belongs
        Whether a case is one of them.
    left_out
        ``source`` or ``model``: what the fits that score it had not seen.
    target
        Highest mean absolute error of the step time.
    """

    title: str
    belongs: Callable[[TrainingCase], bool]
    left_out: str
    target: float


def _of(*words: str) -> Callable[[TrainingCase], bool]:
    return lambda case: any(word in case.source for word in words) and "single node" not in case.source


def _nvidia(*, experts: bool) -> Callable[[TrainingCase], bool]:
    return lambda case: "NVIDIA" in case.source and bool(case.architecture.experts) == experts


#: The targets of ``training/README.md`` for which there are rows.
GROUPS = (
    Group("Megatron A100 (SC'21, Korthikanti)", _of("SC21", "Korthikanti"), "source", 0.04),
    Group("vTrain multi-node, other models", _of("vTrain"), "model", 0.08),
    Group("FSDP (MosaicML, A100)", _of("Mosaic"), "source", 0.08),
    Group("NVIDIA dense, known model", _nvidia(experts=False), "source", 0.06),
    Group("NVIDIA dense, unseen model", _nvidia(experts=False), "model", 0.10),
    Group("NVIDIA experts, known model", _nvidia(experts=True), "source", 0.12),
    Group("NVIDIA experts, unseen model", _nvidia(experts=True), "model", 0.15),
)

#: Groups of the same README without a fair row here.
ROWLESS = "MegaScale, Llama 3, MT-NLG, Megatron-Core H100, FSDP on H100"


def tables(data: Path) -> list[Table]:
    """Return the errors of the step time by source, by model and by target."""
    folder = data / "training"
    for name in ("training_steps.csv", "single_node_steps.csv", "models.csv"):
        if not (folder / name).is_file():
            raise MeasurementsMissing(
                f"{folder / name}: no such file; name the folder of measurements with --data or DATAHALL_DATA"
            )
    cases = read_all(folder)
    base = shipped()
    found = {
        "shipped": [(predicted_s(case, base) / case.step_s - 1.0, case) for case in cases],
        "source": _flat(left_out(cases, base, lambda case: case.source)),
        "model": _flat(left_out(cases, base, family)),
    }
    return [_by_source(found), _by_model(found), _by_target(found)]


def source_name(case: TrainingCase) -> str:
    """Return a case's source, models of experts apart."""
    return f"{case.source} (experts)" if case.architecture.experts else case.source


def score_by(errors: Iterable[Error], key: Callable[[TrainingCase], str]) -> dict[str, Score]:
    """Return the score of each group of errors, groups in order of their name."""
    groups: dict[str, list[tuple[float, str]]] = {}
    for error, case in errors:
        groups.setdefault(key(case), []).append((error, case.label))
    return {name: Score.of(groups[name]) for name in sorted(groups)}


def _flat(errors: dict[str, list[Error]]) -> list[Error]:
    return [pair for pairs in errors.values() for pair in pairs]


def _by_source(found: dict[str, list[Error]]) -> Table:
    scores = {kind: score_by(errors, source_name) for kind, errors in found.items()}
    rows = [
        (
            name,
            score.rows,
            score.mean_absolute,
            score.bias,
            scores["source"][name].mean_absolute,
            scores["model"][name].mean_absolute,
            *score.worst,
        )
        for name, score in scores["shipped"].items()
    ]
    notes = (
        "MAPE of the step time. Bias and worst row are of the shipped coefficients; those were fitted on "
        "all rows here except seven in eight of the single-node ones.",
    )
    return Table("training step time by source", SOURCES, rows, notes)


def _by_model(found: dict[str, list[Error]]) -> Table:
    def recent(errors: Sequence[Error]) -> list[Error]:
        return [(error, case) for error, case in errors if "single node" not in case.source]

    scores = {kind: score_by(recent(errors), family) for kind, errors in found.items()}
    rows = [
        (
            name,
            score.rows,
            score.mean_absolute,
            scores["model"][name].mean_absolute,
            scores["model"][name].bias,
        )
        for name, score in scores["shipped"].items()
    ]
    return Table("the same by model (bias: model left out)", MODELS, rows)


def _by_target(found: dict[str, list[Error]]) -> Table:
    rows = []
    for group in GROUPS:
        errors = [(e, case.label) for e, case in found[group.left_out] if group.belongs(case)]
        reached = Score.of(errors).mean_absolute
        rows.append(
            (group.title, len(errors), group.left_out, reached, group.target, verdict(reached, group.target))
        )
    notes = (
        f"No fair rows here for {ROWLESS}: not scored.",
        "Rows on one GPU generation are the only ones that fix its numbers: with a release left out, its "
        "other releases still do.",
    )
    return Table("targets, each from fits that had not seen what is scored", TARGETS, rows, notes)
