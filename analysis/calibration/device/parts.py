"""Which shipped GPU a device is, by the name that its driver gives it, its memory and its form."""

from __future__ import annotations

import re
from typing import Final

from analysis.calibration.device.backend import Device
from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog

#: Forms of a part that differ in watts, bandwidth or clocks; an entry that names none is SXM's.
_FORMS: Final = ("pcie", "nvl", "sxm", "max-q", "laptop", "mobile", "mig")
#: A driver reports a little less than the catalog's memory, or what error correction leaves.
_MEMORY_WITHIN: Final = 0.12


def alike(device: Device, catalog: Catalog) -> GpuSpec | None:
    """Return the shipped GPU that a device is; None if none is that part in that form and memory.

    Every word of the entry's part number stands in the device's name as a word of its own: a GB200
    is no B200, an L40S no L4.
    """
    if device.slice_of:
        return None
    said = _words(device.name)
    for name in catalog.names("gpus"):
        gpu = catalog.gpu(name)
        part = [word for word in _words(name) if not word.startswith("sxm") and not word.endswith("gb")]
        is_part = bool(part) and all(word in said for word in part) and _same_form(device.name, name, gpu)
        if is_part and (device.memory_bytes is None or _near(device.memory_bytes, gpu.memory_bytes)):
            return gpu
    return None


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.casefold())


def _same_form(said: str, name: str, gpu: GpuSpec) -> bool:
    known = f"{name} {gpu.title}".casefold()
    return all((form in said.casefold()) <= (form in known) for form in _FORMS) and (
        ("pcie" in known) <= ("pcie" in said.casefold()) or "sxm" not in f"{said} {known}".casefold()
    )


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _MEMORY_WITHIN * other
