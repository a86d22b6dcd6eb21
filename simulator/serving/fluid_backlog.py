"""Who waits in a flow: better tiers are served first, and within a tier whoever came first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Requests of a tier whose waits stand for all that are served in a stretch.
_LOOKED_AT: Final = 100


@dataclass(frozen=True)
class Flow:
    """A stretch of constant demand and capacity; arrays are by tier, counts in requests."""

    came: float
    shed: float
    accepted: FloatArray
    served: FloatArray
    waiting: FloatArray
    """At its end."""
    curves: tuple[tuple[FloatArray, FloatArray], ...]
    """Of each tier: seconds since its beginning, and how many had been served by then."""


class Backlog:
    """Requests that wait, by tier.

    Parameters
    ----------
    shares
        (tiers,) of the requests that come.
    """

    def __init__(self, shares: FloatArray) -> None:
        self._shares = shares
        self._waiting = np.zeros(len(shares))
        self._served = np.zeros(len(shares))
        # Of each tier: moments, and how many had been let in by then.
        self._let_in: list[tuple[list[float], list[float]]] = [([0.0], [0.0]) for _ in shares]

    @property
    def waiting(self) -> float:
        """Requests that wait now. [count]"""
        return float(self._waiting.sum())

    def flow(
        self,
        rate_per_s: float,
        capacity_per_s: float,
        span_s: float,
        *,
        misfit_fraction: float = 0.0,
        most: float | None = None,
    ) -> Flow:
        """Return what a span from now on brings; changes nothing.

        Parameters
        ----------
        rate_per_s, capacity_per_s
            Of all tiers together, constant. [1/s]
        misfit_fraction
            Share of those that come which no replica takes.
        most
            How many may wait; who comes then is shed, whatever its tier.
        """
        came = rate_per_s * span_s
        shed = came * misfit_fraction
        accepted = (came - shed) * self._shares
        waiting = self._waiting + accepted
        over = waiting.sum() - capacity_per_s * span_s - most if most is not None else 0.0
        if over > 0.0 and accepted.sum() > 0.0:
            refused = min(1.0, over / float(accepted.sum()))
            shed += refused * float(accepted.sum())
            accepted = accepted * (1.0 - refused)
        left = [(span_s, capacity_per_s)]
        curves, served = [], np.zeros(len(accepted))
        for tier, (already, more) in enumerate(zip(self._waiting.tolist(), accepted.tolist(), strict=True)):
            curve, left = _serve(already, more / span_s if span_s else 0.0, left)
            curves.append(curve)
            served[tier] = min(curve[1][-1], already + more)
        waiting = np.maximum(self._waiting + accepted - served, 0.0)
        # What is left of a backlog that was served to its end is rounding.
        waiting[waiting <= 1e-9 * (self._waiting + accepted)] = 0.0
        served = self._waiting + accepted - waiting
        return Flow(came, shed, accepted, served, waiting, tuple(curves))

    def go_on(self, since_s: float, until_s: float, flow: Flow) -> FloatArray:
        """Let a span pass that `flow` foretold, and return how long those waited that it served.

        Returns
        -------
        array
            (tiers, n) waits of requests at equal steps through each tier's queue. [s]
        """
        waits = np.zeros((len(self._shares), _LOOKED_AT))
        before, self._waiting = self._waiting, flow.waiting
        for tier, (times_s, counts) in enumerate(self._let_in):
            times_s.append(until_s)
            counts.append(counts[-1] + float(flow.accepted[tier]))
            begin, self._served[tier] = self._served[tier], self._served[tier] + flow.served[tier]
            if flow.served[tier] and (before[tier] or flow.waiting[tier]):
                steps = (np.arange(_LOOKED_AT) + 0.5) / _LOOKED_AT * flow.served[tier]
                moments_s, done = flow.curves[tier]
                served_s = since_s + np.interp(steps, done, moments_s)
                waits[tier] = np.maximum(served_s - np.interp(begin + steps, counts, times_s), 0.0)
            past = len(counts) - 1
            if flow.waiting[tier]:
                past = min(past, int(np.searchsorted(counts, self._served[tier], side="right")) - 1)
            else:
                self._served[tier] = counts[-1]
            del times_s[:past], counts[:past]
        return waits


def _serve(
    waiting: float, rate_per_s: float, capacity: list[tuple[float, float]]
) -> tuple[tuple[FloatArray, FloatArray], list[tuple[float, float]]]:
    """Serve one tier from pieces of (seconds, requests per second); return its curve and what is left."""
    moments_s, served, left = [0.0], [0.0], []
    for width_s, capacity_per_s in capacity:
        falls_per_s = capacity_per_s - rate_per_s
        empty_s = width_s
        if falls_per_s > 0.0:
            empty_s = min(width_s, waiting / falls_per_s)
        if empty_s > 0.0:
            waiting = max(0.0, waiting - falls_per_s * empty_s)
            moments_s.append(moments_s[-1] + empty_s)
            served.append(served[-1] + capacity_per_s * empty_s)
            left.append((empty_s, 0.0))
        if empty_s < width_s:
            waiting = 0.0
            moments_s.append(moments_s[-1] + width_s - empty_s)
            served.append(served[-1] + rate_per_s * (width_s - empty_s))
            left.append((width_s - empty_s, falls_per_s))
    return (np.array(moments_s), np.array(served)), left
