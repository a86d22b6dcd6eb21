"""Predicted training steps against published ones, by source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from analysis.calibration.training_rows import TrainingCase, read_cases
from analysis.validation import MeasurementsMissing
from analysis.validation.score import Column, Score, Table
from simulator.foundation.errors import LayoutError
from simulator.performance.coefficients import TrainingCoefficients
from simulator.performance.training import estimate

COLUMNS = (
    Column("source"),
    Column("rows", "count"),
    Column("MAPE", "percent"),
    Column("bias", "signed"),
    Column("worst", "signed"),
    Column("worst row"),
)


def tables(data: Path) -> list[Table]:
    """Return the errors of the step time by source."""
    folder = data / "training"
    if not (folder / "training_steps.csv").is_file():
        raise MeasurementsMissing(
            f"{folder / 'training_steps.csv'}: no such file; name the folder of measurements with "
            "--data or DATAHALL_DATA"
        )
    scores = by_source(read_cases(folder))
    rows = [
        (source, score.rows, score.mean_absolute, score.bias, *score.worst)
        for source, score in scores.items()
    ]
    return [Table("training step time, as shipped", COLUMNS, rows)]


def by_source(
    cases: Iterable[TrainingCase], coefficients: TrainingCoefficients | None = None
) -> dict[str, Score]:
    """Return the errors of the step time by source, experts apart; sources in order."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for case in cases:
        try:
            profile = estimate(
                case.architecture,
                case.layout,
                case.gpu,
                case.node,
                nic_bandwidth_bytes_per_s=case.nic_bandwidth_bytes_per_s,
                check_memory=False,
                coefficients=coefficients,
            )
        except LayoutError:
            continue
        label = f"{case.model}, {case.layout.gpus} {case.gpu.name}, {case.layout.describe()}"
        kind = " (experts)" if case.architecture.experts else ""
        found[case.source + kind].append((profile.step_s / case.step_s - 1.0, label))
    return {source: Score.of(found[source]) for source in sorted(found)}
