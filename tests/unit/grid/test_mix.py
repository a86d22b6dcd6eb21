from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.entries import FactorSet, GridSpec, WaterSet
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import CatalogError
from simulator.foundation.units import DAY_S, HOUR_S
from simulator.grid.mix import mix_signals
from simulator.grid.signals import constant_signals

CALENDAR = Calendar.from_text("2024-06-03T00:00Z")
FACTORS = FactorSet("made-up", "Made up", "lifecycle", {"solar": 40.0, "gas": 490.0, "coal": 820.0})


def grid(**changes) -> GridSpec:
    values = {
        "name": "here",
        "title": "Here",
        "timezone": "UTC",
        "mix": {"solar": 0.5, "gas": 0.5},
        "mix_year": 2023,
    }
    return GridSpec(**{**values, **changes})


def sunny() -> np.ndarray:
    return np.tile([0.0] * 12 + [2.0] * 12, (12, 1))


def test_a_flat_mix_is_its_factors_weighted():
    signals = mix_signals(grid(), FACTORS, CALENDAR, DAY_S)
    assert signals.intensity_g_per_kwh.value == pytest.approx(265.0)
    assert signals.clean_fraction.value == pytest.approx(0.5)
    assert (signals.factor_set, signals.basis, signals.vintage) == ("made-up", "lifecycle", "2023")


def test_fuels_move_the_hours_in_utc():
    signals = mix_signals(grid(fuel_shapes={"solar": sunny()}), FACTORS, CALENDAR, DAY_S)
    night, day = signals.intensity_g_per_kwh.at(11.5 * HOUR_S), signals.intensity_g_per_kwh.at(12 * HOUR_S)
    assert night == pytest.approx(490.0)
    assert day == pytest.approx((2 * 0.5 * 40 + 0.5 * 490) / 1.5)
    assert signals.clean_fraction.at(13 * HOUR_S) == pytest.approx(2 / 3)


def test_a_ready_made_shape_moves_a_flat_mix():
    signals = mix_signals(grid(intensity_shape=sunny()), FACTORS, CALENDAR, DAY_S)
    assert signals.intensity_g_per_kwh.at(0.0) == 0.0
    assert signals.intensity_g_per_kwh.at(12 * HOUR_S) == pytest.approx(530.0)


def test_a_price_and_a_marginal_number_are_only_there_when_given():
    plain = mix_signals(grid(), FACTORS, CALENDAR, DAY_S)
    assert plain.price_usd_per_kwh is None
    assert plain.marginal_g_per_kwh is None
    assert plain.source_water_litres_per_kwh is None
    given = mix_signals(
        grid(price_mean_usd_per_kwh=0.1, price_shape=sunny(), marginal_mean_g_per_kwh=431.0),
        FACTORS,
        CALENDAR,
        DAY_S,
    )
    assert given.price_usd_per_kwh.at(12 * HOUR_S) == pytest.approx(0.2)
    assert given.marginal_g_per_kwh.value == pytest.approx(431.0)


def test_losses_of_the_network_are_added_only_when_asked_for():
    spec = grid(t_and_d_loss_fraction=0.05)
    water = WaterSet("w", "W", {"solar": 0.1, "gas": 0.75})
    at_plant = mix_signals(spec, FACTORS, CALENDAR, DAY_S, water=water)
    at_meter = mix_signals(spec, FACTORS, CALENDAR, DAY_S, water=water, include_losses=True)
    assert at_plant.intensity_g_per_kwh.value == pytest.approx(265.0)
    assert at_meter.intensity_g_per_kwh.value == pytest.approx(265.0 / 0.95)
    assert at_plant.source_water_litres_per_kwh.value == pytest.approx(0.425)
    assert at_meter.source_water_litres_per_kwh.value == pytest.approx(0.425 / 0.95)
    assert (at_plant.boundary, at_meter.boundary) == ("generation", "consumption")


def test_unknown_losses_and_fuels_are_refused():
    with pytest.raises(CatalogError, match="t_and_d_loss_fraction is blank"):
        mix_signals(grid(), FACTORS, CALENDAR, DAY_S, include_losses=True)
    with pytest.raises(CatalogError, match=r"factor set 'made-up' has no number for peat; known: coal, gas"):
        mix_signals(grid(mix={"peat": 1.0}), FACTORS, CALENDAR, DAY_S)


def test_a_mix_without_carbon_has_none():
    clean = FactorSet("c", "C", "direct", {"solar": 0.0, "gas": 0.0})
    assert mix_signals(grid(), clean, CALENDAR, DAY_S).intensity_g_per_kwh.integral() == 0.0


def test_constants_hold_and_refuse_nonsense():
    signals = constant_signals(DAY_S, 350.0, price_usd_per_kwh=0.042)
    assert signals.intensity_g_per_kwh.mean() == 350.0
    assert sorted(signals.series()) == ["intensity_g_per_kwh", "price_usd_per_kwh"]
    with pytest.raises(ValueError, match="expected 0 or more"):
        constant_signals(DAY_S, -1.0)
