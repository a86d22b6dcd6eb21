"""Refit what serving engines reach: ``python -m analysis.calibration.serving DATA [ENGINE:GENERATION ...]``.

DATA is the folder that holds ``serving/``. Two layers, as in ``performance.serving_coefficients``:

1. Operations. AIConfigurator's tables of single matrix products (A100, H100, H200, B200 under
   vLLM) fix launch, bandwidth, peak and corner of each number format. Printed with the mean
   absolute error by GPU; products from 512 to 32,768 wide and up to 8,192 tokens are fitted.
2. Engines. What an engine adds is searched on whole runs: silicon points (load tests; one
   measurement under several ids counts once) and ML.ENERGY text rows (steady states, as engine
   ``vllm-0.11``). The aim is the mean absolute log error of the time per token, plus a quarter of
   that of the time to first token, each capped so that a few rows with another load than their
   columns say cannot steer; models weigh as the square root of their rows. Small steps away from
   the operation tables cost a little, so that a number moves only if many rows ask for it.

Only scored, never fitted: disaggregated rows, and the rows whose source is an automatic gap
analysis (their load is not their concurrency: 112 users at once never see 72 ms to the first
token). After each fit every model is left out once and predicted from the others.
"""

from __future__ import annotations

import argparse
import math
import types
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.estimation import serving as predicting
from analysis.estimation.serving_cases import CaseReader, ServingCase
from analysis.validation.serving_points import Point, measured_rows, point
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import DatahallError
from simulator.performance.serving_coefficients import EngineCoefficients, engine_coefficients
from simulator.serving import closed_loop

#: Searched numbers: where the operation tables put them, and how far (natural log) is a long way.
_SEARCHED: Final[Mapping[str, tuple[float, float]]] = {
    "request_s": (0.02, 0.7),
    "layer_s": (10e-6, 0.7),
    "step_s": (1e-3, 1.0),
    "sequence_s": (10e-6, 1.0),
    "stream_stretch": (1.0, 0.15),
    "arithmetic_stretch": (1.0, 0.2),
    "cache_stretch": (1.0, 0.25),
    "expert_stretch": (1.0, 0.3),
    "exchange_stretch": (1.0, 0.4),
    "expert_imbalance": (0.4, 0.5),
}

_FIRST_TOKEN_WEIGHT: Final = 0.25
_CAPS: Final = (0.7, 1.0)
_PULL: Final = 0.06
_NOT_CLOSED: Final = "aic-auto-gap"

#: Folder of a GPU's operation tables -> catalog name.
_TABLES: Final = {
    "a100_sxm": "a100-sxm-80gb",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200",
}
_FORMATS: Final = {"bfloat16": ("bf16", 2.0), "fp8": ("fp8", 1.0), "nvfp4": ("fp4", 0.5 + 1.0 / 16.0)}


@dataclass(frozen=True)
class Sample:
    """A case and what was measured of it; NaN where nothing was. [s]"""

    case: ServingCase
    ttft_s: float
    tpot_s: float
    fitted: bool


def samples(data: Path, engine: str, generation: str) -> list[Sample]:
    """Return the rows of one engine on one GPU generation that can be predicted."""
    reader = CaseReader(Catalog.shipped())
    found = []
    for row in measured_rows(data):
        try:
            one: Point = point(reader, row)
        except DatahallError:
            continue
        case = one.case
        if case.engine != engine or case.gpu.generation.casefold().split()[0] != generation:
            continue
        fair = case.prefill is None and not (
            _NOT_CLOSED in row.get("silicon_data_source", "") and not case.model.startswith("meta-llama/")
        )
        ttft_s = math.nan if one.ttft_s is None else one.ttft_s
        assert one.tpot_s is not None
        found.append(Sample(case, ttft_s, one.tpot_s, fair))
    return found


def log_errors(found: Sequence[Sample], law: EngineCoefficients) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (time per token, time to first token), predicted over measured, as logarithms."""
    with _using(law):
        outcomes = [predicting.outcome(sample.case) for sample in found]
    pairs = zip(outcomes, found, strict=True)
    logs = [
        (math.log(outcome.tpot_s / sample.tpot_s), math.log(outcome.ttft_s / sample.ttft_s))
        for outcome, sample in pairs
    ]
    both = np.array(logs)
    return both[:, 0], both[:, 1]


def fitted(found: Sequence[Sample], start: EngineCoefficients) -> EngineCoefficients:
    """Return the coefficients that suit the samples best, by a search along one number at a time."""
    used = [sample for sample in found if sample.fitted]
    counts = Counter(_shape(sample) for sample in used)
    weights = np.array([counts[_shape(sample)] ** -0.5 for sample in used])
    weights /= weights.sum()

    def cost(at: NDArray[np.float64]) -> float:
        tokens, first = log_errors(used, _law(start, at))
        missed = np.minimum(np.abs(tokens), _CAPS[0])
        late = np.minimum(np.abs(np.nan_to_num(first)), _CAPS[1])
        away = np.mean((at / np.array([far for _, far in _SEARCHED.values()])) ** 2)
        return float(weights @ missed + _FIRST_TOKEN_WEIGHT * (weights @ late) + _PULL * away)

    at = np.array([math.log(getattr(start, name) / there) for name, (there, _) in _SEARCHED.items()])
    step = 0.6 * np.array([far for _, far in _SEARCHED.values()])
    best = cost(at)
    while step.max() > 0.02:
        moved = False
        for place in range(len(at)):
            for sign in (1.0, -1.0):
                tried = at.copy()
                tried[place] += sign * step[place]
                value = cost(tried)
                if value < best - 1e-5:
                    at, best, moved = tried, value, True
                    break
        if not moved:
            step = step * 0.5
    return _law(start, at)


def left_out(found: Sequence[Sample], start: EngineCoefficients) -> dict[str, NDArray[Any]]:
    """Return the errors of the time per token of each model, predicted from all other models."""
    models = sorted({sample.case.architecture.name for sample in found if sample.fitted})
    errors = {}
    for model in models:
        others = [sample for sample in found if sample.case.architecture.name != model]
        mine = [sample for sample in found if sample.case.architecture.name == model and sample.fitted]
        if any(sample.fitted for sample in others):
            errors[model] = np.expm1(log_errors(mine, fitted(others, start))[0])
    return errors


def product_laws(data: Path) -> Iterator[tuple[str, str, NDArray[np.float64], float, int]]:
    """Yield (GPU, format, (launch us, bandwidth, peak, corner), mean absolute error, rows)."""
    from pyarrow import parquet
    from scipy.optimize import least_squares

    catalog = Catalog.shipped()
    for folder, name in _TABLES.items():
        gpu = catalog.gpu(name)
        path = data / "serving" / "profiles" / "aiconfigurator" / folder / "gemm_perf.parquet"
        columns = {key: np.array(values) for key, values in parquet.read_table(path).to_pydict().items()}
        kinds = columns.get("gemm_dtype", np.full(len(columns["m"]), "bfloat16"))
        m, n, k = (columns[key].astype(np.float64) for key in "mnk")
        for kind, (arithmetic, size) in _FORMATS.items():
            wide = (np.minimum(n, k) >= 512) & (np.maximum(n, k) <= 32768) & (m <= 8192)
            chosen = (kinds == kind) & wide
            peak = gpu.flop_per_s(arithmetic)
            if not chosen.any() or peak is None:
                continue
            streamed = size * n * k + 2.0 * m * (k + n)
            flop = 2.0 * m * n * k

            by = streamed[chosen] / gpu.memory_bandwidth_bytes_per_s
            work, said = flop[chosen] / peak, columns["latency"][chosen] * 1e-3

            def residual(x: Any, by: Any = by, work: Any = work, said: Any = said) -> Any:
                rounded = ((by / x[1]) ** x[3] + (work / x[2]) ** x[3]) ** (1.0 / x[3])
                return np.log((x[0] * 1e-6 + rounded) / said)

            bounds = ([0.0, 0.2, 0.1, 1.0], [30.0, 1.2, 1.3, 12.0])
            found = least_squares(residual, [5.0, 0.7, 0.7, 2.0], bounds=bounds, loss="soft_l1", f_scale=0.1)
            error = float(np.mean(np.abs(np.expm1(residual(found.x)))))
            yield name, kind, found.x, error, int(chosen.sum())


@contextmanager
def _using(law: EngineCoefficients) -> Iterator[None]:
    """For a while, cases are predicted with given engine coefficients."""
    shipped, known = predicting.profile_of, {}

    def profile_of(*key: Any) -> Any:
        if key not in known:
            known[key] = predicting.fresh_profile(*key, law=law)
        return known[key]

    predicting.profile_of = profile_of
    try:
        yield
    finally:
        predicting.profile_of = shipped


def _law(start: EngineCoefficients, at: NDArray[np.float64]) -> EngineCoefficients:
    numbers: dict[str, Any] = {
        name: float(there * math.exp(moved))
        for (name, (there, _)), moved in zip(_SEARCHED.items(), at, strict=True)
    }
    return replace(start, **numbers)


def _shape(sample: Sample) -> tuple[str, str, str]:
    return sample.case.architecture.name, sample.case.gpu.name, sample.case.precision


def _compile_the_loop() -> None:
    """Run load tests compiled: the same function, as it stands."""
    import numba

    names = {**closed_loop.loop.__globals__, "_spread": numba.njit(closed_loop._spread)}
    compiled = numba.njit(types.FunctionType(closed_loop.loop.__code__, names, "loop"))
    setattr(closed_loop, "loop", compiled)  # noqa: B010 - a compiled function is no function to mypy


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*", metavar="ENGINE:GENERATION")
    parser.add_argument("--no-fit", action="store_true", help="score what is shipped")
    options = parser.parse_args(arguments)
    if not options.sets:
        for gpu, kind, (launch_us, bandwidth, peak, corner), error, rows in product_laws(options.data):
            print(
                f"{gpu:14s} {kind:9s} {rows:6d} products  launch {launch_us:5.2f} us  bandwidth "
                f"{bandwidth:.2f}  peak {peak:.2f}  corner {corner:4.1f}  MAPE {error:5.1%}"
            )
    _compile_the_loop()
    for name in options.sets:
        engine, _, generation = name.partition(":")
        found = samples(options.data, engine, generation)
        start = engine_coefficients(engine, generation)
        law = start if options.no_fit else fitted(found, start)
        print(name, *(f"{key}={getattr(law, key):.3g}" for key in _SEARCHED))
        tokens, first = (np.expm1(errors) for errors in log_errors(found, law))
        groups: dict[tuple[bool, str], list[int]] = defaultdict(list)
        for place, sample in enumerate(found):
            groups[sample.fitted, f"{sample.case.group} {sample.case.architecture.name}"].append(place)
        for (used, group), places in sorted(groups.items()):
            line = f"  {'fitted' if used else 'scored':6s} {group:58s} {len(places):4d} rows  time per token "
            line += f"{np.mean(np.abs(tokens[places])):6.1%} bias {np.mean(tokens[places]):+6.1%}"
            late = first[places][~np.isnan(first[places])]
            if len(late):
                line += f"  to the first {np.mean(np.abs(late)):6.1%} bias {np.mean(late):+6.1%}"
            print(line)
        if not options.no_fit:
            for model, errors in left_out(found, start).items():
                print(
                    f"  left out {model:56s} {len(errors):4d} rows  {np.mean(np.abs(errors)):6.1%}", end=" "
                )
                print(f"bias {np.mean(errors):+6.1%}")


if __name__ == "__main__":
    main()
