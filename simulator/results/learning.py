"""What training runs learn: the loss that a scaling law expects, and the price of the next halving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from simulator.accounting.books import Books
from simulator.foundation.errors import ScalingLawError
from simulator.foundation.units import J_PER_MWH
from simulator.llm.scaling_laws import BESIROGLU, next_halving, range_said
from simulator.telemetry import LearningFacts, Record


@dataclass(frozen=True)
class Learning:
    """One training run; None where the law says nothing, with the reason in ``said``.

    Parameters
    ----------
    job, parameters, unique_tokens, has_experts
        As the run began; ``unique_tokens`` is None without end.
    tokens
        Trained on and kept by the end of the run. [tokens]
    expected_loss_nats, reducible_nats
        At those tokens, and what of it is above the floor. [nats]
    said
        How far the law is stretched, or why it is silent; empty within what it was fitted on.
    next_halving_parameters, next_halving_tokens
        Of the cheapest run with half the reducible loss. [count, tokens]
    next_halving_mwh, next_halving_usd
        Of that run, at this run's energy at the meter and cost for each operation.
    """

    job: str
    parameters: float
    unique_tokens: float | None
    has_experts: bool
    tokens: float
    expected_loss_nats: float | None = None
    reducible_nats: float | None = None
    said: str = ""
    next_halving_parameters: float | None = None
    next_halving_tokens: float | None = None
    next_halving_mwh: float | None = None
    next_halving_usd: float | None = None

    def numbers(self) -> dict[str, float | None]:
        """Return the numbers of the summary by the last part of their names."""
        return {
            "tokens": self.tokens,
            "expected_loss_nats": self.expected_loss_nats,
            "reducible_loss_nats": self.reducible_nats,
            "next_halving_parameters": self.next_halving_parameters,
            "next_halving_tokens": self.next_halving_tokens,
            "next_halving_mwh": self.next_halving_mwh,
            "next_halving_usd": self.next_halving_usd,
        }


def learnings(record: Record, books: Books) -> list[Learning]:
    """Return what each training run learned, in the order of the scenario."""
    rows = {name: row for row, name in enumerate(record.jobs.job_id)}
    return [_of_run(facts, rows[facts.job], record, books) for facts in record.learning]


def _of_run(facts: LearningFacts, row: int, record: Record, books: Books) -> Learning:
    tokens = float(record.jobs.work_done[row])
    known: dict[str, Any] = {
        "job": facts.job,
        "parameters": facts.parameters,
        "unique_tokens": None if math.isinf(facts.unique_tokens) else facts.unique_tokens,
        "has_experts": facts.has_experts,
        "tokens": tokens,
    }
    if tokens <= 0.0:
        return Learning(**known, said="no token was trained on and kept")
    try:
        known["said"] = range_said(facts.job, facts.parameters, tokens, has_experts=facts.has_experts)
        loss = BESIROGLU.loss(facts.parameters, tokens, facts.unique_tokens)
    except ScalingLawError as error:
        return Learning(**known, said=str(error))
    known |= {"expected_loss_nats": loss, "reducible_nats": loss - BESIROGLU.floor}
    try:
        half = next_halving(facts.parameters, tokens, facts.unique_tokens)
    except ScalingLawError:
        return Learning(**known)  # no run on so little data gets there
    energy_j = float(books.jobs["facility_energy_j"][row])
    cost_usd = float(books.jobs["cost_usd"][row])
    return Learning(
        **known,
        next_halving_parameters=half.parameters,
        next_halving_tokens=half.tokens,
        next_halving_mwh=_known(energy_j / J_PER_MWH * half.compute_ratio),
        next_halving_usd=_known(cost_usd * half.compute_ratio),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
