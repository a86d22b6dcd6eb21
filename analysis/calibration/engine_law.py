"""What serving engines add to their kernels, fitted on whole measured runs, and refitted with some left out.

Rows are silicon points (load tests; one measurement under several ids counts once) and ML.ENERGY
text rows (steady states, as engine ``vllm-0.11``). For each engine and GPU generation the numbers
of `EngineCoefficients` are moved, as logarithms, until soft absolute errors of the time per token
and of the time to first token are least, against a pull to where they are looked for: by damped
Gauss-Newton steps with slopes from differences. Models weigh as the square root of their rows.

Where numbers are looked for has three levels, so that what one engine's few models do not tell comes
from other engines on the same GPUs. A *typical* engine, fitted on the rows of all grown engines of a
generation together, is pulled to physical estimates; each engine is pulled to the typical one, half
as hard again; and a release to its sibling. How hard was chosen among three strengths by leaving
models out (`Folds`), where a model that is left out is left out of every level.

Never fitted: disaggregated rows that do not say how many replicas there were (scored only, but for
few users, who do not queue wherever they are), and rows of one replica on GB200, which are few and
contradict each other at equal columns.
"""

from __future__ import annotations

import math
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.estimation import serving as predicting
from analysis.estimation.serving_cases import USUAL_REPLICAS, CaseReader, ServingCase
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import DatahallError
from simulator.performance.serving_coefficients import (
    EngineCoefficients,
    engine_coefficients,
    typical_engine,
)
from simulator.serving import closed_loop

Errors = tuple[NDArray[Any], NDArray[Any]]

#: Fitted numbers: where a physical estimate puts them, and how far (natural log) is a long way.
#: Launches: an operation of PyTorch, 30 to 50 us. Passes: two norms, residuals, quantising,
#: activation and rotary positions, each read and written. Blocks: DeepGEMM against cuBLAS.
SEARCHED: Final[Mapping[str, tuple[float, float]]] = {
    "request_s": (0.02, 0.7),
    "prompt_token_s": (1e-6, 1.0),
    "eager_launch_s": (40e-6, 0.4),
    "layer_s": (8e-6, 0.5),
    "passes": (20.0, 0.4),
    "step_s": (1e-3, 1.0),
    "sequence_s": (10e-6, 1.0),
    "stream_stretch": (1.0, 0.15),
    "arithmetic_stretch": (1.2, 0.25),
    "block_stretch": (2.5, 0.4),
    "idle_experts": (0.1, 1.5),
    "cache_stretch": (1.0, 0.25),
    "expert_stretch": (1.0, 0.3),
    "exchange_stretch": (1.0, 0.15),
    "expert_imbalance": (0.4, 0.3),
    "handover_s": (0.05, 0.7),
}
_NAMES: Final = tuple(SEARCHED)
_CENTRE: Final = np.log([there for there, _ in SEARCHED.values()])
_FAR: Final = np.array([far for _, far in SEARCHED.values()])

#: The engine that is fitted on all grown ones together.
TYPICAL: Final = "typical"
_GROWN: Final = ("vllm", "sglang", "trtllm-1.1", "trtllm")

#: Where an engine's numbers are looked for, if not at the typical engine's: at its sibling's.
_SIBLINGS: Final = {"trtllm": "trtllm-1.1", "vllm-0.11": "vllm"}

#: Sets in the order in which they are fitted: where others are looked for first.
SETS: Final = (
    (TYPICAL, "hopper"),
    (TYPICAL, "blackwell"),
    ("vllm", "hopper"),
    ("vllm", "blackwell"),
    ("vllm-0.11", "hopper"),
    ("vllm-0.11", "blackwell"),
    ("sglang", "hopper"),
    ("sglang", "blackwell"),
    ("trtllm-1.1", "hopper"),
    ("trtllm-1.1", "blackwell"),
    ("trtllm", "hopper"),
    ("trtllm", "blackwell"),
)

_SOFT: Final = 0.1
_FIRST_TOKEN_WEIGHT: Final = 0.6
_APART_WEIGHT: Final = 0.5
_CAP: Final = 1.0
_TYPICAL_PULL: Final = 0.6
_PULL: Final = 0.9
_SLOPE_STEP: Final = 0.06
_LONGEST_STEP: Final = 0.7
_FEW_USERS: Final = 8


@dataclass(frozen=True)
class Sample:
    """A case and what was measured of it; NaN where nothing was. [s]"""

    case: ServingCase
    ttft_s: float
    tpot_s: float
    fitted: bool

    @property
    def model(self) -> str:
        """Return the shape's name."""
        return self.case.architecture.name


@lru_cache(maxsize=1)
def all_samples(data: Path) -> list[Sample]:
    """Return all rows that can be predicted."""
    from analysis.validation.serving_points import measured, measured_rows

    reader = CaseReader(Catalog.shipped())
    found = []
    for row in measured_rows(data):
        try:
            case = reader.case(row)
        except DatahallError:
            continue
        ttft_s, tpot_s, *_ = measured(case, row)
        assert tpot_s is not None
        sample = Sample(case, math.nan if ttft_s is None else ttft_s, tpot_s, fitted=True)
        found.append(replace(sample, fitted=_is_fair(sample)))
    return found


def samples(data: Path, engine: str, generation: str) -> list[Sample]:
    """Return the rows of one engine, or of all grown ones, on one GPU generation."""
    engines = _GROWN if engine == TYPICAL else (engine,)
    return [
        sample
        for sample in all_samples(data)
        if sample.case.engine in engines and sample.case.gpu.generation.casefold().split()[0] == generation
    ]


def _is_fair(sample: Sample) -> bool:
    """Return whether a row may fix numbers."""
    case = sample.case
    if case.prefill is None and case.gpu.name == "gb200":
        return False
    if case.prefill is not None:
        stated = case.prefill.workers > 0 and USUAL_REPLICAS not in case.assumed
        return stated or case.users <= _FEW_USERS
    return True


def log_errors(found: Sequence[Sample], law: EngineCoefficients) -> Errors:
    """Return (time per token, time to first token), predicted over measured, as logarithms."""
    with _using(law):
        outcomes = [predicting.outcome(sample.case) for sample in found]
    tokens = [
        math.log(outcome.tpot_s / sample.tpot_s) for outcome, sample in zip(outcomes, found, strict=True)
    ]
    first = [
        math.log(outcome.ttft_s / sample.ttft_s) for outcome, sample in zip(outcomes, found, strict=True)
    ]
    return np.array(tokens), np.array(first)


def parent(engine: str) -> str | None:
    """Return the engine where the numbers of another are looked for; None: physical estimates."""
    return None if engine == TYPICAL else _SIBLINGS.get(engine, TYPICAL)


def shipped(engine: str, generation: str) -> EngineCoefficients:
    """Return the numbers of a set as they are shipped."""
    return typical_engine(generation) if engine == TYPICAL else engine_coefficients(engine, generation)


@dataclass
class EngineFit:
    """The fit of one engine on one generation, which others with rows left out start from."""

    found: list[Sample]
    start: EngineCoefficients
    middle: EngineCoefficients | None = None

    def __post_init__(self) -> None:
        """Give each row its weight."""
        counts = Counter(self._shape(sample) for sample in self.found)
        weights = np.array([counts[self._shape(sample)] ** -0.5 for sample in self.found])
        apart = np.array([sample.case.prefill is not None for sample in self.found])
        weights[apart] *= _APART_WEIGHT
        self._known_slopes: NDArray[np.float64] | None = None
        self._roots = np.sqrt(weights * (len(weights) / weights.sum()))
        self._middle = self._middle_at(self.middle)

    def _middle_at(self, middle: EngineCoefficients | None) -> NDArray[np.float64]:
        if middle is None:
            return np.zeros(len(_NAMES))
        return np.clip(self._place(middle), -3.0 * _FAR, 3.0 * _FAR)

    def full(self, steps: int = 20) -> EngineCoefficients:
        """Return the numbers that suit all rows, from the middle, with fresh slopes at each step."""
        everything = np.ones(len(self.found), dtype=bool)
        return self.law(self._descend(self._middle.copy(), everything, steps, None))

    def without(
        self, left_out: NDArray[np.bool_], middle: EngineCoefficients | None, steps: int = 4
    ) -> EngineCoefficients:
        """Return the numbers that suit the other rows, from the shipped ones, with their slopes.

        ``middle`` is where they are then looked for. With no other rows: just there.
        """
        self._known_slopes = self._slopes_at_start()
        self._middle = self._middle_at(middle)
        if left_out.all():
            return self.law(self._middle)
        at = self._place(self.start)
        return self.law(self._descend(at, ~left_out, steps, self._known_slopes))

    def law(self, at: NDArray[np.float64]) -> EngineCoefficients:
        """Return coefficients from logarithms against the estimates."""
        numbers: dict[str, Any] = {
            name: float(math.exp(value)) for name, value in zip(_NAMES, _CENTRE + at, strict=True)
        }
        numbers["idle_experts"] = min(1.0, numbers["idle_experts"])
        return replace(self.start, **numbers)

    def _place(self, law: EngineCoefficients) -> NDArray[np.float64]:
        there = [max(getattr(law, name), 1e-3 * centre) for name, (centre, _) in SEARCHED.items()]
        return np.asarray(np.log(there) - _CENTRE)

    def _residuals(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        tokens, first = log_errors(self.found, self.law(at))
        tokens = np.clip(tokens, -_CAP, _CAP)
        first = np.clip(np.nan_to_num(first), -_CAP, _CAP)
        strength = _TYPICAL_PULL if self.middle is None else _PULL
        strength *= math.sqrt(len(self.found) / len(_NAMES))
        pull = strength * (at - self._middle) / _FAR
        return np.concatenate(
            [self._roots * tokens / _SOFT, self._roots * _FIRST_TOKEN_WEIGHT * first / _SOFT, pull]
        )

    def _slopes(self, at: NDArray[np.float64], here: NDArray[np.float64]) -> NDArray[np.float64]:
        slopes = np.empty((len(here), len(at)))
        for place in range(len(at)):
            step = _SLOPE_STEP if at[place] <= 0.0 else -_SLOPE_STEP
            moved = at.copy()
            moved[place] += step
            slopes[:, place] = (self._residuals(moved) - here) / step
        return slopes

    def _slopes_at_start(self) -> NDArray[np.float64]:
        if self._known_slopes is None:
            at = self._place(self.start)
            self._known_slopes = self._slopes(at, self._residuals(at))
        return self._known_slopes

    def _descend(
        self,
        at: NDArray[np.float64],
        used: NDArray[np.bool_],
        steps: int,
        known_slopes: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """Return where damped Gauss-Newton steps under soft absolute errors end."""
        kept = np.concatenate([used, used, np.ones(len(at), dtype=bool)])
        pull = math.sqrt(used.sum() / len(used))
        scale = np.concatenate([np.ones(2 * len(used)), np.full(len(at), pull)])[kept]

        def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(self._residuals(x)[kept] * scale)

        def cost(values: NDArray[np.float64]) -> float:
            return float(np.sum(np.sqrt(1.0 + values**2) - 1.0))

        here, damping = residuals(at), 1e-2
        for _ in range(steps):
            if known_slopes is None:
                slopes = self._slopes(at, self._residuals(at))[kept] * scale[:, None]
            else:
                slopes = known_slopes[kept] * scale[:, None]
            soft = 1.0 / np.sqrt(1.0 + here**2)
            bend = slopes.T @ (slopes * soft[:, None])
            fall = slopes.T @ (soft * here)
            gain = 0.0
            for _ in range(5):
                step = -np.linalg.solve(bend + damping * np.diag(np.diag(bend) + 1e-9), fall)
                step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
                there = residuals(at + step)
                gain = cost(here) - cost(there)
                if gain > 0.0:
                    at, here, damping = at + step, there, max(damping / 5.0, 1e-4)
                    break
                damping *= 6.0
            if gain <= 1e-3 * cost(here):
                break
        return at

    @staticmethod
    def _shape(sample: Sample) -> tuple[str, str, str, bool]:
        return sample.model, sample.case.gpu.name, sample.case.precision, sample.case.prefill is None


class Folds:
    """Fits that never saw some rows, at none of the levels."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._fits: dict[tuple[str, str], EngineFit] = {}
        self._laws: dict[tuple[str, str, str], EngineCoefficients] = {}

    def law(
        self, engine: str, generation: str, name: str, is_left_out: Callable[[Sample], bool]
    ) -> EngineCoefficients:
        """Return a set's numbers from the other rows; ``name`` stands for what is left out."""
        key = (engine, generation, name)
        if key not in self._laws:
            fit = self.fit(engine, generation)
            left_out = np.array([is_left_out(sample) for sample in fit.found])
            above = parent(engine)
            middle = None if above is None else self.law(above, generation, name, is_left_out)
            same = middle is None or middle == shipped(str(above), generation)
            unmoved = same and not left_out.any()
            self._laws[key] = fit.start if unmoved else fit.without(left_out, middle)
        return self._laws[key]

    def fit(self, engine: str, generation: str) -> EngineFit:
        """Return a set's fit, with its slopes at the shipped numbers."""
        key = (engine, generation)
        if key not in self._fits:
            rows = [sample for sample in samples(self.data, engine, generation) if sample.fitted]
            above = parent(engine)
            middle = None if above is None else shipped(above, generation)
            self._fits[key] = EngineFit(rows, shipped(engine, generation), middle)
        return self._fits[key]


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


@contextmanager
def compiled_loop() -> Iterator[None]:
    """For a while, load tests run compiled: the same function, as it stands."""
    import numba

    plain = closed_loop.loop
    names = {**plain.__globals__, "_spread": numba.njit(closed_loop._spread)}
    compiled = numba.njit(types.FunctionType(plain.__code__, names, "loop"))
    setattr(closed_loop, "loop", compiled)  # noqa: B010 - a compiled function is no function to mypy
    try:
        yield
    finally:
        setattr(closed_loop, "loop", plain)  # noqa: B010
