"""Plug-ins in a scenario: their fields become keys, wherever the class comes from."""

from __future__ import annotations

import json

import pytest

from simulator.facility import PLANTS, POWER_POLICIES
from simulator.foundation.errors import ScenarioError
from simulator.foundation.plugins import fields_of
from simulator.scenario import load, load_text, seams
from simulator.scenario.plugin_schema import branch_of
from simulator.scheduling import ADMITS, PLACEMENTS, POLICIES

MINE = '''
from dataclasses import dataclass
from typing import Annotated
from simulator.foundation.quantity import Seconds

@dataclass(frozen=True)
class Patient:
    """Mine."""
    patience_s: Annotated[Seconds, "How long."] = 60.0
    weights: Annotated[tuple[float, ...], "Some."] = ()
    mood: Annotated[str | None, "Any."] = None

    def __post_init__(self):
        if self.patience_s > 1e6:
            raise ValueError("nobody is that patient")

class Plain:
    pass
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def policy(small, said, folder):
    return load_text(small.replace("policy: easy", f"policy: {said}"), folder=folder).scheduling.policy


@pytest.mark.parametrize("seam", seams.SEAMS)
def test_every_plugin_of_every_table_has_readable_fields(seam):
    for name, cls in seams.table(seam).items():
        keys = branch_of(cls).keys()
        assert list(keys.values()) == [info.name for info in fields_of(cls)], name
        for info in fields_of(cls):
            assert info.meaning, f"{name}.{info.name} has no sentence"


def test_the_seams_are_the_rooms_own_tables():
    assert seams.table("policies") is POLICIES
    assert seams.table("placements") is PLACEMENTS
    assert seams.table("admits") is ADMITS
    assert seams.table("plants") is PLANTS
    assert seams.table("power_policies") is POWER_POLICIES


def test_a_class_in_a_file_is_found_beside_the_scenario(small, folder):
    chosen = policy(small, '{policy: "mine.py:Patient", patience: 2 min, weights: [1, 2.5]}', folder)
    built = chosen.build()
    assert type(built).__name__ == "Patient"
    assert (built.patience_s, built.weights, built.mood) == (120.0, (1.0, 2.5), None)


def test_it_survives_run_json(small, folder, tmp_path):
    text = small.replace("policy: easy", 'policy: {policy: "mine.py:Patient", patience: 2 min}')
    scenario = load_text(text, folder=folder)
    (tmp_path / "run.json").write_text(json.dumps({"scenario": scenario.resolved()}))
    assert load(tmp_path / "run.json").scheduling.policy.build().patience_s == 120.0


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('"gone.py:Patient"', "no such file"),
        ('"mine.py:Impatient"', "no class 'Impatient'"),
        ('"mine.py:Plain"', "must be a dataclass"),
        ('{policy: "mine.py:Patient", patience: 2}', "'2' has no unit"),
        ('{policy: "mine.py:Patient", patience: 1 yr}', "nobody is that patient"),
        ('{policy: "mine.py:Patient", patiense: 1 h}', "unknown key 'patiense'"),
    ],
)
def test_what_is_wrong_with_it_is_told(small, folder, said, message):
    with pytest.raises(ScenarioError, match=message):
        policy(small, said, folder)


def test_a_catalog_plant_gives_its_parameters_and_they_may_be_changed(small):
    changes = ["sites.campus.power_chain=none"]
    plain = load_text(small, [*changes, "sites.campus.cooling={plant: meta-2024}"])
    entry = plain.catalog.plant("meta-2024")
    cooling = plain.sites[0].cooling
    assert (cooling.name, cooling.plugin) == ("meta-2024", entry.kind)
    for name, value in entry.parameters.items():
        assert cooling.values[name] == value
    changed = load_text(small, [*changes, "sites.campus.cooling={plant: meta-2024, pue: 1.5}"])
    assert changed.sites[0].cooling.build().pue == 1.5
