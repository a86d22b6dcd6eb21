"""A GPU watched over a window of steady work: mean watts, clock, rate, and what held its clocks back."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Final

from analysis.calibration.device.backend import Backend, Once
from analysis.calibration.device.monitor import Monitor, Reading

#: Between two looks. Drivers renew their figure every 20 to 100 ms (Yang et al. 2024, arXiv:2312.02741).
_LOOK_S: Final = 0.02
#: Queued before anybody waits: long enough to keep the device busy, short enough to stop soon.
_CHUNK_S: Final = 0.05
#: Halves of a window whose means differ by more are not steady.
_STEADY: Final = 0.03


@dataclass(frozen=True)
class Window:
    """What was seen in the steady part of a window; None: this GPU does not tell."""

    power_w: float | None
    """By the energy counter where there is one, else the mean of the looks. [W]"""
    looks_w: float | None
    """Mean of the looks at the power reading. [W]"""
    peak_w: float | None
    clock_hz: float | None
    temperature_c: float | None
    reasons: tuple[str, ...]
    """Why clocks were lower than they might be, at any look."""
    renewed_s: float | None
    """How often the power reading changed. [s]"""
    steady: bool
    calls_per_s: float


class _Looks:
    """Readings with their moments, taken by a thread of its own."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.at_s: list[float] = []
        self.readings: list[Reading] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            self.at_s.append(time.monotonic())
            self.readings.append(self.monitor.read())
            self.stop.wait(_LOOK_S)

    def since(self, begin_s: float, end_s: float) -> list[tuple[float, Reading]]:
        return [
            (at_s, one)
            for at_s, one in zip(self.at_s, self.readings, strict=False)
            if begin_s <= at_s <= end_s
        ]


def watch(
    monitor: Monitor | None,
    backend: Backend | None,
    once: Once | None,
    *,
    call_s: float,
    settle_s: float,
    span_s: float,
) -> Window:
    """Repeat a kernel (or do nothing) and return what was seen after it had settled.

    Parameters
    ----------
    monitor
        None: nothing is looked at, only calls are counted.
    backend, once
        What is repeated; None: nothing.
    call_s
        About how long one call takes. [s]
    settle_s
        Left out at the beginning: clocks move, and on Ampere and later the power reading is a mean
        of the last second. [s]
    span_s
        Of the window after that; once more as long if its halves differ. [s]
    """
    looks = None if monitor is None else _Looks(monitor)
    looker = None if looks is None else threading.Thread(target=looks.run, daemon=True)
    if looker is not None:
        looker.start()
    try:
        _work(backend, once, call_s, settle_s)
        window = _window(looks, backend, once, call_s, span_s)
        if not window.steady:
            window = _window(looks, backend, once, call_s, span_s)
    finally:
        # Also when work fails or is interrupted: no thread may ask a driver that is being left.
        if looks is not None and looker is not None:
            looks.stop.set()
            looker.join()
    return window


def _work(backend: Backend | None, once: Once | None, call_s: float, span_s: float) -> tuple[int, float]:
    """Keep busy for a span; return calls done and seconds taken."""
    begin_s = time.monotonic()
    end_s = begin_s + span_s
    calls = 0
    if backend is None or once is None:
        time.sleep(span_s)
        return 0, time.monotonic() - begin_s
    chunk = max(1, min(round(_CHUNK_S / max(call_s, 1e-9)), 10_000))
    while time.monotonic() < end_s or not calls:
        backend.busy(once, chunk)
        calls += chunk
    return calls, time.monotonic() - begin_s


def _window(
    looks: _Looks | None, backend: Backend | None, once: Once | None, call_s: float, span_s: float
) -> Window:
    monitor = None if looks is None else looks.monitor
    before_j = None if monitor is None else monitor.energy_j()
    begin_s = time.monotonic()
    calls, took_s = _work(backend, once, call_s, span_s)
    after_j = None if monitor is None else monitor.energy_j()
    end_s = time.monotonic()
    seen = [] if looks is None else looks.since(begin_s, end_s)
    watts = [(at_s, one.power_w) for at_s, one in seen if one.power_w is not None]
    looks_w = fmean(value for _, value in watts) if watts else None
    counted_w = None
    if before_j is not None and after_j is not None and after_j > before_j:
        counted_w = (after_j - before_j) / (end_s - begin_s)
    clocks = [one.clock_hz for _, one in seen if one.clock_hz is not None]
    warmth = [one.temperature_c for _, one in seen if one.temperature_c is not None]
    return Window(
        power_w=looks_w if counted_w is None else counted_w,
        looks_w=looks_w,
        peak_w=max((value for _, value in watts), default=None),
        clock_hz=median(clocks) if clocks else None,
        temperature_c=max(warmth, default=None),
        reasons=tuple(dict.fromkeys(reason for _, one in seen for reason in one.reasons)),
        renewed_s=_renewed_s(watts),
        steady=_steady([value for _, value in watts]),
        calls_per_s=calls / took_s,
    )


def _steady(watts: list[float]) -> bool:
    if len(watts) < 4:
        return True
    half = len(watts) // 2
    early, late = fmean(watts[:half]), fmean(watts[half:])
    return abs(late - early) <= _STEADY * max(early, late, 1.0)


def _renewed_s(watts: list[tuple[float, float]]) -> float | None:
    moved = [after[0] for before, after in pairwise(watts) if after[1] != before[1]]
    return median(later - sooner for sooner, later in pairwise(moved)) if len(moved) >= 3 else None
