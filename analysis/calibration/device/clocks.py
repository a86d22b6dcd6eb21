"""The effect of clocks: graphics clocks locked one level after the other, and always given back.

Locking needs rights that few users have, and it changes a machine that others may share: it is done
only where somebody asks for it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.calibration.device.backend import DeviceError
from analysis.calibration.device.monitor import Monitor, NotPermitted
from analysis.calibration.device.watching import Window
from simulator.hardware.power_curve import ClockCurve

#: Levels, as fractions of the highest clock.
_FRACTIONS: Final = (1.0, 0.87, 0.75, 0.62, 0.5, 0.37)
_TRIES: Final = 3
#: Levels whose clock is nearer to the highest tell nothing of a curve.
_APART: Final = 0.97
#: Fewest levels below the highest that fix a curve of two numbers.
_FEWEST: Final = 3


class ClockLock:
    """The lock on one GPU's clocks; made by `locked_clocks`, which gives it back."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._held = False

    def hold(self, clock_hz: float) -> None:
        """Lock the graphics clock; `NotPermitted` where this user or this GPU may not."""
        # Marked first: a call that breaks off half-way may have locked them.
        first, self._held = not self._held, True
        try:
            self._monitor.lock(clock_hz)
        except NotPermitted:
            if first:
                self._give_back_quietly()
            raise

    def give_back(self) -> None:
        """Unlock, and try again a few times; DeviceError with the command to type if that fails."""
        if not self._held:
            return
        for attempt in range(_TRIES):
            try:
                self._monitor.unlock()
            except DeviceError as error:
                if attempt == _TRIES - 1:
                    raise DeviceError(
                        f"the clocks of GPU {self._monitor.facts.uuid} are still locked ({error}); unlock "
                        f"them: {unlocking(self._monitor)}"
                    ) from None
                time.sleep(0.1)
            else:
                self._held = False
                return

    def _give_back_quietly(self) -> None:
        """Unlock after a refusal: whoever may not lock may not unlock, and has nothing to."""
        with suppress(DeviceError):
            self._monitor.unlock()
        self._held = False


def unlocking(monitor: Monitor) -> str:
    """Return the command that unlocks a GPU's clocks."""
    return f"nvidia-smi --id=GPU-{monitor.facts.uuid} --reset-gpu-clocks"


@contextmanager
def locked_clocks(monitor: Monitor) -> Iterator[ClockLock]:
    """Give a lock that is given back however the block ends: by an error, Ctrl-C or SIGTERM."""
    lock = ClockLock(monitor)
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None:
                before[number] = signal.signal(number, _stop)
    try:
        yield lock
    finally:
        with _undisturbed():
            lock.give_back()
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that everything is put back."""
    raise SystemExit(128 + number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C break off the giving back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def levels_hz(monitor: Monitor) -> tuple[float, ...]:
    """Return the clocks to try, falling: the nearest that the GPU offers to even fractions."""
    known = monitor.facts.clocks_hz
    if not known:
        return ()
    highest = max(known)
    nearest = [min(known, key=lambda clock: abs(clock - share * highest)) for share in _FRACTIONS]
    return tuple(dict.fromkeys(nearest))


@dataclass(frozen=True)
class ClockLevel:
    """One level of the sweep."""

    asked_hz: float | None
    """None: the driver chose."""
    products: Window
    copy: Window


@dataclass(frozen=True)
class ClockEffect:
    """Levels that were measured, what they say of the power curve, or why there are none."""

    levels: tuple[ClockLevel, ...] = ()
    curve: ClockCurve | None = None
    said: str = ""


def sweep(
    monitor: Monitor,
    free: ClockLevel,
    measure: Callable[[float], ClockLevel],
    floor_w: float | None,
    out_of_time: Callable[[], bool],
) -> ClockEffect:
    """Lock level after level and return what each did.

    Parameters
    ----------
    free
        The same loads with clocks as the driver sets them.
    measure
        Called with each clock while it is held. [Hz]
    floor_w
        Idle watts, which no clock removes. [W]
    out_of_time
        Whether no further level may be begun.
    """
    asked = levels_hz(monitor)
    if not asked:
        return ClockEffect((free,), None, "not locked: the GPU does not list the clocks it takes")
    levels = [free]
    with locked_clocks(monitor) as lock:
        for clock_hz in asked:
            if out_of_time():
                break
            try:
                lock.hold(clock_hz)
            except NotPermitted as refusal:
                return ClockEffect(tuple(levels), None, f"not locked: {refusal}")
            levels.append(measure(clock_hz))
    curve, why_not = fitted_curve(levels, floor_w)
    said = f"locked at {len(levels) - 1} levels and given back"
    return ClockEffect(tuple(levels), curve, f"{said}; {why_not}" if why_not else said)


def fitted_curve(levels: list[ClockLevel], floor_w: float | None) -> tuple[ClockCurve | None, str]:
    """Return the power curve that fits the levels best, or why there is none.

    The first level is full clock. Clocks are those that were seen, not those that were asked for:
    a part at its power cap runs slower than it is told to.
    """
    known = [
        (level.products.clock_hz, level.products.power_w, level.copy.clock_hz, level.copy.calls_per_s)
        for level in levels
    ]
    if floor_w is None or any(clock is None or power is None for clock, power, _, _ in known):
        return None, "no curve: this GPU does not tell watts, clocks and idle watts"
    clocks = np.array([one[0] for one in known], dtype=np.float64)
    watts = np.array([one[1] for one in known], dtype=np.float64)
    low = clocks < _APART * clocks[0]
    if low.sum() < _FEWEST or watts[0] <= floor_w:
        return None, f"no curve: fewer than {_FEWEST} levels ran below the highest clock"
    shares = clocks[low] / clocks[0]
    dynamic = (watts[low] - floor_w) / (watts[0] - floor_w)
    slope, lowest = _voltage(shares, dynamic)
    copies = np.array([one[3] for one in known], dtype=np.float64)
    copy_clocks = np.array([one[2] or np.nan for one in known], dtype=np.float64)
    slower = copy_clocks < _APART * copy_clocks[0]
    sensitivity = ClockCurve().memory_sensitivity
    if slower.any() and copies[0] > 0.0:
        # Time stretches by 1 + s (1/f - 1): a straight line through the origin.
        more = copy_clocks[0] / copy_clocks[slower] - 1.0
        stretch = copies[0] / copies[slower] - 1.0
        sensitivity = float(np.clip((more * stretch).sum() / (more * more).sum(), 0.0, 1.0))
    return ClockCurve(voltage_slope=slope, lowest_voltage_fraction=lowest, memory_sensitivity=sensitivity), ""


def _voltage(shares: NDArray[np.float64], dynamic: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and floor of the voltage by least squares over a grid of thousandths."""
    best = (np.inf, 0.0, 1.0)
    for slope in np.arange(0.0, 1.0005, 0.005):
        falling = 1.0 - slope * (1.0 - shares)
        # From above: a floor that no level reached is the lowest voltage that was seen.
        for lowest in np.arange(1.0, 0.2995, -0.005):
            voltage = np.maximum(falling, lowest)
            miss = float(((shares * voltage * voltage - dynamic) ** 2).sum())
            if miss < best[0] - 1e-12:
                best = (miss, float(slope), float(lowest))
    return round(best[1], 3), round(best[2], 3)
