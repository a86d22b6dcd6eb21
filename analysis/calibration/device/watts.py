"""Watts, clocks and driver of an NVIDIA GPU, as ``nvidia-smi`` tells them."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, Final

_FIELDS: Final = (
    "power.draw",
    "power.limit",
    "power.min_limit",
    "clocks.sm",
    "clocks.max.sm",
    "driver_version",
)


def query(run: Callable[..., Any] = subprocess.run) -> dict[str, str]:
    """Return the fields of the first GPU; empty where there is no ``nvidia-smi``."""
    if run is subprocess.run and shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        found = run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    cells = [cell.strip() for cell in found.stdout.strip().splitlines()[0].split(",")]
    return dict(zip(_FIELDS, cells, strict=False))


def number(fields: dict[str, str], name: str) -> float | None:
    """Return a field as a number; None where the GPU does not tell it."""
    try:
        return float(fields.get(name, ""))
    except ValueError:
        return None


def mean_power_w(work: Callable[[], Any] | None, span_s: float) -> float | None:
    """Return the mean power while `work` is repeated for a span, or while nothing is done. [W]"""
    if not query():
        return None
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set() and work is not None:
            work()

    worker = threading.Thread(target=keep_busy)
    worker.start()
    readings = []
    end = time.monotonic() + span_s
    while time.monotonic() < end:
        watts = number(query(), "power.draw")
        if watts is not None and time.monotonic() > end - 0.8 * span_s:
            readings.append(watts)
        time.sleep(0.1)
    stop.set()
    worker.join()
    return sum(readings) / len(readings) if readings else None
