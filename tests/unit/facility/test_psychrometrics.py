from __future__ import annotations

import numpy as np
import pytest

from simulator.facility.psychrometrics import (
    pressure_pa,
    relative_humidity_fraction,
    saturation_pressure_pa,
    wet_bulb_c,
)


@pytest.mark.parametrize(
    ("temperature_c", "expected_pa"),
    [(-20.0, 103.24), (0.0, 611.2), (20.0, 2338.8), (40.0, 7383.5)],
)
def test_saturation_pressure_equals_the_ashrae_table(temperature_c, expected_pa):
    """ASHRAE Handbook of Fundamentals 2017, chapter 1, table 3."""
    assert saturation_pressure_pa(temperature_c) == pytest.approx(expected_pa, rel=2e-4)


def test_the_atmosphere_of_denver_is_the_standard_one():
    """ASHRAE table 1: 84.556 kPa at 1,500 m."""
    assert pressure_pa(1500.0) == pytest.approx(84556, rel=1e-4)


def test_saturated_air_has_its_own_temperature_as_wet_bulb():
    temperatures = np.array([-10.0, 5.0, 20.0, 35.0])
    assert wet_bulb_c(temperatures, 1.0) == pytest.approx(temperatures, abs=1e-3)


def test_wet_bulb_agrees_with_psychrolib():
    """The library solves the same balance to 1e-3 K; the band of ice and water is left out."""
    psychrolib = pytest.importorskip("psychrolib")
    psychrolib.SetUnitSystem(psychrolib.SI)
    rng = np.random.default_rng(1)
    dry, humidity = rng.uniform(-20, 45, 300), rng.uniform(0.05, 1.0, 300)
    ours = wet_bulb_c(dry, humidity, 95000.0)
    theirs = np.array(
        [psychrolib.GetTWetBulbFromRelHum(t, h, 95000.0) for t, h in zip(dry, humidity, strict=True)]
    )
    clear = np.abs(theirs) > 1.0
    assert clear.sum() > 200
    assert np.abs(ours - theirs)[clear].max() < 2e-3


def test_a_dew_point_at_the_dry_bulb_is_full_humidity():
    assert relative_humidity_fraction(18.0, 18.0) == pytest.approx(1.0)
    assert relative_humidity_fraction(18.0, 25.0) == 1.0


def test_an_impossible_humidity_is_refused_with_its_index():
    with pytest.raises(ValueError, match=r"index 1 it is 55"):
        wet_bulb_c(np.array([20.0, 20.0]), np.array([0.5, 55.0]))
    with pytest.raises(ValueError, match="index 0 it is nan"):
        wet_bulb_c(20.0, float("nan"))
