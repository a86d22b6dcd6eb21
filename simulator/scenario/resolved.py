"""The resolved form of a scenario: every value, in base units, as JSON; its hash; and the way back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice
from simulator.scenario.fields import File
from simulator.scenario.start import Start

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario

#: Keys of the form beside the scenario's values: which of them were given, its short name, and the
#: catalog folders it was read with.
GIVEN: Final = "given"
LABEL: Final = "label"
FOLDERS: Final = "catalog_folders"


def resolved_form(scenario: Scenario) -> dict[str, Any]:
    """Return every value of a scenario by attribute name, in base units, as JSON holds it."""
    form: dict[str, Any] = _form(scenario, files_by_content=False)
    form[GIVEN] = sorted(scenario.given)
    form[LABEL] = scenario.label
    form[FOLDERS] = list(scenario.catalog_folders)
    return form


def scenario_hash(scenario: Scenario) -> str:
    """Return 32 hexadecimal digits that change when any value does.

    Files count by their content, not by their place; titles and questions do not count.
    """
    form = _form(scenario, files_by_content=True)
    for key in ("title", "question", "currency"):
        del form[key]
    form[FOLDERS] = [
        [path.name, _digest(str(path))]
        for folder in scenario.catalog_folders
        for path in sorted(Path(folder).glob("*.yaml"))
    ]
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def given_routes(value: Any, prefix: str = "") -> list[str]:
    """Return the dotted attributes whose values were written down by somebody."""
    if isinstance(value, Branch):
        return [
            route
            for name in type(value).model_fields
            if name in value.model_fields_set
            for route in (given_routes(getattr(value, name), f"{prefix}{name}.") or [f"{prefix}{name}"])
        ]
    if isinstance(value, Choice):
        return [f"{prefix}{value.key}", *(f"{prefix}{name}" for name in value.given)]
    if isinstance(value, tuple):
        return [
            route for index, item in enumerate(value) for route in given_routes(item, f"{prefix}{index}.")
        ]
    return []


def _form(value: Any, *, files_by_content: bool) -> Any:
    """Return a value as JSON holds it."""
    if isinstance(value, Branch):
        form = {}
        for name in type(value).model_fields:
            item = getattr(value, name)
            is_file = files_by_content and item is not None and isinstance(value.reader(name), File)
            form[name] = _digest(item) if is_file else _form(item, files_by_content=files_by_content)
        return form
    if isinstance(value, Choice):
        values = {name: _form(item, files_by_content=files_by_content) for name, item in value.values.items()}
        return {value.key: value.name, **values}
    if isinstance(value, Start):
        return value.text
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _form(item, files_by_content=files_by_content) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_form(item, files_by_content=files_by_content) for item in value]
    return value


def _digest(path: str) -> str:
    """Return what stands for a file's content in the hash; a file that is gone counts by name."""
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return path
