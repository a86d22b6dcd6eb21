"""Peaks and ramps of a power series: quarter-hour means, momentary maxima, five-minute ramps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.calendar import Calendar
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import MINUTE_S
from simulator.grid.tariff import DEMAND_INTERVAL_S

FloatArray = NDArray[np.float64]

#: Ramps are differences of means over this long. [s]
RAMP_INTERVAL_S = 5.0 * MINUTE_S


@dataclass(frozen=True, slots=True)
class QuarterHours:
    """Means over UTC quarter-hours that lie wholly within the run."""

    start_s: FloatArray
    mean_w: FloatArray

    def largest_by(self, edges_s: FloatArray) -> FloatArray:
        """Return the largest mean of the quarter-hours that begin in each interval; NaN if none."""
        found = np.full(len(edges_s) - 1, np.nan)
        place = np.searchsorted(edges_s, self.start_s, side="right") - 1
        known = (place >= 0) & (place < len(found))
        np.fmax.at(found, place[known], self.mean_w[known])
        return found


def quarter_hours(power_w: StepSeries, calendar: Calendar) -> QuarterHours:
    """Return the quarter-hour means of a power series.

    Parts of a quarter-hour at the run's ends are left out, as their mean would be one of a
    shorter time; a run without a whole quarter-hour is taken as one.
    """
    edges_s = calendar.edges_s(power_w.end_s, DEMAND_INTERVAL_S)
    means_w = power_w.means_between(edges_s)
    # Half a tick of the time grid is far below any real difference of lengths.
    whole = np.diff(edges_s) > DEMAND_INTERVAL_S * (1.0 - 1e-9)
    if not whole.any():
        return QuarterHours(np.array([power_w.begin_s]), np.array([power_w.mean()]))
    return QuarterHours(edges_s[:-1][whole], means_w[whole])


def largest_between(power_w: StepSeries, edges_s: FloatArray) -> FloatArray:
    """Return the largest value held within each interval. (m,)

    Parameters
    ----------
    power_w
        Any series.
    edges_s : (m+1,) float
        Increasing, within the series. [s]
    """
    starts = np.union1d(power_w.start_s, edges_s[:-1])
    starts = starts[(starts >= edges_s[0]) & (starts < edges_s[-1])]
    return np.asarray(np.maximum.reduceat(power_w.at(starts), np.searchsorted(starts, edges_s[:-1])))


def largest_ramp_w_per_s(power_w: StepSeries, calendar: Calendar) -> float:
    """Return the largest change between neighbouring five-minute means, up or down. [W/s]"""
    edges_s = calendar.edges_s(power_w.end_s, RAMP_INTERVAL_S)
    whole = np.diff(edges_s) > RAMP_INTERVAL_S * (1.0 - 1e-9)
    means_w = power_w.means_between(edges_s)[whole]
    if len(means_w) < 2:
        return 0.0
    return float(np.abs(np.diff(means_w)).max() / RAMP_INTERVAL_S)
