"""Refit what serving engines reach: ``python -m analysis.calibration.serving DATA [ENGINE:GENERATION ...]``.

DATA is the folder that holds ``serving/``. Two layers, as in ``performance.serving_coefficients``:

1. Operations. AIConfigurator's tables of single matrix products (A100, H100, H200, B200 under
   vLLM) fix launch, bandwidth, peak and corner of each number format. Printed with the mean
   absolute error by GPU; products from 512 to 32,768 wide and up to 8,192 tokens are fitted. Of 8-bit
   products, whose small shapes bend the corner, what is shipped suits large ones (20 M weights and
   more): corner 1.3 to 1.6, and on Hopper a peak between these tables' 0.62 and whole runs' 0.8.
2. Engines: ``engine_law``. Each set is fitted on all its rows, in the order in which one is looked for
   where another is (``typical`` first); ``all`` names every set. Printed as the lines that
   ``serving_coefficients`` holds. ``datahall validate serving-folds`` leaves models and GPUs out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.calibration.engine_law import (
    SEARCHED,
    SETS,
    EngineFit,
    Sample,
    compiled_loop,
    log_errors,
    parent,
    samples,
    shipped,
)
from simulator.catalog.shelf import Catalog
from simulator.performance.serving_coefficients import EngineCoefficients

#: Folder of a GPU's operation tables -> catalog name.
_TABLES: Final = {
    "a100_sxm": "a100-sxm-80gb",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200",
}
_FORMATS: Final = {"bfloat16": ("bf16", 2.0), "fp8": ("fp8", 1.0), "nvfp4": ("fp4", 0.5 + 1.0 / 16.0)}


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


Refitted = dict[tuple[str, str], EngineCoefficients]


def refit(data: Path, engine: str, generation: str, known: Refitted) -> list[Sample]:
    """Fit a set, put its numbers into ``known``, where others are looked for, and return its rows."""
    found = samples(data, engine, generation)
    start = shipped(engine, generation)
    above = parent(engine)
    middle = None if above is None else known.get((above, generation), shipped(above, generation))
    fit = EngineFit([sample for sample in found if sample.fitted], start, middle)
    known[engine, generation] = fit.full()
    return found


def _print(name: str, found: Sequence[Sample], law: EngineCoefficients) -> None:
    """Print a set's numbers and its errors by what was fitted and by model."""
    print(name)
    for key in SEARCHED:
        print(f"            {key}={getattr(law, key):.3g},")
    tokens, first = (np.expm1(errors) for errors in log_errors(found, law))
    groups: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for place, sample in enumerate(found):
        groups[sample.fitted, f"{sample.case.group} {sample.model}"].append(place)
    for (used, group), places in sorted(groups.items()):
        line = f"  {'fitted' if used else 'scored':6s} {group:58s} {len(places):4d} rows  time per token "
        line += f"{np.mean(np.abs(tokens[places])):6.1%} bias {np.mean(tokens[places]):+6.1%}"
        late = first[places][~np.isnan(first[places])]
        if len(late):
            line += f"  to the first {np.mean(np.abs(late)):6.1%} bias {np.mean(late):+6.1%}"
        print(line)


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
    named = [":".join(one) for one in SETS] if "all" in options.sets else options.sets
    known: Refitted = {}
    with compiled_loop():
        for name in named:
            engine, _, generation = name.partition(":")
            if options.no_fit:
                found, law = samples(options.data, engine, generation), shipped(engine, generation)
            else:
                found = refit(options.data, engine, generation, known)
                law = known[engine, generation]
            _print(name, found, law)


if __name__ == "__main__":
    main()
