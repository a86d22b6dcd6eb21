from __future__ import annotations

import numpy as np
import pytest

from simulator.facility import PLANTS
from simulator.facility.air_chiller import AirChiller
from simulator.facility.constant_pue import ConstantPue
from simulator.facility.dry_cooler_adiabatic import DryCoolerAdiabatic
from simulator.foundation.plugins import fields_of


def test_constant_pue_is_a_fixed_multiple_of_heat():
    plant = ConstantPue(pue=1.1, wue_litres_per_kwh=1.8).sized_for(2000.0)
    draw = plant.draw(np.array([0.0, 1000.0]), 30.0, 20.0)
    assert draw.power_w == pytest.approx([0.0, 100.0])
    assert draw.water_litres_per_s * 3600 == pytest.approx([0.0, 1.8])


def test_a_pue_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        ConstantPue(pue=0.98)


def test_a_plant_without_size_says_so():
    with pytest.raises(ValueError, match=r"air-chiller: capacity is 0\.0 W"):
        AirChiller().draw(1.0, 20.0, 15.0)


def test_a_given_capacity_is_kept():
    assert AirChiller(capacity_w=5.0).sized_for(9.0).capacity_w == 5.0
    assert AirChiller().sized_for(9.0).capacity_w == 9.0


def test_cold_air_needs_neither_water_nor_chiller():
    plant = AirChiller().sized_for(1e6)
    cold = plant.draw(1e6, -5.0, -6.0)
    without_chiller = AirChiller(chiller_fraction=0.0).sized_for(1e6).draw(1e6, -5.0, -6.0)
    assert cold.water_litres_per_s == 0.0
    assert cold.power_w == pytest.approx(without_chiller.power_w)


def test_pads_drink_what_they_evaporate():
    """By hand: at 25 C dry, 15 C wet, pads bring the air to 25 - 0.7 x 10 = 18 C.

    The warm loop then needs a share 1 of (30 - 18)/12 at full flow: air of 1 MW / 16 K = 62.5
    kW/K cooled by 7 K evaporates 437.5 kW / 2.442 MJ/kg = 0.1792 L/s; 4 cycles make it 4/3.
    """
    plant = DryCoolerAdiabatic(
        capacity_w=1e6,
        liquid_fraction=1.0,
        supply_temperature_c=30.0,
        cooler_approach_k=12.0,
        cooler_air_rise_k=16.0,
    )
    draw = plant.draw(1e6, 25.0, 15.0)
    assert draw.water_litres_per_s == pytest.approx(62500 * 7 / 2.442e6 * 4 / 3)


def test_half_the_fans_flow_takes_an_eighth_of_their_power():
    plant = DryCoolerAdiabatic(
        capacity_w=1e6,
        liquid_fraction=1.0,
        supply_temperature_c=30.0,
        cooler_approach_k=10.0,
        cooler_fan_fraction=0.02,
        pump_fraction=0.0,
        standing_fraction=0.0,
    )
    # An approach of 20 K is twice what rated heat needs, so half the flow does.
    expected_w = 20_000 * (0.05 + 0.95 / 8)
    assert plant.draw(1e6, 10.0, 5.0).power_w == pytest.approx(expected_w)


def test_a_chiller_needs_air_for_what_it_carries():
    """At 40 C nothing is free: by hand, fans at half flow, pumps, and 0.5 MW over the COP."""
    plant = DryCoolerAdiabatic(
        capacity_w=1e6,
        liquid_fraction=1.0,
        supply_temperature_c=30.0,
        pad_effectiveness_fraction=0.0,
        cooler_fan_fraction=0.02,
        pump_fraction=0.03,
        standing_fraction=0.0,
    )
    # 40 % of Carnot between 30 - 4 C and 40 + 14 C.
    cop = 0.4 * (26.0 + 273.15) / (54.0 - 26.0)
    fans_w = 20_000 * (0.05 + 0.95 * 0.5**3)
    assert plant.draw(5e5, 40.0, 24.0).power_w == pytest.approx(fans_w + 0.03 * 5e5 + 5e5 / cop)


def test_heat_beyond_capacity_warms_the_coolant():
    plant = AirChiller(chiller_fraction=0.0).sized_for(1e6)
    draw = plant.draw(np.array([1e5, 1e6]), 15.0, 15.0)
    assert draw.capacity_w[1] < 1e6
    assert draw.supply_c[0] == plant.supply_temperature_c
    assert draw.supply_c[1] > plant.supply_temperature_c


def test_broken_equipment_carries_less():
    plant = AirChiller().sized_for(1e6)
    whole, half, none = (float(plant.draw(1e6, 30.0, 22.0, share).capacity_w) for share in (1.0, 0.5, 0.0))
    assert whole > half > none == 0.0


@pytest.mark.parametrize("name", PLANTS)
def test_every_field_of_a_plant_says_its_unit_and_meaning(name):
    for field in fields_of(PLANTS[name]):
        assert field.unit, field.name
        assert field.meaning.endswith("."), field.name


@pytest.mark.parametrize("name", PLANTS)
def test_arrays_and_scalars_agree(name):
    plant = PLANTS[name]().sized_for(1e6)
    dry, wet = np.array([-10.0, 12.0, 26.0, 40.0]), np.array([-11.0, 8.0, 21.0, 24.0])
    together = plant.draw(8e5, dry, wet)
    for index in range(4):
        alone = plant.draw(8e5, dry[index], wet[index])
        assert together.power_w[index] == alone.power_w
        assert np.array_equal(together.water_litres_per_s[index], alone.water_litres_per_s, equal_nan=True)
