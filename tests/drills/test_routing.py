"""Drill: who gets the next request: the emptiest KV cache, or a site by its weight."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.cli.commands import datahall
from tests.drills.one_service import one_service

#: Two replicas of a GPU each. A long prompt comes, then two short ones, then a fourth.
SCENARIO = one_service(
    """
    model: llama-3.1-8b
    replicas: 2
    warm_start: true
    engine: {kv_blocks: 1000}
    path: LOG
    """,
    duration="until done",
)
LOG = """arrived_s,prompt_tokens,output_tokens
0.5,8000,500
1.5,100,500
2.0,100,500
2.5,100,500
"""


@pytest.mark.parametrize(
    ("router", "replicas"),
    [
        # In flight: 1,0 then 1,1 then 2,1 (the lowest-numbered of equals) and 2,2.
        ("least-outstanding", [0, 1, 0, 1]),
        # The long prompt holds half of the first one's blocks to the end: all others go to the second.
        ("least-kv", [0, 1, 1, 1]),
        ("round-robin", [0, 1, 0, 1]),
    ],
)
def test_a_long_prompt_keeps_the_others_away_where_kv_counts(drill, tmp_path, router, replicas):
    log = tmp_path / "log.csv"
    log.write_text(LOG)
    run = drill(SCENARIO.replace("LOG", str(log)), f"workloads.chat.router={router}")
    rows = {name: np.asarray(values) for name, values in run.sink.columns("requests").items()}
    assert rows["replica"][np.argsort(rows["request_id"])].tolist() == replicas


TWO_SITES = """
title: Two sites
start: 2024-01-01 00:00 UTC
duration: 100 s
sites:
  - name: east
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    network_power: 0 W
    pools: [{name: p, node: hgx-h100-8, nodes: 1}]
  - name: west
    grid: {intensity: 400 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    network_power: 0 W
    pools: [{name: q, node: hgx-h100-8, nodes: 1}]
workloads:
  - kind: service
    name: chat
    model: llama-3.1-8b
    replicas: 4
    router: round-robin
    sites: [east, west]
    warm_start: true
    demand: {requests: 4 per s, arrivals: constant}
    lengths: {prompt_mean: 50, output_mean: 10}
"""


def test_sites_get_requests_by_their_weights(drill):
    """Of 400 requests three in four go east, and there to its two replicas."""
    run = drill(TWO_SITES, "workloads.chat.site_weights={east: 3, west: 1}")
    rows = {name: np.asarray(values) for name, values in run.sink.columns("requests").items()}
    sites = rows["site"]
    assert np.sum(sites == "east") == pytest.approx(300, abs=2)
    assert np.sum(sites == "west") == pytest.approx(100, abs=2)
    assert len(np.unique(rows["replica"])) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("site_weights={east: 1, wets: 1}", "unknown site 'wets'"),
        ("site_weights={east: 0}", "no site gets any requests"),
        ("site_weights={east: -1}", "must be"),
        ("site_weights={east: 1, west: 1}", "unknown site 'west'"),
        ("site_weights={east: 1}", "has no effect, all replicas are at east"),
    ],
)
def test_a_weight_names_a_site_that_may_serve(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(TWO_SITES.replace("[east, west]", "[east]"))
    told = CliRunner().invoke(datahall, ["run", "two.yaml", f"workloads.chat.{change}"])
    assert told.exit_code == 2
    assert words in told.stderr


def test_a_weight_of_a_site_that_its_queue_does_not_reach_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(TWO_SITES.replace("sites: [east, west]", "queue: east"))
    told = CliRunner().invoke(datahall, ["run", "two.yaml", "workloads.chat.site_weights={east: 1, west: 1}"])
    assert told.exit_code == 2
    assert "no replica can be at west: the pools of its queues are at east" in told.stderr


@pytest.mark.parametrize("mode", ["mode=fluid", "thin=1/2"])
def test_samples_and_flows_know_no_sites(tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(TWO_SITES)
    changes = [f"workloads.chat.{mode}", "workloads.chat.site_weights={east: 1}"]
    if mode.startswith("thin"):
        changes.append("workloads.chat.mode=thinned")
    told = CliRunner().invoke(datahall, ["run", "two.yaml", *changes])
    assert told.exit_code == 2
    assert "it knows no site_weights" in told.stderr
