"""A measured device as a folder that ``--catalog`` loads: an entry, its source, and every measurement.

Peaks in the catalog are data sheets'; what software reaches of them is in the coefficients. So an
entry like a shipped GPU keeps its peaks and takes the measured memory, watts and limits; of a
device that no entry is like, the best measured rates stand for its peaks.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from analysis.calibration.device.backends import Device
from analysis.calibration.device.measurements import Measurements
from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError
from simulator.foundation.units import GIGA, TERA
from simulator.performance.serving_coefficients import serving_coefficients


def alike(device: Device, catalog: Catalog) -> GpuSpec | None:
    """Return the shipped GPU whose part number stands in the device's name; None if none does."""
    said = re.sub(r"[^a-z0-9]", "", device.name.casefold())
    for name in catalog.names("gpus"):
        gpu = catalog.gpu(name)
        part = re.sub(r"[^a-z0-9]", "", name.casefold().partition("-sxm")[0])
        if part in said:
            return gpu
    return None


def write(folder: Path, device: Device, found: Measurements, like: GpuSpec | None, on: date) -> str:
    """Write ``gpus.yaml``, ``sources.yaml`` and ``measurements.csv``; return the entry's name."""
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", device.name.casefold()).strip("-") or "device"
    name, source = f"measured-{slug}", f"measured-{slug}-{on.isoformat()}"
    with_what = ", ".join(f"{library} {version}" for library, version in device.versions.items())
    driver = f", driver {found.driver}" if found.driver else ""
    title = f"Measured by datahall calibrate on {device.kind} {device.name}{driver}, {with_what}"
    (folder / "sources.yaml").write_text(
        f'{source}: {{title: "{title}", publisher: this machine, date: "{on.isoformat()}"}}\n',
        encoding="utf-8",
        newline="\n",
    )
    lines = [f"# {title}.", f"{name}:", *(f"  {line}" for line in _entry(device, found, like, source))]
    (folder / "gpus.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    with (folder / "measurements.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kernel", "shape", "seconds", "rate_per_s"])
        for row in found.rows:
            writer.writerow(
                [row.kernel, "x".join(map(str, row.shape)), f"{row.seconds:.6g}", f"{row.rate_per_s:.6g}"]
            )
    return name


def _entry(device: Device, found: Measurements, like: GpuSpec | None, source: str) -> Iterator[str]:
    yield f"like: {like.name if like is not None else 'slot'}"
    yield f"source: {source}"
    yield "basis: measured"
    yield f'title: "{device.name} ({device.kind}), measured"'
    if device.memory_bytes is not None:
        yield f"memory: {device.memory_bytes / GIGA:.4g} GB"
    if like is None:
        flop = found.best("product")
        yield f"memory_bandwidth: {found.best('copy') / GIGA:.4g} GB/s"
        yield f"fp32: {flop / TERA:.4g} TFLOP/s"
        if device.precision == "bf16":
            yield f"bf16: {flop / TERA:.4g} TFLOP/s"
    for key, watts in (("idle", found.idle_w), ("tdp", found.limit_w), ("min_cap", found.lowest_limit_w)):
        if watts is not None:
            yield f"{key}: {watts:.4g} W"


def compared(
    found: Measurements, like: GpuSpec | None
) -> list[tuple[str, float, float | None, float | None]]:
    """Return (what, measured, measured over the data sheet, shipped coefficient); rates per second."""
    best, copy, reading = (found.best(kernel) for kernel in ("product", "copy", "attention"))
    flop = None if like is None else like.bf16_flop_per_s or like.fp16_flop_per_s or like.fp32_flop_per_s
    if like is None or flop is None:
        return [
            ("products", best, None, None),
            ("copy", copy, None, None),
            ("decode attention", reading, None, None),
        ]
    try:
        law = serving_coefficients(like.generation)
    except CatalogError:
        law = None
    bandwidth = like.memory_bandwidth_bytes_per_s
    return [
        ("products", best, best / flop, None if law is None else law.products["wide"].peak),
        ("copy", copy, copy / bandwidth, None if law is None else law.products["wide"].bandwidth),
        ("decode attention", reading, reading / bandwidth, None if law is None else law.cache_bandwidth),
    ]
