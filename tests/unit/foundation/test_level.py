from __future__ import annotations

import math

import pytest

from simulator.foundation import Level, Relaxation


def test_a_tank_empties_stays_empty_and_fills_again():
    tank = Level(100.0, -2.0, 10.0, low=0.0, high=100.0)
    assert tank.at(10.0) == 100.0
    assert tank.at(35.0) == 50.0
    assert tank.at(1000.0) == 0.0
    filling = tank.with_rate(1000.0, 4.0)
    assert filling.at(1010.0) == 40.0
    assert filling.at(9999.0) == 100.0
    assert filling.crossing_s(100.0) == 1025.0


def test_a_level_knows_when_it_crosses_and_when_it_never_does():
    tank = Level(100.0, -2.0, 10.0, low=0.0, high=200.0)
    assert tank.crossing_s(40.0) == 40.0
    assert tank.crossing_s(100.0) == 10.0
    assert tank.crossing_s(150.0) is None
    assert tank.crossing_s(-1.0) is None
    assert tank.with_rate(20.0, 0.0).crossing_s(40.0) is None
    assert Level(0.0, 1e-320, 0.0).crossing_s(1e300) is None


def test_a_level_is_set_and_goes_on():
    assert Level(100.0, -2.0, 0.0, low=0.0).with_value(10.0, 50.0).at(20.0) == 30.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Level(5.0, 0.0, 0.0, low=6.0), "not between 6.0 and inf"),
        (lambda: Level(math.nan, 0.0, 0.0), "not between"),
        (lambda: Level(5.0, math.inf, 0.0), "must be finite"),
        (lambda: Level(5.0, 1.0, 10.0).at(9.0), "9.0 s lies before 10.0 s"),
        (lambda: Level(5.0, 1.0, 10.0).at(math.nan), "lies before"),
        (lambda: Relaxation(1.0, 2.0, 0.0, 0.0), "time constant is positive"),
        (lambda: Relaxation(1.0, 2.0, math.nan, 0.0), "time constant is positive"),
        (lambda: Relaxation(1.0, math.inf, 5.0, 0.0), "must be finite"),
        (lambda: Relaxation(1.0, 2.0, 5.0, 10.0).at(9.0), "9.0 s lies before 10.0 s"),
    ],
)
def test_impossible_states_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_room_approaches_its_target_and_never_reaches_it():
    room = Relaxation(25.0, 45.0, 600.0, 100.0)
    assert room.at(100.0) == 25.0
    assert room.at(700.0) == pytest.approx(45.0 - 20.0 / math.e)
    assert room.crossing_s(35.0) == pytest.approx(100.0 + 600.0 * math.log(2.0))
    assert room.crossing_s(25.0) == 100.0
    for never in (45.0, 46.0, 24.9):
        assert room.crossing_s(never) is None
    assert Relaxation(25.0, 25.0, 600.0, 0.0).crossing_s(26.0) is None


def test_a_room_turned_back_goes_on_from_where_it_is():
    room = Relaxation(25.0, 45.0, 600.0, 0.0).towards(600.0, 25.0)
    there = 45.0 - 20.0 / math.e
    assert room.at(600.0) == there
    assert room.crossing_s(30.0) == pytest.approx(600.0 + 600.0 * math.log((there - 25.0) / 5.0))
    assert room.towards(600.0, 25.0, 60.0).at(660.0) == pytest.approx(25.0 + (there - 25.0) / math.e)


def test_with_no_end_of_time_constant_nothing_moves():
    held = Relaxation(25.0, 45.0, math.inf, 0.0)
    assert held.at(1e9) == 25.0
    assert held.crossing_s(30.0) is None
