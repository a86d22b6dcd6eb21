from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.estimation.few_cores import TEN_CORES, SharedCores


def test_hold_ups_overlap_with_each_other_and_with_the_work():
    """By hand: 3 ms of work, 4 ms for four sequences, 12 ms at half of 24 ms: a 3-4-5, then a 5-12-13."""
    law = SharedCores(sequence_s=2e-3, crowding=0.5, long_s=24e-3, long_tokens=1000.0)
    assert law.step_s(3e-3, 4.0, 1000.0) == pytest.approx(13e-3)
    assert law.step_s(3e-3, 4.0, 1.0) == pytest.approx(5e-3)


@given(st.floats(1e-3, 1.0), st.floats(1.0, 4096.0), st.floats(1.0, 32768.0))
def test_held_up_never_shortens_and_matters_less_for_long_work(engine_s, sequences, answer):
    held_s = TEN_CORES.step_s(engine_s, sequences, answer)
    assert held_s >= engine_s
    assert TEN_CORES.step_s(2.0 * engine_s, sequences, answer) / 2.0 <= held_s
    assert TEN_CORES.step_s(engine_s, 2.0 * sequences, 2.0 * answer) >= held_s
