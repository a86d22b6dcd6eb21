"""How much is asked for: a mean rate in the terms people have, and its rhythm over the week."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import ShapeSpec
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import CatalogError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S, render

HOURS_A_WEEK: Final = 168
_ROUNDING: Final = 1e-9
#: Local hours begin at a multiple of this in UTC, whatever the zone (Nepal: 5 h 45 min).
_ZONE_STEP_S: Final = HOUR_S / 4

#: Growth by more than 10^12 in one run is a slip of the pen.
_MOST_DOUBLINGS: Final = 40


@dataclass(frozen=True)
class Demand:
    """A mean rate, shaped by the hour of the local week.

    The mean is the mean of a whole week: a run over a weekend alone meets less of an
    office-hours demand, as it should.

    Parameters
    ----------
    mean_per_s : float
        Requests (or jobs) per second, averaged over a week; 0 or more.
    shape : ShapeSpec or None
        Multipliers by local hour of the week; None is flat.
    peak_to_mean : float or None
        The busiest hour over the mean; the shape is stretched about its mean to reach it,
        which keeps the mean. None keeps the shape's own.
    doubling_s : float or None
        Time in which the rate doubles; the mean is the week's at the run's first moment. None
        does not grow. [s]

    Raises
    ------
    CatalogError
        If the rate is negative, the doubling time not positive, the shape is no week of
        multipliers with mean 1, or no stretching of it reaches `peak_to_mean`; the message gives
        what is possible.
    """

    mean_per_s: float
    shape: ShapeSpec | None = None
    peak_to_mean: float | None = None
    doubling_s: float | None = None

    def __post_init__(self) -> None:
        if self.doubling_s is not None and not (0.0 < self.doubling_s < math.inf):
            raise CatalogError(f"doubling time {self.doubling_s:g} s; expected more than 0")
        if not (self.mean_per_s >= 0 and np.isfinite(self.mean_per_s)):
            raise CatalogError(f"demand: {self.mean_per_s:g} per second; expected a number, 0 or more")
        # Any impossible shape shows when the scenario is read, not at the first arrival.
        self.multipliers()

    @classmethod
    def of_users(
        cls,
        users: float,
        requests_per_user_per_s: float,
        shape: ShapeSpec | None = None,
        peak_to_mean: float | None = None,
        doubling_s: float | None = None,
    ) -> Demand:
        """Make a demand of so many users who each send so many requests per second."""
        return cls(users * requests_per_user_per_s, shape, peak_to_mean, doubling_s)

    @classmethod
    def of_tokens(
        cls,
        tokens_per_s: float,
        tokens_per_request: float,
        shape: ShapeSpec | None = None,
        peak_to_mean: float | None = None,
        doubling_s: float | None = None,
    ) -> Demand:
        """Make a demand that moves so many tokens per second.

        `tokens_per_request` is the mean of what the rate counts: the output alone, or
        prompt and output together.
        """
        if not tokens_per_request > 0:
            raise CatalogError(f"demand: {tokens_per_request:g} tokens per request; expected more than 0")
        return cls(tokens_per_s / tokens_per_request, shape, peak_to_mean, doubling_s)

    @classmethod
    def of_gpu_time(
        cls,
        gpus: float,
        gpu_s_per_request: float,
        shape: ShapeSpec | None = None,
        peak_to_mean: float | None = None,
        doubling_s: float | None = None,
    ) -> Demand:
        """Make a demand that keeps so many GPUs busy on average (GPU-seconds per second)."""
        if not gpu_s_per_request > 0:
            raise CatalogError(f"demand: {gpu_s_per_request:g} GPU-seconds per request; expected more than 0")
        return cls(gpus / gpu_s_per_request, shape, peak_to_mean, doubling_s)

    def multipliers(self) -> NDArray[np.float64]:
        """Return the rate over the mean by local hour of the week, Monday 00:00 first. (168,)"""
        if self.shape is None:
            week, name = np.ones(HOURS_A_WEEK), "flat"
        else:
            week, name = _checked_week(self.shape), self.shape.name
        if self.peak_to_mean is None:
            return week
        return _stretched(week, self.peak_to_mean, name)

    def rate_per_s(self, calendar: Calendar, end_s: float, timezone: str | None = None) -> StepSeries:
        """Return the rate over a run, changing where the local hour does, or with growth all the time.

        Parameters
        ----------
        calendar
            The run's calendar.
        end_s
            Where the series ends. [s since the run's start]
        timezone
            Where the users live; the calendar's own if not given. Clock changes are followed.
        """
        start_s = calendar.edges_s(end_s, _ZONE_STEP_S)[:-1]
        hour = calendar.hour_of_week_local(start_s, timezone)
        rate_per_s = self.mean_per_s * self.multipliers()[hour]
        if self.doubling_s is None:
            return StepSeries(start_s, rate_per_s, end_s).simplified()
        if end_s / self.doubling_s > _MOST_DOUBLINGS:
            raise CatalogError(
                f"doubling: a demand that doubles every {render(self.doubling_s, 's')} doubles "
                f"{end_s / self.doubling_s:,.0f} times in {render(end_s, 's')}; expected at most "
                f"{_MOST_DOUBLINGS} times"
            )
        # Each step holds its own mean of 2^(t / doubling), so counts over whole steps are exact.
        grown = np.exp2(np.append(start_s, end_s) / self.doubling_s)
        widths = np.diff(np.append(start_s, end_s)) * (math.log(2.0) / self.doubling_s)
        return StepSeries(start_s, rate_per_s * np.diff(grown) / widths, end_s)


def _checked_week(shape: ShapeSpec) -> NDArray[np.float64]:
    """Return a shape's multipliers with a mean of exactly 1, if they are a week's."""
    week = np.asarray(shape.multipliers, dtype=np.float64)
    if week.shape != (HOURS_A_WEEK,):
        raise CatalogError(
            f"shape {shape.name}: {week.size} multipliers; expected {HOURS_A_WEEK}, one an hour of the week"
        )
    bad = np.flatnonzero(~(np.isfinite(week) & (week >= 0)))
    if len(bad):
        hour = int(bad[0])
        raise CatalogError(
            f"shape {shape.name}: multiplier {week[hour]:g} at hour {hour}; expected 0 or more"
        )
    mean = float(week.mean())
    if abs(mean - 1.0) > 1e-3:
        raise CatalogError(f"shape {shape.name}: multipliers have mean {mean:g}; expected 1")
    # What is left is the rounding of printed multipliers.
    return week / mean


def _stretched(week: NDArray[np.float64], peak_to_mean: float, name: str) -> NDArray[np.float64]:
    """Return 1 + k (week - 1) with k such that the peak is as asked; its mean stays 1."""
    peak, trough = float(week.max()), float(week.min())
    if not (1.0 <= peak_to_mean < np.inf):
        raise CatalogError(f"peak_to_mean {peak_to_mean:g}; expected 1 or more")
    if peak == 1.0:
        if peak_to_mean == 1.0:
            return week
        raise CatalogError(
            f"peak_to_mean {peak_to_mean:g} has no effect on shape {name}, which has no peak; "
            "expected 1, or another shape"
        )
    stretch = (peak_to_mean - 1.0) / (peak - 1.0)
    if 1.0 + stretch * (trough - 1.0) < -_ROUNDING:
        largest = 1.0 + (peak - 1.0) / (1.0 - trough)
        raise CatalogError(
            f"peak_to_mean {peak_to_mean:g} would make the quietest hour of shape {name} negative; "
            f"expected at most {np.floor(largest * 1000 + _ROUNDING) / 1000:g}, or a shape with a higher peak"
        )
    return np.maximum(1.0 + stretch * (week - 1.0), 0.0)
