"""Every shipped scenario loads; those that need no trace run, and their books balance to 1e-9."""

from __future__ import annotations

import json
import math

import pytest

from simulator.foundation.errors import ScenarioError
from simulator.results.execution import execute
from simulator.results.reaccounting import reaccount
from simulator.scenario import load, shipped

GRIDS = ("DE", "FR", "GB", "PL", "US-PJM", "US-CAISO")


@pytest.mark.parametrize("name", shipped.names())
def test_loads_or_names_the_log_that_is_not_shipped(name):
    if name in ("replay/helios-venus", "replay/swf"):
        with pytest.raises(ScenarioError, match=r"workloads\..*path: no such file"):
            load(name)
    else:
        assert load(name).title


@pytest.mark.parametrize("name", ["training/gpt3-2020", "training/llama3-405b"])
def test_training_scenarios_run_and_balance(name, tmp_path):
    run = execute(load(name), out=tmp_path / "run")
    audit = json.loads((tmp_path / "run" / "run.json").read_text())["audit"]
    assert max(entry["relative_difference"] for entry in audit) < 1e-9
    assert run.summary["it_energy_mwh"] > 0


@pytest.mark.parametrize("policy", ["fcfs", "sjf", "easy", "conservative"])
def test_the_swf_replay_runs_and_balances(shared_data, policy, tmp_path):
    log = shared_data / "scheduling" / "inputs" / "lublin1500_p256.swf"
    scenario = load("replay/swf", [f"workloads.0.path={log}", f"scheduling.policy={policy}"])
    execute(scenario, out=tmp_path / "run")
    audit = json.loads((tmp_path / "run" / "run.json").read_text())["audit"]
    assert max(entry["relative_difference"] for entry in audit) < 1e-9


def test_the_helios_replay_runs_and_balances(shared_data, tmp_path):
    trace = shared_data / "scheduling" / "traces" / "helios" / "venus_2vc_sept_fleetsim.csv.gz"
    run = execute(load("replay/helios-venus", [f"workloads.0.path={trace}"]), out=tmp_path / "run")
    audit = json.loads((tmp_path / "run" / "run.json").read_text())["audit"]
    assert max(entry["relative_difference"] for entry in audit) < 1e-9
    assert run.summary["gpus"] == 176


def test_the_request_replay_answers_the_log_that_comes_along(tmp_path):
    run = execute(load("replay/requests"), out=tmp_path / "run")
    audit = run.provenance["audit"]
    assert max(entry["relative_difference"] for entry in audit) < 1e-9
    rows = run.table("requests")
    assert set(rows["state"].to_pylist()) == {"ok"}
    assert run.summary["service.log.requests"] == rows.num_rows == 476
    # The run ends with the last answer, at the next whole second.
    assert run.horizon_s == pytest.approx(math.ceil(max(rows["finished_s"].to_pylist())), abs=1e-5)


#: Scenario -> changes that make its run short here; its commands are those of the file.
SERVING = {
    "serving/attention-groups": ["duration=3 min"],
    "serving/autoscaled-day": ["duration=9 h", "workloads.chat.demand.requests=20_000 per day"],
    "serving/beside-training": ["duration=2 h"],
    "serving/disaggregated": ["duration=3 min"],
    "serving/held-at-the-door": ["duration=10 min"],
    "serving/month": ["duration=7 d"],
    "serving/peak-hours": ["duration=9 h", "workloads.chat.demand.requests=20_000 per day"],
    "serving/prefix-cached-chat": [],
    "serving/premium-tiers": ["duration=5 min"],
    "serving/smaller-models": ["duration=5 min"],
    "serving/wh-per-query": ["duration=3 min"],
}


def test_every_serving_scenario_is_run_here():
    assert set(SERVING) <= set(shipped.names())
    assert {name for name in shipped.names() if name.startswith("serving/")} == set(SERVING)


@pytest.mark.parametrize(("name", "changes"), SERVING.items())
def test_serving_scenarios_run_and_balance(name, changes, tmp_path):
    run = execute(load(name, changes), out=tmp_path / "run")
    assert max(entry["relative_difference"] for entry in run.provenance["audit"]) < 1e-9
    for service in run.provenance["services"]:
        said = {key.rsplit(".", 1)[1]: value for key, value in run.summary.items()
                if key.startswith(f"service.{service['name']}.")}  # fmt: skip
        assert said["requests"] > 0
        assert said["stability"] in ("stable", "backlogged", "overloaded")
        sizes = [
            said[f"{boundary}_joules_per_request"] for boundary in ("chip", "server", "idle", "facility")
        ]
        assert sizes[0] > 0
        assert sizes == sorted(sizes)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    return execute(load("quickstart"), out=tmp_path_factory.mktemp("quickstart") / "run")


@pytest.mark.slow
def test_the_quickstart_balances(quickstart):
    audit = quickstart.provenance["audit"]
    assert max(entry["relative_difference"] for entry in audit) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS)
def test_reaccounting_the_quickstart_equals_running_it_again(quickstart, grid, tmp_path):
    """The same numbers to the last bit: the record is the same, and so are the functions."""
    (books,) = reaccount(quickstart, grids=[grid])
    again = execute(load("quickstart", [f"sites.frankfurt.grid={grid}"]), out=tmp_path / "again")
    for name, value in books.summary.items():
        assert again.summary[name] == value, name
