"""Seconds since a run's start on a time axis: local, 24 hours, the zone named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.results import Run

_DAY_S = 86400.0


class LocalTime:
    """The run's calendar, for axes and labels."""

    def __init__(self, run: Run) -> None:
        self.calendar = run.calendar
        self.zone_name = run.timezone

    def numbers(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return matplotlib's date numbers (days since 1970 UTC)."""
        return np.asarray((self.calendar.start_epoch_s + np.asarray(time_s)) / _DAY_S)

    def utc_text(self, time_s: float) -> str:
        """Return ISO 8601 with Z, to the second."""
        return self.calendar.utc(float(np.round(time_s))).strftime("%Y-%m-%dT%H:%M:%SZ")

    def local_text(self, time_s: float) -> str:
        """Return day, month and time in the run's zone, such as ``13 Mar 15:10``."""
        moment = self.calendar.local(float(time_s))
        return f"{moment.day} {moment:%b %H:%M}"

    def hour_of_day(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the local hour, 0 to 23, daylight saving respected."""
        return np.asarray(self.calendar.hour_of_day_local(time_s), dtype=np.int64)

    def dress(self, axes: Axes) -> None:
        """Put local dates and hours on the x axis and name the zone."""
        from matplotlib import dates

        from simulator.foundation.calendar import zone_of

        zone = zone_of(self.zone_name)
        locator = dates.AutoDateLocator(tz=zone, minticks=4, maxticks=9)
        formatter: Any = dates.ConciseDateFormatter(
            locator,
            tz=zone,
            formats=["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(formatter)
        axes.set_xlabel(f"local time, {self.zone_name}")
