"""The grid that all moments lie on, and the order of what happens at one instant."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final

#: About a microsecond, and a power of two: adding two grid moments is exact for 272 years.
TICK_S: Final = 2.0**-20
_TICKS_PER_S: Final = 2.0**20


class Priority(IntEnum):
    """What goes first within one instant; a lower number acts earlier.

    Physics settles (signals, completions, repairs, failures), then the world arrives, then
    controllers act, and deciding comes last, so that a decision sees everything of its instant.
    """

    SIGNAL = 0
    COMPLETION = 1
    REPAIR = 2
    FAILURE = 3
    ARRIVAL = 4
    CONTROL = 5
    DECIDE = 6


def snap(moment_s: float) -> float:
    """Return the nearest moment on the grid. Infinity stays. [s]

    Examples
    --------
    >>> snap(0.1) == 104858 / 2**20
    True
    """
    if math.isinf(moment_s):
        return moment_s
    return round(moment_s * _TICKS_PER_S) / _TICKS_PER_S


def snap_up(moment_s: float) -> float:
    """Return the first grid moment that is not earlier. Infinity stays. [s]

    Use it for a crossing: waking a tick late finds the threshold crossed, a tick early does not.

    Examples
    --------
    >>> snap_up(0.5), snap_up(0.5 + 2**-30) == 0.5 + TICK_S
    (0.5, True)
    """
    if math.isinf(moment_s):
        return moment_s
    return math.ceil(moment_s * _TICKS_PER_S) / _TICKS_PER_S
