"""`check --layouts`: how each training run is cut, and why not otherwise."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from simulator.cli.commands import datahall
from simulator.foundation.errors import ScenarioError
from simulator.scenario import load_text
from simulator.scenario.layout_table import as_table
from simulator.scenario.training_layout import given_fields, given_layout

TEXT = """
title: layouts
start: 2026-01-01T00:00Z
duration: 1 d
sites:
  - name: a
    grid: DE
    cooling: {plant: constant-pue, pue: 1.2}
    pools: [{name: h100, node: hgx-h100-8, nodes: 32}]
workloads:
  - kind: training
    name: big
    model: llama-3.1-70b
    tokens: 100 M
    gpus: 256
    global_batch: 512
    parallelism: PARALLELISM
"""


def read(parallelism):
    return load_text(TEXT.replace("PARALLELISM", parallelism))


def test_auto_is_shown_with_its_runners_up():
    text = as_table(read("auto"))
    assert "slower" in text
    assert "fastest of" in text
    assert " TP " in text.splitlines()[1]


def test_what_auto_is_given_it_keeps():
    scenario = read("{mode: auto, tp: 8, pp: 4}")
    assert given_fields(scenario.workloads[0]) == {"tensor_parallel": 8, "pipeline_parallel": 4}
    rows = [line for line in as_table(scenario).splitlines() if line.startswith("  tp")]
    assert rows
    assert all(row.startswith("  tp8 pp4 ") for row in rows)


def test_a_given_layout_is_held_against_the_best():
    text = as_table(read("{tp: 8, pp: 8, micro_batch: 1, recompute: full}"))
    assert "auto would take" in text
    assert "faster: here" in text
    assert "arithmetic +" in text


def test_a_given_layout_that_says_little_is_plain():
    run = read("{tp: 8, pp: 4}").workloads[0]
    layout = given_layout(run, 131072)
    assert layout.describe() == "tp8 pp4 dp8 mb1 zero1"
    assert layout.context_tokens == 8192


@pytest.mark.parametrize(
    ("parallelism", "text"),
    [
        ("{tp: 4}", "nearest that fits: tp8 dp32 mb1 zero1, 76.8 GiB"),
        ("{tp: 8, pp: 4, schedule: zerobubble}", "did you mean 'zero-bubble'"),
        ("{tp: 8, pp: 4, schedule: dualpipe, interleave: 2}", "dualpipe has chunks of its own"),
        ("{tp: 8, pp: 4, shard_ranks: 7}", "shard_ranks 7 must divide"),
    ],
)
def test_a_layout_that_cannot_be_is_told(parallelism, text):
    with pytest.raises(ScenarioError, match=text):
        read(parallelism)


def test_the_resolved_form_keeps_what_is_open_open():
    from simulator.scenario.writing import as_yaml

    scenario = read("{mode: auto, tp: 8}")
    again = load_text(as_yaml(scenario))
    assert again.workloads[0].parallelism == scenario.workloads[0].parallelism


def test_the_command_prints_it(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(TEXT.replace("PARALLELISM", "auto"))
    told = CliRunner().invoke(datahall, ["check", str(path), "--layouts"])
    assert told.exit_code == 0
    assert told.output == as_table(read("auto"))
    both = CliRunner().invoke(datahall, ["check", str(path), "--layouts", "--assumptions"])
    assert both.exit_code == 2
