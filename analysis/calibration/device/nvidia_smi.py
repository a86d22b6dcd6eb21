"""GPUs through the driver's command `nvidia-smi`, where no wrapper of NVML is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, Final

from analysis.calibration.device.monitor import GpuFacts, Monitor, NotPermitted, Reading, reasons_of
from analysis.calibration.device.torch_gpu import bare_uuid
from simulator.foundation.units import MEGA

Run = Callable[..., Any]

_FACTS: Final = (
    "uuid",
    "name",
    "pci.bus_id",
    "driver_version",
    "power.limit",
    "power.default_limit",
    "power.min_limit",
    "clocks.max.sm",
    "persistence_mode",
    "mig.mode.current",
)
_READING: Final = ("power.draw", "clocks.sm", "temperature.gpu")
#: Newer name first; a driver refuses the whole question if it does not know one field.
_REASONS: Final = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_PATIENCE_S: Final = 20.0


def smi_monitors(run: Run = subprocess.run) -> dict[str, Monitor]:
    """Return every GPU of the machine by UUID; none where the command is not there or fails."""
    if run is subprocess.run and shutil.which("nvidia-smi") is None:
        return {}
    found: dict[str, Monitor] = {}
    for row in _query(run, _FACTS, None):
        monitor = SmiMonitor(run, row)
        found[monitor.facts.uuid] = monitor
    return found


class SmiMonitor:
    """One GPU; it tells no energy."""

    def __init__(self, run: Run, row: dict[str, str]) -> None:
        self._run = run
        self._id = row["uuid"]
        self._reasons = next((name for name in _REASONS if _query(run, (name,), self._id)), None)
        slices = self._told("-L")
        clocks = self._told(
            "--id", self._id, "--query-supported-clocks=memory,graphics", "--format=csv,noheader,nounits"
        )
        apps = self._told("--id", self._id, "--query-compute-apps=pid", "--format=csv,noheader")
        highest = _number(row, "clocks.max.sm")
        self.facts = GpuFacts(
            uuid=bare_uuid(self._id),
            name=row["name"],
            bus=row["pci.bus_id"],
            driver=row["driver_version"],
            limit_w=_number(row, "power.limit"),
            default_limit_w=_number(row, "power.default_limit"),
            lowest_limit_w=_number(row, "power.min_limit"),
            highest_clock_hz=None if highest is None else highest * MEGA,
            clocks_hz=_clocks_hz(clocks),
            persistence={"Enabled": True, "Disabled": False}.get(row["persistence_mode"]),
            mig=row["mig.mode.current"] == "Enabled",
            mig_uuids=_slices(slices, self._id),
            processes=len([line for line in apps.splitlines() if line.strip().isdigit()]),
        )

    def read(self) -> Reading:
        """Return what it does now."""
        fields = _READING if self._reasons is None else (*_READING, self._reasons)
        rows = _query(self._run, fields, self._id)
        if not rows:
            return Reading()
        clock = _number(rows[0], "clocks.sm")
        bits = rows[0].get(self._reasons or "", "")
        return Reading(
            power_w=_number(rows[0], "power.draw"),
            clock_hz=None if clock is None else clock * MEGA,
            temperature_c=_number(rows[0], "temperature.gpu"),
            reasons=reasons_of(int(bits, 16)) if bits.startswith("0x") else (),
        )

    def energy_j(self) -> float | None:
        """Return None: the command tells watts only."""
        return None

    def lock(self, clock_hz: float) -> None:
        """Hold the graphics clock."""
        mhz = round(clock_hz / MEGA)
        self._command("--id", self._id, f"--lock-gpu-clocks={mhz},{mhz}")

    def unlock(self) -> None:
        """Give the clocks back to the driver."""
        self._command("--id", self._id, "--reset-gpu-clocks")

    def _command(self, *arguments: str) -> None:
        try:
            done = self._run(
                ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotPermitted(f"nvidia-smi failed: {error}") from None
        said = f"{done.stdout}\n{done.stderr}".strip()
        # Some versions say that permission is missing and still end well.
        if done.returncode or "permission" in said.casefold() or "not supported" in said.casefold():
            raise NotPermitted(f"nvidia-smi says '{said.splitlines()[0] if said else done.returncode}'")

    def _told(self, *arguments: str) -> str:
        try:
            done = self._run(
                ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return str(done.stdout)


def _query(run: Run, fields: tuple[str, ...], uuid: str | None) -> list[dict[str, str]]:
    """Return one dictionary a GPU; none where the question was not understood."""
    which = [] if uuid is None else ["--id", uuid]
    command = ["nvidia-smi", *which, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = []
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(fields):
            rows.append(dict(zip(fields, cells, strict=True)))
    return rows


def _number(row: dict[str, str], name: str) -> float | None:
    """Return a field as a number; None where the GPU answers ``[N/A]``."""
    try:
        return float(row[name])
    except (KeyError, ValueError):
        return None


def _clocks_hz(said: str) -> tuple[float, ...]:
    """Return the graphics clocks at the highest memory clock, rising. [Hz]"""
    pairs = []
    for line in said.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 2 and all(cell.isdigit() for cell in cells):
            pairs.append((int(cells[0]), int(cells[1])))
    if not pairs:
        return ()
    highest = max(memory for memory, _ in pairs)
    return tuple(sorted({clock * MEGA for memory, clock in pairs if memory == highest}))


def _slices(said: str, uuid: str) -> tuple[str, ...]:
    """Return the UUIDs of a GPU's MIG instances out of ``nvidia-smi -L``."""
    found: list[str] = []
    mine = False
    for line in said.splitlines():
        match = re.search(r"UUID: ([A-Za-z0-9-]+)", line)
        if match is None:
            continue
        if line.startswith("GPU "):
            mine = match[1] == uuid
        elif mine:
            found.append(bare_uuid(match[1]))
    return tuple(found)
