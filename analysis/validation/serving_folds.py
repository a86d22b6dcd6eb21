"""Serving times with a model, or a GPU, left out of the fit that predicts it.

Three columns of errors stand beside each other, as in ``training``. ``shipped`` uses the
coefficients as they are, which were fitted on these rows. ``model left out`` comes from fits, run
here, that never saw a row of that model under any engine on that GPU generation; ``GPU left out``
from fits that never saw that GPU under any engine. Only rows that the shipped fit saw are here;
the fits are those of ``analysis.calibration.engine_law``, from the shipped numbers on.

What is left out of no column: launch lines, those that were read off rows among them
(``estimation.launch_lines``: compiling of NVFP4 kernels, graphs that were not captured, places that
are short), how recipes overbook decoders (``serving_cases``), hold-ups of ten cores (``few_cores``; its
calibration leaves models out by itself), and the tables that kernels were fitted on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.calibration.engine_law import (
    SETS,
    TYPICAL,
    Folds,
    Sample,
    compiled_loop,
    log_errors,
)
from analysis.validation.score import Column, Table
from analysis.validation.serving_points import TARGETS
from simulator.performance.serving_coefficients import EngineCoefficients

_BY_MODEL = (
    Column("group"),
    Column("rows", "count"),
    Column("tpot shipped", "percent"),
    Column("model left out", "percent"),
    Column("bias", "signed"),
    Column("GPU left out", "percent"),
    Column("ttft shipped", "percent"),
    Column("ttft, model left out", "percent"),
    Column("ttft, GPU left out", "percent"),
)
_OVERALL = (*_BY_MODEL, Column("model left out, against the targets"))


@dataclass(frozen=True)
class FoldErrors:
    """Relative errors of one row: shipped, with its model left out, with its GPU left out."""

    sample: Sample
    tpot: tuple[float, float, float]
    ttft: tuple[float, float, float]


def fold_errors(data: Path) -> list[FoldErrors]:
    """Return the errors of all fitted rows; refits every fold."""
    found: list[FoldErrors] = []
    folds = Folds(data)
    with compiled_loop():
        for engine, generation in SETS:
            if engine == TYPICAL:
                continue
            fit = folds.fit(engine, generation)
            rows = fit.found
            columns = [_errors(rows, _always(fit.start))]
            columns += [_errors(rows, _left_out(folds, engine, generation, key)) for key in (_model, _gpu)]
            for place, sample in enumerate(rows):
                tpot = tuple(float(column[0][place]) for column in columns)
                ttft = tuple(float(column[1][place]) for column in columns)
                found.append(FoldErrors(sample, (tpot[0], tpot[1], tpot[2]), (ttft[0], ttft[1], ttft[2])))
    return found


def tables(data: Path) -> list[Table]:
    """Return errors over all and by GPU, engine and model."""
    found = fold_errors(data)
    notes = (
        "shipped: fitted on these rows (in-sample); left out: refitted here without them; targets: "
        + ", ".join(f"{name} {low:.0%} / {high:.0%}" for name, (low, high) in TARGETS.items()),
        "not refitted, in any column: launch lines (some were read off rows), ten-core hold-ups, kernels",
    )
    return [
        Table("serving with a model or a GPU left out", _OVERALL, _rows(found, _kind, verdicts=True), notes),
        Table("the same by GPU, engine and model", _BY_MODEL, _rows(found, _group), ()),
    ]


def _always(law: EngineCoefficients) -> Callable[[Sample], EngineCoefficients]:
    return lambda _: law


def _left_out(
    folds: Folds, engine: str, generation: str, key: Callable[[Sample], str]
) -> Callable[[Sample], EngineCoefficients]:
    def law(sample: Sample) -> EngineCoefficients:
        name = key(sample)
        return folds.law(engine, generation, name, lambda other: key(other) == name)

    return law


def _errors(
    rows: list[Sample], law_of: Callable[[Sample], EngineCoefficients]
) -> tuple[np.ndarray, np.ndarray]:
    tpot, ttft = np.zeros(len(rows)), np.zeros(len(rows))
    places: dict[int, list[int]] = defaultdict(list)
    laws: dict[int, EngineCoefficients] = {}
    for place, sample in enumerate(rows):
        law = law_of(sample)
        laws[id(law)] = law
        places[id(law)].append(place)
    for name, some in places.items():
        tokens, first = log_errors([rows[place] for place in some], laws[name])
        tpot[some], ttft[some] = np.expm1(tokens), np.expm1(first)
    return tpot, ttft


def _rows(
    found: Iterable[FoldErrors], key: Callable[[FoldErrors], str], *, verdicts: bool = False
) -> list[tuple[str | int | float | None, ...]]:
    groups: dict[str, list[FoldErrors]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    rows = []
    for name in sorted(groups):
        tpot = np.array([one.tpot for one in groups[name]])
        ttft = np.array([one.ttft for one in groups[name]])
        timed = not np.isnan(ttft[:, 0]).any()
        missed = np.mean(np.abs(tpot), axis=0)
        late = np.mean(np.abs(ttft), axis=0)
        cells: list[str | int | float | None] = [name, len(tpot), missed[0], missed[1]]
        cells += [float(np.mean(tpot[:, 1])), missed[2]]
        cells += [late[0], late[1], late[2]] if timed else [None, None, None]
        if verdicts:
            place = 1 if groups[name][0].sample.case.architecture.experts else 0
            said = [f"tpot {'PASS' if missed[1] <= TARGETS['tpot'][place] else 'MISS'}"]
            if timed:
                said.append(f"ttft {'PASS' if late[1] <= TARGETS['ttft'][place] else 'MISS'}")
            cells.append(", ".join(said))
        rows.append(tuple(float(cell) if isinstance(cell, np.floating) else cell for cell in cells))
    return rows


def _kind(one: FoldErrors) -> str:
    case = one.sample.case
    source = "ML.ENERGY" if case.steady else "silicon"
    apart = "" if case.prefill is None else ", prefill apart"
    return f"{source} {'experts' if case.architecture.experts else 'dense'}{apart}"


def _group(one: FoldErrors) -> str:
    case = one.sample.case
    apart = "" if case.prefill is None else " disagg"
    return f"{case.gpu.name} {case.engine} {case.architecture.name} {case.precision}{apart}"


def _model(sample: Sample) -> str:
    return sample.model


def _gpu(sample: Sample) -> str:
    return sample.case.gpu.name
