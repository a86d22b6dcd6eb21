"""What else is wrong in a scenario of which some keys cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from simulator.catalog.shelf import Catalog
from simulator.scenario.checks import mistakes
from simulator.scenario.mistake import Mistake
from simulator.scenario.said import Route, SaidList, SaidMap
from simulator.scenario.tree import Scenario

#: Lists whose items may be left out whole; what names them is then not checked.
_OPTIONAL: Final = ("workloads", "script", "limits")
_NAMERS: Final = ("script", "limits")
_DURATION: Final = ("duration",)
_LONG: Final = "1000 yr"
#: Mappings within mappings: deeper than any scenario's.
_ROUNDS: Final = 5


def further_mistakes(root: SaidMap, broken: Sequence[Route], context: Any, catalog: Catalog) -> list[Mistake]:
    """Return the mistakes among names, sums and moments that can still be seen.

    First the keys that cannot be read are left out; if a mapping then lacks something, the whole
    item of the list that it is in. Nothing is said about what was left out.

    Parameters
    ----------
    root
        What was said.
    broken
        Where reading failed.
    context
        What validators may look at.
    catalog
        What names are looked up in.
    """
    cut = [*broken]
    lost: dict[str, set[int]] = {}
    scenario = _read(root, cut, lost, context)
    for _ in range(_ROUNDS):
        if isinstance(scenario, Scenario):
            break
        for line in scenario.errors(include_url=False):
            route = line["loc"]
            if len(route) > 1 and route[0] in _OPTIONAL:
                lost.setdefault(str(route[0]), set()).add(int(route[1]))
            else:
                # A key that is missing, or was left out before, takes its mapping along.
                cut.append(route[:-1] if _absent(root, cut, route) else route)
        scenario = _read(root, cut, lost, context)
    if isinstance(scenario, ValidationError):
        return []
    found = [_moved(wrong, root, lost) for wrong in mistakes(scenario, catalog, physics=False)]
    if "workloads" in lost:
        found = [wrong for wrong in found if wrong.path[0] not in _NAMERS]
    return [wrong for wrong in found if not any(_touches(wrong.path, path) for path in cut)]


def _read(
    root: SaidMap, cut: Sequence[Route], lost: dict[str, set[int]], context: Any
) -> Scenario | ValidationError:
    """Return the scenario without some keys and some items of lists, or why there is none."""
    try:
        return Scenario.model_validate(_without_items(_without_keys(root, cut), lost), context=context)
    except ValidationError as error:
        return error


def _without_keys(root: SaidMap, cut: Sequence[Route]) -> Any:
    kept: Any = root
    for path in cut:
        kept = _without(kept, path)
    if _DURATION in cut:
        # Whatever was meant: nothing may seem to lie beyond the end because of it.
        kept = kept.copy()
        kept.put(_DURATION[0], _LONG, kept.place)
    return kept


def _absent(root: SaidMap, cut: Sequence[Route], route: Route) -> bool:
    """Return whether nothing stands at the end of a route any more."""
    value = _without_keys(root, cut)
    for step in route:
        if isinstance(value, dict):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return True
    return value is None


def _without_items(root: SaidMap, lost: dict[str, set[int]]) -> SaidMap:
    """Return what was said without some items of its lists."""
    kept = root.copy()
    for key, indexes in lost.items():
        items = root[key]
        kept[key] = SaidList(items.place, [item for at, item in enumerate(items) if at not in indexes])
    return kept


def _moved(wrong: Mistake, root: SaidMap, lost: dict[str, set[int]]) -> Mistake:
    """Return a mistake with the index that its item has in the file."""
    key, rest = str(wrong.path[0]), wrong.path[1:]
    if key not in lost or not rest:
        return wrong
    left = [at for at in range(len(root[key])) if at not in lost[key]]
    return replace(wrong, path=(key, left[int(rest[0])], *rest[1:]))


def _touches(path: Route, broken: Route) -> bool:
    """Return whether one route leads through the other."""
    shorter = min(len(path), len(broken))
    return path[:shorter] == broken[:shorter]


def _without(value: Any, path: Route) -> Any:
    """Return what was said without the key at the end of a route; items of lists stay."""
    if not path or not isinstance(value, SaidMap | SaidList):
        return value
    step, rest = path[0], path[1:]
    if isinstance(value, SaidMap):
        if step not in value:
            return value
        kept = value.copy()
        below = kept.pop(str(step))
        if rest and not isinstance(below, str):
            kept[str(step)] = _without(below, rest)
        return kept
    if isinstance(step, int) and step < len(value):
        items = SaidList(value.place, value)
        items[step] = _without(value[step], rest)
        return items
    return value
