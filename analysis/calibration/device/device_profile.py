"""A measured device as a folder that ``--catalog`` loads: its entry, nodes with it, its source, every number.

Peaks in the catalog are data sheets'; what software reaches of them stands beside them. So an entry
like a shipped GPU keeps its peaks and takes the measured memory, watts, limits and shares; of a
device that no entry is like, the best measured rates stand for its peaks.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from analysis.calibration.device.backend import Device, DeviceError
from analysis.calibration.device.laws import ProductFit, fitted_products
from analysis.calibration.device.measurements import VALUE_BYTES, Measurements
from analysis.calibration.device.watching import Window
from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError
from simulator.foundation.units import GIGA, MEGA, MICRO, TERA
from simulator.performance.serving_coefficients import serving_coefficients

#: First words of every file that calibrate writes over.
_MARK: Final = "# Measured by datahall calibrate"
_YAML: Final = ("gpus.yaml", "nodes.yaml", "sources.yaml")
#: Corner of a generation that nobody measured: between a sum and the longer of both.
_CORNER: Final = 2.0


@dataclass(frozen=True)
class Profile:
    """What is written of a device."""

    name: str
    """In the catalog."""
    device: Device
    found: Measurements
    like: GpuSpec | None
    fits: dict[str, ProductFit]
    """By format of the products."""
    peaks: dict[str, float]
    """Dense peak by format that the shares refer to. [flop/s]"""
    bandwidth: float
    """Peak of the memory that the shares refer to. [B/s]"""
    on: date

    @property
    def cache_fraction(self) -> float | None:
        """Return the share of the memory's peak at which decode attention reads; None: not timed."""
        best = self.found.best("attention")
        return min(best / self.bandwidth, 1.0) if best else None


def profile(device: Device, found: Measurements, like: GpuSpec | None, on: date) -> Profile:
    """Return what the measurements say of a device."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.name.casefold()).strip("-") or "device"
    bandwidth = found.best("copy") if like is None else like.memory_bandwidth_bytes_per_s
    bandwidth = max(bandwidth, found.best("attention")) if like is None else bandwidth
    corners = {}
    try:
        law = serving_coefficients(like.generation if like is not None else device.generation)
        corners = {"fp8": law.products["fp8"].corner if "fp8" in law.products else _CORNER}
        corners["wide"] = law.products["wide"].corner
    except CatalogError:
        pass
    fits, peaks = {}, {}
    for how in dict.fromkeys(row.how for row in found.of("product")):
        peak = None if like is None else like.flop_per_s(how)
        peaks[how] = found.best("product", how) if peak is None else peak
        corner = corners.get("fp8" if how == "fp8" else "wide", _CORNER)
        fit = fitted_products(found.of("product", how), peaks[how], bandwidth, VALUE_BYTES[how], corner)
        if fit is not None:
            fits[how] = fit
    return Profile(f"measured-{slug}", device, found, like, fits, peaks, bandwidth, on)


def refuse_foreign(folder: Path) -> None:
    """Raise DeviceError if writing to a folder would overwrite what somebody else put there."""
    if folder.exists() and not folder.is_dir():
        raise DeviceError(f"{folder} is a file; -o takes a folder")
    for name in _YAML:
        file = folder / name
        if file.is_file() and not file.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            raise DeviceError(
                f"{file} was not written by datahall calibrate and would be lost: name another folder with -o"
            )


def write(folder: Path, made: Profile, catalog: Catalog) -> None:
    """Write the profile; every file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "sources.yaml": _sources(made),
        "gpus.yaml": "\n".join([f"{_MARK}.", f"{made.name}:", *(f"  {line}" for line in _entry(made))])
        + "\n",
        "device.json": json.dumps(_facts(made), indent=1, ensure_ascii=False) + "\n",
    }
    nodes = _nodes(made, catalog)
    if nodes:
        texts["nodes.yaml"] = f"{_MARK}.\n" + nodes
    with tempfile.TemporaryDirectory(prefix=".calibrate-", dir=folder) as aside:
        for name, text in texts.items():
            (Path(aside) / name).write_text(text, encoding="utf-8", newline="\n")
        _write_rows(Path(aside) / "measurements.csv", made)
        _write_watts(Path(aside) / "watts.csv", made)
        (folder / "nodes.yaml").unlink(missing_ok=True)
        for file in sorted(Path(aside).iterdir()):
            os.replace(file, folder / file.name)


def node_names(made: Profile, catalog: Catalog) -> list[tuple[str, str]]:
    """Return (name, shipped node) of the nodes that hold the GPU that the device is."""
    if made.like is None:
        return []
    shipped = [name for name in catalog.names("nodes") if catalog.node(name).gpu == made.like.name]
    return [(f"{made.name}-in-{name}", name) for name in shipped]


def _source(made: Profile) -> str:
    return f"{made.name}-{made.on.isoformat()}"


def _title(made: Profile) -> str:
    facts = made.found.facts
    driver = f", driver {facts.driver}" if facts is not None and facts.driver else ""
    with_what = ", ".join(f"{library} {version}" for library, version in made.device.versions.items())
    return f"Measured by datahall calibrate on {made.device.kind} {made.device.name}{driver}, {with_what}"


def _sources(made: Profile) -> str:
    return (
        f"{_MARK}.\n{_source(made)}: {{title: {json.dumps(_title(made))}, publisher: this machine, "
        f'date: "{made.on.isoformat()}"}}\n'
    )


def _nodes(made: Profile, catalog: Catalog) -> str:
    return "".join(
        f"{name}:\n  like: {shipped}\n  gpu: {made.name}\n"
        f'  title: "{catalog.node(shipped).title}, GPUs as measured"\n'
        for name, shipped in node_names(made, catalog)
    )


def _entry(made: Profile) -> Iterator[str]:
    device, like = made.device, made.like
    yield f"like: {like.name if like is not None else 'slot'}"
    yield f"source: {_source(made)}"
    yield "basis: measured"
    yield f"title: {json.dumps(f'{device.name} ({device.kind}), measured')}"
    if device.memory_bytes is not None:
        yield f"memory: {device.memory_bytes / GIGA:.5g} GB"
    if like is None:
        if device.generation:
            yield f"generation: {device.generation}"
        yield f"memory_bandwidth: {made.bandwidth / GIGA:.4g} GB/s"
        for how in ("fp32", "fp16", "bf16", "fp8"):
            peak = made.peaks.get(how)
            yield f"{how}: {'{value: null}' if peak is None else f'{peak / TERA:.4g} TFLOP/s'}"
    yield from _watts(made)
    wide = made.fits.get(device.precision)
    if wide is not None and device.precision != "fp32":
        yield f"product_launch: {wide.launch_s / MICRO:.3g} us"
        yield f"reached_16_bit: {_percent(wide.peak)}"
        yield f"reached_memory: {_percent(wide.bandwidth)}"
    if "fp8" in made.fits:
        yield f"reached_fp8: {_percent(made.fits['fp8'].peak)}"
    if made.cache_fraction is not None and device.kind == "GPU":
        yield f"reached_cache: {_percent(made.cache_fraction)}"


def _watts(made: Profile) -> Iterator[str]:
    """Yield watts and the power curve; a slice of a GPU has none of its own."""
    loads, facts = made.found.loads, made.found.facts
    if facts is None or made.device.slice_of:
        return
    idle = None if facts.processes else loads.idle
    said: tuple[tuple[str, float | None], ...] = (
        ("idle", None if idle is None else idle.power_w),
        ("loaded_idle", None if loads.loaded_idle is None else loads.loaded_idle.power_w),
        ("tdp", facts.default_limit_w),
        ("min_cap", facts.lowest_limit_w),
        ("sustained_products", None if loads.products is None else loads.products.power_w),
        ("sustained_copy", None if loads.copy is None else loads.copy.power_w),
    )
    for key, watts in said:
        if watts is not None:
            yield f"{key}: {watts:.4g} W"
    curve = made.found.clocks.curve
    if curve is not None:
        note = f'note: "{made.found.clocks.said}"'
        yield f"clock_voltage_slope: {{value: {_percent(curve.voltage_slope)}, {note}}}"
        yield f"lowest_voltage: {{value: {_percent(curve.lowest_voltage_fraction)}, {note}}}"
        yield f"memory_clock_sensitivity: {{value: {_percent(curve.memory_sensitivity)}, {note}}}"


def _percent(share: float) -> str:
    return f"{100.0 * share:.4g} %"


def _facts(made: Profile) -> dict[str, Any]:
    """Return everything about the measuring that is no row of a table."""
    found = made.found
    curve = found.clocks.curve
    return {
        "measured": _title(made),
        "on": made.on.isoformat(),
        "device": asdict(made.device),
        "like": None if made.like is None else made.like.name,
        "driver": None if found.facts is None else asdict(replace(found.facts, clocks_hz=())),
        "clocks": {"said": found.clocks.said, "curve": None if curve is None else _curve(curve)},
        "products": {how: asdict(fit) for how, fit in made.fits.items()},
        "notes": list(found.notes),
    }


def _curve(curve: Any) -> dict[str, float]:
    names = ("voltage_slope", "lowest_voltage_fraction", "memory_sensitivity")
    return {name: getattr(curve, name) for name in names}


def _write_rows(file: Path, made: Profile) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(["kernel", "how", "shape", "seconds", "rate_per_s"])
        for row in made.found.rows:
            shape = "x".join(map(str, row.shape))
            writer.writerow([row.kernel, row.how, shape, f"{row.seconds:.6g}", f"{row.rate_per_s:.6g}"])


def _write_watts(file: Path, made: Profile) -> None:
    found = made.found
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(
            [
                "load",
                "locked_mhz",
                "power_w",
                "looks_w",
                "peak_w",
                "clock_mhz",
                "temperature_c",
                "held_back_by",
                "renewed_ms",
                "steady",
                "rate_per_s",
            ]
        )
        work = {"products": found.product_flop, "copy": found.copy_bytes}
        for load, window in vars(found.loads).items():
            if window is not None:
                writer.writerow(_watched(load, None, window, work.get(load, 1.0)))
        for level in found.clocks.levels:
            if level.asked_hz is not None:
                for load, window in (("products", level.products), ("copy", level.copy)):
                    writer.writerow(_watched(load, level.asked_hz, window, work[load]))


def _watched(load: str, asked_hz: float | None, window: Window, work: float) -> list[str]:
    def said(value: float | None, unit: float = 1.0) -> str:
        return "" if value is None else f"{value / unit:.5g}"

    return [
        load,
        said(asked_hz, MEGA),
        said(window.power_w),
        said(window.looks_w),
        said(window.peak_w),
        said(window.clock_hz, MEGA),
        said(window.temperature_c),
        "; ".join(window.reasons),
        said(window.renewed_s, 1e-3),
        "yes" if window.steady else "no",
        said(window.calls_per_s * work),
    ]
