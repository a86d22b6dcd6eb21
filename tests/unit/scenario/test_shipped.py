"""The scenarios that travel with datahall: each loads, and says what the issue asks of it."""

from __future__ import annotations

import gzip
import shutil

import pytest

from simulator.foundation.errors import ScenarioError
from simulator.scenario import load, shipped

LOG = "; UnixStartTime: 0\n1 0 -1 60 1 -1 -1 1 60 -1 1 1 1 -1 1 -1 -1 -1\n"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.swf"
    path.write_text(LOG)
    return path


def needs(name, log):
    return [f"workloads.0.path={log}"] if name.startswith("replay/") else []


@pytest.mark.parametrize("name", shipped.names())
def test_every_shipped_file_loads_and_is_commented(name, log):
    scenario = load(name, needs(name, log))
    text = shipped.path_of(name).read_text()
    assert scenario.question
    assert text.startswith("# ")
    assert "Look at:" in text
    assert "Then change:" in text


def test_all_are_in_the_readme():
    wanted = {"quickstart", "replay/helios-venus", "replay/requests", "replay/swf", "training/gpt3-2020"}
    assert wanted <= set(shipped.names())
    readme = (shipped.folder() / "README.md").read_text()
    for name in shipped.names():
        assert f"`{name}`" in readme


@pytest.mark.parametrize("policy", ["easy", "fcfs", "sjf", "conservative"])
def test_the_swf_command_of_the_header_works_word_for_word(policy, log):
    scenario = load(
        "replay/swf",
        [f"workloads.0.path={log}", "sites.0.pools.0.nodes=256", f"scheduling.policy={policy}"],
    )
    assert scenario.duration_s is None
    assert scenario.sites[0].pools[0].nodes == 256
    assert scenario.queues[0].policy.name == policy


def test_changes_that_the_comments_propose_are_right(log):
    for name, changes in {
        "quickstart": [
            "sites.frankfurt.grid=FR",
            "scheduling.policy=fcfs",
            "workloads.chat.demand.requests=60_000 per day",
        ],
        "training/gpt3-2020": ["workloads.1.mfu=30 %", "sites.1.grid=FR", "sites.1.pools.0.node=hgx-h100-8"],
        "training/llama3-405b": [
            "failures.rate_scale=2",
            "workloads.0.checkpoint.every=60 min",
            "sites.0.pools.0.hot_spares=0",
            "workloads.0.parallelism=auto",
        ],
        "replay/helios-venus": [
            "scheduling.policy=sjf",
            "scheduling.policy=easy",
            "scheduling.placement=lowest-numbered",
            "sites.venus.pools.vcvlY.nodes=3",
        ],
        "replay/swf": ["workloads.0.tenant_field=user", "sites.0.pools.0.node=cpu-slot"],
    }.items():
        for change in changes:
            load(name, [*needs(name, log), change])


def test_the_campus_of_the_quickstart_has_512_gpus():
    scenario = load("quickstart")
    nodes = sum(pool.nodes for pool in scenario.sites[0].pools)
    assert nodes * scenario.catalog.node("hgx-h100-8").gpus_per_node == 512


def test_gpt3_is_fed_once_and_modelled_once():
    fed, modelled = load("training/gpt3-2020").workloads
    assert (fed.power_per_gpu_w, modelled.power_per_gpu_w) == (330.0, None)
    assert fed.gpus == modelled.gpus == 10_000
    assert (fed.queue, modelled.queue) == ("published", "modelled")


def test_a_name_is_found_by_its_last_part_by_file_and_with_its_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(shipped.path_of("quickstart"), tmp_path / "mine.yaml")
    assert load("llama3-405b").hash == load("training/llama3-405b.yaml").hash
    assert load("mine").hash == load("mine.yaml").hash == load("quickstart").hash


def test_a_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = shipped.path_of("quickstart").read_text()
    (tmp_path / "quickstart.yaml").write_text(text + "seed: 7\n")
    assert load("quickstart").seed == 7


@pytest.mark.parametrize("name", ["quickstat", "training", "no/such.yaml", "", "a\0b", "x" * 5000])
def test_what_is_not_there_is_told(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenarioError, match=r"no such file or shipped scenario|is a folder"):
        load(name)


def test_a_log_may_be_gzipped(tmp_path):
    path = tmp_path / "log.swf.gz"
    path.write_bytes(gzip.compress(LOG.encode()))
    assert load("replay/swf", [f"workloads.0.path={path}"]).workloads[0].path == str(path)
