"""What a driver tells of a GPU while it works: watts, energy, clocks, reasons; and locking its clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from analysis.calibration.device.backend import DeviceError

#: Bits of NVML's clock event reasons; idling is none.
REASONS: Final = {
    0x2: "clocks set by an application",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}


class NotPermitted(DeviceError):  # noqa: N818 - an answer of the driver, with its reason
    """Clocks cannot be locked here; the text says why."""


@dataclass(frozen=True)
class Reading:
    """One look; None: this GPU does not tell."""

    power_w: float | None = None
    clock_hz: float | None = None
    temperature_c: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpuFacts:
    """What does not change while a GPU is measured; None: it does not tell."""

    uuid: str
    name: str
    bus: str
    driver: str
    limit_w: float | None = None
    """Power limit in force. [W]"""
    default_limit_w: float | None = None
    lowest_limit_w: float | None = None
    highest_clock_hz: float | None = None
    clocks_hz: tuple[float, ...] = ()
    """Graphics clocks that can be asked for, rising. [Hz]"""
    persistence: bool | None = None
    mig: bool = False
    mig_uuids: tuple[str, ...] = ()
    processes: int = 0
    """That compute on it, this one not counted."""


class Monitor(Protocol):
    """One GPU as its driver sees it."""

    facts: GpuFacts

    def read(self) -> Reading:
        """Return what it does now."""
        ...

    def energy_j(self) -> float | None:
        """Return the energy since the driver was loaded. [J]"""
        ...

    def lock(self, clock_hz: float) -> None:
        """Hold the graphics clock; `NotPermitted` where this user or this GPU may not."""
        ...

    def unlock(self) -> None:
        """Give the clocks back to the driver."""
        ...


def reasons_of(bits: int) -> tuple[str, ...]:
    """Return the words of a mask of clock event reasons."""
    return tuple(word for bit, word in REASONS.items() if bits & bit)


def monitor_of(monitors: dict[str, Monitor], uuid: str, bus: str) -> tuple[Monitor | None, bool]:
    """Return the GPU that torch means and whether only a slice of it is meant.

    NVML counts all GPUs by PCI address, torch those that ``CUDA_VISIBLE_DEVICES`` leaves in its
    own order, so an index says nothing: the UUID does, or the address where torch tells no UUID.
    """
    for monitor in monitors.values():
        if uuid and uuid in monitor.facts.mig_uuids:
            return monitor, True
        if uuid and uuid == monitor.facts.uuid:
            # A GPU cut by MIG computes in slices only, even where CUDA names the whole.
            return monitor, monitor.facts.mig
    if uuid:
        return None, False
    if bus:
        found = [one for one in monitors.values() if one.facts.bus.casefold() == bus.casefold()]
        if found:
            return found[0], found[0].facts.mig
    if len(monitors) == 1:
        only = next(iter(monitors.values()))
        return only, only.facts.mig
    return None, False
