"""Laws of effective time and of shared storage that hold whatever the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.engine.behaviour import Checkpoints
from simulator.engine.storage_share import write_stretches
from simulator.hardware import renewal_ettr_fraction

seconds = st.floats(1.0, 1e5)


def ettr(mean, every, save, restart, lag=0.0):
    return renewal_ettr_fraction(
        mean_time_between_failures_s=mean, interval_s=every, save_s=save, restarts=[(1.0, restart)], lag_s=lag
    )


@given(seconds, seconds, seconds, seconds, seconds)
def test_effective_time_is_a_share_and_what_hurts_lowers_it(mean, every, save, restart, lag):
    base = ettr(mean, every, save, restart, lag)
    assert 0.0 <= base <= every / (every + save) + 1e-12
    assert ettr(2 * mean, every, save, restart, lag) >= base
    assert ettr(mean, every, 2 * save, restart, lag) <= base
    assert ettr(mean, every, save, 2 * restart, lag) <= base
    assert ettr(mean, every, save, restart, 2 * lag) <= base


@given(seconds, seconds, seconds, seconds, st.floats(0.1, 10.0))
def test_effective_time_knows_no_unit_of_time(mean, every, save, restart, factor):
    scaled = ettr(factor * mean, factor * every, factor * save, factor * restart)
    assert scaled == pytest.approx(ettr(mean, every, save, restart), rel=1e-9, abs=1e-12)


writers = st.lists(
    st.tuples(st.floats(10.0, 1e4), st.floats(0.1, 1e3), st.booleans()), min_size=1, max_size=6
)


@given(writers)
def test_another_writer_never_makes_a_write_shorter(rows):
    found = [
        Checkpoints(every_s, 1.0, lag_s=write_s, write_s=write_s)
        if behind
        else Checkpoints(every_s, write_s, write_s=write_s)
        for every_s, write_s, behind in rows
    ]
    all_of_them = write_stretches(found)
    fewer = write_stretches(found[:-1]) if len(found) > 1 else []
    assert all(stretch >= 1.0 for stretch in all_of_them)
    assert all(stretch <= len(found) + 1e-9 for stretch in all_of_them)
    assert all(one <= other + 1e-6 for one, other in zip(fewer, all_of_them, strict=False))
    if len(found) == 1:
        assert all_of_them == [1.0]
