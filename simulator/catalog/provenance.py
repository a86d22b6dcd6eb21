"""Where a value comes from: its source, date, basis and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

#: How a value came about. measured: somebody's instrument or count. vendor: a data sheet.
#: calibrated: fitted by a script in analysis/calibration. estimate: derived or judged, and said so.
BASES: Final[tuple[str, ...]] = ("measured", "vendor", "calibrated", "estimate")

#: Source of what a scenario's own ``catalog:`` block says.
SCENARIO: Final = "scenario"


@dataclass(frozen=True)
class Source:
    """One publication, data set or script.

    Parameters
    ----------
    key
        What entries call it.
    title, publisher
        For people and citations.
    date
        Of publication, or of the state that was read; as precise as known.
    url
        Where, if it is on the web.
    """

    key: str
    title: str
    publisher: str
    date: str
    url: str = ""


@dataclass(frozen=True)
class Provenance:
    """One value of one entry and everything known about it.

    Parameters
    ----------
    kind, name, field
        Which value; parts of a field are joined by dots, e.g. ``mix.coal``.
    value
        In `unit`; None is a blank, and a table is told by its shape.
    unit
        Base unit; empty for counts, words and tables.
    written
        As the file has it, e.g. ``3.35 TB/s``.
    source, title, date
        The source's key, title and date; `date` is empty for a scenario's own values.
    basis
        One of `BASES`.
    low, high
        Range in `unit`, where one is known.
    note
        What a reader must be told.
    """

    kind: str
    name: str
    field: str
    value: Any
    unit: str
    written: str
    source: str
    title: str
    date: str
    basis: str
    low: float | None = None
    high: float | None = None
    note: str = ""
