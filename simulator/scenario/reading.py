"""From a file, its parents and the command line to one validated scenario, or all its mistakes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from simulator.catalog.shelf import Catalog
from simulator.foundation.calendar import Calendar
from simulator.foundation.documents import read_document, read_path
from simulator.foundation.errors import CatalogError, Problem, ScenarioError, UnitError
from simulator.scenario import shipped
from simulator.scenario.checks import mistakes
from simulator.scenario.merging import COMMAND_LINE, merged, overridden
from simulator.scenario.mistake import Mistake
from simulator.scenario.model_files import with_model_files
from simulator.scenario.remainder import further_mistakes
from simulator.scenario.resolved import given_routes
from simulator.scenario.said import Route, Said, SaidList, SaidMap, node_of_said, problem_at, said_of
from simulator.scenario.tree import DEFAULT_START, Scenario

_EXTENDS: Final = "extends"


@dataclass(frozen=True)
class Reading:
    """What validators may look at: the clock, the catalog, and how keys are spelled."""

    calendar: Calendar | None
    catalog: Catalog | None
    by_name: bool = False


def load_text(
    text: str,
    overrides: Sequence[str] = (),
    catalog_dirs: Sequence[str | Path] = (),
    *,
    name: str = "scenario",
    folder: Path | None = None,
) -> Scenario:
    """Return the scenario in a YAML text; relative paths begin at `folder`.

    Raises
    ------
    ScenarioError
        With every mistake found, each with its place.
    """
    path = (folder or Path.cwd()) / name
    root, problems = _with_parents(_mapping(read_document(text, name), path.parent), path, ())
    return finish(root, problems, overrides, catalog_dirs, Path(name).stem)


def load_file(
    path: Path, label: str, overrides: Sequence[str] = (), catalog_dirs: Sequence[str | Path] = ()
) -> Scenario:
    """Return the scenario in a YAML file; messages call the file `label`."""
    root, problems = _family(path, label, ())
    return finish(root, problems, overrides, catalog_dirs, path.stem)


def _family(path: Path, label: str, children: tuple[Path, ...]) -> tuple[SaidMap, list[Problem]]:
    """Return what a file says, laid over its parents."""
    root = _mapping(read_path(path, label), path.absolute().parent)
    return _with_parents(root, path, children)


def _mapping(node: Any, folder: Path) -> SaidMap:
    """Return a document that is a mapping."""
    root = said_of(node, folder)
    if not isinstance(root, SaidMap):
        raise ScenarioError(
            [node.problem(f"expected a map of keys, got {node.described()}", hint="such as title: My campus")]
        )
    return root


def _with_parents(root: SaidMap, path: Path, children: tuple[Path, ...]) -> tuple[SaidMap, list[Problem]]:
    """Return the scenario laid over the one that it extends."""
    if _EXTENDS not in root:
        return root, []
    said = root[_EXTENDS]
    above = root.copy()
    del above[_EXTENDS]
    if not isinstance(said, Said):
        return above, [problem_at(root, (_EXTENDS,), "expected one file", "such as extends: ../base.yaml")]
    family = (*children, path.absolute())
    parent = path.absolute().parent / str(said)
    if not parent.is_file():
        known = shipped.path_of(str(said))
        if known is None:
            return above, [problem_at(root, (_EXTENDS,), f"no such file or shipped scenario {str(said)!r}")]
        parent = known
    if any(parent.samefile(member) for member in family if member.is_file()):
        return above, [problem_at(root, (_EXTENDS,), f"{str(said)!r} extends itself")]
    below, problems = _family(parent, _label(path, said, parent), family)
    return merged(below, above), problems


def _label(path: Path, said: str, parent: Path) -> str:
    """Return what messages call a parent: relative to the folder people stand in if it is below."""
    try:
        return str(parent.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path.parent / said)


def finish(
    root: SaidMap,
    problems: list[Problem],
    overrides: Sequence[str],
    catalog_dirs: Sequence[str | Path],
    label: str,
) -> Scenario:
    """Return the validated scenario of what was said, or raise with every mistake found."""
    root, more = overridden(root, tuple(overrides))
    problems = [*problems, *more]
    root, more = _without_empty(root)
    problems += more
    empty = {problem.key for problem in more}
    root, more = with_model_files(root)
    problems += more
    catalog, more = _catalog(root, catalog_dirs)
    problems += more
    context = Reading(_calendar(root), catalog)
    try:
        scenario = Scenario.model_validate(root, context=context)
    except ValidationError as error:
        lines = error.errors(include_url=False)
        found = [_problem(root, line) for line in lines]
        problems += [problem for problem in found if problem.key not in empty]
        broken = [line["loc"] for line in lines]
        problems += [_placed(root, wrong) for wrong in further_mistakes(root, broken, context, catalog)]
        raise ScenarioError(_in_order(problems)) from None
    problems += [_placed(root, wrong) for wrong in mistakes(scenario, catalog)]
    if problems:
        raise ScenarioError(_in_order(problems))
    folders = tuple(os.path.abspath(folder) for folder in catalog_dirs)
    return scenario.remembering(catalog, folders, frozenset(given_routes(scenario)), label)


def _catalog(root: SaidMap, catalog_dirs: Sequence[str | Path]) -> tuple[Catalog, list[Problem]]:
    """Return the catalog with the folders and the scenario's own block laid over it."""
    catalog, problems = Catalog.shipped(), []
    for folder in catalog_dirs:
        try:
            catalog = catalog.with_directory(folder)
        except ScenarioError as error:
            problems += error.problems
        except CatalogError as error:
            problems.append(Problem(str(error)))
    said = root.get("catalog")
    if isinstance(said, SaidMap):
        try:
            catalog = catalog.with_block(node_of_said(said))
        except ScenarioError as error:
            problems += error.problems
        except CatalogError as error:
            problems.append(problem_at(root, ("catalog",), str(error)))
    return catalog, problems


def _calendar(root: SaidMap) -> Calendar | None:
    """Return the scenario's clock; None if the start is wrong, which is reported elsewhere."""
    start = root.get("start", DEFAULT_START)
    try:
        return Calendar.from_text(str(start))
    except UnitError:
        return None


def _without_empty(value: Any, path: Route = (), root: Any = None) -> tuple[Any, list[Problem]]:
    """Return what was said without keys that nothing follows, and a problem for each of them."""
    root = value if root is None else root
    problems: list[Problem] = []
    if isinstance(value, SaidMap):
        kept: Any = value.copy()
        for key, entry in value.items():
            if entry is None:
                said = "nothing follows this key"
                problems.append(problem_at(root, (*path, key), said, "give a value, or leave the key out"))
                del kept[key]
            else:
                kept[key], more = _without_empty(entry, (*path, key), root)
                problems += more
        return kept, problems
    if isinstance(value, SaidList):
        kept = SaidList(value.place)
        for index, entry in enumerate(value):
            if entry is None:
                problems.append(problem_at(root, (*path, index), "nothing stands in this place of the list"))
            item, more = _without_empty(entry, (*path, index), root)
            kept.append(item)
            problems += more
        return kept, problems
    return value, problems


def _problem(root: Any, line: Any) -> Problem:
    """Return a validation error as a problem with its place."""
    hint = line.get("ctx", {}).get("hint", "") if line["type"] in {"mistake", "unknown_key"} else ""
    path = tuple(step for step in line["loc"] if step != "[key]")
    return problem_at(
        root, path, line["msg"], hint, at_key=line["type"] == "unknown_key" or "[key]" in line["loc"]
    )


def _placed(root: Any, wrong: Mistake) -> Problem:
    return problem_at(root, wrong.path, wrong.message, wrong.hint)


def _in_order(problems: list[Problem]) -> list[Problem]:
    """Return the problems in the order of the files' lines, the command line last, none twice."""

    def rank(numbered: tuple[int, Problem]) -> tuple[bool, str, int, int, int]:
        number, problem = numbered
        return (problem.file == COMMAND_LINE, problem.file, problem.line, problem.column, number)

    return [problem for _, problem in sorted(enumerate(dict.fromkeys(problems)), key=rank)]
