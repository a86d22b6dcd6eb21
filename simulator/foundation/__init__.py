"""What every room stands on: units, errors, step series, levels, calendar, random streams.

Names are fetched from their modules when first used, so that reading a unit needs no numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from simulator.foundation.calendar import Calendar
    from simulator.foundation.documents import Node, node_of, plain, read_document, read_path
    from simulator.foundation.errors import (
        AccountingRefusal,
        AuditError,
        CatalogError,
        DatahallError,
        LayoutError,
        PolicyError,
        Problem,
        RunFolderError,
        ScenarioError,
        TraceError,
        UnitError,
        UnknownNameError,
    )
    from simulator.foundation.level import Level
    from simulator.foundation.names import hint, known_list, nearest
    from simulator.foundation.plugins import FieldInfo, fields_of, find, yaml_key
    from simulator.foundation.quantity import (
        Bytes,
        BytesPerSecond,
        Celsius,
        Count,
        Flop,
        FlopPerSecond,
        Fraction,
        GpuSeconds,
        Grams,
        GramsPerKwh,
        Joules,
        JoulesPerKelvin,
        Kelvin,
        KelvinPerSecond,
        Litres,
        LitresPerKwh,
        LitresPerSecond,
        Metres,
        Pascals,
        PerSecond,
        Quantity,
        Ratio,
        Seconds,
        Tokens,
        Usd,
        UsdPerKwh,
        UsdPerKwMonth,
        UsdPerLitre,
        UsdPerSecond,
        UsdPerTonne,
        UsdPerW,
        Watts,
        WattsPerKelvin,
        WattsPerSecond,
    )
    from simulator.foundation.relaxation import Relaxation
    from simulator.foundation.step_series import StepSeries
    from simulator.foundation.streams import BlockStream, Streams
    from simulator.foundation.time_grid import TICK_S, Priority, snap, snap_up

_HOMES: Final = {
    "calendar": ("Calendar",),
    "documents": ("Node", "node_of", "plain", "read_document", "read_path"),
    "errors": (
        "AccountingRefusal",
        "AuditError",
        "CatalogError",
        "DatahallError",
        "LayoutError",
        "PolicyError",
        "Problem",
        "RunFolderError",
        "ScenarioError",
        "TraceError",
        "UnitError",
        "UnknownNameError",
    ),
    "level": ("Level",),
    "names": ("hint", "known_list", "nearest"),
    "plugins": ("FieldInfo", "fields_of", "find", "yaml_key"),
    "quantity": (
        "Bytes",
        "BytesPerSecond",
        "Celsius",
        "Count",
        "Flop",
        "FlopPerSecond",
        "Fraction",
        "GpuSeconds",
        "Grams",
        "GramsPerKwh",
        "Joules",
        "JoulesPerKelvin",
        "Kelvin",
        "KelvinPerSecond",
        "Litres",
        "LitresPerKwh",
        "LitresPerSecond",
        "Metres",
        "Pascals",
        "PerSecond",
        "Quantity",
        "Ratio",
        "Seconds",
        "Tokens",
        "Usd",
        "UsdPerKwh",
        "UsdPerKwMonth",
        "UsdPerLitre",
        "UsdPerSecond",
        "UsdPerTonne",
        "UsdPerW",
        "Watts",
        "WattsPerKelvin",
        "WattsPerSecond",
    ),
    "relaxation": ("Relaxation",),
    "step_series": ("StepSeries",),
    "streams": ("BlockStream", "Streams"),
    "time_grid": ("TICK_S", "Priority", "snap", "snap_up"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AccountingRefusal",
    "AuditError",
    "BlockStream",
    "Bytes",
    "BytesPerSecond",
    "Calendar",
    "CatalogError",
    "Celsius",
    "Count",
    "DatahallError",
    "FieldInfo",
    "Flop",
    "FlopPerSecond",
    "Fraction",
    "GpuSeconds",
    "Grams",
    "GramsPerKwh",
    "Joules",
    "JoulesPerKelvin",
    "Kelvin",
    "KelvinPerSecond",
    "LayoutError",
    "Level",
    "Litres",
    "LitresPerKwh",
    "LitresPerSecond",
    "Metres",
    "Node",
    "Pascals",
    "PerSecond",
    "PolicyError",
    "Priority",
    "Problem",
    "Quantity",
    "Ratio",
    "Relaxation",
    "RunFolderError",
    "ScenarioError",
    "Seconds",
    "StepSeries",
    "Streams",
    "TICK_S",
    "Tokens",
    "TraceError",
    "UnitError",
    "UnknownNameError",
    "Usd",
    "UsdPerKwMonth",
    "UsdPerKwh",
    "UsdPerLitre",
    "UsdPerSecond",
    "UsdPerTonne",
    "UsdPerW",
    "Watts",
    "WattsPerKelvin",
    "WattsPerSecond",
    "fields_of",
    "find",
    "hint",
    "known_list",
    "nearest",
    "node_of",
    "plain",
    "read_document",
    "read_path",
    "snap",
    "snap_up",
    "yaml_key",
]


def __getattr__(name: str) -> Any:
    """Fetch a name from its module the first time somebody asks for it."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'simulator.foundation' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"simulator.foundation.{home}"), name)
    globals()[name] = value
    return value
