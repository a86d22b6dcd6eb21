"""Turns the YAML of one entry into its dataclass, and keeps every value's provenance.

A value is written bare (``tdp: 700 W``) or with its own facts (``{value: 700 W, source: KEY, basis: vendor,
low: ..., high: ..., note: ...}``). ``source``, ``basis`` and ``note`` beside the fields hold for all values
of the entry that say nothing else. ``like: NAME`` takes every field that is not written from another entry.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, Final, Union, get_args, get_origin

import numpy as np

from simulator.catalog.entries import KINDS, TABLE_SHAPES, Table
from simulator.catalog.provenance import BASES, SCENARIO, Provenance, Source
from simulator.foundation.documents import Node
from simulator.foundation.errors import Problem, UnitError
from simulator.foundation.names import hint
from simulator.foundation.plugins import FieldInfo, fields_of
from simulator.foundation.quantity import Quantity
from simulator.foundation.units import parse

#: Keys of an entry that are no field.
DEFAULT_KEYS: Final[tuple[str, ...]] = ("source", "basis", "note")
LIKE: Final = "like"
_FACTS: Final[tuple[str, ...]] = ("value", "source", "basis", "low", "high", "note")
_FIELDS: Final[dict[type[Any], tuple[FieldInfo, ...]]] = {}
#: Units whose values may be below zero; a mass, a power or a price of hardware may not.
_SIGNED: Final = frozenset({"", "C", "K", "m", "ratio", "USD/kWh"})


@dataclass(frozen=True)
class Facts:
    """Source, basis and note that hold where a value says nothing else."""

    source: str = SCENARIO
    basis: str = "estimate"
    note: str = ""


@dataclass(frozen=True)
class Written:
    """A field as some file wrote it, with the facts of the entry it stood in."""

    node: Node
    facts: Facts


@dataclass(frozen=True)
class Value:
    """A value without its wrapping: what was written, its facts, the ends of its range."""

    node: Node
    facts: Facts
    low: Node | None = None
    high: Node | None = None


@dataclass
class Reader:
    """Reads one entry; `problems` and `provenance` fill up on the way."""

    kind: str
    name: str
    sources: Mapping[str, Source]
    problems: list[Problem] = field(default_factory=list)
    provenance: dict[str, Provenance] = field(default_factory=dict)

    def entry(self, written: Mapping[str, Written], where: Node) -> Any:
        """Return the dataclass, or None if there were problems.

        Parameters
        ----------
        written
            By YAML key.
        where
            The entry, for the place of what is missing.
        """
        cls = KINDS[self.kind]
        infos = {info.key: info for info in spec_fields(cls) if info.name != "name"}
        key_of_entry = f"catalog.{self.kind}.{self.name}"
        for key, said in written.items():
            if key not in infos:
                known = [*infos, *DEFAULT_KEYS, LIKE]
                self.problems.append(
                    said.node.problem(f"unknown name '{key}'", f"{key_of_entry}.{key}", hint(key, known))
                )
        values: dict[str, Any] = {"name": self.name}
        for key, info in infos.items():
            said_or_none = written.get(key)
            if said_or_none is None:
                self._absent(info, where, key_of_entry)
                if info.default is not MISSING:
                    values[info.name] = info.default
                elif info.optional:
                    values[info.name] = None
                continue
            values[info.name] = self._field(info, said_or_none, info.name, f"{key_of_entry}.{key}")
        if self.problems:
            return None
        try:
            return cls(**values)
        except ValueError as error:
            self.problems.append(where.problem(str(error), key_of_entry))
            return None

    def _absent(self, info: FieldInfo, where: Node, key: str) -> None:
        if info.required and not info.optional:
            meaning = info.meaning[:1].lower() + info.meaning[1:]
            self.problems.append(where.problem(f"'{info.key}' is missing: {meaning}", key))

    def _field(self, info: FieldInfo, written: Written, path: str, key: str) -> Any:
        value = self._unwrapped(written, key)
        if value.node.kind == "null":
            if not info.optional:
                self.problems.append(value.node.problem(f"'{info.key}' may not be blank", key))
            self._record(path, None, info.unit or "", value)
            return None
        kind = without_none(info.type)
        if get_origin(kind) is Mapping:
            return self._mapping(get_args(kind)[1], value, path, key)
        if get_origin(kind) is tuple:
            inner = get_args(kind)[0]
            return self._words(value, path, key) if inner is str else self._items(inner, value, path, key)
        return self._leaf(kind, info.unit, value, path, key)

    def _mapping(self, inner: Any, value: Value, path: str, key: str) -> dict[str, Any]:
        if value.node.kind != "map":
            said = value.node.described()
            self.problems.append(value.node.problem(f"expected NAME: VALUE for each name, got {said}", key))
            return {}
        unit = next((x.unit for x in get_args(inner)[1:] if isinstance(x, Quantity)), None)
        kind = get_args(inner)[0] if get_origin(inner) is Annotated else inner
        found: dict[str, Any] = {}
        for name, entry in value.node.entries.items():
            part = self._unwrapped(Written(entry, value.facts), f"{key}.{name}")
            if part.node.kind == "null":
                self._record(f"{path}.{name}", None, unit or "", part)
            else:
                found[name] = self._leaf(kind, unit, part, f"{path}.{name}", f"{key}.{name}")
        return found

    def _items(self, cls: type, value: Value, path: str, key: str) -> tuple[Any, ...]:
        if value.node.kind != "list":
            self.problems.append(value.node.problem(f"expected a list, got {value.node.described()}", key))
            return ()
        found = []
        for index, item in enumerate(value.node.items):
            if item.kind != "map":
                said = item.described()
                self.problems.append(item.problem(f"expected FIELD: VALUE, got {said}", f"{key}.{index}"))
                continue
            label = item_label(cls, item, index)
            values = self._item(cls, item, value.facts, f"{path}.{label}", f"{key}.{label}")
            if self.problems:
                continue
            try:
                found.append(cls(**values))
            except ValueError as error:
                self.problems.append(item.problem(str(error), f"{key}.{label}"))
        return tuple(found)

    def _item(self, cls: type, item: Node, outer: Facts, path: str, key: str) -> dict[str, Any]:
        infos = {info.key: info for info in spec_fields(cls)}
        facts = self.facts(item.entries, outer, key)
        values: dict[str, Any] = {}
        for name, entry in item.entries.items():
            if name in DEFAULT_KEYS:
                continue
            info = infos.get(name)
            if info is None:
                message = f"unknown name '{name}'"
                self.problems.append(item.key_problem(name, message, f"{key}.{name}", hint(name, infos)))
                continue
            written = Written(entry, facts)
            values[info.name] = self._field(info, written, f"{path}.{info.name}", f"{key}.{name}")
        for name, info in infos.items():
            if info.required and info.name not in values:
                self.problems.append(item.problem(f"'{name}' is missing", key))
        return values

    def _words(self, value: Value, path: str, key: str) -> tuple[str, ...]:
        node = value.node
        if node.kind != "list" or any(item.kind != "scalar" for item in node.items):
            self.problems.append(node.problem(f"expected a list of names, got {node.described()}", key))
            return ()
        words = tuple(item.text for item in node.items)
        self._record(path, ", ".join(words), "", value)
        return words

    def _leaf(self, kind: Any, unit: str | None, value: Value, path: str, key: str) -> Any:
        try:
            read: Any = (
                self._table(value.node)
                if get_origin(kind) is np.ndarray
                else one_value(kind, unit, value.node)
            )
        except (UnitError, ValueError) as error:
            self.problems.append(value.node.problem(str(error), key))
            return None
        shown = "x".join(map(str, read.shape)) + " table" if isinstance(read, np.ndarray) else read
        self._record(path, shown, unit or "", value)
        return read

    def _table(self, node: Node) -> Table:
        shape = TABLE_SHAPES[self.kind]
        items = node.items if node.kind == "list" else (node,)
        if node.kind == "map" or any(item.kind != "scalar" for item in items):
            raise ValueError(f"expected rows of numbers, got {node.described()}")
        words = " ".join(item.text for item in items).replace(",", " ").split()
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            raise ValueError("a table holds bare numbers; its unit is the field's") from None
        expected = math.prod(shape)
        if numbers.size != expected or not np.isfinite(numbers).all():
            sizes = " x ".join(map(str, shape))
            raise ValueError(f"expected {sizes} = {expected} finite numbers, got {numbers.size}")
        table = numbers.reshape(shape)
        table.setflags(write=False)
        return table

    def _unwrapped(self, written: Written, key: str) -> Value:
        node = written.node
        if node.kind != "map" or "value" not in node.entries:
            return Value(node, written.facts)
        for name in node.entries:
            if name not in _FACTS:
                self.problems.append(
                    node.key_problem(name, f"unknown name '{name}'", key, hint(name, _FACTS))
                )
        facts = self.facts(node.entries, written.facts, key)
        return Value(node.entries["value"], facts, node.entries.get("low"), node.entries.get("high"))

    def facts(self, entries: Mapping[str, Node], outer: Facts, key: str) -> Facts:
        """Return the facts stated beside fields, and note unknown sources and bases as problems."""
        facts = facts_of(entries, outer)
        for name, said, known in (("source", facts.source, self.sources), ("basis", facts.basis, BASES)):
            if name in entries and said not in known and said != SCENARIO:
                message = f"unknown {name} '{said}'"
                self.problems.append(entries[name].problem(message, f"{key}.{name}", hint(said, known)))
        return facts

    def _record(self, path: str, shown: Any, unit: str, value: Value) -> None:
        ends: list[float | None] = []
        for bound in (value.low, value.high):
            try:
                ends.append(None if bound is None else float(one_value(float, unit, bound)))
            except (UnitError, ValueError) as error:
                place = bound or value.node
                self.problems.append(place.problem(str(error), f"catalog.{self.kind}.{self.name}.{path}"))
                ends.append(None)
        facts = value.facts
        source = self.sources.get(facts.source)
        self.provenance[path] = Provenance(
            self.kind,
            self.name,
            path,
            shown,
            unit,
            value.node.text if value.node.kind == "scalar" else "",
            facts.source,
            source.title if source else "said in the scenario's catalog block",
            source.date if source else "",
            facts.basis,
            ends[0],
            ends[1],
            facts.note,
        )


def item_label(cls: type, item: Node, index: int) -> str:
    """Return what a list's item is called: its first field if that is a word, else its number."""
    first = spec_fields(cls)[0]
    said = item.entries.get(first.key)
    return said.text if first.type is str and said is not None and said.text else str(index)


def facts_of(entries: Mapping[str, Node], outer: Facts) -> Facts:
    """Return the facts an entry or value states, and the outer ones where it states nothing."""

    def said(key: str, otherwise: str) -> str:
        node = entries.get(key)
        return node.text if node is not None and node.kind == "scalar" else otherwise

    return Facts(said("source", outer.source), said("basis", outer.basis), said("note", outer.note))


def one_value(kind: Any, unit: str | None, node: Node) -> Any:
    """Return a scalar as the field's type.

    Raises
    ------
    UnitError, ValueError
        It cannot be read as that, or no such value can be.
    """
    if node.kind != "scalar":
        raise ValueError(f"expected one value, got {node.described()}")
    if kind is str:
        return node.text
    if kind is bool:
        if node.text not in ("true", "false"):
            raise ValueError(f"expected true or false, got {node.described()}")
        return node.text == "true"
    value = parse(node.text, unit or "")
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {node.described()}")
    if unit is not None and unit not in _SIGNED and value < 0:
        raise ValueError(f"{node.described()} is below zero")
    if kind is int:
        if value != round(value):
            raise ValueError(f"expected a whole number, got {node.described()}")
        return round(value)
    return value


def spec_fields(cls: type[Any]) -> tuple[FieldInfo, ...]:
    """Return a dataclass's fields."""
    # Reading annotations takes a millisecond a class, so it is done once for each.
    found = _FIELDS.get(cls)
    if found is None:
        found = _FIELDS[cls] = tuple(fields_of(cls))
    return found


def without_none(kind: Any) -> Any:
    """Return ``X`` for ``X | None``; a blank was told apart before."""
    if get_origin(kind) not in {types.UnionType, Union}:
        return kind
    return next(choice for choice in get_args(kind) if choice is not type(None))
