"""The JSON Schema of scenario files: YAML keys, units, meanings and known names, for editors."""

from __future__ import annotations

from typing import Any

from simulator.catalog.shelf import Catalog
from simulator.scenario.tree import Scenario

#: (definition or "" for the root, key) -> kind of catalog entries whose names complete it.
_NAMES = {
    ("Pool", "node"): "nodes",
    ("Site", "climate"): "climates",
    ("Site", "power_chain"): "chains",
    ("Grid", "name"): "grids",
    ("Tariff", "name"): "tariffs",
    ("Training", "model"): "models",
    ("Training", "gpu_type"): "gpus",
    ("Service", "model"): "models",
    ("Engine", "preset"): "engines",
    ("Demand", "shape"): "shapes",
    ("Lengths", "name"): "lengths",
    ("JobStream", "mix"): "mixes",
    ("Failures", "preset"): "failures",
    ("CarbonRules", "factors"): "factors",
    ("WaterRules", "factors"): "water",
    ("CostRules", "preset"): "costs",
}


def json_schema() -> dict[str, Any]:
    """Return the schema as JSON holds it.

    Values with a unit are texts (``30 d``), so their type is string; the base unit they are read
    into stands under ``unit``.
    """
    schema = Scenario.model_json_schema(by_alias=True)
    for definition in (schema, *schema["$defs"].values()):
        _tidy(definition)
    catalog = Catalog.shipped()
    for (owner, key), kind in _NAMES.items():
        _suggest(schema["$defs"][owner]["properties"][key], list(catalog.names(kind)))
    _shorthand(schema)
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A scenario file that this one changes: keys merged, named items by name.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _tidy(definition: Any) -> None:
    """Take away pydantic's made-up titles, nulls and defaults in base units."""
    if isinstance(definition, list):
        for item in definition:
            _tidy(item)
    if not isinstance(definition, dict):
        return
    for value in definition.get("properties", {}).values():
        value.pop("title", None)
        if "unit" in str(value) or value.get("default") is None or isinstance(value["default"], dict):
            value.pop("default", None)
    forms = definition.get("anyOf")
    if isinstance(forms, list) and {"type": "null"} in forms:
        forms.remove({"type": "null"})
        if len(forms) == 1:
            only = definition.pop("anyOf")[0]
            for key, value in only.items():
                definition.setdefault(key, value)
    for value in definition.values():
        _tidy(value)


def _suggest(field: dict[str, Any], names: list[str]) -> None:
    """Let editors complete catalog names without refusing those of a folder or block."""
    text = {key: field.pop(key) for key in ("type", "pattern") if key in field}
    field["anyOf"] = [{"enum": names}, {"type": "string", **text}]


def _shorthand(schema: dict[str, Any]) -> None:
    """Allow the plain text or number that stands for a whole mapping."""
    from simulator.scenario.branch import Branch

    def models(model: type[Branch]) -> list[type[Branch]]:
        return [model, *(below for child in model.__subclasses__() for below in models(child))]

    short = {model.__name__ for model in models(Branch) if model.short}
    for name, definition in list(schema["$defs"].items()):
        if name in short:
            schema["$defs"][name] = {
                "description": definition.get("description", ""),
                "anyOf": [{"type": ["string", "integer"]}, definition],
            }
