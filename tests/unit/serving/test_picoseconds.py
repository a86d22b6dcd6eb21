from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.foundation.time_grid import TICK_S
from simulator.serving.picoseconds import NEVER, many_to_ps, tick_after_s, to_ps, to_s

moments = st.floats(0.0, 4e8, allow_nan=False)


@given(moments)
def test_a_picosecond_is_the_nearest_one(moment_s):
    assert abs(to_s(to_ps(moment_s)) - moment_s) <= max(1e-12, math.ulp(moment_s))


@given(st.lists(moments, max_size=20))
def test_many_are_converted_as_one_by_one(moments_s):
    assert many_to_ps(np.array(moments_s, dtype=np.float64)) == [to_ps(moment) for moment in moments_s]


def test_a_year_keeps_its_picoseconds():
    assert to_ps(31_536_000.0 + 2.0**-20) == 31_536_000 * 10**12 + 953_674


def test_infinity_is_never():
    assert to_ps(math.inf) == NEVER > to_ps(1e15)


@given(st.integers(0, 10**18), st.sampled_from([0.0, -1800.0]))
def test_the_next_tick_is_later_and_on_the_grid(picoseconds, base_s):
    moment_s = tick_after_s(picoseconds, base_s)
    assert to_ps(moment_s - base_s) > picoseconds
    assert to_ps(moment_s - TICK_S - base_s) <= picoseconds
    assert moment_s / TICK_S == round(moment_s / TICK_S)
