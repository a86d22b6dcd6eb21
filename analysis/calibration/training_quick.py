"""Score the training step on published rows: ``python -m analysis.calibration.training_quick DATA``.

DATA is the folder that holds ``training/``. Prints, for each source, the mean absolute error
of the step time, its bias and its worst row. ``--fit GENERATION FIELD,FIELD`` walks the named
coefficients downhill and prints what it found; putting them into
``simulator/performance/coefficients.py`` is left to the reader's judgement.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from analysis.calibration.training_rows import TrainingCase, read_cases
from simulator.foundation.errors import LayoutError
from simulator.performance.coefficients import TrainingCoefficients, training_coefficients
from simulator.performance.training import estimate

#: Coefficients that are fractions and may not pass 1.
FRACTIONS = tuple(
    field.name
    for field in fields(TrainingCoefficients)
    if field.name.endswith(("_efficiency", "_overlap")) and "relative" not in field.name
)


def errors(
    cases: Iterable[TrainingCase], coefficients: TrainingCoefficients | None = None
) -> dict[str, list[tuple[float, str]]]:
    """Return, by source, (relative error of the step time, what the row is) of each case."""
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
    return found


def mean_absolute(found: Sequence[tuple[float, str]]) -> float:
    """Return the mean absolute relative error."""
    return sum(abs(error) for error, _ in found) / len(found)


def fit(
    cases: Sequence[TrainingCase], generation: str, names: Sequence[str], rounds: int = 12
) -> TrainingCoefficients:
    """Return coefficients after a coordinate walk; every source counts the same."""

    def loss(candidate: TrainingCoefficients) -> float:
        groups = errors(cases, candidate).values()
        parts = [sum(min(1.0, abs(math.log1p(e))) for e, _ in group) / len(group) for group in groups]
        return sum(parts) / len(parts)

    best = training_coefficients(generation)
    lowest = loss(best)
    steps = dict.fromkeys(names, 0.3)
    for _ in range(rounds):
        for name in names:
            for sign in (1, -1):
                value = getattr(best, name) * (1.0 + steps[name]) ** sign
                if name in FRACTIONS:
                    value = min(value, 1.0)
                candidate = replace(best, **{name: value})
                found = loss(candidate)
                if found < lowest:
                    best, lowest = candidate, found
                    break
            else:
                steps[name] *= 0.5
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, or fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--single-node", action="store_true", help="also the 1,440 small models")
    parser.add_argument("--fit", nargs=2, metavar=("GENERATION", "FIELDS"))
    options = parser.parse_args(arguments)
    cases = list(read_cases(options.data / "training"))
    if options.single_node:
        cases += read_cases(options.data / "training", "single_node_steps.csv")
    chosen = None
    if options.fit:
        generation, names = options.fit
        cases = [
            case
            for case in cases
            if case.gpu.generation.lower() == generation and not case.architecture.experts
        ]
        chosen = fit(cases, generation, names.split(","))
        print(chosen)
    for source, found in sorted(errors(cases, chosen).items()):
        bias = sum(error for error, _ in found) / len(found)
        worst, label = max(found, key=lambda pair: abs(pair[0]))
        print(
            f"{source[:58]:58s} {len(found):5d} rows  MAPE {mean_absolute(found):6.1%}  "
            f"bias {bias:+6.1%}  worst {worst:+.0%}: {label}"
        )


if __name__ == "__main__":
    main()
