"""Writing a scenario as YAML says it: human units, exact to the last bit, every default spelled out."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from simulator.foundation import units
from simulator.foundation.plugins import FieldInfo
from simulator.foundation.quantity import OVERSUBSCRIPTION
from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice
from simulator.scenario.fields import CatalogBlock, Horizon, Measure, Moment, Ratio
from simulator.scenario.start import Start

#: Spellings tried for a value, nicest first; the first that reads back exactly is taken.
_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "s": ("yr", "d", "h", "min", "s", "ms"),
    "W": ("MW", "kW", "W"),
    "J": ("MWh", "kWh", "J"),
    "bytes": ("TB", "GB", "MB", "B"),
    "bytes/s": ("TB/s", "GB/s", "MB/s", "B/s"),
    "fraction": ("%", ""),
    "USD/kWh": ("USD/MWh", "USD/kWh"),
    "USD/litre": ("USD/m3", "USD/L"),
    "g": ("t", "kg", "g"),
    "1/s": ("per day", "per hour", "per s"),
    "": ("T", "B", "M", ""),
}
#: How a base unit itself is written, where that differs from its name.
_BASE: Final[Mapping[str, str]] = {
    "bytes": "B", "bytes/s": "B/s", "flop": "FLOP", "flop/s": "FLOP/s", "gpu-s": "GPU-s", "1/s": "per s",
    "fraction": "", "ratio": "",
}  # fmt: skip
_PLAIN_TEXT: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+ %-]*")


def spelled(value: float, unit: str) -> str:
    """Return a text that reads back to exactly this value, in the nicest unit that allows it.

    Examples
    --------
    >>> spelled(1209600.0, "s"), spelled(0.85, "fraction"), spelled(150_000 / 86400, "1/s")
    ('14 d', '85 %', '150000 per day')
    """
    base = _BASE.get(unit, unit)
    words = _SPELLINGS.get(unit, ()) if value != 0 else ()
    for word, smaller in itertools.zip_longest(words, words[1:]):
        number = value / units.parse(f"1 {word}", unit)
        text = f"{_short(number)} {word}".strip()
        # The last one is taken whatever its size, and a share is always told in per cent.
        if (abs(number) >= 1 or smaller is None or word == "%") and units.parse(text, unit) == value:
            return text
    text = f"{_short(value)} {base}".strip()
    return text if units.parse(text, unit) == value else f"{value!r} {base}".strip()


def _short(number: float) -> str:
    """Return a number without noise in its last digits."""
    return str(int(number)) if number == int(number) else f"{number:.12g}"


def said_form(scenario: Branch) -> dict[str, Any]:
    """Return the scenario as mappings, lists and texts with the keys of YAML."""
    form: dict[str, Any] = _form(scenario, None)
    return form


def as_yaml(scenario: Branch) -> str:
    """Return a scenario file that loads to the same scenario, every default written out."""
    return "\n".join(_lines(said_form(scenario))) + "\n"


def _form(value: Any, reader: Any) -> Any:
    if isinstance(value, Branch):
        cls = type(value)
        return {
            key: _form(getattr(value, name), cls.reader(name))
            for key, name in cls.keys().items()
            if getattr(value, name) is not None or isinstance(cls.reader(name), Horizon)
        }
    if isinstance(value, Choice):
        values = {info.key: _form(item, _reader(info)) for info, item in value.fields() if item is not None}
        return {value.key: value.name, **values}
    if isinstance(value, Start):
        return value.text
    if isinstance(reader, CatalogBlock):
        return value
    if isinstance(value, Mapping):
        return {str(key): _form(item, reader) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_form(item, reader) for item in value]
    return _leaf(value, reader)


def _reader(info: FieldInfo) -> Any:
    """Return what reads a plug-in's field, as far as writing it back needs to know."""
    if info.unit == OVERSUBSCRIPTION:
        return Ratio()
    return Measure(info.unit or "", whole=info.type in (int, tuple[int, ...]))


def _leaf(value: Any, reader: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return Horizon.words
    if isinstance(reader, Horizon | Moment):
        return spelled(value, "s")
    if isinstance(reader, Ratio):
        return f"1:{value!r}".removesuffix(".0")
    if isinstance(reader, Measure) and not isinstance(value, str):
        return str(value) if reader.whole else spelled(value, reader.unit)
    return str(value)


def _lines(value: Any, quoted: bool = False) -> Iterator[str]:
    """Return the lines of a mapping or list in block style."""
    entries = value.items() if isinstance(value, Mapping) else [(None, item) for item in value]
    for key, item in entries:
        lead = "-" if key is None else f"{_scalar(key, False)}:"
        in_catalog = quoted or key == "catalog"
        if not isinstance(item, Mapping | list):
            yield f"{lead} {_scalar(item, in_catalog)}"
        elif not item:
            yield f"{lead} {'{}' if isinstance(item, Mapping) else '[]'}"
        else:
            below = list(_lines(item, in_catalog))
            if key is None:
                yield f"- {below[0]}"
                yield from (f"  {line}" for line in below[1:])
            else:
                yield lead
                yield from (f"  {line}" for line in below)


def _scalar(value: Any, quoted: bool) -> str:
    """Return a text as YAML reads it back; in the catalog every text keeps its quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    if (
        quoted
        or value.casefold() in {"null", "~"}
        or not _PLAIN_TEXT.fullmatch(value)
        or value != value.strip()
    ):
        return json.dumps(value, ensure_ascii=False)
    return value
