"""What is said of a training run beyond its row: effective time beside the laws, swings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.accounting.books import Books
from simulator.hardware.failure_laws import (
    FIRST_ORDER_LOSS_FRACTION,
    expected_ettr_fraction,
    first_order_loss_fraction,
    renewal_ettr_fraction,
)
from simulator.performance.power_swing import SUPPLY_S
from simulator.telemetry import Record, ReliabilityFacts, SwingFacts

#: A run that met fewer failures than this says little about a mean.
_FEW_FAILURES: Final = 20

#: Share of a run's time that may go by waiting before the laws, which know no queue, are left.
_MUCH_WAITING: Final = 0.01


@dataclass(frozen=True)
class TrainingFacts:
    """One training job; None where a number has no meaning.

    Parameters
    ----------
    job
        Its name.
    ettr_fraction
        Effective training time as simulated.
    ettr_law_fraction
        As expected of a long run, to all orders in the failure rate.
    ettr_first_order_fraction
        As Kokolis et al. write it; None where that form does not hold.
    law_bends
        Why the laws do not, or hardly, apply; empty if they do.
    calibration
        What the failure preset counted.
    mean_time_s, interval_s, save_s, lag_s, restart_s
        Between failures; between checkpoints; stop of each; until it is durable; back to work. [s]
    swing
        Amplitudes, ramp and periods of power.
    """

    job: str
    ettr_fraction: float | None
    ettr_law_fraction: float | None = None
    ettr_first_order_fraction: float | None = None
    law_bends: tuple[str, ...] = ()
    calibration: str = ""
    mean_time_s: float | None = None
    interval_s: float | None = None
    save_s: float | None = None
    lag_s: float | None = None
    restart_s: float | None = None
    swing: dict[str, float | None] | None = None


def training_facts(record: Record, books: Books) -> list[TrainingFacts]:
    """Return what is said of each training job, in submission order.

    ETTR is useful time over time held and waited, as of the whole fleet; bubbles and
    communication inside a step do not lower it.
    """
    jobs = record.jobs
    laws = {facts.job: facts for facts in record.reliability}
    swings = {facts.job: facts for facts in record.swings}
    found = []
    for row, kind in enumerate(jobs.kind):
        if kind != "training":
            continue
        name = jobs.job_id[row]
        held = float(books.jobs["gpu_seconds"][row])
        waited = float(jobs.gpus[row] * np.nan_to_num(jobs.wait_s[row]))
        share = float(jobs.productive_share[row])
        useful = float(books.jobs["productive_gpu_seconds"][row]) / share if share > 0 else 0.0
        ettr = useful / (held + waited) if held + waited > 0 else None
        swing = _swing(swings[name]) if name in swings else None
        if name not in laws:
            found.append(TrainingFacts(name, ettr, swing=swing))
            continue
        law = laws[name]
        bends = list(law.bends)
        if waited > _MUCH_WAITING * (held + waited):
            bends.append(f"{100 * waited / (held + waited):.0f} % of its time went by waiting")
        if int(jobs.preemptions[row]):
            bends.append("decisions stopped it")
        expected = (held + waited) / float(jobs.gpus[row]) / law.mean_time_s
        if 0 < expected < _FEW_FAILURES:
            bends.append(f"only {expected:.2g} failures are expected in its time")
        found.append(_with_laws(name, ettr, law, bends, swing))
    return found


def expected_ettr(law: ReliabilityFacts) -> float:
    """Return the effective time expected of a long run, to all orders in the failure rate."""
    return renewal_ettr_fraction(
        mean_time_between_failures_s=law.mean_time_s,
        interval_s=law.interval_s,
        save_s=law.save_s,
        restarts=law.restarts,
        lag_s=law.lag_s,
        undetected_s=law.undetected_s,
        planned_per_s=law.planned_per_s,
        planned_s=law.planned_s,
    )


def watch(facts: TrainingFacts) -> list[str]:
    """Return what a reader must be told about the laws beside a run's effective time.

    Where the simple law does not hold the simulated value stands; that is said, with both.
    """
    if facts.ettr_law_fraction is None or facts.ettr_fraction is None or facts.mean_time_s is None:
        return []
    said = []
    simulated, law = 100 * facts.ettr_fraction, 100 * facts.ettr_law_fraction
    if facts.ettr_first_order_fraction is None:
        said.append(
            f"{facts.job}: the first-order ETTR law does not hold, a failure every "
            f"{facts.mean_time_s / 60:.3g} min costs too much of it; to all orders {law:.1f} %, "
            f"simulated {simulated:.1f} %"
        )
    if facts.law_bends:
        said.append(
            f"{facts.job}: no ETTR law applies, {'; '.join(facts.law_bends)}; simulated {simulated:.1f} %"
        )
    return said


def _with_laws(
    name: str,
    ettr: float | None,
    law: ReliabilityFacts,
    bends: list[str],
    swing: dict[str, float | None] | None,
) -> TrainingFacts:
    first_order = None
    loss = first_order_loss_fraction(
        mean_time_between_failures_s=law.mean_time_s, interval_s=law.interval_s, restart_s=law.restart_s
    )
    if loss < FIRST_ORDER_LOSS_FRACTION:
        first_order = expected_ettr_fraction(
            mean_time_between_failures_s=law.mean_time_s,
            interval_s=law.interval_s,
            save_s=law.save_s,
            restart_s=law.restart_s,
        ) / (1.0 + law.planned_per_s * law.planned_s)
    return TrainingFacts(
        job=name,
        ettr_fraction=ettr,
        ettr_law_fraction=expected_ettr(law),
        ettr_first_order_fraction=first_order,
        law_bends=tuple(bends),
        calibration=law.calibration,
        mean_time_s=None if math.isinf(law.mean_time_s) else law.mean_time_s,
        interval_s=law.interval_s,
        save_s=law.save_s,
        lag_s=law.lag_s,
        restart_s=law.restart_s,
        swing=swing,
    )


def largest_swing(facts: SwingFacts) -> dict[str, float]:
    """Return amplitude, ramp and period of what swings most, the step or the stop at a checkpoint.

    NaN where a run neither stops to save itself nor has steps whose parts are known.
    """
    waves = [(facts.step_w, facts.step_period_s), (facts.save_w, facts.save_period_s)]
    watts, period_s = max((w for w in waves if not math.isnan(w[0])), default=(math.nan, math.nan))
    return {"swing_w": watts, "swing_ramp_w_per_s": watts / SUPPLY_S, "swing_period_s": period_s}


def _swing(facts: SwingFacts) -> dict[str, float | None]:
    names = ("step_w", "step_period_s", "step_ramp_w_per_s", "save_w", "save_period_s", "stop_w")
    values = {name: float(getattr(facts, name)) for name in names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}
