"""When things arrive: Poisson, in bursts, or evenly spaced, at a rate that changes in steps.

All turn a running count into a moment by the exact inverse of the rate's integral, in blocks,
so nothing is clipped, thinned or sampled hour by hour.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import CatalogError, TraceError
from simulator.foundation.step_series import StepSeries
from simulator.workload.moments import snap_all

Floats = NDArray[np.float64]

#: Beyond, nearly all requests come at once and nothing for most of the run.
MOST_CV: Final = 20.0


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


class RenewalArrivals(ABC):
    """Arrivals whose gaps, seen in their own expected count, are alike and independent.

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

    @abstractmethod
    def _gaps(self, count: int) -> Floats:
        """Return the next gaps, with a mean of 1."""

    def next_block(self, count: int) -> Floats:
        """Return the next moments, `count` at most; none when the span is over. [s]"""
        if self._count > self._inverse.total or not count:
            return np.empty(0)
        steps = self._gaps(count)
        # Adding the carry first keeps the order of additions, whatever the block size.
        steps[0] += self._count
        counts = np.cumsum(steps)
        self._count = float(counts[-1])
        return self._inverse.moments_s(counts[counts <= self._inverse.total])


class PoissonArrivals(RenewalArrivals):
    """A Poisson process whose rate is a step series; exact at every step."""

    def _gaps(self, count: int) -> Floats:
        return self._rng.standard_exponential(count)


class GammaArrivals(RenewalArrivals):
    """Bursts and lulls: gaps are Gamma distributed with a given coefficient of variation.

    Above 1 arrivals come in bursts (production traffic: 1.5 to 5), at 1 they are Poisson, below
    1 more even than chance.

    Parameters
    ----------
    rate_per_s
        Arrivals per second.
    rng
        A stream of this process's own.
    cv
        Standard deviation of the gaps over their mean, above 0.

    References
    ----------
    Wang et al., "BurstGPT: A Real-world Workload Dataset to Optimize LLM Serving Systems",
    arXiv:2401.17644, which fits Gamma distributions to the gaps of a day.
    """

    def __init__(self, rate_per_s: StepSeries, rng: np.random.Generator, cv: float) -> None:
        super().__init__(rate_per_s, rng)
        if not 0.0 < cv <= MOST_CV:
            raise CatalogError(f"cv {cv:g}; expected above 0, at most {MOST_CV:g}")
        self._shape = cv**-2.0

    def _gaps(self, count: int) -> Floats:
        return np.asarray(self._rng.standard_gamma(self._shape, count) / self._shape)


class EvenArrivals:
    """Arrivals without chance: one at each half-integer of the expected count.

    Parameters
    ----------
    rate_per_s
        Arrivals per second.
    """

    def __init__(self, rate_per_s: StepSeries) -> None:
        self._inverse = CountInverse(rate_per_s)
        self._done = 0

    def next_block(self, count: int) -> Floats:
        """Return the next moments, `count` at most; none when the span is over. [s]"""
        counts = np.arange(self._done, self._done + count, dtype=np.float64) + 0.5
        self._done += count
        return self._inverse.moments_s(counts[counts <= self._inverse.total])


#: Names in a scenario.
ARRIVALS: Final = ("poisson", "gamma", "constant")


def arrivals_of(
    name: str, rate_per_s: StepSeries, rng: np.random.Generator, cv: float | None = None
) -> ArrivalStream:
    """Return the process of a name.

    Parameters
    ----------
    name
        One of `ARRIVALS`.
    rate_per_s
        Arrivals per second.
    rng
        A stream of the process's own.
    cv
        Coefficient of variation of the gaps; for ``gamma`` only, which needs it.

    Raises
    ------
    CatalogError
        If there is no such process, or `cv` does not go with it.
    """
    if name not in ARRIVALS:
        raise CatalogError(f"arrivals {name!r}; expected one of {', '.join(ARRIVALS)}")
    if (cv is not None) != (name == "gamma"):
        raise CatalogError(f"arrivals {name}: cv {'is missing' if cv is None else 'has no effect'}")
    if cv is not None:
        return GammaArrivals(rate_per_s, rng, cv)
    return PoissonArrivals(rate_per_s, rng) if name == "poisson" else EvenArrivals(rate_per_s)
