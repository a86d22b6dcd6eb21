"""A run that asks for a loss: its tokens, its summary, its price of the next halving."""

from __future__ import annotations

import pytest

import simulator
from simulator.foundation.errors import ScenarioError
from simulator.llm.scaling_laws import BESIROGLU
from simulator.scenario import load_text

TEXT = """
title: learning
start: 2026-01-01T00:00Z
duration: 2 d
sites:
  - name: a
    grid: DE
    cooling: {plant: constant-pue, pue: 1.2}
    pools: [{name: h100, node: hgx-h100-8, nodes: 32}]
workloads:
  - {kind: training, name: big, model: MODEL, AMOUNT, gpus: 256, global_batch: 512}
"""


def read(amount, model="llama-3.1-8b"):
    return load_text(TEXT.replace("AMOUNT", amount).replace("MODEL", model))


@pytest.fixture(scope="module")
def run():
    return simulator.run(read("loss: 2.3"))


def test_the_loss_asked_for_is_the_loss_reached(run):
    summary = run.summary
    assert summary["training.big.expected_loss_nats"] == pytest.approx(2.3, abs=1e-9)
    assert summary["training.big.tokens"] == pytest.approx(BESIROGLU.tokens_for(8029995008, 2.3), rel=1e-9)
    assert summary["training.big.reducible_loss_nats"] == pytest.approx(2.3 - 1.8172, abs=1e-9)


def test_the_next_halving_costs_as_much_more_as_its_compute(run):
    summary = run.summary
    ratio = summary["training.big.next_halving_parameters"] * summary["training.big.next_halving_tokens"]
    ratio /= 8029995008 * summary["training.big.tokens"]
    (job,) = [row for row in run.table("jobs").to_pylist() if row["job_id"] == "big"]
    assert summary["training.big.next_halving_mwh"] == pytest.approx(
        ratio * job["facility_energy_j"] / 3.6e9, rel=1e-9
    )
    assert summary["training.big.next_halving_usd"] == pytest.approx(ratio * job["cost_usd"], rel=1e-9)


def test_every_number_has_its_meaning(run):
    for name in run.summary:
        if name.startswith("training."):
            assert run.summary_meta[name]["meaning"]
            # Swings come from the step's parts, all else from the scaling law.
            source = "step model" if ".swing_" in name else "2404.10102"
            assert source in run.summary_meta[name]["source"]


def test_compute_optimal_is_about_twenty_tokens_a_parameter():
    scenario = read("compute_optimal: true")
    assert scenario.workloads[0].compute_optimal
    assert BESIROGLU.optimal_tokens(8e9) / 8e9 == pytest.approx(21, rel=0.1)


@pytest.mark.parametrize(
    ("amount", "model", "text"),
    [
        ("tokens: 1 B, loss: 2.2", "llama-3.1-8b", "give one of tokens, steps, loss and compute_optimal"),
        ("priority: 1", "llama-3.1-8b", "give one of tokens"),
        ("loss: 1.9", "llama-3.1-8b", "out of reach of 8.03e"),
        ("loss: 2.2, unique_tokens: 1 B", "llama-3.1-8b", "however often"),
        ("loss: 2.2", "mixtral-8x7b", "fitted on dense models"),
        ("compute_optimal: true", "mixtral-8x7b", "fitted on dense models"),
    ],
)
def test_what_the_law_does_not_know_is_refused_before_the_run(amount, model, text):
    with pytest.raises(ScenarioError, match=text):
        read(amount, model)


def test_where_no_run_on_the_data_halves_the_loss_none_is_priced():
    run = simulator.run(read("tokens: 20 B, unique_tokens: 5 B"))
    (facts,) = run.provenance["learning"]
    assert facts["expected_loss_nats"] == pytest.approx(BESIROGLU.loss(8029995008, 20e9, 5e9), rel=1e-9)
    assert facts["said"] == ""
    assert facts["next_halving_mwh"] is None
    assert run.summary_meta["training.big.next_halving_mwh"]["reason"]
