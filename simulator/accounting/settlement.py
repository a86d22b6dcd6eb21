"""Sharing what a site draws over what its rows use, within each settlement interval.

Everything that is not a row's own IT energy (cooling, losses, network, storage, other) follows
IT energy within the interval, so that the sum over rows is the meter. All shares are prefix
integrals: a row costs two look-ups, whatever the number of intervals it spans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.ledger import SiteLedger
from simulator.foundation.calendar import Calendar
from simulator.foundation.units import HOUR_S

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


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
        before = np.concatenate(([0.0], np.cumsum(rate * np.diff(self.edges_s))))[:-1]
        at_end = before[self.end] + rate[self.end] * (self.ledger.end_s - self.edges_s[self.end])
        at_begin = before[self.begin] + rate[self.begin] * (self.ledger.start_s - self.edges_s[self.begin])
        return np.asarray(self.ledger.power_w * (at_end - at_begin))


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
        idle_j = np.array(
            [pool.idle_gpu_seconds(edges_s) * pool.idle_w_per_gpu for pool in ledger.pools]
        ).reshape(len(ledger.pools), len(edges_s) - 1)
        return cls(
            places=RowPlaces.find(edges_s, ledger),
            jobs=jobs,
            node_j=ledger.node_w.integrals_between(edges_s),
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
        used = self.node_j > 0.0
        rate = np.divide(amount, self.node_j, out=np.zeros_like(amount), where=used)
        by_job = by_code(self.places.ledger.job, self.places.joules_times(rate), self.jobs)
        by_pool = np.asarray((self.idle_j * rate).sum(axis=1))
        # Where nothing draws, nobody uses: what stands still belongs to the idle machines.
        rest = float(amount[~used].sum())
        if rest != 0.0 and self.pool_gpus.sum() > 0.0:
            by_pool = by_pool + rest * self.pool_gpus / self.pool_gpus.sum()
        return by_job, by_pool
