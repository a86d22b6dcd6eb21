from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.decisions import (
    CallView,
    Ceiling,
    LoadView,
    PowerView,
    Remember,
    Resume,
    SetPower,
    Stop,
    Store,
    Wake,
)
from simulator.facility.ride_through import RideThrough

POLICY = RideThrough(margin_fraction=0.0, usable_charge_fraction=1.0)

TRAINING = LoadView(
    "job:big", 0, "training", 64, 600.0, 400.0, 0.6, 0, power_when_stopped_w=120.0, saves=True
)
SERVICE = LoadView(
    "service:chat",
    -1,
    "service",
    16,
    200.0,
    150.0,
    0.6,
    0,
    power_when_stopped_w=50.0,
    gpus_per_replica=4,
    replicas=4,
)
CALL = CallView(announced_s=0.0, start_s=600.0, end_s=4200.0, limit_w=900.0)


def view(**changes) -> PowerView:
    values = {
        "site": "here",
        "now_s": 0.0,
        "calls": (CALL,),
        "limit_w": None,
        "facility_power_w": 1000.0,
        "it_power_w": 800.0,
        "facility_per_it": 1.25,
        "storage_charge_j": 0.0,
        "storage_capacity_j": 0.0,
        "storage_power_w": 0.0,
        "storage_dispatch_w": 0.0,
        "loads": (TRAINING, SERVICE),
        "cap_delay_s": 40.0,
        "checkpoint_s": 60.0,
    }
    return PowerView(**{**values, **changes})


def of(decisions, kind):
    return [d for d in decisions if isinstance(d, kind)]


def ceilings(decisions):
    return {d.target: d for d in of(decisions, Ceiling)}


def memory(decisions):
    return of(decisions, Remember)[-1].value


def test_nothing_is_done_before_the_lead_time_of_a_call():
    assert POLICY.decide(view()) == [Wake(500.0)]


def test_a_battery_that_lasts_the_call_spares_the_clocks():
    charged = {"storage_charge_j": 100.0 * 3600, "storage_capacity_j": 4e5, "storage_power_w": 150.0}
    early = POLICY.decide(view(now_s=560.0, **charged))
    assert not of(early, SetPower)
    begun = POLICY.decide(view(now_s=600.0, limit_w=900.0, memory=memory(early), **charged))
    assert of(begun, Store) == [Store("here", -100.0)]
    assert not of(begun, SetPower)
    assert not of(begun, Stop)


def test_clocks_give_what_the_battery_cannot_early_enough_to_act():
    """100 W short at the meter are 80 W of IT; the job's clock can give 200 W."""
    assert not of(POLICY.decide(view(now_s=500.0)), SetPower)
    decisions = POLICY.decide(view(now_s=560.0))
    assert of(decisions, SetPower) == [
        SetPower("jobs:here", clock_fraction=pytest.approx(1 - 0.4 * 80 / 200))
    ]
    assert not of(decisions, Stop)
    assert Wake(600.0) in decisions


def test_clocks_are_not_lowered_twice_before_they_have_acted():
    first = POLICY.decide(view(now_s=560.0))
    again = POLICY.decide(view(now_s=580.0, memory=memory(first)))
    assert not of(again, SetPower)


def test_the_battery_bridges_until_clocks_act_when_there_was_no_notice():
    surprise = CallView(600.0, 600.0, 4200.0, 900.0)
    small = {"storage_charge_j": 36_000.0, "storage_capacity_j": 36_000.0, "storage_power_w": 150.0}
    decisions = POLICY.decide(view(now_s=600.0, calls=(surprise,), limit_w=900.0, **small))
    # 10 W can be held for the whole hour, so clocks take 90 W; until they act, the battery 100 W.
    assert of(decisions, Store) == [Store("here", -100.0)]
    assert of(decisions, SetPower)[0].clock_fraction == pytest.approx(1 - 0.4 * 72 / 200)
    assert Wake(640.0) in decisions


def test_training_pauses_by_checkpoint_when_clocks_do_not_suffice_and_resumes_after():
    """500 W at the meter are 400 W of IT: clocks give 250 W, the pause 400 - 120 W."""
    deep = replace(CALL, limit_w=500.0)
    decisions = POLICY.decide(view(now_s=500.0, calls=(deep,)))
    assert of(decisions, Stop) == [Stop(0, "checkpoint", "hold")]
    after = POLICY.decide(view(now_s=4200.0, calls=(), memory=memory(decisions)))
    assert Resume(0) in after
    assert Ceiling("service:chat") in after
    assert memory(after) is None


def test_low_priority_training_pauses_first():
    minor = replace(
        TRAINING, key="job:minor", index=3, priority=-1, power_w=300.0, power_at_lowest_clock_w=200.0
    )
    deep = replace(CALL, limit_w=600.0)
    decisions = POLICY.decide(
        view(now_s=500.0, calls=(deep,), loads=(TRAINING, minor), facility_power_w=1050.0)
    )
    assert of(decisions, Stop) == [Stop(3, "checkpoint", "hold")]


def test_replicas_go_last_and_never_below_the_share_to_keep():
    floor = replace(CALL, limit_w=1.0)
    decisions = POLICY.decide(view(now_s=500.0, calls=(floor,)))
    assert ceilings(decisions)["service:chat"].gpus == 2 * 4


def test_a_service_cannot_grow_into_the_limit():
    decisions = POLICY.decide(view(now_s=500.0))
    assert ceilings(decisions)["service:chat"].gpus == 16


def test_no_job_starts_that_the_limit_leaves_no_room_for():
    """Jobs draw 480 W above idle. With 100 W short at the meter they must come to 80 W less; with
    50 W to spare, 40 W may be added.
    """
    assert ceilings(POLICY.decide(view(now_s=500.0)))["jobs:here"].watts == pytest.approx(400.0)
    wide = replace(CALL, limit_w=1050.0)
    first = POLICY.decide(view(now_s=500.0, calls=(wide,)))
    assert ceilings(first)["jobs:here"].watts == pytest.approx(520.0)
    # Told once: a job that ends makes as much room as it leaves.
    less = replace(TRAINING, power_w=500.0, power_at_lowest_clock_w=350.0)
    again = POLICY.decide(
        view(
            now_s=600.0,
            calls=(wide,),
            memory=memory(first),
            facility_power_w=1000.0 - 125.0,
            loads=(less, SERVICE),
        )
    )
    assert "jobs:here" not in ceilings(again)


def test_a_new_job_is_slowed_as_the_others_and_one_that_runs_slower_is_not_counted_twice():
    """The clock is one for all jobs of the site. A job that somebody holds at 0.8 already gives
    nothing above that: the other one must give all of 80 W, 0.16 of the clock; below 0.8 both.
    """
    held = replace(TRAINING, key="job:held", index=1, power_w=500.0, clock_fraction=0.8)
    at_80 = view(now_s=560.0, loads=(TRAINING, held, SERVICE))
    assert of(POLICY.decide(at_80), SetPower) == [SetPower("jobs:here", clock_fraction=pytest.approx(0.84))]
    # 200 W: 100 W from the one until 0.8, then 500 W per unit of clock from each.
    deeper = replace(CALL, limit_w=750.0)
    assert of(POLICY.decide(replace(at_80, calls=(deeper,))), SetPower)[0].clock_fraction == pytest.approx(
        0.7
    )


def test_what_a_pause_gives_is_not_asked_of_the_clocks_too():
    """No notice: the pause saves 120 W short of what is missing; clocks give only the rest."""
    surprise = CallView(600.0, 600.0, 4200.0, 400.0)
    other = replace(TRAINING, key="job:other", index=1, saves=False)
    decisions = POLICY.decide(
        view(
            now_s=600.0,
            calls=(surprise,),
            limit_w=400.0,
            facility_power_w=400.0 + 1.25 * 520.0,
            loads=(TRAINING, other),
        )
    )
    assert of(decisions, Stop) == [Stop(0, "checkpoint", "hold")]
    # 520 W of IT are missing and 480 W go with the paused job: 40 W of the other's 200 W.
    assert of(decisions, SetPower) == [
        SetPower("jobs:here", clock_fraction=pytest.approx(1 - 0.4 * 40 / 200))
    ]


def test_replicas_that_drain_are_not_called_back():
    """Two of four replicas drain and still draw: the ceiling stays at the two that are to stay."""
    floor = replace(CALL, limit_w=1.0)
    first = POLICY.decide(view(now_s=500.0, calls=(floor,)))
    draining = replace(SERVICE, replicas=2)
    again = POLICY.decide(view(now_s=700.0, calls=(floor,), loads=(draining,), memory=memory(first)))
    assert "service:chat" not in ceilings(again)


def test_clocks_come_back_when_the_call_is_over_and_the_battery_recharges_within_the_limit():
    first = POLICY.decide(view(now_s=560.0))
    after = POLICY.decide(
        view(
            now_s=4200.0,
            calls=(),
            limit_w=1030.0,
            memory=memory(first),
            storage_charge_j=0.0,
            storage_capacity_j=1e6,
            storage_power_w=100.0,
        )
    )
    assert SetPower("jobs:here", clock_fraction=1.0) in after
    assert Ceiling("jobs:here") in after
    assert of(after, Store) == [Store("here", 30.0)]


def test_an_empty_battery_stops_and_clocks_tighten():
    charged = {"storage_charge_j": 360_000.0, "storage_capacity_j": 4e5, "storage_power_w": 150.0}
    begun = POLICY.decide(view(now_s=600.0, limit_w=900.0, **charged))
    empty = POLICY.decide(
        view(
            now_s=3000.0,
            limit_w=900.0,
            memory=memory(begun),
            storage_charge_j=0.0,
            storage_capacity_j=4e5,
            storage_power_w=150.0,
            storage_dispatch_w=-100.0,
        )
    )
    assert of(empty, Store) == [Store("here", 0.0)]
    assert of(empty, SetPower)


def test_the_same_view_gives_the_same_answer():
    assert POLICY.decide(view(now_s=560.0)) == POLICY.decide(view(now_s=560.0))
