"""Two small root finders, so that a fit needs no more than numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bisected(miss: Callable[[float], float], low: float, high: float) -> float:
    """Return where a monotone function crosses zero between `low` and `high`.

    Raises
    ------
    ValueError
        It has the same sign at both ends.

    Examples
    --------
    >>> round(bisected(lambda x: x * x - 2.0, 0.0, 2.0), 6)
    1.414214
    """
    rising = miss(high) > 0
    if (miss(low) > 0) == rising:
        raise ValueError(f"no crossing between {low:g} and {high:g}")
    for _ in range(80):
        middle = 0.5 * (low + high)
        if (miss(middle) > 0) == rising:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


def newton(miss: Callable[[Array], Array], start: Array, steps: int = 60) -> Array:
    """Return where as many functions as unknowns are all zero, by damped Newton steps.

    Raises
    ------
    ValueError
        It has not come within 1e-9 after `steps`.

    Examples
    --------
    >>> newton(lambda x: np.array([x[0] + x[1] - 3.0, x[0] - x[1] ** 2 + 3.0]), np.array([1.0, 1.0])).round(6)
    array([1., 2.])
    """
    x = np.array(start, dtype=float)
    for _ in range(steps):
        here = miss(x)
        if np.abs(here).max() < 1e-9:
            return x
        slope = np.empty((x.size, x.size))
        for i in range(x.size):
            aside = x.copy()
            aside[i] += 1e-6
            slope[:, i] = (miss(aside) - here) / 1e-6
        step = np.linalg.solve(slope, -here)
        # A long step leaves the region where the slope tells anything.
        x = x + step * min(1.0, 0.5 / float(np.abs(step).max()))
    raise ValueError(f"not solved: still off by {np.abs(miss(x)).max():g}")
