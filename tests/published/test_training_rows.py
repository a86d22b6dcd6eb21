"""The training step against published rows, by source; fails when a change makes it worse.

Ampere's coefficients were fitted on these A100 sources together, Hopper's and Blackwell's on
NVIDIA's FP8 rows; experts were fitted on nothing. Tolerances are what was reached, rounded up.
"""

from __future__ import annotations

import pytest

from analysis.calibration.training_quick import errors, mean_absolute
from analysis.calibration.training_rows import read_cases

#: Beginning of a source, least rows, highest mean absolute error of the step time.
SOURCES = [
    ("Narayanan et al. SC21 Table 1", 10, 0.045),
    ("Korthikanti et al. 2022 Table 5", 8, 0.055),
    ("MosaicML llm-foundry benchmarks, a100_40gb", 70, 0.065),
    ("MosaicML llm-foundry benchmarks, a100_80gb", 55, 0.05),
    ("vTrain MICRO24 ground truth", 40, 0.10),
    ("NVIDIA NeMo 24.07 pre-training performance", 6, 0.12),
    ("NVIDIA 26.04 NeMo Container pre-training performance", 7, 0.12),
    ("NVIDIA 26.04 NeMo Container pre-training performance (experts)", 12, 0.25),
]


@pytest.fixture(scope="module")
def found(shared_data):
    return errors(read_cases(shared_data / "training"))


@pytest.mark.parametrize(("source", "rows", "bound"), SOURCES)
def test_step_times_of_a_source(found, source, rows, bound):
    mine = found[source]
    assert len(mine) >= rows
    assert mean_absolute(mine) < bound


def test_small_models_on_one_node(shared_data):
    """1,440 iterations of vTrain with hidden sizes of 1,024 and 2,048: the launch-bound regime."""
    mine = errors(read_cases(shared_data / "training", "single_node_steps.csv"))
    assert mean_absolute(mine["vTrain MICRO24 ground truth"]) < 0.11
