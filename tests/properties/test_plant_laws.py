"""What every cooling plant must obey, whatever its parameters: K10's guards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.facility import PLANTS

temperature_c = st.floats(-30.0, 48.0)
depression_k = st.floats(0.0, 25.0)
share = st.floats(0.0, 1.3)
RATED_W = 1e6


@pytest.fixture(params=sorted(PLANTS), scope="module")
def plant(request):
    return PLANTS[request.param]().sized_for(RATED_W)


def power_w(plant, heat, dry, wet) -> float:
    return float(plant.draw(heat * RATED_W, dry, min(wet, dry)).power_w)


@given(heat=share, dry=temperature_c, depression=depression_k, warmer=st.floats(0.0, 20.0))
def test_power_never_falls_as_the_air_warms_at_constant_wet_bulb(plant, heat, dry, depression, warmer):
    wet = dry - depression
    assert power_w(plant, heat, dry + warmer, wet) >= power_w(plant, heat, dry, wet) * (1 - 1e-12)


@given(heat=share, dry=temperature_c, depression=depression_k, wetter=st.floats(0.0, 20.0))
def test_power_never_falls_as_the_air_gets_wetter(plant, heat, dry, depression, wetter):
    low = dry - depression
    assert power_w(plant, heat, dry, low + wetter) >= power_w(plant, heat, dry, low) * (1 - 1e-12)


@given(heat=share, more=st.floats(0.0, 0.5), dry=temperature_c, depression=depression_k)
def test_power_never_falls_as_heat_rises(plant, heat, more, dry, depression):
    wet = dry - depression
    assert power_w(plant, heat + more, dry, wet) >= power_w(plant, heat, dry, wet) * (1 - 1e-12)


@given(heat=share, dry=temperature_c, depression=depression_k)
def test_nothing_is_negative_and_an_overloaded_plant_runs_warm(plant, heat, dry, depression):
    draw = plant.draw(heat * RATED_W, dry, dry - depression)
    assert draw.power_w >= 0.0
    # A plant of which only the PUE is known says nothing of water, and then never does.
    unknown = getattr(plant, "wue_litres_per_kwh", 0.0) is None
    assert np.isnan(draw.water_litres_per_s) if unknown else draw.water_litres_per_s >= 0.0
    assert draw.capacity_w >= 0.0
    overloaded = heat * RATED_W > draw.capacity_w
    assert (draw.supply_c > plant.supply_temperature_c) == overloaded


@given(dry=temperature_c, depression=depression_k, working=st.floats(0.0, 1.0))
def test_capacity_never_rises_as_equipment_fails_or_the_air_warms(plant, dry, depression, working):
    wet = dry - depression
    whole = plant.draw(RATED_W, dry, wet).capacity_w
    assert plant.draw(RATED_W, dry, wet, working).capacity_w <= whole
    assert plant.draw(RATED_W, dry + 5.0, wet).capacity_w <= whole


def test_overhead_is_continuous_in_load_and_falls_at_part_load(plant):
    """At half load a plant needs no more than at full load, and not less than standing still."""
    dry, wet = np.linspace(-10, 40, 60), np.linspace(-11, 25, 60)
    loads = np.linspace(0.0, 1.0, 201)
    power = np.array([plant.draw(load * RATED_W, dry, wet).power_w for load in loads])
    assert np.all(np.diff(power, axis=0) >= -1e-6)
    # No step of half a percent in load moves the power by more than a hundredth of rated heat.
    assert np.diff(power, axis=0).max() < 0.01 * RATED_W
