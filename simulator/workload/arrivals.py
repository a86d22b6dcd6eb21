"""When things arrive: a Poisson process whose rate changes in steps, or evenly spaced arrivals.

Both turn a running count into a moment by the exact inverse of the rate's integral, in blocks,
so nothing is clipped, thinned or sampled hour by hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import TraceError
from simulator.foundation.step_series import StepSeries
from simulator.workload.moments import snap_all

Floats = NDArray[np.float64]


class ArrivalStream(Protocol):
    """A source of moments in ascending order, given away in blocks."""

    def next_block(self, count: int) -> Floats:
        """Return the next moments, `count` at most; none when the span is over. [s]"""
        ...


class CountInverse:
    """The moment at which the expected number of arrivals reaches a given count.

    Parameters
    ----------
    rate_per_s
        Arrivals per second, 0 or more; its span is the span of arrivals.

    Raises
    ------
    TraceError
        If the rate is negative somewhere; the message gives the index.
    """

    def __init__(self, rate_per_s: StepSeries) -> None:
        negative = np.flatnonzero(rate_per_s.value < 0)
        if len(negative):
            index = int(negative[0])
            raise TraceError(
                f"arrival rate {rate_per_s.value[index]:g} per second at index {index}; expected 0 or more"
            )
        self._start_s = rate_per_s.start_s
        self._rate_per_s = rate_per_s.value
        self._end_s = rate_per_s.end_s
        self._count = np.concatenate(([0.0], np.cumsum(rate_per_s.value * rate_per_s.widths_s)))

    @property
    def total(self) -> float:
        """Expected number of arrivals in the whole span."""
        return float(self._count[-1])

    def moments_s(self, counts: Floats) -> Floats:
        """Return when each of these counts, in (0, total], is reached, on the time grid."""
        # side="left" finds the step that ends at or after the count and so has a positive rate.
        step = np.searchsorted(self._count, counts, side="left") - 1
        moments_s = self._start_s[step] + (counts - self._count[step]) / self._rate_per_s[step]
        # The last tick may round beyond an end that is not itself on the grid.
        return np.minimum(snap_all(moments_s), self._end_s)


class PoissonArrivals:
    """A Poisson process whose rate is a step series; exact at every step.

    The moments depend on the stream only, never on the sizes of the blocks asked for.

    Parameters
    ----------
    rate_per_s
        Arrivals per second.
    rng
        A stream of this process's own.
    """

    def __init__(self, rate_per_s: StepSeries, rng: np.random.Generator) -> None:
        self._inverse = CountInverse(rate_per_s)
        self._rng = rng
        self._count = 0.0

    def next_block(self, count: int) -> Floats:
        """Return the next moments, `count` at most; none when the span is over. [s]"""
        if self._count > self._inverse.total:
            return np.empty(0)
        # Seen in its own expected count, the process has unit rate.
        steps = self._rng.standard_exponential(count)
        if count:
            # Adding the carry first keeps the order of additions, whatever the block size.
            steps[0] += self._count
            counts = np.cumsum(steps)
            self._count = float(counts[-1])
            return self._inverse.moments_s(counts[counts <= self._inverse.total])
        return np.empty(0)


class EvenArrivals:
    """Arrivals without chance: one at each half-integer of the expected count.

    Parameters
    ----------
    rate_per_s
        Arrivals per second.
    rng
        Not used; there so that all processes are made alike.
    """

    def __init__(self, rate_per_s: StepSeries, rng: np.random.Generator | None = None) -> None:
        del rng
        self._inverse = CountInverse(rate_per_s)
        self._done = 0

    def next_block(self, count: int) -> Floats:
        """Return the next moments, `count` at most; none when the span is over. [s]"""
        counts = np.arange(self._done, self._done + count, dtype=np.float64) + 0.5
        self._done += count
        return self._inverse.moments_s(counts[counts <= self._inverse.total])


#: Name in a scenario -> process, made from a rate and a random stream.
ARRIVALS: Final[Mapping[str, type[PoissonArrivals] | type[EvenArrivals]]] = MappingProxyType(
    {"poisson": PoissonArrivals, "constant": EvenArrivals}
)
