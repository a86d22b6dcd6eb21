"""Jobs of which only a run time is known."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.performance.profile import BREAKDOWN_KEYS
from simulator.performance.trace_job import ReferenceProfile


def test_at_full_clock_a_second_is_a_second():
    assert ReferenceProfile(500.0, 70.0).at(1.0, 0.1) == (1.0, 500.0)


def test_only_the_bound_part_stretches():
    profile = ReferenceProfile(500.0, 70.0, compute_share=1.0)
    assert profile.at(0.5, 1.0)[0] == 2.0
    partly = ReferenceProfile(500.0, 70.0, compute_share=0.5).at(0.5, 1.0)[0]
    assert 1.5 < partly < 2.0


def test_arrays_give_what_numbers_give():
    profile = ReferenceProfile(500.0, 70.0)
    steps, watts = profile.at(np.array([1.0, 0.5]), 1.0)
    assert [(s, w) for s, w in zip(steps, watts, strict=True)] == [profile.at(1.0, 1.0), profile.at(0.5, 1.0)]


def test_watts_come_from_the_gpu_or_are_given(h100, catalog):
    usual = ReferenceProfile.on(h100)
    assert h100.loaded_idle_w < usual.load_w < h100.tdp_w
    assert ReferenceProfile.on(h100, load_w=330.0).at(1.0, 1.0)[1] == 330.0
    slot = ReferenceProfile.on(catalog.get("gpus", "slot"))
    assert 4.0 < slot.load_w <= 15.0


def test_it_answers_as_every_profile_does():
    profile = ReferenceProfile(500.0)
    assert tuple(profile.breakdown) == BREAKDOWN_KEYS
    assert sum(profile.breakdown.values()) == profile.unit_per_step == 1.0
    assert profile.flow_bytes_per_step == 0.0


def test_impossible_watts_are_refused():
    with pytest.raises(ValueError, match="load_w >= 0"):
        ReferenceProfile(float("nan"))
