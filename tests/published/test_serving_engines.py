"""Serving against engines and simulators that others ran.

Vidur (Agrawal et al., MLSys 2024): its per-request answers on its own iteration times.
"""

from __future__ import annotations

import pytest

from analysis.validation.vidur_answers import LAYERS, VidurRun, compared
from simulator.performance.iteration_table import read_iteration_table

RUNS = {
    "l2-70b_a100_tp2_sarathi512_conv_qps0.5_n2000": 0,
    "l2-70b_a100_tp2_sarathi512_fixed1024x128_qps1_n1000": 0,
    "l2-70b_a100_tp2_vllm_conv_qps1.0_n2000": 0,
    "l2-70b_a100_tp2_x4_lor_sarathi512_conv_qps4_n4000": 18,
}


@pytest.mark.parametrize(("tag", "restarts"), RUNS.items())
def test_every_request_is_answered_as_vidur_answers_it(shared_data, tag, restarts):
    """Tolerance 0.1 % of every request's end-to-end time: the saved answers have nine digits."""
    home = shared_data / "serving" / "reference" / "vidur"
    trace = shared_data / "serving" / "traces" / "azure2023_conv.csv.gz"
    times = read_iteration_table(home / "iteration_tables_l270_tp2.npz", layers=LAYERS, tensor_parallel=2)
    row = compared(VidurRun.read(home / f"{tag}.summary.json", trace), times)
    _, requests, theirs, ours, *_, worst, verdict = row
    assert requests >= 1000
    assert (theirs, ours) == (restarts, restarts)
    assert worst < 1e-3
    assert verdict == "PASS"
