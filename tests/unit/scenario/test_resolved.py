"""The resolved form, its hash, the way back from run.json, and the scenario written out as YAML."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.foundation import units
from simulator.foundation.errors import ScenarioError
from simulator.scenario import load, load_text, shipped
from simulator.scenario.rebuilding import from_resolved
from simulator.scenario.writing import as_yaml, spelled


def run_json(scenario, folder):
    path = folder / "run.json"
    path.write_text(json.dumps({"scenario": scenario.resolved()}))
    return path


def test_run_json_gives_the_same_scenario_back(small, tmp_path):
    scenario = load_text(small)
    again = load(run_json(scenario, tmp_path))
    assert again == scenario
    assert again.resolved() == scenario.resolved()
    assert again.hash == scenario.hash
    assert again.given == scenario.given
    assert again.label == scenario.label


@pytest.mark.parametrize("name", ["quickstart", "training/gpt3-2020", "training/llama3-405b"])
def test_every_shipped_scenario_comes_back_from_run_json_and_from_its_printed_form(name, tmp_path):
    scenario = load(name)
    assert load(run_json(scenario, tmp_path)).resolved() == scenario.resolved()
    assert load_text(as_yaml(scenario)).hash == scenario.hash


def test_run_json_may_be_changed_on_the_command_line(small, tmp_path):
    scenario = load_text(small)
    path = run_json(scenario, tmp_path)
    changed = load(path, ["sites.campus.grid=FR", "books.cost.gpu_life=4 yr"])
    assert changed.sites[0].grid.name == "FR"
    assert changed.hash == load_text(small, ["sites.campus.grid=FR", "books.cost.gpu_life=4 yr"]).hash
    assert changed.given - scenario.given == {"books.cost.gpu_life_s"}
    with pytest.raises(ScenarioError, match="unknown grid 'FRR'"):
        load(path, ["sites.campus.grid=FRR"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "{", '{"scenario": 3}', '{"scenario": {"title": "x"}}', '{"scenario": null}'],
)
def test_a_file_that_is_no_run_json_is_refused(text, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=r"run\.json"):
        load(path)


def test_a_resolved_form_with_a_wrong_value_is_refused(small):
    form = load_text(small).resolved()
    form["sites"][0]["pools"][0]["nodes"] = -1
    with pytest.raises(ScenarioError, match=r"sites\.0\.pools\.0\.nodes"):
        from_resolved(form)


def test_the_hash_knows_every_value_and_no_title(small):
    scenario = load_text(small)
    assert load_text(small.replace("title: Small", "title: Another")).hash == scenario.hash
    for change in ("seed=2", "sites.0.grid=FR", "workloads.pretrain.tokens=51 B", "books.cost.gpu_life=4 yr"):
        assert load_text(small, [change]).hash != scenario.hash


def test_the_hash_knows_a_files_content_and_not_its_place(small, tmp_path):
    text = small.replace("climate: frankfurt-typical", "weather: {file: w.epw}")
    hashes = []
    for folder, content in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.epw").write_text(content)
        hashes.append(load_text(text, folder=tmp_path / folder).hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_catalog_folder_is_remembered_and_counts_in_the_hash(small, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "nodes.yaml").write_text(
        "hgx-h100-8: {host_idle: 900 W, source: nvidia-dgx, basis: measured}\n"
    )
    plain, own = load_text(small), load_text(small, (), [folder])
    assert own.catalog.node("hgx-h100-8").host_idle_w == 900.0
    assert own.hash != plain.hash
    again = load(run_json(own, tmp_path))
    assert again.catalog.node("hgx-h100-8").host_idle_w == 900.0
    assert again.hash == own.hash


def test_a_catalog_block_is_remembered(small, tmp_path):
    own = load_text(small + "catalog: {nodes: {hgx-h100-8: {host_idle: 900 W, price: 1e3 USD}}}\n")
    assert own.catalog.node("hgx-h100-8").host_idle_w == 900.0
    again = load(run_json(own, tmp_path))
    assert again.catalog.node("hgx-h100-8") == own.catalog.node("hgx-h100-8")
    assert load_text(as_yaml(own)).hash == own.hash


def test_the_hash_is_the_same_in_another_process():
    code = "from simulator.scenario import load; print(load('quickstart').hash)"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(shipped.folder().parent)},
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {load("quickstart").hash + "\n"}


#: Units that fields of scenarios have, with the largest power of ten that makes sense.
UNITS = ["s", "W", "J", "bytes", "bytes/s", "fraction", "ratio", "USD", "USD/kWh", "USD/t", "USD/litre",
         "USD/W", "USD/kW-month", "g/kWh", "g", "1/s", "", "C", "K", "litres/kWh"]  # fmt: skip


@given(st.sampled_from(UNITS), st.floats(0, 1, exclude_min=True) | st.floats(1e-6, 1e15))
def test_a_spelled_value_reads_back_to_the_same_bits(unit, value):
    if unit == "fraction":
        value = min(value, 1.0)
    assert units.parse(spelled(value, unit), unit) == value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1209600.0, "s", "14 d"),
        (21600.0, "s", "6 h"),
        (1800.0, "s", "30 min"),
        (0.0, "s", "0 s"),
        (900e3, "W", "900 kW"),
        (0.85, "fraction", "85 %"),
        (50e9, "bytes/s", "50 GB/s"),
        (2.5e12, "", "2.5 T"),
        (150_000 / 86400, "1/s", "150000 per day"),
        (32.0, "C", "32 C"),
        (0.042, "USD/kWh", "42 USD/MWh"),
    ],
)
def test_values_are_spelled_as_people_write_them(value, unit, text):
    assert spelled(value, unit) == text
