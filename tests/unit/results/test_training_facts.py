"""What is said of a training run: its largest swing, as numbers of the summary."""

from __future__ import annotations

import math

import pytest

import simulator
from simulator.results.training_facts import largest_swing
from simulator.scenario import load_text
from simulator.telemetry import SwingFacts

TEXT = """
title: swings
start: 2026-01-01T00:00Z
duration: 2 h
sites:
  - {name: a, grid: DE, cooling: {plant: constant-pue, pue: 1.2},
     pools: [{name: h100, node: hgx-h100-8, nodes: 8}]}
workloads:
  - {kind: training, name: big, model: llama-3.1-8b, steps: 1e6, gpus: 32, global_batch: 64}
  - {kind: training, name: given, model: llama-3.1-8b, steps: 1e6, gpus: 16, global_batch: 64, mfu: 40 %}
  - {kind: training, name: saving, model: llama-3.1-8b, steps: 1e6, gpus: 16, global_batch: 64, mfu: 40 %,
     checkpoint: {every: 10 min, stall: 20 s}}
"""


@pytest.mark.parametrize(
    ("step_w", "save_w", "answer"),
    [
        (3e6, 1e6, (3e6, 150e6, 4.0)),  # W, over 20 ms, a step
        (1e6, 3e6, (3e6, 150e6, 620.0)),
        (math.nan, 2e6, (2e6, 100e6, 620.0)),
        (2e6, math.nan, (2e6, 100e6, 4.0)),
    ],
)
def test_the_larger_of_step_and_save_counts(step_w, save_w, answer):
    facts = SwingFacts("run", step_w, 4.0, step_w / 0.02, save_w, 620.0, 9e6)
    assert tuple(largest_swing(facts).values()) == pytest.approx(answer)


def test_the_summary_has_it_for_each_run():
    run = simulator.run(load_text(TEXT))
    summary, meta = run.summary, run.summary_meta
    ends = ("swing_w", "swing_ramp_w_per_s", "swing_period_s")
    # The step's swing repeats with the step; without its parts nothing is known.
    swing = next(job["swing"] for job in run.closing_data()["training"] if job["job"] == "big")
    assert [summary[f"training.big.{end}"] for end in ends] == pytest.approx(
        [swing["step_w"], swing["step_ramp_w_per_s"], swing["step_period_s"]]
    )
    assert swing["step_w"] > 0.0
    assert [summary[f"training.given.{end}"] for end in ends] == [None, None, None]
    assert "nor the parts" in meta["training.given.swing_w"]["reason"]
    # A stop for a checkpoint of 20 s every 600 s of work.
    assert summary["training.saving.swing_period_s"] == pytest.approx(620.0)
    assert [meta[f"training.big.{end}"]["unit"] for end in ends] == ["W", "W/s", "s"]
