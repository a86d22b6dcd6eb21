"""What a file said and where: texts, mappings and lists that remember their place.

They are plain `str`, `dict` and `list` to whoever validates them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from simulator.foundation.documents import Node
from simulator.foundation.errors import Problem

#: Key under which a mapping keeps the plain text that it was before deeper keys joined it.
PLAIN: Final = ""

#: What identifies an item of a list, in this order.
_IDENTITIES: Final = ("name", "id")

#: Keys and indexes from the root.
Route = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A file, and line and column in it counted from 1; relative paths start at `folder`."""

    file: str
    folder: Path
    line: int = 0
    column: int = 0


_NOWHERE: Final = Place("", Path())


class Said(str):
    """A text of a scenario."""

    place: Place
    quoted: bool

    @classmethod
    def at(cls, text: str, place: Place, quoted: bool = False) -> Said:
        """Return the text with its place."""
        said = cls(text)
        said.place = place
        said.quoted = quoted
        return said

    @property
    def folder(self) -> Path:
        """Where a relative path that this text names begins."""
        return self.place.folder

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


class SaidMap(dict[str, Any]):
    """A mapping of a scenario; `key_places` says where each key stands."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.key_places: dict[str, Place] = {}

    def put(self, key: str, value: Any, place: Place) -> None:
        """Set an entry."""
        self[key] = value
        self.key_places[key] = place

    def copy(self) -> SaidMap:
        """Return a mapping with the same entries that can be changed on its own."""
        twin = SaidMap(self.place)
        twin.update(self)
        twin.key_places.update(self.key_places)
        return twin


class SaidList(list[Any]):
    """A list of a scenario."""

    def __init__(self, place: Place, items: Sequence[Any] = ()) -> None:
        super().__init__(items)
        self.place = place


def said_of(node: Node, folder: Path) -> Any:
    """Return a document's node as texts, mappings and lists; a null is None."""
    place = Place(node.name, folder, node.line, node.column)
    if node.kind == "scalar":
        return Said.at(node.text, place, node.quoted)
    if node.kind == "list":
        return SaidList(place, [said_of(item, folder) for item in node.items])
    if node.kind == "null":
        return None
    said = SaidMap(place)
    for key, entry in node.entries.items():
        line, column = node.keys.get(key, (node.line, node.column))
        said.put(key, said_of(entry, folder), Place(node.name, folder, line, column))
    return said


def node_of_said(said: Any) -> Node:
    """Return what was said as a document again, for a reader of documents."""
    place: Place = getattr(said, "place", _NOWHERE)
    if isinstance(said, SaidMap):
        node = Node(
            "map",
            entries={key: node_of_said(entry) for key, entry in said.items()},
            keys={key: (where.line, where.column) for key, where in said.key_places.items()},
        )
    elif isinstance(said, SaidList):
        node = Node("list", items=tuple(node_of_said(item) for item in said))
    elif isinstance(said, Said):
        node = Node("scalar", str(said), quoted=said.quoted)
    else:
        node = Node("null")
    return replace(node, name=place.file, line=place.line, column=place.column)


def identity(item: Any) -> str | None:
    """Return the name by which an item of a list can be addressed, if it has one."""
    if isinstance(item, dict):
        for key in _IDENTITIES:
            if isinstance(item.get(key), str):
                return str(item[key])
    return None


def dotted(root: Any, path: Route) -> str:
    """Return a path as people write it: items of lists by name where they have one."""
    words: list[str] = []
    value = root
    for step in path:
        value, word = _descend(value, step)
        if word:
            words.append(word)
    return ".".join(words)


def problem_at(root: Any, path: Route, message: str, hint: str = "", at_key: bool = False) -> Problem:
    """Return a problem with the place of the deepest thing on the path that has one.

    Parameters
    ----------
    root
        What was said, as a whole.
    path
        Keys and indexes from the root.
    message, hint
        What is wrong, and what would be right.
    at_key
        Point at the last key instead of at its value.
    """
    value, place = root, getattr(root, "place", None)
    for number, step in enumerate(path):
        last = number == len(path) - 1
        if (
            isinstance(value, SaidMap)
            and step in value
            and step in value.key_places
            and (value[step] is None or (last and at_key))
        ):
            place = value.key_places[str(step)]
        value, _ = _descend(value, step)
        if not (last and at_key):
            place = getattr(value, "place", place)
    if place is None:
        return Problem(message, key=dotted(root, path), hint=hint)
    return Problem(message, place.file, place.line, place.column, dotted(root, path), hint)


def _descend(value: Any, step: str | int) -> tuple[Any, str]:
    """Return what lies below, and how the step is written; a text stands for its mapping."""
    if isinstance(value, str):
        return value, ""
    if isinstance(step, int):
        below = value[step] if isinstance(value, list | tuple) and step < len(value) else None
        return below, identity(below) or str(step)
    below = value.get(step) if isinstance(value, dict) else None
    return below, "" if step in {"[key]", PLAIN} else step
