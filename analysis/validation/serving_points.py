"""Predicted load tests and steady states against silicon points and ML.ENERGY rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analysis.estimation.case_file import read_rows
from analysis.estimation.serving import Outcome, outcome
from analysis.estimation.serving_cases import ENERGY, SILICON, CaseReader, Row, ServingCase
from analysis.validation import MeasurementsMissing
from analysis.validation.score import Column, Table
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import DatahallError

_SILICON: Final = Path("serving") / "profiles" / "aiconfigurator" / "silicon_sample.csv.gz"
_ENERGY: Final = Path("serving") / "profiles" / "mlenergy" / "llm_energy.csv"

#: Mean absolute errors that are good enough on rows nobody fitted: (dense, with experts).
TARGETS: Final = {"tpot": (0.12, 0.20), "ttft": (0.25, 0.35), "power": (0.08, 0.08), "joules": (0.15, 0.15)}


@dataclass(frozen=True)
class Point:
    """A measured run and what is predicted for it; None where nothing was measured. [s], [W], [J]"""

    case: ServingCase
    found: Outcome
    ttft_s: float | None
    tpot_s: float | None
    power_w: float | None
    joules_per_token: float | None

    @property
    def ttft_error(self) -> float | None:
        """Relative error of the time to first token."""
        return _relative(self.found.ttft_s, self.ttft_s)

    @property
    def tpot_error(self) -> float | None:
        """Relative error of the time per output token."""
        return _relative(self.found.tpot_s, self.tpot_s)

    @property
    def power_error(self) -> float | None:
        """Relative error of the watts."""
        return _relative(self.found.power_w, self.power_w)

    @property
    def joules_error(self) -> float | None:
        """Relative error of the joules per output token."""
        return _relative(self.found.joules_per_token, self.joules_per_token)


def measured_rows(data: Path) -> Iterator[Row]:
    """Yield the rows of both sources; of one measurement under several ids the first."""
    for path, required in ((data / _SILICON, SILICON), (data / _ENERGY, ENERGY)):
        if not path.is_file():
            raise MeasurementsMissing(
                f"{path}: no such file; name the folder of measurements with --data or DATAHALL_DATA"
            )
        seen: set[tuple[str, str]] = set()
        for row in read_rows(path, required)[1]:
            if "silicon_tpot_ms" in row:
                key = (row["silicon_ttft_ms"], row["silicon_tpot_ms"])
                if key in seen:
                    continue
                seen.add(key)
            yield row


def point(reader: CaseReader, row: Row, predict: Callable[[ServingCase], Outcome] = outcome) -> Point:
    """Return a row with its prediction; a DatahallError says why there is none."""
    case = reader.case(row)
    return Point(case, predict(case), *measured(case, row))


def measured(case: ServingCase, row: Row) -> tuple[float | None, float | None, float | None, float | None]:
    """Return (time to first token, time per token, watts, joules per token) as a row gives them."""
    if not case.steady:
        return float(row["silicon_ttft_ms"]) / 1e3, float(row["silicon_tpot_ms"]) / 1e3, None, None
    power_w, joules = float(row["avg_power_watts"]), float(row["energy_per_token_joules"])
    return None, measured_time_s(row), power_w, joules


def measured_time_s(row: Row) -> float:
    """Return the mean time of a step of an ML.ENERGY row: its batch over its tokens per second. [s]"""
    return float(row["avg_batch_size"]) / float(row["output_throughput_tokens_per_sec"])


def scored_points(data: Path) -> list[Point]:
    """Return all rows that can be predicted."""
    return _scored(data)[0]


def tables(data: Path) -> list[Table]:
    """Return errors by engine, GPU and format, by model, and by batch, and what was refused."""
    points, refused = _scored(data)
    load_tests = [one for one in points if not one.case.steady]
    steady = [one for one in points if one.case.steady]
    return [
        _verdicts("load tests at a fixed concurrency (AIConfigurator silicon points)", load_tests, _by_group),
        _verdicts("the same by GPU, engine and model", load_tests, _by_model),
        _verdicts("steady states (ML.ENERGY v3, text)", steady, _by_group),
        _verdicts("the same by GPU and model", steady, _by_model),
        _verdicts("the same by GPU and batch", steady, _by_batch),
        Table("rows without a prediction", (Column("reason"), Column("rows", "count")), refused),
    ]


def _scored(data: Path) -> tuple[list[Point], list[tuple[str, int]]]:
    reader = CaseReader(Catalog.shipped())
    points: list[Point] = []
    refused: Counter[str] = Counter()
    for row in measured_rows(data):
        try:
            points.append(point(reader, row))
        except DatahallError as error:
            refused[" ".join(str(error).split())[:100]] += 1
    return points, refused.most_common()


def _verdicts(title: str, points: Iterable[Point], key: Callable[[Point], str]) -> Table:
    """Return mean absolute error, bias and verdict by key; label measured, calibrated or modelled."""
    groups: dict[str, list[Point]] = defaultdict(list)
    for one in points:
        groups[key(one)].append(one)
    measures = [name for name in TARGETS if any(_errors(group, name) for group in groups.values())]
    columns = [Column("group"), Column("rows", "count")]
    for name in measures:
        columns += [Column(f"{name} MAPE", "percent"), Column("bias", "signed"), Column("verdict")]
    rows = []
    for name in sorted(groups):
        cells: list[str | int | float | None] = [name, len(groups[name])]
        for measure in measures:
            errors = _errors(groups[name], measure)
            if not errors:
                cells += [None, None, None]
                continue
            absolute = sum(abs(error) for error in errors) / len(errors)
            experts = bool(groups[name][0].case.architecture.experts)
            target = TARGETS[measure][1 if experts else 0]
            cells += [absolute, sum(errors) / len(errors), "PASS" if absolute <= target else "MISS"]
        rows.append(tuple(cells))
    notes = (
        "measured: the rows; calibrated: coefficients by engine and GPU generation, fitted on rows of "
        "these sources (in-sample); modelled: everything else. Targets, dense / with experts: "
        + ", ".join(f"{name} {low:.0%} / {high:.0%}" for name, (low, high) in TARGETS.items()),
    )
    return Table(title, tuple(columns), rows, notes)


def _errors(points: Iterable[Point], measure: str) -> list[float]:
    found = [getattr(one, f"{measure}_error") for one in points]
    return [error for error in found if error is not None]


def _by_group(one: Point) -> str:
    return one.case.group


def _by_model(one: Point) -> str:
    mode = "" if one.case.prefill is None else " disagg"
    return f"{one.case.gpu.name} {one.case.engine} {one.case.architecture.name} {one.case.precision}{mode}"


def _by_batch(one: Point) -> str:
    low = 1
    while low * 4 <= one.case.users:
        low *= 4
    kind = "experts" if one.case.architecture.experts else "dense"
    return f"{one.case.gpu.name} {kind} batch {low:4d} to {low * 4 - 1}"


def _relative(predicted: float, measured: float | None) -> float | None:
    return None if measured is None else predicted / measured - 1.0
