from __future__ import annotations

import math

import pytest

from simulator.facility.thermal import Episode, ThermalChange, ThermalLimits

#: Half the cooling lost at rated heat settles at 60 x 0.5 = 30 K; time constant 300 s.
LIMITS = ThermalLimits()
RATED_W = 1e6


def test_a_lost_chiller_throttles_and_trips_at_the_closed_form_times():
    episode = Episode.begin(LIMITS, RATED_W, 100.0).with_load(100.0, RATED_W, 0.5 * RATED_W)
    seen = []
    for _ in range(3):
        moment, change = episode.next_change()
        seen.append((moment, change))
        # Heat stays: the engine has not lowered anything yet.
        episode = episode.changed(moment, change)
    expected = [100.0 + 300.0 * math.log(30 / (30 - k)) for k in (10.0, 14.0, 25.0)]
    assert [moment for moment, _ in seen] == pytest.approx(expected)
    assert [change.value for _, change in seen] == ["throttle", "throttle", "trip"]
    assert episode.clock_fraction == 0.0


def test_throttling_to_below_capacity_brings_the_clocks_back_with_hysteresis():
    episode = Episode.begin(LIMITS, RATED_W, 0.0).with_load(0.0, RATED_W, 0.7 * RATED_W)
    throttled_s, change = episode.next_change()
    assert change is ThermalChange.THROTTLE
    assert throttled_s == pytest.approx(300.0 * math.log(18 / 8))
    episode = episode.changed(throttled_s, change).with_load(throttled_s, 0.65 * RATED_W, 0.7 * RATED_W)
    assert episode.clock_fraction == 0.75
    released_s, change = episode.next_change()
    assert change is ThermalChange.RELEASE
    # From 10 K towards 0 K, the level is left at 10 - 3 = 7 K.
    assert released_s - throttled_s == pytest.approx(300.0 * math.log(10 / 7))
    assert episode.changed(released_s, change).clock_fraction == 1.0


def test_a_repaired_chiller_ends_the_episode():
    episode = Episode.begin(LIMITS, RATED_W, 0.0).with_load(0.0, RATED_W, 0.5 * RATED_W)
    episode = episode.with_load(60.0, RATED_W, RATED_W)
    warm_k = 30.0 * (1 - math.exp(-0.2))
    settled_s, change = episode.next_change()
    assert change is ThermalChange.SETTLED
    assert settled_s == pytest.approx(60.0 + 300.0 * math.log(warm_k / 0.5))


def test_a_tripped_site_restarts_once_it_has_cooled():
    episode = Episode.begin(LIMITS, RATED_W, 0.0).with_load(0.0, RATED_W, 0.0)
    for _ in range(3):
        moment, change = episode.next_change()
        episode = episode.changed(moment, change)
    assert change is ThermalChange.TRIP
    assert episode.next_change() is None
    cooling = episode.with_load(moment, 0.0, 0.0)
    restart_s, change = cooling.next_change()
    assert change is ThermalChange.RESTART
    assert restart_s - moment == pytest.approx(300.0 * math.log(25 / 5))
    assert cooling.changed(restart_s, change).clock_fraction == 1.0


def test_a_small_shortage_that_never_reaches_the_first_level_changes_nothing():
    episode = Episode.begin(LIMITS, RATED_W, 0.0).with_load(0.0, RATED_W, 0.9 * RATED_W)
    assert episode.next_change() is None
    assert episode.above_set_point_k(1e6) == pytest.approx(6.0)


def test_changes_lie_a_positive_time_apart_however_the_heat_swings():
    """No Zeno: ten thousand rounds of throttling and release each take time."""
    episode = Episode.begin(LIMITS, RATED_W, 0.0).with_load(0.0, RATED_W, 0.5 * RATED_W)
    now, gaps = 0.0, []
    heat = {1.0: 1.0, 0.75: 0.45, 0.5: 0.3, 0.0: 0.0}
    for _ in range(2000):
        moment, change = episode.next_change()
        gaps.append(moment - now)
        now = moment
        episode = episode.changed(now, change)
        episode = episode.with_load(now, heat[episode.clock_fraction] * RATED_W, 0.5 * RATED_W)
    assert min(gaps) > 10.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"level_clocks_fraction": (0.5, 0.75)}, "must fall"),
        ({"hysteresis_k": 0.0}, "positive"),
        ({"trip_above_k": 12.0}, "below the trip"),
        ({"restart_above_k": 30.0}, "restart_above"),
        ({"throttle_above_k": 3.2}, "settled_within"),
    ],
)
def test_thresholds_that_could_not_act_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ThermalLimits(**wrong)
