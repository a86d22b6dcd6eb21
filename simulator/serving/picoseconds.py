"""Integer time: picoseconds from a base, so that one leap of k steps equals k single steps exactly."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.time_grid import TICK_S, snap_up

#: Picoseconds of a second.
PS_PER_S: Final = 10**12

#: Later than any event; still comparable with every integer time.
NEVER: Final = 1 << 200

#: Whole seconds whose picoseconds still fit a 64-bit integer, with room to spare.
_WINDOW_S: Final = 9_000_000.0


def to_ps(seconds: float) -> int:
    """Return a time as whole picoseconds, rounded to the nearest; infinity becomes `NEVER`.

    Parameters
    ----------
    seconds
        Time since the base. [s]

    Examples
    --------
    >>> to_ps(1.5)
    1500000000000
    """
    if math.isinf(seconds) and seconds > 0.0:
        return NEVER
    whole = math.floor(seconds)
    # The remainder is exact in binary, so only this one product rounds.
    return whole * PS_PER_S + round((seconds - whole) * PS_PER_S)


def to_s(picoseconds: int) -> float:
    """Return whole picoseconds as seconds, correctly rounded. [s]"""
    return picoseconds / PS_PER_S


def tick_after_s(picoseconds: int, base_s: float) -> float:
    """Return the first moment of the time grid that is later. [s since the run's start]

    Parameters
    ----------
    picoseconds
        A time since the base. [ps]
    base_s
        The base, on the grid. [s]
    """
    moment_s = snap_up(to_s(picoseconds) + base_s)
    while to_ps(moment_s - base_s) <= picoseconds:
        moment_s += TICK_S
    return moment_s


def split_ps(seconds: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return many times as whole seconds and picoseconds beyond, together as `to_ps` gives each.

    Parameters
    ----------
    seconds
        Finite times since the base. [s]
    """
    whole = np.floor(seconds)
    return whole.astype(np.int64), np.rint((seconds - whole) * PS_PER_S).astype(np.int64)


def many_to_ps(seconds: NDArray[np.float64]) -> list[int]:
    """Return many times as Python integers, each as `to_ps` gives it.

    Parameters
    ----------
    seconds
        Finite times since the base. [s]
    """
    whole, rest = split_ps(seconds)
    if not len(seconds) or int(np.max(np.abs(whole))) < _WINDOW_S:
        exact: list[int] = (whole * PS_PER_S + rest).tolist()
        return exact
    return [second * PS_PER_S + part for second, part in zip(whole.tolist(), rest.tolist(), strict=True)]
