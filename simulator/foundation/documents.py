"""A strict reader of YAML that keeps every scalar as text and remembers where it stood.

YAML's own typing is not used: it would make Norway's zone ``NO`` false, ``12:30`` a number and
``1e6`` a string. The field that receives a text knows what it should be. Anchors, aliases, tags
and duplicate keys are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import yaml

from simulator.foundation.errors import Problem, ScenarioError

Kind: TypeAlias = Literal["map", "list", "scalar", "null"]

#: Deeper than any sensible file; stops a hostile one before Python's own recursion limit does.
_DEEPEST: Final = 50
#: Tables of facts belong in CSV or Parquet files, which are read a thousand times faster.
_LARGEST_BYTES: Final = 16 * 1024 * 1024
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document and its place.

    Parameters
    ----------
    kind
        ``map``, ``list``, ``scalar`` or ``null``.
    text
        A scalar's text, exactly as a person reads it; empty for the other kinds.
    entries, items
        What a map or a list holds, in the order of the file.
    keys
        Where each key of a map stands: (line, column).
    quoted
        Whether a scalar was written in quotes or as a block, so "null" can be a name.
    name
        The file, for messages.
    line, column
        Where the value begins, counting from 1; 0 when it came from no file.
    """

    kind: Kind
    text: str = ""
    entries: Mapping[str, Node] = field(default_factory=dict)
    items: tuple[Node, ...] = ()
    keys: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    quoted: bool = False
    name: str = ""
    line: int = 0
    column: int = 0

    def problem(self, message: str, key: str = "", hint: str = "") -> Problem:
        """Return a mistake that stands here."""
        return Problem(message, self.name, self.line, self.column, key, hint)

    def key_problem(self, entry: str, message: str, key: str = "", hint: str = "") -> Problem:
        """Return a mistake in the name of one of a map's entries."""
        line, column = self.keys.get(entry, (self.line, self.column))
        return Problem(message, self.name, line, column, key, hint)

    def described(self) -> str:
        """Return what this is, for messages: "a list", "'30 days'"."""
        if self.kind == "scalar":
            return f"'{self.text}'" if len(self.text) <= 60 else f"'{self.text[:57]}...'"
        return {"map": "a map of keys", "list": "a list", "null": "nothing"}[self.kind]


def read_document(text: str, name: str) -> Node:
    """Return the one document in a YAML text.

    Parameters
    ----------
    text
        The file's contents.
    name
        What messages call it.

    Raises
    ------
    ScenarioError
        The text is empty or no strict YAML; each problem says line and column.

    Examples
    --------
    >>> node = read_document("{grid: NO, duration: 30 d}", "x.yaml")
    >>> node.entries["grid"].text, node.entries["duration"].line, node.entries["duration"].column
    ('NO', 1, 22)
    """
    builder = _Builder(name)
    try:
        root = builder.document(iter(yaml.parse(text, Loader=_Loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = "; ".join(part for part in (error.context, error.problem) if part) or "not YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ScenarioError([Problem(f"not YAML: {message}", name, line, column)]) from None
    except yaml.reader.ReaderError as error:
        line, column = _place(text, error.position)
        shown = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "?")
        raise ScenarioError(
            [Problem(f"not text: the character {shown:#x} may not stand in YAML", name, line, column)]
        ) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise ScenarioError([Problem(f"not YAML: {error}", name)]) from None
    if root is None or root.kind == "null":
        raise ScenarioError([Problem("the file is empty", name)])
    if builder.problems:
        raise ScenarioError(builder.problems)
    return root


def read_path(path: Path, name: str | None = None) -> Node:
    """Return the document in a file.

    Parameters
    ----------
    path
        The file.
    name
        What messages call it; the path as given if left out.

    Raises
    ------
    ScenarioError
        The file cannot be read, is not UTF-8, too large, or no strict YAML.
    """
    name = str(path) if name is None else name
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise ScenarioError([Problem("no such file", name)]) from None
    except OSError as error:
        raise ScenarioError([Problem(f"cannot be read: {error.strerror or error}", name)]) from None
    if len(data) > _LARGEST_BYTES:
        limit = _LARGEST_BYTES // 1024 // 1024
        raise ScenarioError([Problem(f"larger than {limit} MiB; put tables into CSV or Parquet files", name)])
    try:
        # Editors on Windows may begin a file with a byte order mark.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        message = f"not UTF-8 text: byte {data[error.start]:#04x}"
        raise ScenarioError([Problem(message, name, line, column)]) from None
    return read_document(text, name)


def plain(node: Node) -> Any:
    """Return a node as Python values, scalars typed as the core schema of YAML 1.2 says.

    Examples
    --------
    >>> plain(read_document("{a: 1e3, b: NO, c: 0x10, d: true, e: ~, f: 3.35 TB/s, g: '7'}", "x"))
    {'a': 1000.0, 'b': 'NO', 'c': 16, 'd': True, 'e': None, 'f': '3.35 TB/s', 'g': '7'}
    """
    if node.kind == "map":
        return {key: plain(entry) for key, entry in node.entries.items()}
    if node.kind == "list":
        return [plain(item) for item in node.items]
    if node.kind == "null":
        return None
    return node.text if node.quoted else _core_scalar(node.text)


def node_of(value: Any, name: str = "") -> Node:
    """Return plain Python values as a node without a place, e.g. for a scenario made in code.

    Raises
    ------
    ScenarioError
        A key is no text, or a value is none that YAML could hold.
    """
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ScenarioError([Problem(f"a key must be text, but {wrong[0]!r} is not", name)])
        return Node("map", entries={key: node_of(entry, name) for key, entry in value.items()}, name=name)
    if isinstance(value, list | tuple):
        return Node("list", items=tuple(node_of(item, name) for item in value), name=name)
    if value is None:
        return Node("null", name=name)
    if isinstance(value, bool):
        return Node("scalar", text="true" if value else "false", name=name)
    if isinstance(value, int):
        return Node("scalar", text=str(int(value)), name=name)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ScenarioError([Problem(f"{value!r} is not a number that a scenario can hold", name)])
        return Node("scalar", text=repr(float(value)), name=name)
    if isinstance(value, str):
        # A text that looks like nothing or like a truth is kept as text.
        return Node("scalar", text=value, quoted=_core_scalar(value) != value, name=name)
    raise ScenarioError([Problem(f"a {type(value).__name__} is nothing that YAML holds", name)])


_INTEGER: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_TRUTHS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
#: Python refuses to read longer whole numbers, and nobody writes them.
_MOST_DIGITS: Final = 300


def _core_scalar(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if len(text) > _MOST_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if re.fullmatch(r"0o[0-7]+", text):
        return int(text[2:], 8)
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return int(text[2:], 16)
    # .inf and .nan stay text: no field of ours takes them.
    return float(text) if _FLOAT.fullmatch(text) else text


class _Builder:
    """Builds nodes from the parser's events, collecting what strictness refuses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []

    def document(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._refuse(event, "a second document begins here; a file holds one")
                    break
                root = self._value(next(events), events, 0)
        return root

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if depth > _DEEPEST:
            raise ScenarioError(
                [Problem(f"nested more than {_DEEPEST} levels deep", self.name, line, column)]
            )
        if isinstance(event, yaml.AliasEvent):
            self._refuse(
                event, f"the alias '*{event.anchor}' is not understood; use extends, or write it out"
            )
            return Node("null", name=self.name, line=line, column=column)
        if event.anchor is not None:
            self._refuse(event, f"the anchor '&{event.anchor}' is not understood; use extends")
        if event.tag is not None:
            self._refuse(event, f"the tag '{event.tag}' is not understood; write the value without it")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, line, column)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._value(event, events, depth + 1))
            return Node("list", items=tuple(items), name=self.name, line=line, column=column)
        return self._map(events, depth, line, column)

    def _scalar(self, event: Any, line: int, column: int) -> Node:
        quoted = bool(event.style) and event.style in "'\"|>"
        if not quoted and event.value in _NULLS:
            return Node("null", name=self.name, line=line, column=column)
        return Node("scalar", event.value, quoted=quoted, name=self.name, line=line, column=column)

    def _map(self, events: Iterator[Any], depth: int, line: int, column: int) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._value(event, events, depth + 1)
            entry = self._value(next(events), events, depth + 1)
            if key.kind != "scalar":
                if not isinstance(event, yaml.AliasEvent):
                    self._refuse(event, f"a key must be a name, but {key.described()} stands here")
                continue
            if key.text in entries:
                first = keys[key.text][0]
                self._refuse(event, f"duplicate key '{key.text}'; it stands in line {first} already")
                continue
            entries[key.text] = entry
            keys[key.text] = (key.line, key.column)
        return Node("map", entries=entries, keys=keys, name=self.name, line=line, column=column)

    def _refuse(self, event: Any, message: str) -> None:
        mark = event.start_mark
        self.problems.append(Problem(message, self.name, mark.line + 1, mark.column + 1))


def _place(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
