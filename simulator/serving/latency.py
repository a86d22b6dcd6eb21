"""Distributions of latencies: percentiles that stay exact while they fit, and a histogram for the files."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Values kept one by one; beyond that they are folded into fine bins.
EXACT_VALUES: Final = 2_000_000

#: Bins of a decade in the folded form: 0.23 % wide, so a percentile is off by at most that.
FINE_BINS: Final = 1000

#: Bins of a decade in `latency_histogram`.
COARSE_BINS: Final = 24


def percentile(values: FloatArray, weights: FloatArray | None, fraction: float) -> float:
    """Return a percentile, linear between order statistics; NaN of nothing.

    Parameters
    ----------
    values
        (n,) finite.
    weights
        (n,) positive - how many each value stands for; None means all alike.
    fraction
        Between 0 and 1.

    Examples
    --------
    >>> percentile(np.array([1.0, 2.0, 4.0]), None, 0.5)
    2.0
    >>> percentile(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 100.0]), 0.5)
    4.0
    """
    if not len(values):
        return math.nan
    if weights is None or float(np.ptp(weights)) == 0.0:
        return float(np.quantile(values, fraction))
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, fraction * reached[-1], side="left"))
    return float(values[order[min(index, len(order) - 1)]])


class Distribution:
    """A growing set of equally weighted positive values with percentiles."""

    def __init__(self) -> None:
        self._blocks: list[FloatArray] = []
        self._fine: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.exact = True

    def add(self, values: FloatArray) -> None:
        """Take in more values."""
        self.count += len(values)
        self.total += float(np.sum(values))
        self._blocks.append(values)
        if not self.exact or self.count > EXACT_VALUES:
            self._fold()

    def merge(self, other: Distribution) -> None:
        """Take in all values of another distribution, which stays as it is."""
        self.count += other.count
        self.total += other.total
        self._blocks.extend(other._blocks)
        for index, number in other._fine.items():
            self._fine[index] = self._fine.get(index, 0) + number
        if not (self.exact and other.exact) or self.count > EXACT_VALUES:
            self._fold()

    @property
    def mean(self) -> float:
        """Mean; NaN of nothing."""
        return self.total / self.count if self.count else math.nan

    def percentile(self, fraction: float) -> float:
        """Return a percentile; within 0.12 % once there are more than `EXACT_VALUES` values."""
        if self.exact:
            if not self.count:
                return math.nan
            if len(self._blocks) > 1:
                self._blocks = [np.concatenate(self._blocks)]
            return percentile(self._blocks[0], None, fraction)
        wanted = fraction * (self.count - 1) + 0.5
        reached = 0
        for index in sorted(self._fine):
            reached += self._fine[index]
            if reached >= wanted:
                return float(10.0 ** ((index + 0.5) / FINE_BINS))
        raise AssertionError("the last bin reaches every count")

    def _fold(self) -> None:
        self.exact = False
        if self._blocks:
            bins, counts = _binned(np.concatenate(self._blocks), FINE_BINS)
            for index, number in zip(bins.tolist(), counts.tolist(), strict=True):
                self._fine[index] = self._fine.get(index, 0) + number
            self._blocks.clear()


class Histogram:
    """Weighted counts by tier, metric and latency bin: the table `latency_histogram`."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}

    def add(self, tier: str, metric: str, values: FloatArray) -> None:
        """Count values of one tier and metric. [s]"""
        bins, counts = _binned(values, COARSE_BINS)
        for index, number in zip(bins.tolist(), counts.tolist(), strict=True):
            key = (tier, metric, index)
            self._counts[key] = self._counts.get(key, 0) + number

    def columns(self, service: str, weight: float) -> dict[str, Any]:
        """Return the columns of `latency_histogram`, by tier, metric and bin."""
        keys = sorted(self._counts)
        index = np.array([key[2] for key in keys], dtype=np.float64)
        return {
            "service": [service] * len(keys),
            "tier": [key[0] for key in keys],
            "metric": [key[1] for key in keys],
            "low_s": 10.0 ** (index / COARSE_BINS),
            "high_s": 10.0 ** ((index + 1.0) / COARSE_BINS),
            "requests": weight * np.array([self._counts[key] for key in keys], dtype=np.float64),
        }


def _binned(values: FloatArray, per_decade: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # A latency of zero (possible only with a cost of zero) counts as a picosecond.
    index = np.floor(per_decade * np.log10(np.maximum(values, 1e-12))).astype(np.int64)
    lowest = int(index.min())
    counts = np.bincount(index - lowest)
    found = np.flatnonzero(counts)
    return found + lowest, counts[found]
