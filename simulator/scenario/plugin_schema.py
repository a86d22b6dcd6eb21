"""A plug-in's dataclass as a mapping of the scenario: its fields, units and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, create_model

from simulator.foundation.plugins import FieldInfo, fields_of
from simulator.foundation.quantity import OVERSUBSCRIPTION
from simulator.scenario.branch import Branch
from simulator.scenario.fields import Flag, Measure, OneOf, Ratio, Text


def branch_of(cls: type[Any], preset: Mapping[str, Any] | None = None) -> type[Branch]:
    """Return the mapping for a plug-in; `preset` values replace its defaults."""
    defaults = preset or {}
    fields: dict[str, Any] = {}
    for info in fields_of(cls):
        default = defaults.get(info.name, info.default)
        fields[info.name] = (
            _annotation(info),
            Field(... if default is MISSING else default, alias=info.key, description=info.meaning),
        )
    model: type[Branch] = create_model(
        cls.__name__, __base__=Branch, __doc__=(cls.__doc__ or "").strip(), **fields
    )
    return model


def _annotation(info: FieldInfo) -> Any:
    """Return the field's type with what reads it."""
    if info.unit == OVERSUBSCRIPTION:
        return Annotated[float, Ratio()]
    read = _read_as(info.type, info.unit or "")
    return read | None if info.optional and type(None) not in get_args(read) else read


def _read_as(kind: Any, unit: str) -> Any:
    """Return a type annotated with its reader; containers and unions go inwards."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return Annotated[kind, OneOf()]
    if arguments:
        inner = tuple(item if item in (Ellipsis, type(None)) else _read_as(item, unit) for item in arguments)
        return _rebuilt(origin, inner)
    if kind is bool:
        return Annotated[bool, Flag()]
    if kind is int:
        return Annotated[int, Measure(unit, low=float("-inf"), whole=True)]
    if kind is float:
        return Annotated[float, Measure(unit, low=float("-inf"))]
    if kind is str:
        return Annotated[str, Text()]
    return kind


def _rebuilt(origin: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the same container of other things."""
    if type(None) in arguments:
        rest = [item for item in arguments if item is not type(None)]
        return rest[0] | None if len(rest) == 1 else origin[arguments]
    return origin[arguments]
