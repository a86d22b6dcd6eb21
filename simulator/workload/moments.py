"""Many moments at once on the time grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.time_grid import TICK_S


def snap_all(moments_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest grid moment of each, as `foundation.snap` does for one. [s]"""
    # Dividing and multiplying by a power of two is exact; rint rounds halves to even like round.
    return np.asarray(np.rint(moments_s / TICK_S) * TICK_S, dtype=np.float64)
