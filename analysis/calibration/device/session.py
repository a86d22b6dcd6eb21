"""One sitting in front of a device: who it is, what it draws at rest, everything else, in that order."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from analysis.calibration.device.backend import Backend, Device
from analysis.calibration.device.measurements import FULL, Measurements, Patience, Sizes, measure
from analysis.calibration.device.monitor import Monitor, monitor_of
from analysis.calibration.device.nvidia_smi import smi_monitors
from analysis.calibration.device.nvml import nvml_monitors
from analysis.calibration.device.torch_gpu import TorchBackend, import_torch
from analysis.calibration.device.watching import Window, watch


@dataclass(frozen=True)
class Sitting:
    """What came out."""

    device: Device
    found: Measurements


def monitors() -> dict[str, Monitor]:
    """Return the machine's GPUs as the driver sees them, by UUID; none where nothing tells."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return smi_monitors()
    return nvml_monitors(nvml) or smi_monitors()


def measure_gpu(index: int, *, clocks: bool, patience: Patience, sizes: Sizes | None = None) -> Sitting:
    """Measure one GPU that torch sees.

    Idle watts are read before torch opens the GPU: a context raises them.
    """
    sizes = FULL if sizes is None else sizes
    torch = import_torch()
    seen = monitors()
    idle = {uuid: _idle(monitor, sizes, patience.tell) for uuid, monitor in seen.items()}
    backend = TorchBackend(torch, index)
    device = backend.device
    monitor, is_slice = monitor_of(seen, device.uuid, backend.bus)
    notes: tuple[str, ...] = ()
    at_rest: Window | None = None
    if monitor is None:
        many = f"none of the driver's {len(seen)} GPUs is the one that torch sees" if seen else ""
        notes = (f"no watts and no clocks: {many or 'neither NVML nor nvidia-smi answers'}",)
    else:
        at_rest = idle[monitor.facts.uuid]
        if is_slice:
            device = replace(device, slice_of=monitor.facts.uuid)
    found = measure(
        backend, sizes, monitor=monitor, is_slice=is_slice, idle=at_rest, clocks=clocks, patience=patience
    )
    return Sitting(device, replace(found, notes=(*notes, *found.notes)))


def measure_backend(backend: Backend, sizes: Sizes, patience: Patience) -> Sitting:
    """Measure what has no watts to tell: the processor."""
    return Sitting(backend.device, measure(backend, sizes, patience=patience))


def _idle(monitor: Monitor, sizes: Sizes, tell: Callable[[str], None]) -> Window | None:
    if monitor.read().power_w is None:
        return None
    tell(f"idle watts of {monitor.facts.name}")
    return watch(monitor, None, None, call_s=0.0, settle_s=sizes.settle_s, span_s=sizes.watch_s)
