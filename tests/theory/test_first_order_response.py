"""The exponential response against its differential equation, solved without any exponential."""

from __future__ import annotations

import pytest

from simulator.foundation import Relaxation


def runge_kutta(value, target, time_constant_s, duration_s, steps):
    """Integrate dx/dt = (target - x) / tau by the classical fourth-order rule."""
    step_s = duration_s / steps
    for _ in range(steps):
        one = (target - value) / time_constant_s
        two = (target - value - step_s / 2 * one) / time_constant_s
        three = (target - value - step_s / 2 * two) / time_constant_s
        four = (target - value - step_s * three) / time_constant_s
        value += step_s / 6 * (one + 2 * two + 2 * three + four)
    return value


def test_a_room_without_chillers_follows_its_heat_balance():
    """From 24 towards 60 C at 15 minutes: the Runge-Kutta error of 2000 steps is below 1e-12."""
    room = Relaxation(24.0, 60.0, 900.0, 0.0)
    for moment_s in (60.0, 900.0, 3600.0):
        assert room.at(moment_s) == pytest.approx(runge_kutta(24.0, 60.0, 900.0, moment_s, 2000), abs=1e-9)


def test_heating_then_cooling_equals_one_integration_through_both():
    room = Relaxation(24.0, 60.0, 900.0, 0.0).towards(600.0, 18.0, 1800.0)
    hot = runge_kutta(24.0, 60.0, 900.0, 600.0, 2000)
    assert room.at(2400.0) == pytest.approx(runge_kutta(hot, 18.0, 1800.0, 1800.0, 2000), abs=1e-9)


def test_half_the_way_takes_the_published_half_life():
    """ln 2 = 0.693147180559945 time constants (any table of constants)."""
    assert Relaxation(0.0, 1.0, 1.0, 0.0).crossing_s(0.5) == pytest.approx(0.693147180559945, abs=1e-15)
