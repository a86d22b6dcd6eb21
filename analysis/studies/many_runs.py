"""One scenario under many seeds: what failures cost a training run, as means with intervals.

Runs stay in memory: no folder is written and no books are made, because nothing here is about
energy or money.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from simulator.accounting.gpu_time import gpu_time
from simulator.engine import simulate
from simulator.scenario import load
from simulator.telemetry import MemorySink, ReliabilityFacts


@dataclass(frozen=True)
class Outcome:
    """What befell one training run under one seed."""

    seed: int
    unplanned: int
    """Times that a failure stopped the job."""
    planned: int
    ettr_fraction: float
    """Useful time over time held and waited; bubbles and communication do not lower it."""
    use_fraction: dict[str, float]
    """Share of held and waited GPU time by use, as in the table ``gpu_time``."""
    law: ReliabilityFacts | None
    cpu_s: float


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 1, scale: float = 1.0) -> str:
        """Return ``mean (low to high)``."""
        low, mean, high = (f"{scale * value:,.{digits}f}" for value in (self.low, self.mean, self.high))
        return f"{mean} ({low} to {high})"


#: Parts of a step that are useful running time in the sense of ETTR.
_IN_STEPS = ("productive", "recompute", "communication", "bubble", "straggler")


def outcome(scenario: str, seed: int, overrides: Sequence[str] = ()) -> Outcome:
    """Run a scenario's only training job under one seed."""
    begin_s = time.process_time()
    sink = MemorySink()
    said = load(scenario, [*overrides, f"seed={seed}"])
    record = simulate(said, sink)
    rows = gpu_time(record)
    wanted = float(rows["gpu_seconds"].sum())
    use = {name: float(value) / wanted for name, value in zip(rows["use"], rows["gpu_seconds"], strict=True)}
    announced = {
        cause.cause for cause in said.catalog.failure_preset(said.failures.preset).causes if cause.planned
    }
    events = sink.columns("events")
    job = record.jobs.job_id[0]
    planned = sum(
        kind == "failure" and target == job and what in announced
        for kind, what, target in zip(events["kind"], events["what"], events["target"], strict=True)
    )
    return Outcome(
        seed=seed,
        unplanned=int(record.jobs.restarts[0]) - planned,
        planned=planned,
        ettr_fraction=sum(use.get(name, 0.0) for name in _IN_STEPS),
        use_fraction=use,
        law=record.reliability[0] if record.reliability else None,
        cpu_s=time.process_time() - begin_s,
    )


def over_seeds(scenario: str, seeds: Iterable[int], overrides: Sequence[str] = ()) -> list[Outcome]:
    """Run a scenario under several seeds, one after the other."""
    return [outcome(scenario, seed, overrides) for seed in seeds]


def interval(values: Sequence[float]) -> Interval:
    """Return mean and 95 % interval of the mean; the interval is infinite for one value."""
    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return Interval(mean, mean - half, mean + half)
