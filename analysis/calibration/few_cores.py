"""Refit what a client and front ends take from an engine: ``python -m analysis.calibration.few_cores DATA``.

DATA is the folder that holds ``serving/``. Rows are ML.ENERGY's of one B200, whose jobs had ten
cores; what an iteration takes without hold-ups is predicted with the shipped coefficients.
Afterwards every model is left out once and predicted from the others.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.calibration.engine_law import Sample, samples
from analysis.estimation.few_cores import TEN_CORES, SharedCores
from analysis.estimation.serving import outcome
from analysis.estimation.serving_cases import ENERGY_ENGINE

#: Fitted numbers: their bounds.
_FITTED: Final = {
    "sequence_s": (1e-5, 20e-3),
    "crowding": (0.1, 1.0),
    "long_s": (0.0, 80e-3),
    "long_tokens": (500.0, 9000.0),
}

#: Log error beyond which a row pulls no harder.
_FAR: Final = 0.15

Floats = NDArray[np.float64]


class Held:
    """Rows of one B200: what their iterations took, and what they take without hold-ups."""

    def __init__(self, data: Path) -> None:
        rows: list[Sample] = [row for row in samples(data, ENERGY_ENGINE, "blackwell") if row.case.few_cores]
        alone = [outcome(replace(row.case, few_cores=False)).tpot_s for row in rows]
        self.models = np.array([row.model for row in rows])
        self._rows = list(zip(rows, alone, strict=True))

    def errors(self, law: SharedCores) -> Floats:
        """Return logarithms of predicted over measured time per token."""
        found = [
            law.step_s(alone_s, row.case.users, row.case.output_tokens) / row.tpot_s
            for row, alone_s in self._rows
        ]
        return np.log(found)

    def fitted(self, without: str = "") -> SharedCores:
        """Return the law that suits the rows best, those of the model `without` left out."""
        from scipy.optimize import least_squares

        used = self.models != without
        counts = Counter(self.models[used])
        weights = np.array([counts[model] ** -0.25 for model in self.models[used]])
        low, high = (np.array(column) for column in zip(*_FITTED.values(), strict=True))
        at = np.array([getattr(TEN_CORES, name) for name in _FITTED])

        def law(numbers: Floats) -> SharedCores:
            values: dict[str, Any] = dict(zip(_FITTED, map(float, numbers), strict=True))
            return SharedCores(**values)

        def residuals(shares: Floats) -> Floats:
            return np.asarray(weights * self.errors(law(shares * at))[used])

        # In units of where they start: seconds and tokens are far apart.
        answer = least_squares(
            residuals, np.ones(len(at)), bounds=(low / at, high / at), loss="soft_l1", f_scale=_FAR
        )
        return law(answer.x * at)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    found = Held(parser.parse_args(arguments).data)
    print(found.fitted())
    errors = np.expm1(found.errors(TEN_CORES))
    refitted = np.expm1(found.errors(found.fitted()))
    for model in sorted(set(found.models)):
        mine = found.models == model
        outside = np.expm1(found.errors(found.fitted(without=model))[mine])
        print(
            f"  {model:24s} {mine.sum():4d} rows  shipped {np.mean(np.abs(errors[mine])):6.1%}  refitted "
            f"{np.mean(np.abs(refitted[mine])):6.1%}  left out {np.mean(np.abs(outside)):6.1%} bias "
            f"{np.mean(outside):+6.1%}"
        )


if __name__ == "__main__":
    main()
