from __future__ import annotations

import math

import pytest

from simulator.foundation import TICK_S, Priority, snap, snap_up


def test_the_priorities_of_one_instant_are_the_pinned_ones():
    assert [(priority.name, int(priority)) for priority in Priority] == [
        ("SIGNAL", 0),
        ("COMPLETION", 1),
        ("REPAIR", 2),
        ("FAILURE", 3),
        ("ARRIVAL", 4),
        ("CONTROL", 5),
        ("DECIDE", 6),
    ]


@pytest.mark.parametrize("moment", [0.0, 1.0, 86400.0, 1e9, 0.5 * TICK_S, 12345.678, 0.1 + 0.2, 2.0**32])
def test_a_snapped_moment_is_near_and_on_the_grid(moment):
    near, up = snap(moment), snap_up(moment)
    assert (near / TICK_S).is_integer()
    assert (up / TICK_S).is_integer()
    assert abs(near - moment) <= TICK_S / 2
    assert 0 <= up - moment < TICK_S
    assert snap(near) == snap_up(near) == near


def test_adding_grid_moments_is_exact():
    moments = [snap(0.1), snap(0.2), snap(1e8 + 0.3)]
    assert sum(moments) == math.fsum(moments) == sum(reversed(moments))


def test_never_stays_never():
    assert snap(math.inf) == snap_up(math.inf) == math.inf
    with pytest.raises(ValueError, match="NaN"):
        snap(math.nan)
