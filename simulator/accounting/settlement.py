"""Sharing what a site draws over what its rows use, within each settlement interval.

Everything that is not a row's own IT energy (cooling, losses, network, storage, other) follows
IT energy within the interval, so that the sum over rows is the meter. All shares are prefix
integrals: a row costs two look-ups, whatever the number of intervals it spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.ledger import SiteLedger
from simulator.foundation.calendar import Calendar
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


#: Of the busiest interval's IT energy: with less, a site stands still, and whoever drew that
#: little does not carry the whole site's overhead.
_NEXT_TO_NOTHING: Final = 1e-6


def settlement_edges(
    calendar: Calendar, horizon_s: float, timezone: str, grid_starts_s: FloatArray
) -> FloatArray:
    """Return the edges of settlement: UTC hours, the grid's own steps, local months. (m+1,) [s]

    Parameters
    ----------
    calendar, horizon_s
        The run's span. [s]
    timezone
        Of the site: bills are made by its months.
    grid_starts_s : (n,) float
        When the grid's steps begin. [s]
    """
    hours_s = calendar.hour_edges_s(horizon_s)
    months_s = month_starts(calendar, horizon_s, timezone)
    edges = np.union1d(np.union1d(hours_s, months_s), grid_starts_s)
    return edges[(edges >= 0.0) & (edges <= horizon_s)]


def month_starts(calendar: Calendar, horizon_s: float, timezone: str) -> FloatArray:
    """Return 0 and every local beginning of a month within the run. (n,) [s]"""
    # Offsets from UTC are multiples of a quarter-hour, so months begin on one.
    quarters_s = calendar.edges_s(horizon_s, HOUR_S / 4.0)[:-1]
    month = calendar.month_local(quarters_s, timezone)
    first = np.append(True, month[1:] != month[:-1])
    return np.asarray(quarters_s[first])


def _exact_integrals(power_w: StepSeries, edges_s: FloatArray) -> FloatArray:
    """Return the integral of each interval, summed within it. (m,)

    A difference of prefix integrals would carry the rounding of the whole run into an interval
    in which next to nothing is drawn, and so into its rate.
    """
    starts_s = np.union1d(power_w.start_s, edges_s[:-1])
    energy_j = power_w.at(starts_s) * np.diff(starts_s, append=power_w.end_s)
    return np.asarray(np.add.reduceat(energy_j, np.searchsorted(starts_s, edges_s[:-1])))


def by_code(code: IntArray, amount: FloatArray, count: int) -> FloatArray:
    """Return amounts summed by code, 0 to count - 1. (count,)"""
    return np.asarray(np.bincount(code, amount, count), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class RowPlaces:
    """Where each segment begins and ends among the edges; found once, used for every quantity."""

    edges_s: FloatArray
    ledger: SiteLedger
    begin: IntArray
    end: IntArray

    @classmethod
    def find(cls, edges_s: FloatArray, ledger: SiteLedger) -> RowPlaces:
        """Return the places of a site's segments."""
        last = len(edges_s) - 2
        begin = np.clip(np.searchsorted(edges_s, ledger.start_s, side="right") - 1, 0, last)
        end = np.clip(np.searchsorted(edges_s, ledger.end_s, side="right") - 1, 0, last)
        return cls(edges_s, ledger, begin.astype(np.intp), end.astype(np.intp))

    def joules_times(self, rate: FloatArray) -> FloatArray:
        """Return each segment's IT energy, every joule weighted with its interval's rate.

        Parameters
        ----------
        rate : (m,) float
            Per joule of IT energy, by interval.

        Returns
        -------
        (n,) float
            In the rate's unit times joules.
        """
        edges_s, ledger = self.edges_s, self.ledger
        before = np.concatenate(([0.0], np.cumsum(rate * np.diff(edges_s))))
        # Within one interval nothing is subtracted: a short row beside a huge rate stays exact.
        within = rate[self.begin] * (ledger.end_s - ledger.start_s)
        head = rate[self.begin] * (edges_s[self.begin + 1] - ledger.start_s)
        tail = rate[self.end] * (ledger.end_s - edges_s[self.end])
        across = head + (before[self.end] - before[self.begin + 1]) + tail
        weighted = np.where(self.begin == self.end, within, across)
        return np.asarray(ledger.power_w * weighted)


@dataclass(frozen=True, slots=True)
class Shares:
    """One site's rows: its segments summed by job, and its pools' idle GPUs."""

    places: RowPlaces
    jobs: int
    node_j: FloatArray
    """IT energy of all rows by interval. (m,) [J]"""
    idle_j: FloatArray
    """Idle IT energy by pool and interval. (pools, m) [J]"""
    pool_gpus: FloatArray

    @classmethod
    def of(cls, edges_s: FloatArray, ledger: SiteLedger, jobs: int) -> Shares:
        """Return how a site's rows divide what it draws.

        Parameters
        ----------
        edges_s : (m+1,) float
            Settlement intervals. [s]
        ledger
            The site's IT.
        jobs
            Number of jobs in the record.
        """
        idle_j = np.array([pool.idle_energy_j(edges_s) for pool in ledger.pools]).reshape(
            len(ledger.pools), len(edges_s) - 1
        )
        return cls(
            places=RowPlaces.find(edges_s, ledger),
            jobs=jobs,
            node_j=_exact_integrals(ledger.node_w, edges_s),
            idle_j=idle_j,
            pool_gpus=np.array([pool.gpus for pool in ledger.pools], dtype=float),
        )

    def it_energy_j(self) -> tuple[FloatArray, FloatArray]:
        """Return the IT energy of each job, and of each pool's idle GPUs. [J]"""
        ledger = self.places.ledger
        own_j = ledger.power_w * (ledger.end_s - ledger.start_s)
        return by_code(ledger.job, own_j, self.jobs), np.asarray(self.idle_j.sum(axis=1))

    def divide(self, amount: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return each job's and each idle pool's part of an amount; parts sum to the whole.

        Parameters
        ----------
        amount : (m,) float
            What is to be shared, by interval, in any unit.

        Returns
        -------
        tuple of (jobs,) and (pools,) float
            In the amount's unit.
        """
        used = self.node_j > _NEXT_TO_NOTHING * self.node_j.max(initial=0.0)
        rate = np.divide(amount, self.node_j, out=np.zeros_like(amount), where=used)
        by_job = by_code(self.places.ledger.job, self.places.joules_times(rate), self.jobs)
        by_pool = np.asarray((self.idle_j * rate).sum(axis=1))
        # Where next to nothing draws, nobody uses: what stands still is the idle machines'.
        rest = float(amount[~used].sum())
        if rest != 0.0 and self.pool_gpus.sum() > 0.0:
            by_pool = by_pool + rest * self.pool_gpus / self.pool_gpus.sum()
        return by_job, by_pool
