"""Where the tables of plug-ins are that a scenario may name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

#: Seam -> the room's module and the table in it; imported when the first name is looked up.
SEAMS: Final[Mapping[str, tuple[str, str]]] = {
    "policies": ("simulator.scheduling", "POLICIES"),
    "orders": ("simulator.scheduling", "ORDERS"),
    "placements": ("simulator.scheduling", "PLACEMENTS"),
    "admits": ("simulator.scheduling", "ADMITS"),
    "plants": ("simulator.facility", "PLANTS"),
    "power_policies": ("simulator.facility", "POWER_POLICIES"),
    "checkpoint_policies": ("simulator.hardware", "CHECKPOINT_POLICIES"),
    "topologies": ("simulator.network", "TOPOLOGIES"),
    "routers": ("simulator.serving", "ROUTERS"),
    "autoscalers": ("simulator.serving", "AUTOSCALERS"),
}

#: Seam -> the key that holds the plug-in's name in YAML.
KEYS: Final[Mapping[str, str]] = {
    seam: {"plants": "plant", "topologies": "type"}.get(seam, "policy") for seam in SEAMS
}


def table(seam: str) -> Mapping[str, type[Any]]:
    """Return the rows of one seam: plug-in name to class."""
    module, name = SEAMS[seam]
    rows: Mapping[str, type[Any]] = getattr(import_module(module), name)
    return rows
