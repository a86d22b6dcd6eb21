"""Laying one scenario over another (`extends:`) and setting single keys (`KEY=VALUE`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from simulator.catalog.shelf import Catalog
from simulator.foundation.documents import read_document
from simulator.foundation.errors import Problem, ScenarioError
from simulator.foundation.names import hint
from simulator.scenario.said import PLAIN, Place, SaidList, SaidMap, identity, said_of

#: What messages call the file of an override.
COMMAND_LINE: Final = "command line"

#: Keys that say which kind of thing a mapping is: another word there makes it another thing.
_KINDS: Final = ("kind", "policy", "plant")


def merged(below: Any, above: Any) -> Any:
    """Return `above` laid over `below`.

    Mappings are merged key by key and lists of named items by name; anything else is replaced.
    An empty value takes the key away. A mapping that becomes another kind is replaced whole.
    """
    if isinstance(below, SaidMap) and isinstance(above, SaidMap):
        if any(key in above and key in below and above[key] != below[key] for key in _KINDS):
            return above
        both = below.copy()
        both.place = above.place
        for key, value in above.items():
            if value is None and key in both:
                del both[key]
            else:
                both.put(key, merged(both.get(key), value), above.key_places[key])
        return both
    if isinstance(below, SaidList) and isinstance(above, SaidList) and _named(below) and _named(above):
        rows = {identity(item): item for item in below}
        for item in above:
            name = identity(item)
            rows[name] = merged(rows.get(name), item)
        return SaidList(above.place, list(rows.values()))
    return above


def _named(items: SaidList) -> bool:
    """Return whether every item has a name of its own."""
    names = [identity(item) for item in items]
    return bool(names) and None not in names and len(set(names)) == len(names)


def overridden(root: SaidMap, overrides: tuple[str, ...]) -> tuple[SaidMap, list[Problem]]:
    """Return the scenario with each ``KEY=VALUE`` set, and what was wrong with them.

    Parameters
    ----------
    root
        The scenario as said; it is not changed.
    overrides
        Such as ``sites.frankfurt.pools.h100.nodes=64``: keys joined by dots, items of lists by
        name or by index from 0. The value is read as YAML. Later ones win.
    """
    problems: list[Problem] = []
    place = Place(COMMAND_LINE, Path.cwd())
    changed: Any = root
    for text in overrides:
        key, equals, value_text = text.partition("=")
        if not equals or not key.strip():
            problems.append(
                Problem(f"{text!r} is not KEY=VALUE", COMMAND_LINE, hint="such as seed=2 or sites.0.grid=FR")
            )
            continue
        try:
            value = _value(value_text, place)
            changed = _set(changed, _words(key.strip()), value, place, key.strip())
        except ScenarioError as error:
            problems.extend(
                Problem(problem.message, COMMAND_LINE, key=key.strip(), hint=problem.hint)
                for problem in error.problems
            )
    return changed, problems


def _words(key: str) -> list[str]:
    """Return a key's words; names of catalog entries may hold dots (`llama-3.1-8b`)."""
    words = key.split(".")
    catalog = Catalog.shipped()
    if words[0] == "catalog" and len(words) > 1 and words[1] in catalog.kinds():
        for end in range(len(words), 3, -1):
            name = ".".join(words[2:end])
            if name in catalog.names(words[1]):
                return [*words[:2], name, *words[end:]]
    return words


def _value(text: str, place: Place) -> Any:
    """Return the value of an override; nothing after the equals sign takes the key away."""
    if not text.strip():
        return None
    return _placed(said_of(read_document(text, COMMAND_LINE), place.folder), place)


def _placed(said: Any, place: Place) -> Any:
    """Return the value with the command line as its place: columns there mean nothing."""
    if isinstance(said, SaidMap):
        moved = SaidMap(place)
        for key, value in said.items():
            moved.put(key, _placed(value, place), place)
        return moved
    if isinstance(said, SaidList):
        return SaidList(place, [_placed(item, place) for item in said])
    if said is not None:
        said.place = place
    return said


def _set(value: Any, words: list[str], new: Any, place: Place, key: str) -> Any:
    """Return `value` with `new` put where the words lead."""
    if not words:
        return new
    if isinstance(value, SaidList):
        index = _index(value, words[0], key)
        items = SaidList(value.place, value)
        items[index] = _set(value[index], words[1:], new, place, key)
        return items
    if isinstance(value, str):
        plain = SaidMap(place)
        plain.put(PLAIN, value, place)
        value = plain
    changed = value.copy() if isinstance(value, SaidMap) else SaidMap(place)
    word, rest = _key(changed, words)
    if new is None and not rest:
        changed.pop(word, None)
    else:
        changed.put(word, _set(changed.get(word), rest, new, place, key), place)
    return changed


def _key(mapping: SaidMap, words: list[str]) -> tuple[str, list[str]]:
    """Return the entry's key and the words after it; names with dots in them are found too."""
    for count in range(len(words), 1, -1):
        joined = ".".join(words[:count])
        if joined in mapping:
            return joined, words[count:]
    return words[0], words[1:]


def _index(items: SaidList, word: str, key: str) -> int:
    """Return which item a name or an index from 0 means."""
    names = [identity(item) for item in items]
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < len(items):
        return int(word)
    known = [name if name is not None else str(index) for index, name in enumerate(names)]
    what = f"index {word} is past the end" if word.isdecimal() else f"unknown name {word!r}"
    raise ScenarioError([Problem(what, COMMAND_LINE, key=key, hint=hint(word, known))])
