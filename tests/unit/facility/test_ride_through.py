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

TRAINING = LoadView("job:big", 0, "training", 64, 600.0, 400.0, 0.6, 0)
SERVICE = LoadView("service:chat", -1, "service", 16, 200.0, 150.0, 0.6, 0, gpus_per_replica=4, replicas=4)
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
    assert of(decisions, SetPower) == [SetPower("job:big", clock_fraction=pytest.approx(1 - 0.4 * 80 / 200))]
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
    """500 W at the meter are 400 W of IT: clocks give 250 W, the pause 0.7 x 400 W."""
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
    assert of(decisions, Ceiling) == [Ceiling("service:chat", gpus=2 * 4)]


def test_a_service_cannot_grow_into_the_limit():
    decisions = POLICY.decide(view(now_s=500.0))
    assert of(decisions, Ceiling) == [Ceiling("service:chat", gpus=16)]


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
    assert SetPower("job:big", clock_fraction=1.0) in after
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
