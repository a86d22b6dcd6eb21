"""The JSON Schema: YAML keys, units, meanings, and the same verdicts as the reader."""

from __future__ import annotations

import json

from simulator.scenario.branch import Branch
from simulator.scenario.schema import json_schema
from simulator.scenario.tree import Scenario

SCHEMA = json_schema()


def definitions():
    yield "Scenario", SCHEMA
    for name, definition in SCHEMA["$defs"].items():
        forms = definition.get("anyOf", [definition])
        yield name, next(form for form in forms if "properties" in form)


def test_keys_are_those_of_yaml():
    site = dict(definitions())["Interconnection"]["properties"]
    assert set(site) == {"limit", "service"}
    assert site["limit"]["unit"] == "W"


def test_a_bare_number_is_good_where_there_is_no_unit():
    def walk(node):
        if isinstance(node, dict):
            if node.get("unit") in {"count", "fraction", "ratio"}:
                yield node
            for inside in node.values():
                yield from walk(inside)
        elif isinstance(node, list):
            for inside in node:
                yield from walk(inside)

    found = list(walk(SCHEMA))
    assert {node["unit"] for node in found} == {"count", "fraction", "ratio"}
    for node in found:
        assert {"number", "integer"} & set(node["type"]), node


def test_every_key_has_a_meaning_and_unknown_ones_are_refused():
    for name, definition in definitions():
        assert definition["additionalProperties"] is False, name
        for key, value in definition["properties"].items():
            told = "description" in value or "$ref" in value or "const" in value or key in {"kind", "name"}
            assert told, f"{name}.{key} says nothing about itself"


def test_every_field_of_the_tree_has_a_sentence():
    def models(model):
        for child in model.__subclasses__():
            if child.__module__.startswith("simulator.scenario."):
                yield child
                yield from models(child)

    for model in models(Branch):
        assert model.__doc__, model
        for name, field in model.model_fields.items():
            if name != "kind":
                assert field.description, f"{model.__name__}.{name}"


def test_known_names_and_plugins_are_offered():
    text = json.dumps(SCHEMA)
    for word in ("llama-3.1-8b", "hgx-h100-8", "DE", "conservative", "dry-cooler-adiabatic", "vllm-v1"):
        assert f'"{word}"' in text


def test_it_is_json_and_covers_every_top_level_key():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert set(SCHEMA["properties"]) == {*Scenario.keys(), "extends"}


def test_no_key_of_the_tree_hides_another():
    for name, definition in definitions():
        assert len(definition["properties"]) == len(set(definition["properties"])), name
