"""The weighted percentile that every figure and summary uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """Return the smallest value at or below which at least ``share`` of the weight lies.

    Parameters
    ----------
    values
        (n,) in any order; NaN entries do not count.
    weights
        (n,) how many each value stands for.
    share
        Between 0 and 1.

    Returns
    -------
    float
        NaN if there is no value with a weight.

    Examples
    --------
    >>> quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.5)
    2.0
    """
    known = ~np.isnan(values) & (weights > 0)
    values, weights = values[known], weights[known]
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # Up to one part in 1e12 of the total counts as reached: sums of weights are not exact.
    place = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12)))
    return float(values[order][min(place, len(values) - 1)])
