"""What shipped serving scenarios say in their comments holds when they are run."""

from __future__ import annotations

import pytest

from simulator.results.execution import execute
from simulator.scenario import load


def services(name, folder, *changes):
    """Return the numbers of each service of a run, those of its tiers by name."""
    run = execute(load(name, list(changes)), out=folder / "run")
    found = {}
    for service in run.provenance["services"]:
        prefix = f"service.{service['name']}."
        numbers = {
            key.removeprefix(prefix): value for key, value in run.summary.items() if key.startswith(prefix)
        }
        found[service["name"]] = numbers | service["by_tier"]
    return found


GROUPS = "serving/attention-groups"


@pytest.fixture(scope="module")
def eight_a_second(tmp_path_factory):
    return services(GROUPS, tmp_path_factory.mktemp("groups"))


def test_groups_carry_what_one_attention_cut_eight_ways_cannot(eight_a_second):
    groups, cut = eight_a_second["groups"], eight_a_second["cut"]
    assert groups["stability"] == "stable"
    assert groups["headroom_fraction"] > 0.2
    assert cut["stability"] == "overloaded"
    assert cut["headroom_fraction"] < 0.0
    assert cut["ttft_p50_s"] > 20.0 > 2.0 > groups["ttft_p50_s"]
    # Whoever carries more does so with less of everything a token.
    for what in ("joules_per_token", "facility_usd_per_million_tokens"):
        assert groups[what] < 0.95 * cut[what]


def test_with_little_to_do_waiting_for_each_other_makes_groups_the_slower_ones(tmp_path):
    slow = [f"workloads.{name}.demand.requests=2 per s" for name in ("groups", "cut")]
    found = services(GROUPS, tmp_path, *slow)
    groups, cut = found["groups"], found["cut"]
    assert groups["stability"] == cut["stability"] == "stable"
    for what in ("ttft_p50_s", "tpot_p50_s"):
        assert groups[what] > 1.4 * cut[what]


def test_a_wide_budget_makes_all_groups_wait_for_whole_prompts(tmp_path, eight_a_second):
    wide = services(GROUPS, tmp_path, "workloads.groups.engine.token_budget=8192")["groups"]
    assert wide["tpot_p50_s"] > 2.0 * eight_a_second["groups"]["tpot_p50_s"]
    assert wide["stability"] == "overloaded"


DOOR = "serving/held-at-the-door"


@pytest.fixture(scope="module")
def nearly_full(tmp_path_factory):
    return services(DOOR, tmp_path_factory.mktemp("door"))


def test_held_at_the_door_premium_keeps_its_promise_and_nobody_decodes_faster(nearly_full):
    held, sent = nearly_full["held"], nearly_full["at-once"]
    assert held["stability"] == sent["stability"] == "stable"
    assert 0.0 < held["headroom_fraction"] < 0.1
    assert held["premium"]["slo_attainment_fraction"] > 0.95
    assert sent["premium"]["slo_attainment_fraction"] < 0.88
    assert sent["premium"]["ttft_p99_s"] > 2.0 * held["premium"]["ttft_p99_s"]
    assert held["tpot_p50_s"] == pytest.approx(sent["tpot_p50_s"], rel=0.02)
    assert held["tpot_p50_s"] == pytest.approx(0.022, abs=0.001)


def test_those_who_wait_at_replicas_take_most_of_it_back_and_too_few_starve_them(tmp_path, nearly_full):
    concurrency = "workloads.held.admission.max_concurrency"
    looser = services(DOOR, tmp_path / "looser", f"{concurrency}=24")["held"]
    missed = [
        1.0 - one["premium"]["slo_attainment_fraction"]
        for one in (nearly_full["held"], looser, nearly_full["at-once"])
    ]
    assert 2.0 * missed[0] < missed[1] < 0.9 * missed[2]
    tighter = services(DOOR, tmp_path / "tighter", f"{concurrency}=14")["held"]
    assert tighter["stability"] == "overloaded"
    assert tighter["headroom_fraction"] < 0.0


def test_with_a_quarter_to_spare_it_hardly_matters(tmp_path):
    slow = [f"workloads.{name}.demand.requests=3 per s" for name in ("held", "at-once")]
    found = services(DOOR, tmp_path, *slow)
    assert min(one["headroom_fraction"] for one in found.values()) > 0.2
    held, sent = (found[name]["premium"]["ttft_p99_s"] for name in ("held", "at-once"))
    assert held == pytest.approx(sent, rel=0.1)
