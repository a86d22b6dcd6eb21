"""Back from a run's `run.json` to the scenario that it ran, exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.catalog.shelf import Catalog
from simulator.foundation.calendar import Calendar
from simulator.foundation.documents import node_of
from simulator.foundation.errors import CatalogError, Problem, ScenarioError, UnitError
from simulator.scenario.reading import Reading, finish
from simulator.scenario.resolved import FOLDERS, GIVEN, LABEL
from simulator.scenario.said import SaidMap, said_of
from simulator.scenario.tree import Scenario
from simulator.scenario.writing import said_form


def load_run(
    path: Path, label: str, overrides: Sequence[str] = (), catalog_dirs: Sequence[str | Path] = ()
) -> Scenario:
    """Return the scenario that a finished run wrote down; overrides may change it.

    Raises
    ------
    ScenarioError
        The file is no ``run.json``, or a changed value is wrong.
    """
    try:
        form = json.loads(path.read_text(encoding="utf-8"))["scenario"]
    except OSError as error:
        raise ScenarioError([Problem(f"cannot be read: {error.strerror or error}", label)]) from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ScenarioError([Problem(f"not the run.json of a run ({what})", label)]) from None
    scenario = from_resolved(form, label)
    if not overrides and not catalog_dirs:
        return scenario
    said = said_of(node_of(said_form(scenario), label), path.absolute().parent)
    if not isinstance(said, SaidMap):
        raise TypeError("a scenario is written as a mapping")
    folders = (*scenario.catalog_folders, *catalog_dirs)
    changed = finish(said, [], overrides, folders, scenario.label)
    given = scenario.given | _changed_routes(_values(scenario.resolved()), _values(changed.resolved()))
    return changed.remembering(changed.catalog, changed.catalog_folders, given, scenario.label)


def from_resolved(form: Any, label: str = "run.json") -> Scenario:
    """Return the scenario of a resolved form.

    Raises
    ------
    ScenarioError
        The form is not one that `Scenario.resolved` gives.
    """
    try:
        values = _values(form)
        given, short = frozenset(form[GIVEN]), str(form[LABEL])
        folders = tuple(form[FOLDERS])
        catalog = Catalog.shipped()
        for folder in folders:
            catalog = catalog.with_directory(folder)
        catalog = catalog.with_block(values["catalog_block"])
        context = Reading(Calendar.from_text(values["start"]), catalog, by_name=True)
        scenario = Scenario.model_validate(values, context=context, by_alias=False, by_name=True)
    except ValidationError as error:
        raise ScenarioError(
            [
                Problem(line["msg"], label, key=".".join(str(step) for step in line["loc"]))
                for line in error.errors(include_url=False)
            ]
        ) from None
    except (KeyError, TypeError, AttributeError, UnitError, CatalogError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ScenarioError([Problem(f"not a resolved scenario ({what})", label)]) from None
    return scenario.remembering(catalog, folders, given, short)


def _values(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved form without what is beside the scenario's values."""
    return {key: value for key, value in form.items() if key not in {GIVEN, LABEL, FOLDERS}}


def _changed_routes(before: Any, after: Any, prefix: str = "") -> frozenset[str]:
    """Return the dotted routes of the values that differ between two resolved forms."""
    if isinstance(after, Mapping) and isinstance(before, Mapping):
        pairs = [(key, before.get(key), value) for key, value in after.items()]
    elif isinstance(after, list) and isinstance(before, list) and len(after) == len(before):
        pairs = [(str(index), old, new) for index, (old, new) in enumerate(zip(before, after, strict=True))]
    else:
        return frozenset() if before == after else frozenset({prefix.removesuffix(".")})
    return frozenset().union(*(_changed_routes(old, new, f"{prefix}{key}.") for key, old, new in pairs))
