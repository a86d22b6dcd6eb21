"""Plug-ins are frozen dataclasses in a table: their fields, their YAML keys, and finding one by name."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from simulator.foundation.errors import PolicyError, UnknownNameError
from simulator.foundation.names import hint
from simulator.foundation.quantity import OVERSUBSCRIPTION, Quantity

#: Base unit -> what the names of fields holding it end in.
SUFFIXES: Final[Mapping[str, str]] = {
    "s": "_s",
    "W": "_w",
    "W/s": "_w_per_s",
    "J": "_j",
    "bytes": "_bytes",
    "bytes/s": "_bytes_per_s",
    "flop": "_flop",
    "flop/s": "_flop_per_s",
    "C": "_c",
    "K": "_k",
    "K/s": "_k_per_s",
    "J/K": "_j_per_k",
    "W/K": "_w_per_k",
    "Pa": "_pa",
    "m": "_m",
    "fraction": "_fraction",
    "ratio": "_ratio",
    "USD": "_usd",
    "USD/kWh": "_usd_per_kwh",
    "USD/W": "_usd_per_w",
    "USD/kW-month": "_usd_per_kw_month",
    "USD/t": "_usd_per_t",
    "USD/litre": "_usd_per_litre",
    "USD/s": "_usd_per_s",
    "g": "_gco2e",
    "g/kWh": "_g_per_kwh",
    "g/W": "_gco2e_per_w",
    "litres": "_litres",
    "litres/kWh": "_litres_per_kwh",
    "litres/s": "_litres_per_s",
    "1/s": "_per_s",
    "gpu-s": "_gpu_s",
    OVERSUBSCRIPTION: "",
    "": "",
}


@dataclass(frozen=True)
class FieldInfo:
    """What a plug-in's field is called, measures and means.

    Parameters
    ----------
    name
        Its attribute, with the unit in the name.
    unit
        Base unit if the field is a quantity, else None.
    meaning
        One sentence for documentation and schema; may be empty.
    default
        What holds when nothing is written; `dataclasses.MISSING` if something must be.
    type
        Its Python type without annotations, e.g. ``float`` or ``str | None``.
    optional
        Whether None is allowed.
    """

    name: str
    unit: str | None
    meaning: str
    default: Any
    type: Any
    optional: bool = False

    @property
    def required(self) -> bool:
        """Whether a value must be written."""
        return self.default is dataclasses.MISSING

    @property
    def key(self) -> str:
        """What the field is called in YAML."""
        return yaml_key(self.name, self.unit)


def fields_of(cls: type) -> list[FieldInfo]:
    """Return the fields of a dataclass in the order of the class.

    Parameters
    ----------
    cls
        A dataclass whose fields are annotated ``Annotated[Seconds, "What it means."]``.

    Raises
    ------
    TypeError
        `cls` is no dataclass.

    Examples
    --------
    >>> from simulator.foundation.quantity import Seconds
    >>> meaning = "Waiting longer than this goes first."
    >>> Patient = dataclasses.make_dataclass(
    ...     "Patient", [("patience_s", Annotated[Seconds, meaning], 60.0)], frozen=True
    ... )
    >>> field = fields_of(Patient)[0]
    >>> field.key, field.unit, field.meaning, field.default
    ('patience', 's', 'Waiting longer than this goes first.', 60.0)
    """
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise TypeError(f"{cls!r} is not a dataclass, so it has no fields to read")
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        unit, meaning, kind, optional = _annotation(hints[field.name])
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(FieldInfo(field.name, unit, meaning, default, kind, optional))
    return found


def yaml_key(name: str, unit: str | None = None) -> str:
    """Return a field's name without its unit, as YAML spells it.

    Parameters
    ----------
    name
        The attribute, e.g. ``patience_s``.
    unit
        Its base unit; only that unit's suffix is then dropped. Without it, any known suffix is.

    Examples
    --------
    >>> yaml_key("patience_s"), yaml_key("link_bytes_per_s", "bytes/s"), yaml_key("retries", "")
    ('patience', 'link', 'retries')
    """
    if unit is not None:
        suffixes = [SUFFIXES.get(unit, "")]
    else:
        suffixes = sorted(SUFFIXES.values(), key=len, reverse=True)
    for suffix in suffixes:
        if suffix and name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix)
    return name


def find(
    table: Mapping[str, type], name: str, what: str, *, seam: str | None = None, folder: Path | None = None
) -> type:
    """Return the class that a name stands for.

    Parameters
    ----------
    table
        The seam's own rows.
    name
        A row's name, the name of an installed entry point, or ``file.py:Class``.
    what
        What messages call it, e.g. ``policy``.
    seam
        Entry points of the group ``datahall.<seam>`` are looked up too.
    folder
        Where a relative ``file.py`` is looked for; the current folder if not given.

    Raises
    ------
    UnknownNameError
        Nothing has that name; the message gives the nearest and the known ones.
    PolicyError
        The file or entry point cannot be imported, or is no dataclass.

    Examples
    --------
    >>> find({"fcfs": int}, "fcsf", "policy")
    Traceback (most recent call last):
        ...
    simulator.foundation.errors.UnknownNameError: unknown policy 'fcsf'
        did you mean 'fcfs'? known: fcfs
    """
    if name in table:
        return table[name]
    if ".py:" in name:
        return _from_file(name, what, folder)
    outside = _entry_points(seam)
    if name in outside:
        try:
            return _checked(outside[name].load(), name, what)
        except ImportError as error:
            raise PolicyError(f"{what} '{name}' cannot be imported: {error}") from error
    raise UnknownNameError(f"unknown {what} '{name}'", hint(name, [*table, *outside]))


def _annotation(hinted: Any) -> tuple[str | None, str, Any, bool]:
    """Take an annotation apart: base unit, meaning, plain type, whether None is allowed."""
    unit: str | None = None
    meaning = ""
    if get_origin(hinted) is Annotated:
        hinted, *extras = get_args(hinted)
        for extra in extras:
            if isinstance(extra, Quantity):
                unit = extra.unit
            elif isinstance(extra, str):
                meaning = extra
    if get_origin(hinted) in {Union, types.UnionType}:
        choices = [_annotation(choice) for choice in get_args(hinted)]
        optional = any(kind is type(None) for _, _, kind, _ in choices)
        kinds = [kind for _, _, kind, _ in choices]
        unit = next((inner for inner, *_ in choices if inner is not None), unit)
        kind = kinds[0]
        for other in kinds[1:]:
            kind = kind | other
        return unit, meaning, kind, optional
    return unit, meaning, hinted, False


def _entry_points(seam: str | None) -> dict[str, Any]:
    if seam is None:
        return {}
    # Scanning installed packages takes milliseconds and is needed only for a name not in the table.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=f"datahall.{seam}")}


def _from_file(name: str, what: str, folder: Path | None) -> type:
    file_name, _, class_name = name.rpartition(":")
    path = (folder or Path()) / file_name
    if not path.is_file():
        raise UnknownNameError(f"unknown {what} '{name}': no such file '{path}'")
    spec = importlib.util.spec_from_file_location(f"datahall_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PolicyError(f"{what} '{name}' cannot be imported: '{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered, because get_type_hints looks a class's module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PolicyError(f"{what} '{name}' cannot be imported: {type(error).__name__}: {error}") from error
    found = vars(module).get(class_name)
    if found is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise UnknownNameError(f"unknown {what} '{name}': no class '{class_name}'", hint(class_name, classes))
    return _checked(found, name, what)


def _checked(found: Any, name: str, what: str) -> type:
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise PolicyError(f"{what} '{name}' must be a dataclass, but is {found!r}")
    return found
