"""How many tokens a training run works through, however the scenario says it."""

from __future__ import annotations

import math

from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.scaling_laws import BESIROGLU, range_said
from simulator.scenario.workloads import Training


def asked_tokens(run: Training, architecture: Architecture) -> float | None:
    """Return the tokens that a run asks for; None if it counts steps.

    Raises
    ------
    ScalingLawError
        If a loss is out of reach of the model and its data, or the law says nothing of such a run.
    """
    if run.tokens is not None or run.steps is not None:
        return run.tokens
    unique = math.inf if run.unique_tokens is None else run.unique_tokens
    size, has_experts = architecture.parameters, architecture.experts > 0
    if has_experts:
        range_said(run.model, size, size, has_experts=True)
    if run.loss is None:
        tokens = BESIROGLU.optimal_tokens(size)
    else:
        tokens = BESIROGLU.tokens_for(size, run.loss, unique)
    range_said(run.model, size, tokens)
    return tokens


def tokens_of(run: Training, architecture: Architecture, layout: Layout) -> float:
    """Return the tokens of a run, given how many a step has. [tokens]"""
    asked = asked_tokens(run, architecture)
    if asked is not None:
        return asked
    assert run.steps is not None  # the reader wants one of them
    return run.steps * layout.tokens_per_step
