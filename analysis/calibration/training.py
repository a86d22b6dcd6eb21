"""Fit what training software reaches on each GPU: ``python -m analysis.calibration.training DATA``.

DATA is the folder that holds ``training/``. Two fits, one after the other: A100 rows (SC'21,
Korthikanti, MosaicML, vTrain with one in eight of its single-node rows) fix Ampere's numbers and
what is shared by all generations; then NVIDIA's rows on H100, B200, GB200, B300 and GB300 fix
those of Hopper, Blackwell and Blackwell Ultra together. Volta and everything not named in
``AMPERE`` and ``RECENT`` is not fitted. Llama 3, MegaScale, Megatron-Core and MT-NLG papers are
not in the data and were fitted on nothing.

Each parameter has bounds and a prior from microbenchmarks, so that rows which say nothing about
it leave it where it was measured. Errors count logarithmically and, when large, linearly: one
misprinted row does not pull. Rows of one model from one publisher on one generation share their
weight. The script prints the numbers for ``simulator/performance/coefficients.py``; what they
score on rows that were left out of the fit, ``datahall validate training`` says.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.calibration.training_rows import RELEASE, TrainingCase, read_cases
from simulator.performance.coefficients import TrainingCoefficients, training_coefficients

Coefficients = Mapping[str, TrainingCoefficients]

#: Relative error up to which errors count squared, and beyond which linearly.
TOLERANCE = 0.06

#: How fast the weight of a row falls with the number of its like.
CROWDING = 0.45

#: One in so many single-node rows is fitted; all are scored.
SINGLE_NODE_STEP = 8


@dataclass(frozen=True)
class Parameter:
    """One number to fit: which, for whom, within which bounds, and what is believed beforehand.

    Parameters
    ----------
    field
        Name in ``TrainingCoefficients``.
    generations
        Those that share the value.
    low, high
        Bounds.
    prior, spread
        Belief before any row, and its standard deviation as a fraction.
    """

    field: str
    generations: tuple[str, ...]
    low: float
    high: float
    prior: float
    spread: float


A100 = ("ampere",)
ALL = ("volta", "ampere", "hopper", "blackwell", "blackwell ultra")
H100 = ("hopper",)
B200 = ("blackwell",)
B300 = ("blackwell ultra",)
NEW = H100 + B200 + B300

#: Priors: A100 products reach 0.72 to 0.85 of peak in published sweeps (SimuMax: median 0.72,
#: at most 0.80 over training shapes); link rates and latencies from the NCCL tables in
#: ``nccl_busbw.csv``; attention from FlashAttention-2's figures.
AMPERE = (
    Parameter("gemm_efficiency", A100, 0.5, 0.95, 0.80, 0.15),
    Parameter("gemm_half_size", A100, 20.0, 600.0, 150.0, 0.7),
    Parameter("attention_efficiency", A100, 0.2, 0.8, 0.45, 0.3),
    Parameter("exponential_head_size", A100, 1.0, 60.0, 8.0, 0.7),
    Parameter("kernel_s", A100, 3e-6, 60e-6, 15e-6, 0.7),
    Parameter("scale_up_efficiency", A100, 0.5, 1.0, 0.76, 0.1),
    Parameter("scale_up_latency_s", A100, 0.5e-6, 20e-6, 4e-6, 0.5),
    Parameter("collective_s", A100, 5e-6, 80e-6, 25e-6, 0.5),
    Parameter("data_overlap", A100, 0.02, 1.0, 0.3, 1.0),
    Parameter("scale_out_efficiency", A100, 0.4, 1.0, 0.85, 0.15),
    Parameter("scale_out_latency_s", ALL, 3e-6, 60e-6, 15e-6, 0.5),
    Parameter("memory_efficiency", ALL, 0.6, 0.95, 0.8, 0.1),
    Parameter("elementwise_passes", ALL, 0.5, 3.0, 1.3, 0.3),
    Parameter("wave_quantisation", ALL, 0.001, 1.0, 0.2, 2.0),
    Parameter("straggler_sigma", ALL, 0.0005, 0.02, 0.003, 0.5),
)

#: Priors: H100 and B200 products from vendor and SimuMax sweeps, narrow formats at 0.9 of 16
#: bits' fraction; grouped products at 0.62 of single ones (SimuMax B200 medians 0.30 and 0.48).
RECENT = (
    Parameter("gemm_efficiency", H100, 0.5, 0.85, 0.70, 0.08),
    Parameter("gemm_efficiency", B200, 0.5, 0.9, 0.70, 0.08),
    Parameter("gemm_efficiency", B300, 0.5, 1.0, 0.75, 0.1),
    Parameter("gemm_half_size", NEW, 20.0, 800.0, 200.0, 0.15),
    Parameter("attention_efficiency", H100, 0.3, 0.8, 0.50, 0.15),
    Parameter("attention_efficiency", B200 + B300, 0.3, 0.8, 0.45, 0.15),
    Parameter("fp8_relative_efficiency", NEW, 0.6, 1.0, 0.92, 0.06),
    Parameter("fp4_relative_efficiency", B200 + B300, 0.4, 1.0, 0.70, 0.2),
    Parameter("grouped_efficiency", NEW, 0.3, 1.0, 0.62, 0.05),
    Parameter("grouped_half_size", NEW, 20.0, 2000.0, 400.0, 0.4),
    Parameter("permute_passes", NEW, 2.0, 20.0, 6.0, 0.4),
    Parameter("kernel_s", NEW, 3e-6, 40e-6, 10e-6, 0.3),
    Parameter("expert_host_s", NEW, 0.2e-3, 8e-3, 1.5e-3, 0.7),
    Parameter("expert_overlap", NEW, 0.01, 0.95, 0.3, 1.0),
    Parameter("tensor_overlap", NEW, 0.05, 0.95, 0.5, 0.4),
    Parameter("data_overlap", NEW, 0.1, 1.0, 0.6, 0.4),
    Parameter("scale_up_efficiency", NEW, 0.5, 0.95, 0.78, 0.1),
    Parameter("scale_out_efficiency", NEW, 0.4, 1.0, 0.85, 0.15),
    Parameter("communication_tax", NEW, 0.02, 0.6, 0.15, 0.5),
    Parameter("software_gain_per_year", NEW, 0.001, 0.2, 0.06, 0.7),
)


def read_all(folder: Path) -> list[TrainingCase]:
    """Return every fair row of ``training_steps.csv`` and ``single_node_steps.csv``."""
    single = [
        replace(case, source=f"{case.source}, single node")
        for case in read_cases(folder, "single_node_steps.csv")
    ]
    return [*read_cases(folder), *single]


def generation(case: TrainingCase) -> str:
    """Return the key of a case's GPU generation."""
    return case.gpu.generation.casefold()


def family(case: TrainingCase) -> str:
    """Return a model's name without variant and spelling: ``LLAMA3-8B`` is ``LLAMA3_8B``."""
    return re.sub(r"[^a-z0-9.]", "", case.model.split(" (")[0].casefold())


def publisher(case: TrainingCase) -> str:
    """Return a source without its release: all of NVIDIA's tables are one publisher's."""
    return RELEASE.split(case.source)[0].strip()


def shipped() -> dict[str, TrainingCoefficients]:
    """Return the coefficients in use, by generation."""
    return {name: training_coefficients(name) for name in ALL}


def predicted_s(case: TrainingCase, coefficients: Coefficients) -> float:
    """Return the predicted step of a case. [s]"""
    return case.profile(coefficients[generation(case)]).step_s


def with_values(
    base: Coefficients, parameters: Sequence[Parameter], values: NDArray[np.float64]
) -> dict[str, TrainingCoefficients]:
    """Return ``base`` with the parameters at these values."""
    changed: dict[str, dict[str, Any]] = {}
    for parameter, value in zip(parameters, values, strict=True):
        for name in parameter.generations:
            changed.setdefault(name, {})[parameter.field] = float(value)
    return {name: replace(one, **changed.get(name, {})) for name, one in base.items()}


def values_of(base: Coefficients, parameters: Sequence[Parameter]) -> NDArray[np.float64]:
    """Return what the parameters are in ``base``."""
    return np.array([getattr(base[p.generations[0]], p.field) for p in parameters])


def fit(
    cases: Sequence[TrainingCase],
    parameters: Sequence[Parameter],
    base: Coefficients,
    *,
    from_priors: bool = False,
    rounds: int = 8,
) -> dict[str, TrainingCoefficients]:
    """Return coefficients that describe the cases best.

    Parameters
    ----------
    base
        All other numbers, and where to start unless ``from_priors``.
    rounds
        Most evaluations of the derivatives.
    """
    from scipy.optimize import least_squares

    like = Counter((publisher(case), family(case), generation(case)) for case in cases)
    weights = np.array([like[publisher(c), family(c), generation(c)] ** -CROWDING for c in cases])
    weights /= math.sqrt(float((weights**2).mean()))
    measured = np.log([case.step_s for case in cases])
    low = np.log([p.low for p in parameters])
    high = np.log([p.high for p in parameters])
    prior = np.log([p.prior for p in parameters])
    spread = np.array([p.spread for p in parameters])

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        tried = with_values(base, parameters, np.exp(logs))
        found = np.log([predicted_s(case, tried) for case in cases])
        scaled = weights * (found - measured) / TOLERANCE
        # Squared, this is twice the pseudo-Huber loss; priors stay quadratic.
        rows = np.sign(scaled) * np.sqrt(2.0 * (np.sqrt(1.0 + scaled**2) - 1.0))
        return np.concatenate([rows, (logs - prior) / spread])

    start = prior if from_priors else np.log(values_of(base, parameters))
    found = least_squares(
        residuals,
        np.clip(start, low + 1e-6, high - 1e-6),
        bounds=(low, high),
        max_nfev=rounds,
        ftol=1e-4,
        xtol=1e-4,
        diff_step=1e-3,
    )
    return with_values(base, parameters, np.exp(found.x))


def fitted_rows(cases: Sequence[TrainingCase]) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Return the rows that the first and the second fit use."""
    many = [case for case in cases if generation(case) == "ampere" and "single node" not in case.source]
    single = [case for case in cases if "single node" in case.source]
    return many + single[::SINGLE_NODE_STEP], [case for case in cases if generation(case) in NEW]


def left_out(
    cases: Sequence[TrainingCase], base: Coefficients, key: Callable[[TrainingCase], str]
) -> dict[str, list[tuple[float, TrainingCase]]]:
    """Return relative errors of every case from fits that never saw any row with its key.

    Each fit starts at ``base`` and moves Ampere's own or the recent generations' numbers; what
    is shared by all stays for the recent ones, which no row of theirs helped to fix.

    Returns
    -------
    dict
        Key to (relative error, case).
    """
    found: dict[str, list[tuple[float, TrainingCase]]] = {}
    for rows, parameters in zip(fitted_rows(cases), (AMPERE, RECENT), strict=True):
        of_generations = {generation(case) for case in rows}
        for name in dict.fromkeys(key(case) for case in rows):
            kept = [case for case in rows if key(case) != name]
            tried = fit(kept, parameters, base, rounds=5)
            for case in cases:
                if key(case) == name and generation(case) in of_generations:
                    error = predicted_s(case, tried) / case.step_s - 1.0
                    found.setdefault(name, []).append((error, case))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit both groups from their priors and print the numbers, with errors on fitted rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    options = parser.parse_args(arguments)
    cases = read_all(options.data / "training")
    found: dict[str, TrainingCoefficients] = shipped()
    for rows, parameters in zip(fitted_rows(cases), (AMPERE, RECENT), strict=True):
        found = fit(rows, parameters, found, from_priors=True, rounds=25)
        errors = [abs(predicted_s(case, found) / case.step_s - 1.0) for case in rows]
        print(f"{len(rows)} rows fitted, MAPE {sum(errors) / len(errors):.1%}")
        for parameter, value in zip(parameters, values_of(found, parameters), strict=True):
            bound = "  at its bound" if not 1.01 * parameter.low < value < 0.99 * parameter.high else ""
            names = ", ".join(parameter.generations)
            print(f"  {parameter.field}={value:.4g},  # {names}; prior {parameter.prior:g}{bound}")


if __name__ == "__main__":
    main()
