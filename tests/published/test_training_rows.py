"""The training step against published rows, by source; fails when a change makes it worse.

The coefficients were fitted on these rows (single-node ones: one in eight), so the bounds say how
well one set of numbers a generation describes them all; they are what was reached, rounded up.
What fits score on rows and models that they never saw is in ``datahall validate training``, and,
for the two cheapest folds, in the slow test below.
"""

from __future__ import annotations

import pytest

from analysis.calibration.training import family, left_out, predicted_s, read_all, shipped
from analysis.validation.training import score_by, source_name

#: Source, rows, highest mean absolute error of the step time, highest bias either way.
SOURCES = [
    ("Narayanan et al. SC21 Table 1", 10, 0.025, 0.02),
    ("Korthikanti et al. 2022 Table 5", 8, 0.055, 0.05),
    ("MosaicML llm-foundry benchmarks, a100_40gb", 78, 0.05, 0.035),
    ("MosaicML llm-foundry benchmarks, a100_80gb", 61, 0.04, 0.03),
    ("vTrain MICRO24 ground truth", 41, 0.085, 0.04),
    ("vTrain MICRO24 ground truth, single node", 1440, 0.08, 0.02),
    ("NVIDIA NeMo 24.07 pre-training performance", 10, 0.04, 0.03),
    ("NVIDIA 25.09 NeMo Container pre-training performance", 8, 0.045, 0.03),
    ("NVIDIA 25.11 NeMo Container pre-training performance", 10, 0.045, 0.03),
    ("NVIDIA 26.02 NeMo Container pre-training performance", 7, 0.05, 0.05),
    ("NVIDIA 26.02.01 NeMo Container pre-training performance", 7, 0.085, 0.05),
    ("NVIDIA 26.04 NeMo Container pre-training performance", 7, 0.055, 0.03),
    ("NVIDIA 26.02 NeMo Container pre-training performance (experts)", 13, 0.13, 0.07),
    ("NVIDIA 26.02.01 NeMo Container pre-training performance (experts)", 13, 0.08, 0.05),
    ("NVIDIA 26.04 NeMo Container pre-training performance (experts)", 14, 0.08, 0.05),
]


@pytest.fixture(scope="module")
def cases(shared_data):
    return read_all(shared_data / "training")


@pytest.fixture(scope="module")
def found(cases):
    base = shipped()
    return score_by([(predicted_s(case, base) / case.step_s - 1.0, case) for case in cases], source_name)


@pytest.mark.parametrize(("source", "rows", "error", "bias"), SOURCES)
def test_step_times_of_a_source(found, source, rows, error, bias):
    score = found[source]
    assert score.rows == rows
    assert score.mean_absolute < error
    assert abs(score.bias) < bias


@pytest.mark.slow
def test_dense_models_that_no_fit_has_seen(cases):
    """NVIDIA's dense models on Hopper and Blackwell, each left out: the target is 10 %."""
    recent = [case for case in cases if "NVIDIA" in case.source]
    held = left_out(recent, shipped(), family)
    errors = [abs(e) for pairs in held.values() for e, case in pairs if not case.architecture.experts]
    assert sum(errors) / len(errors) < 0.065
