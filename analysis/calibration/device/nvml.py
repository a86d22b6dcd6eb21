"""GPUs through NVML, the driver's own library, by the package that wraps it (`nvidia-ml-py`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from analysis.calibration.device.monitor import GpuFacts, Monitor, NotPermitted, Reading, reasons_of
from analysis.calibration.device.torch_gpu import bare_uuid
from simulator.foundation.units import KILO, MEGA


def nvml_monitors(nvml: Any) -> dict[str, Monitor]:
    """Return every GPU of the machine by UUID; none where the driver is not there."""
    try:
        nvml.nvmlInit()
        count = int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError:
        return {}
    found: dict[str, Monitor] = {}
    for index in range(count):
        try:
            monitor = NvmlMonitor(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError:
            continue  # a GPU that is lost or forbidden to this user; others may work
        found[monitor.facts.uuid] = monitor
    return found


class NvmlMonitor:
    """One GPU; `nvml` is the module, `handle` NVML's name for the GPU."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        limits = self._ask("nvmlDeviceGetPowerManagementLimitConstraints")
        mig = self._ask("nvmlDeviceGetMigMode")
        pci = self._ask("nvmlDeviceGetPciInfo")
        persistence = self._ask("nvmlDeviceGetPersistenceMode")
        highest = self._ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM)
        own = os.getpid()
        running = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        self.facts = GpuFacts(
            uuid=bare_uuid(_text(nvml.nvmlDeviceGetUUID(handle))),
            name=_text(nvml.nvmlDeviceGetName(handle)),
            bus="" if pci is None else _text(pci.busId),
            driver=_text(nvml.nvmlSystemGetDriverVersion()),
            limit_w=self._watts("nvmlDeviceGetPowerManagementLimit"),
            default_limit_w=self._watts("nvmlDeviceGetPowerManagementDefaultLimit"),
            lowest_limit_w=None if limits is None else limits[0] / KILO,
            highest_clock_hz=None if highest is None else highest * MEGA,
            clocks_hz=self._clocks_hz(),
            persistence=None if persistence is None else bool(persistence),
            mig=mig is not None and bool(mig[0]),
            mig_uuids=self._slices(mig),
            processes=sum(1 for process in running if process.pid != own),
        )

    def read(self) -> Reading:
        """Return what it does now."""
        clock = self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:  # called so before driver 535
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        temperature = self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)
        return Reading(
            power_w=self._watts("nvmlDeviceGetPowerUsage"),
            clock_hz=None if clock is None else clock * MEGA,
            temperature_c=None if temperature is None else float(temperature),
            reasons=reasons_of(int(bits or 0)),
        )

    def energy_j(self) -> float | None:
        """Return the energy since the driver was loaded, counted in mJ from Volta on. [J]"""
        said = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if said is None else said / KILO

    def lock(self, clock_hz: float) -> None:
        """Hold the graphics clock."""
        mhz = round(clock_hz / MEGA)
        self._command(lambda: self._nvml.nvmlDeviceSetGpuLockedClocks(self._handle, mhz, mhz))

    def unlock(self) -> None:
        """Give the clocks back to the driver."""
        self._command(lambda: self._nvml.nvmlDeviceResetGpuLockedClocks(self._handle))

    def _command(self, call: Callable[[], Any]) -> None:
        nvml = self._nvml
        try:
            call()
        except nvml.NVMLError as error:
            raise NotPermitted(f"the driver says '{error}'") from None

    def _ask(self, name: str, *arguments: Any) -> Any:
        """Return an answer; None where library, driver or GPU do not know the question."""
        call = getattr(self._nvml, name, None)
        if call is None:
            return None
        try:
            return call(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None

    def _watts(self, name: str) -> float | None:
        said = self._ask(name)
        return None if said is None else said / KILO

    def _clocks_hz(self) -> tuple[float, ...]:
        memory = self._ask("nvmlDeviceGetSupportedMemoryClocks")
        if not memory:
            return ()
        said = self._ask("nvmlDeviceGetSupportedGraphicsClocks", max(memory)) or []
        return tuple(sorted({clock * MEGA for clock in said}))

    def _slices(self, mig: Any) -> tuple[str, ...]:
        if mig is None or not mig[0]:
            return ()
        found = []
        for index in range(int(self._ask("nvmlDeviceGetMaxMigDeviceCount") or 0)):
            one = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", index)
            if one is None:
                continue
            try:
                found.append(bare_uuid(_text(self._nvml.nvmlDeviceGetUUID(one))))
            except self._nvml.NVMLError:
                continue
        return tuple(found)


def _text(said: Any) -> str:
    """Return a word; old versions of the wrapper answer in bytes."""
    return said.decode() if isinstance(said, bytes) else str(said)
