"""Outside air of a site: dry and wet bulb as step series, from normals, a file or constants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import ClimateSpec
from simulator.facility.psychrometrics import relative_humidity_fraction, wet_bulb_c
from simulator.foundation.calendar import Calendar, zone_of
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import DAY_S, HOUR_S

FloatArray = NDArray[np.float64]

#: Middle of each month in days of a common year, for interpolation between monthly normals.
_MID_MONTH_DAYS: Final = np.array(
    [15.5, 45.0, 74.5, 105.0, 135.5, 166.0, 196.5, 227.5, 258.0, 288.5, 319.0, 349.5]
)
_YEAR_DAYS: Final = 365.0


@dataclass(frozen=True, slots=True)
class Weather:
    """Outside air of one site over the run; the wet bulb never lies above the dry bulb."""

    dry_bulb: StepSeries
    """[C]"""
    wet_bulb: StepSeries
    """[C]"""
    source: str
    notes: tuple[str, ...] = ()
    """What a reader must be told, e.g. that hour labels were shifted."""

    def at(self, t_s: float) -> tuple[float, float]:
        """Return dry and wet bulb. [C]"""
        return self.dry_bulb.at(t_s), self.wet_bulb.at(t_s)


def constant_weather(dry_bulb_c: float, wet_bulb: float, end_s: float) -> Weather:
    """Return air that never changes.

    Parameters
    ----------
    dry_bulb_c, wet_bulb
        The wet bulb at most the dry bulb. [C]
    end_s
        The run's horizon. [s]
    """
    if wet_bulb > dry_bulb_c:
        raise ValueError(f"wet bulb {wet_bulb} C lies above dry bulb {dry_bulb_c} C")
    return Weather(
        StepSeries.constant(dry_bulb_c, end_s),
        StepSeries.constant(wet_bulb, end_s),
        f"constant {dry_bulb_c:g} C, wet bulb {wet_bulb:g} C",
    )


def synthetic_weather(
    spec: ClimateSpec, calendar: Calendar, horizon_s: float, stream: np.random.Generator
) -> Weather:
    """Return hourly weather made from monthly normals.

    Mean, daily range and dew-point depression follow the months smoothly; daily means stray
    as a first-order autoregression; the dew point holds through the day. Means are adequate
    for PUE and water; heat waves are rarer than in a real year.

    Parameters
    ----------
    spec
        The normals.
    calendar, horizon_s
        The run's span. [s]
    stream
        Where the daily anomalies are drawn from, one number a day from the day before the
        start, so a longer run begins with the same weather.
    """
    edges_s = calendar.hour_edges_s(horizon_s)
    middle_s = 0.5 * (edges_s[:-1] + edges_s[1:])
    # Local standard time all year: the sun does not know of summer time.
    local_s = calendar.start_epoch_s + middle_s + _standard_offset_s(spec.timezone, calendar.start_utc)
    day_of_year = _day_of_year(local_s)

    mean_c, range_k, depression_k, anomaly_k = (
        np.interp(day_of_year, _MID_MONTH_DAYS, table, period=_YEAR_DAYS)
        for table in (spec.mean_c, spec.diurnal_range_k, spec.dew_point_depression_k, spec.anomaly_k)
    )
    day_mean_c = mean_c + anomaly_k * _anomaly(local_s, spec.anomaly_persistence, stream)
    hour = (local_s % DAY_S) / HOUR_S
    swing = np.cos(2.0 * np.pi * (hour - spec.warmest_hour_local) / 24.0)
    dry_c = day_mean_c + 0.5 * range_k * swing
    humidity = relative_humidity_fraction(dry_c, day_mean_c - depression_k)
    wet_c = np.minimum(wet_bulb_c(dry_c, humidity, spec.pressure_pa), dry_c)
    return Weather(
        StepSeries(edges_s[:-1], dry_c, horizon_s),
        StepSeries(edges_s[:-1], wet_c, horizon_s),
        f"synthetic year of {spec.name}",
        ("weather is synthetic, from monthly normals: heat waves are rarer than in a real year",),
    )


def _standard_offset_s(timezone: str, moment: datetime) -> float:
    """Offset of standard time from UTC in the year of a moment. [s]"""
    zone = zone_of(timezone)
    # Some zones shift in winter, some in summer: standard time is where dst() is nil.
    for days in (0, 91, 182, 273):
        local = (moment + timedelta(days=days)).astimezone(zone)
        offset = local.utcoffset()
        if offset is not None and not local.dst():
            return offset.total_seconds()
    raise ValueError(f"time zone {timezone} knows no standard time")


def _day_of_year(epoch_s: FloatArray) -> FloatArray:
    """Days since 1 January of each moment's year, with fraction; the 366th day counts as 365th."""
    moments = np.floor(epoch_s).astype(np.int64).astype("datetime64[s]")
    year = moments.astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64)
    return np.asarray(np.minimum((epoch_s - year) / DAY_S, _YEAR_DAYS))


def _anomaly(local_s: FloatArray, persistence: float, stream: np.random.Generator) -> FloatArray:
    """Standardised daily anomalies, interpolated from noon to noon."""
    first_day = int(local_s[0] // DAY_S) - 1
    days = int(local_s[-1] // DAY_S) + 1 - first_day + 1
    shocks = stream.standard_normal(days)
    anomaly = np.empty(days)
    anomaly[0] = shocks[0]
    innovation = np.sqrt(1.0 - persistence**2)
    for day in range(1, days):
        anomaly[day] = persistence * anomaly[day - 1] + innovation * shocks[day]
    noon_s = (first_day + np.arange(days) + 0.5) * DAY_S
    return np.asarray(np.interp(local_s, noon_s, anomaly))
