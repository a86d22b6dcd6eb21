from __future__ import annotations

import pytest

from simulator.facility.storage import Battery, replay_threshold
from simulator.foundation.step_series import StepSeries

LOSSLESS = {"round_trip_efficiency_fraction": 1.0}


def test_charging_stores_less_than_it_draws_and_discharging_takes_more():
    battery = Battery(
        energy_j=1000.0, power_w=100.0, round_trip_efficiency_fraction=0.81, initial_fraction=0.5
    )
    charging = battery.at_start().with_power(0.0, 50.0)
    assert charging.charge_j(4.0) == pytest.approx(500 + 0.9 * 200)
    giving = battery.at_start().with_power(0.0, -90.0)
    assert giving.charge_j(2.0) == pytest.approx(500 - 180 / 0.9)


def test_a_round_trip_returns_its_efficiency():
    battery = Battery(1000.0, 100.0, 0.81, initial_fraction=0.0)
    full = battery.at_start().with_power(0.0, 100.0)
    charged_s = full.bound_s()
    assert charged_s == pytest.approx(1000 / 90)
    empty_s = full.at_bound(charged_s).with_power(charged_s, -100.0).bound_s()
    assert 100.0 * (empty_s - charged_s) / (100.0 * charged_s) == pytest.approx(0.81)


def test_power_is_bounded_by_the_inverter_and_by_the_charge():
    battery = Battery(1000.0, 100.0, 1.0, initial_fraction=0.0)
    state = battery.at_start()
    assert state.with_power(0.0, 500.0).power_w == 100.0
    assert state.with_power(0.0, -500.0).power_w == 0.0
    full = Battery(1000.0, 100.0, 1.0).at_start()
    assert full.with_power(0.0, 10.0).power_w == 0.0
    assert full.with_power(0.0, -10.0).power_w == -10.0


def test_a_reserve_is_not_touched():
    state = Battery(1000.0, 100.0, 1.0, minimum_fraction=0.4).at_start().with_power(0.0, -100.0)
    assert state.bound_s() == pytest.approx(6.0)
    assert state.energy_out_j(0.0) == pytest.approx(600.0)
    assert state.at_bound(6.0).with_power(6.0, -100.0).power_w == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"energy_j": 0.0, "power_w": 1.0}, "must be positive"),
        ({"energy_j": 1.0, "power_w": 1.0, "round_trip_efficiency_fraction": 1.2}, "at most 1"),
        ({"energy_j": 1.0, "power_w": 1.0, "initial_fraction": 0.1, "minimum_fraction": 0.2}, "minimum"),
    ],
)
def test_an_impossible_battery_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Battery(**wrong)


def test_a_battery_above_the_threshold_never_charges():
    """OpenDC's battery case 1: 150 W, intensity 100, threshold 90: 90,000 J in 600 s."""
    load = StepSeries.constant(150.0, 600.0)
    battery = Battery(0.1 * 3.6e6, 1000.0, 1.0, initial_fraction=0.0)
    dispatch, _ = replay_threshold(battery, load, StepSeries.constant(100.0, 600.0), 90.0)
    assert load.integral() + dispatch.integral() == pytest.approx(90_000)


def test_a_battery_below_the_threshold_fills_once():
    """OpenDC's battery case 2: 1,150 W for 360 s, then 150 W; 450,000 J."""
    load = StepSeries.constant(150.0, 600.0)
    battery = Battery(0.1 * 3.6e6, 1000.0, 1.0, initial_fraction=0.0)
    dispatch, charge = replay_threshold(battery, load, StepSeries.constant(80.0, 600.0), 90.0)
    assert dispatch.start_s.tolist() == [0.0, 360.0]
    assert dispatch.value.tolist() == [1000.0, 0.0]
    assert charge.at(360.0) == pytest.approx(360_000)
    assert load.integral() + dispatch.integral() == pytest.approx(450_000)


def test_a_battery_carries_the_load_when_the_grid_is_dirty():
    """OpenDC's battery case 3: 1,150 W, then 150 W, then 0 W for 480 s; 180,000 J."""
    load = StepSeries.constant(150.0, 1200.0)
    intensity = StepSeries([0.0, 600.0], [80.0, 120.0], 1200.0)
    battery = Battery(0.02 * 3.6e6, 1000.0, 1.0, initial_fraction=0.0)
    dispatch, _ = replay_threshold(battery, load, intensity, 100.0)
    grid = StepSeries.sum_of([load, dispatch])
    assert grid.integral() == pytest.approx(180_000)
    assert grid.integral(600.0, 1080.0) == pytest.approx(0.0, abs=1e-6)
    assert grid.minimum() >= -1e-9


def test_a_replay_conserves_energy_over_many_changes():
    load = StepSeries([0.0, 7.0, 13.0, 40.0], [50.0, 500.0, 20.0, 90.0], 100.0)
    signal = StepSeries([0.0, 5.0, 20.0, 35.0, 60.0], [1.0, 9.0, 1.0, 9.0, 1.0], 100.0)
    battery = Battery(1500.0, 120.0, 0.8, initial_fraction=0.3)
    dispatch, charge = replay_threshold(battery, load, signal, 5.0)
    efficiency = 0.8**0.5
    powers = dispatch.value
    stored = powers * dispatch.widths_s * [efficiency if p > 0 else 1 / efficiency for p in powers]
    following = charge.value[0] + stored.cumsum()
    assert charge.value[1:] == pytest.approx(following[:-1])
    assert charge.value.min() >= 0.0
    assert charge.value.max() <= 1500.0
