"""Seconds since a run's start on a time axis: local, 24 hours, the zone named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.results import Run

_DAY_S = 86400.0


class LocalTime:
    """The run's clock, for axes and labels."""

    def __init__(self, run: Run) -> None:
        self.start = datetime.fromisoformat(str(run.provenance["start_utc"]).replace("Z", "+00:00"))
        self.zone_name = run.timezone
        self.zone = ZoneInfo(self.zone_name)

    def numbers(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return matplotlib's date numbers (days since 1970 UTC)."""
        return np.asarray((self.start.timestamp() + np.asarray(time_s)) / _DAY_S)

    def utc_text(self, time_s: float) -> str:
        """Return ISO 8601 with Z, to the second."""
        moment = self.start.astimezone(UTC) + timedelta(seconds=round(float(time_s)))
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def local_text(self, time_s: float) -> str:
        """Return day, month and time in the run's zone, such as ``13 Mar 15:10``."""
        moment = (self.start + timedelta(seconds=float(time_s))).astimezone(self.zone)
        return f"{moment.day} {moment:%b %H:%M}"

    def hour_of_day(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the local hour, 0 to 23, daylight saving respected."""
        first = int(np.floor(self.start.timestamp() / 3600.0))
        hour = np.floor((self.start.timestamp() + np.asarray(time_s)) / 3600.0).astype(np.int64) - first
        if not len(hour):
            return hour
        # Offsets change only at quarter hours; one look per hour of the run serves all its moments.
        span = np.arange(int(hour.max()) + 1)
        table = np.array([datetime.fromtimestamp((first + int(h)) * 3600, self.zone).hour for h in span])
        return np.asarray(table[hour], dtype=np.int64)

    def dress(self, axes: Axes, *, label: bool = True) -> None:
        """Put local dates and hours on the x axis and name the zone."""
        from matplotlib import dates

        locator = dates.AutoDateLocator(tz=self.zone, minticks=4, maxticks=9)
        formatter: Any = dates.ConciseDateFormatter(
            locator,
            tz=self.zone,
            formats=["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(formatter)
        if label:
            axes.set_xlabel(f"local time, {self.zone_name}")
