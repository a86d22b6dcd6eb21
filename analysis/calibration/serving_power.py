"""Refit how a serving GPU's watts follow what it does: ``python -m analysis.calibration.serving_power DATA``.

DATA is the folder that holds ``serving/``. Both sources say how long a step took, so the law is
fitted and judged by itself: what the GPU does follows from the model, the batch and the measured
time, and only the watts are predicted.

- ML.ENERGY text rows (H100, B200): steady states; a step took batch over tokens per second.
- Splitwise (A100): a prompt and its answer, whose times are given, at batch 1 and up; watts over both,
  and the peak, which is the prompt's where that lasted long enough for a meter to see it.

Three shares of the design power and a sharpness are fitted for each GPU generation by least
squares of log errors, single far rows damped; models weigh as the square root of their rows. What
a resident model draws comes from the catalog; the ceiling is the highest that was measured. Time at work and
memory traffic rise together in most rows, so both are held near one start for all generations.
Afterwards every model is left out once and predicted from the others.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.case_file import read_rows
from analysis.estimation.serving import MeanStep, stage_profile
from analysis.estimation.serving_cases import CaseReader
from analysis.validation import MeasurementsMissing
from analysis.validation.serving_points import measured_rows, measured_time_s
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import DatahallError
from simulator.performance.power_coefficients import Load, PowerCoefficients, power_coefficients
from simulator.performance.serving import ServingProfile, prefill_pairs, serving_profile

#: Fitted numbers: their bounds, where they start, and how far from there is far.
_FITTED: Final = {
    "working": (0.0, 1.0, 0.3, 0.3),
    "streaming": (0.0, 1.5, 0.4, 0.3),
    "computing": (0.0, 8.0, 1.3, np.inf),
    "sharpness": (1.5, 30.0, 6.0, np.inf),
}

#: Log error beyond which a row pulls no harder.
_FAR: Final = 0.1

_SPLITWISE: Final = Path("serving") / "profiles" / "splitwise" / "perf_model.csv"
_SPLITWISE_GPU: Final = ("a100-80gb", "a100-sxm-80gb")

#: Prompts beyond what these models remember were cut off or failed: their mean is that of an idle GPU.
_LONGEST_PROMPT: Final = 4096

#: A prompt that takes longer is what the highest sample saw: meters report ten times a second. [s]
_SEEN_S: Final = 0.25

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """One measured mean: its model and kind, and two parts of its time with what a GPU did in them."""

    model: str
    kind: str
    layout: str
    parts: tuple[tuple[float, Load], ...]
    idle: float
    drawn: float


@dataclass(frozen=True)
class Steady:
    """Measured means of one GPU generation, as arrays over rows.

    Parameters
    ----------
    models, kinds, layouts
        (rows,) words.
    weights, parts
        (rows, 2) shares of the time, and what the GPU does in each.
    idle, measured
        (rows,) shares of the design power: of a resident model, and measured.
    ceiling
        Highest share of the design power that was measured, in a mean or as a peak.
    """

    generation: str
    models: NDArray[np.str_]
    kinds: NDArray[np.str_]
    layouts: NDArray[np.str_]
    weights: Floats
    parts: Load
    idle: Floats
    measured: Floats
    ceiling: float

    @classmethod
    def of(cls, generation: str, rows: Sequence[Measured], peak: float = 0.0) -> Steady:
        """Return rows as arrays; `peak` is the highest share beside their means, if any."""
        # A step without prompts has one part: the other has no weight.
        both = [row.parts if len(row.parts) == 2 else (*row.parts, (0.0, row.parts[0][1])) for row in rows]
        columns = ([[load[place] for _, load in pair] for pair in both] for place in range(3))
        return cls(
            generation=generation,
            models=np.array([row.model for row in rows]),
            kinds=np.array([row.kind for row in rows]),
            layouts=np.array([row.layout for row in rows]),
            weights=np.array([[weight for weight, _ in pair] for pair in both]),
            parts=Load(*(np.array(column) for column in columns)),
            idle=np.array([row.idle for row in rows]),
            measured=np.array([row.drawn for row in rows]),
            ceiling=min(1.0, max(peak, *(row.drawn for row in rows))),
        )

    def errors(self, law: PowerCoefficients) -> Floats:
        """Return relative errors of the watts under a law."""
        drawn = np.minimum(1.0, law.drawn(self.idle[:, None], self.parts))
        drawn = np.maximum(drawn, self.idle[:, None])
        relative: Floats = np.sum(self.weights * drawn, axis=1) / self.measured - 1.0
        return relative


def steady_states(data: Path) -> dict[str, Steady]:
    """Return the rows that can be predicted, by GPU, at their measured times."""
    reader = CaseReader(Catalog.shipped())
    found: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for row in measured_rows(data):
        try:
            case = reader.case(row)
        except DatahallError:
            continue
        if not case.steady:
            continue
        profile = stage_profile(case, case.decode)
        groups = case.decode.deployment.attention_data_parallel
        step = MeanStep.of(case.users, case.prompt_tokens, case.output_tokens, groups)
        deployment = case.decode.deployment
        kind = "experts" if case.architecture.experts else "dense"
        if deployment.attention_data_parallel > 1:
            kind += ", copied attention"
        found[case.gpu.name, case.gpu.generation].append(
            Measured(
                case.architecture.name,
                kind,
                f"{case.precision} on {deployment.gpus}",
                step.loads(profile, measured_time_s(row)),
                profile.power.loaded_idle_w / profile.power.tdp_w,
                float(row["avg_power_watts"]) / deployment.gpus / profile.power.tdp_w,
            )
        )
    return {gpu: Steady.of(generation, rows) for (gpu, generation), rows in sorted(found.items())}


def phases(data: Path) -> Steady:
    """Return Splitwise's prompts with their answers on A100; repetitions are rows of their own."""
    catalog = Catalog.shipped()
    gpu = catalog.gpu(_SPLITWISE_GPU[1])
    reader = CaseReader(catalog)

    @cache
    def profile_of(model: str, cut: int) -> ServingProfile:
        return serving_profile(reader.architecture(model), gpu, tensor_parallel=cut, most_tokens=32768)

    found = []
    peak = 0.0
    columns = ("model", "hardware", "peak_power", "average_power", "prompt_time", "token_time", "e2e_time")
    path = data / _SPLITWISE
    if not path.is_file():
        raise MeasurementsMissing(
            f"{path}: no such file; name the folder of measurements with --data or DATAHALL_DATA"
        )
    for row in read_rows(path, columns)[1]:
        watts, prompt, answer = (float(row[name]) for name in ("average_power", "prompt_size", "token_size"))
        if row["hardware"] != _SPLITWISE_GPU[0] or not watts or prompt > _LONGEST_PROMPT:
            continue
        batch = int(row["batch_size"])
        profile = profile_of(row["model"].replace("llama2", "llama-2"), int(row["tensor_parallel"]))
        prompt_s, token_s, total_s = (
            float(row[name]) / 1e3 for name in ("prompt_time", "token_time", "e2e_time")
        )
        pairs = batch * prefill_pairs(int(prompt))
        first = profile.load(prompt_s, batch * int(prompt), batch, 0, pairs)
        rest = profile.load(token_s, batch, batch, int(batch * (prompt + answer / 2.0)))
        share, highest = prompt_s / total_s, float(row["peak_power"])
        peak = max(peak, highest)
        both = Measured(
            profile.architecture.name,
            "dense",
            f"{profile.precision} on {profile.deployment.gpus}",
            ((1.0 - share, rest), (share, first)),
            profile.power.loaded_idle_w / profile.power.tdp_w,
            watts,
        )
        found.append(both)
        if prompt_s > _SEEN_S:
            found.append(both._replace(kind="prompts", parts=((1.0, first),), drawn=highest))
    return Steady.of(gpu.generation, found, peak)


def fitted(found: Steady, start: PowerCoefficients, without: str = "") -> PowerCoefficients:
    """Return the law that suits the rows best, those of the model `without` left out."""
    from scipy.optimize import least_squares

    used = found.models != without
    counts = Counter(found.models[used])
    weights = np.array([counts[model] ** -0.25 for model in found.models[used]])
    low, high, at, far = (np.array(column) for column in zip(*_FITTED.values(), strict=True))

    def law(numbers: Floats) -> PowerCoefficients:
        values: dict[str, Any] = dict(zip(_FITTED, map(float, numbers), strict=True))
        return replace(start, ceiling=found.ceiling, **values)

    def residuals(numbers: Floats) -> Floats:
        off = weights * np.log1p(found.errors(law(numbers))[used])
        return np.concatenate([off, (numbers - at) / far])

    answer = least_squares(residuals, at, bounds=(low, high), loss="soft_l1", f_scale=_FAR)
    return law(answer.x)


def left_out(found: Steady, start: PowerCoefficients) -> Floats:
    """Return relative errors of the watts, each model predicted from all others."""
    errors = np.empty(len(found.models))
    for model in sorted(set(found.models)):
        mine = found.models == model
        errors[mine] = found.errors(fitted(found, start, without=model))[mine]
    return errors


def groups(found: Steady) -> Iterator[tuple[str, list[int]]]:
    """Yield kinds of rows, then models, with the places of their rows."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, words in enumerate(zip(found.kinds, found.models, found.layouts, strict=True)):
        kind, model, layout = words
        places[f"{kind}"].append(place)
        places[f"{kind}: {model} {layout}"].append(place)
    yield from sorted(places.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--no-fit", action="store_true", help="score what is shipped")
    options = parser.parse_args(arguments)
    for gpu, found in {_SPLITWISE_GPU[1]: phases(options.data), **steady_states(options.data)}.items():
        start = power_coefficients(found.generation)
        law = start if options.no_fit else fitted(found, start)
        print(gpu, *(f"{name}={getattr(law, name):.3g}" for name in (*_FITTED, "ceiling")))
        inside, outside = found.errors(law), left_out(found, start)
        for group, places in groups(found):
            line = f"  {group:58s} {len(places):4d} rows"
            for name, errors in (("in-sample", inside[places]), ("left out", outside[places])):
                line += f"  {name} {np.mean(np.abs(errors)):6.1%} bias {np.mean(errors):+6.1%}"
            print(line)


if __name__ == "__main__":
    main()
