"""Fit monthly weather normals for synthetic years; writes ``simulator/catalog/climates.yaml``.

Run ``python -m analysis.calibration.climates [--data DIR] [--write]``. Read are hourly series of 2021-2024
(UTC) and typical-year EPW files (local standard time, labels at the end of the hour).

The normals are what ``simulator.facility.weather`` needs: month's mean, the mean day's first harmonic,
dew-point depression, spread and day-to-day persistence of daily means. Spread is taken around the smooth
course of the year, not around a month's flat mean, or spring and autumn would look more variable than they
are. It prints what it fitted and the extremes that monthly normals cannot hold. New York's EPW is left out:
its days follow each other with a correlation of 0.97 and never pass 28.5 C, so it is smoothed.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import catalog_file as sheet

Array = NDArray[np.float64]
_MID_MONTH = np.array([15.5, 45.0, 74.5, 105.0, 135.5, 166.0, 196.5, 227.5, 258.0, 288.5, 319.0, 349.5])


@dataclass(frozen=True)
class Place:
    """Where a climate's hours come from."""

    name: str
    title: str
    zone: str
    standard_offset_h: int
    series: str = ""
    epw: str = ""
    elevation_m: float = 0.0


PLACES = (
    Place("frankfurt-typical", "Frankfurt am Main, 2021-2024", "Europe/Berlin", 1, "DE-LU", elevation_m=111),
    Place("london", "London, 2021-2024", "Europe/London", 0, "GB", elevation_m=25),
    Place("singapore", "Singapore, 2021-2024", "Asia/Singapore", 8, "SG", elevation_m=15),
    Place("ashburn", "Ashburn (Leesburg), Virginia, typical year", "America/New_York", -5,
          epw="USA_VA_Leesburg.Exec"),
    Place("san-jose", "San Jose, California, typical year", "America/Los_Angeles", -8,
          epw="USA_CA_San.Jose-Mineta"),
    Place("dallas", "Dallas, Texas, typical year", "America/Chicago", -6, epw="USA_TX_Dallas-Fort.Worth"),
    Place("phoenix", "Phoenix, Arizona, typical year", "America/Phoenix", -7,
          epw="USA_AZ_Phoenix-Sky.Harbor"),
    Place("atlanta", "Atlanta, Georgia, typical year", "America/New_York", -5,
          epw="USA_GA_Atlanta-Hartsfield-Jackson"),
    Place("chicago", "Chicago, Illinois, typical year", "America/Chicago", -6, epw="USA_IL_Chicago.OHare"),
    Place("seattle", "Seattle, Washington, typical year", "America/Los_Angeles", -8,
          epw="USA_WA_Seattle-Tacoma"),
    Place("stockholm", "Stockholm, typical year", "Europe/Stockholm", 1,
          epw="SWE_Stockholm.Arlanda.024600_IWEC"),
    Place("helsinki", "Helsinki, typical year", "Europe/Helsinki", 2, epw="FIN_Helsinki.029740_IWEC"),
    Place("tokyo", "Tokyo (Hyakuri), typical year", "Asia/Tokyo", 9, epw="JPN_Tokyo.Hyakuri.477150_IWEC"),
    Place("sydney", "Sydney, typical year", "Australia/Sydney", 10, epw="AUS_NSW.Sydney.947670_IWEC"),
)  # fmt: skip


@dataclass(frozen=True)
class Hours:
    """Hours in local standard time; NaN where blank."""

    month: NDArray[np.int64]
    hour: Array
    day: NDArray[np.int64]
    day_of_year: NDArray[np.int64]
    dry_c: Array
    dew_c: Array
    pressure_pa: float
    elevation_m: float


def dew_point_c(dry_c: Array, relative_humidity_percent: Array) -> Array:
    """Return the dew point by Magnus (Alduchov and Eskridge 1996, over water)."""
    gamma = np.log(np.maximum(relative_humidity_percent, 1.0) / 100.0) + 17.625 * dry_c / (243.04 + dry_c)
    return np.asarray(243.04 * gamma / (17.625 - gamma))


def hours_of(
    moments: list[datetime], dry_c: Array, dew_c: Array, pressure_pa: float, elevation_m: float
) -> Hours:
    """Return hours by their local-standard moments."""
    first = moments[0].replace(hour=0, minute=0)
    return Hours(
        np.array([m.month - 1 for m in moments]),
        np.array([m.hour + m.minute / 60 for m in moments]),
        np.array([(m.replace(tzinfo=first.tzinfo) - first).days for m in moments]),
        np.array([m.timetuple().tm_yday for m in moments]),
        dry_c,
        dew_c,
        pressure_pa,
        elevation_m,
    )


def read_series(place: Place, data: Path) -> Hours:
    """Return a zone's four years; a value belongs to the moment of its label."""
    zone = timezone(timedelta(hours=place.standard_offset_h))
    moments, dry, humidity = [], [], []
    with gzip.open(
        data / "grid/zones" / f"{place.series}_2021-2024_hourly.csv.gz", "rt", newline=""
    ) as stream:
        for row in csv.DictReader(stream):
            moments.append(datetime.fromisoformat(row["time_utc"]).astimezone(UTC).astimezone(zone))
            dry.append(float(row["temp_c"] or "nan"))
            humidity.append(float(row["rh_pct"] or "nan"))
    dry_c = np.array(dry)
    # ICAO standard atmosphere: the series holds no pressure.
    pressure_pa = 101325.0 * (1.0 - 2.25577e-5 * place.elevation_m) ** 5.25588
    return hours_of(moments, dry_c, dew_point_c(dry_c, np.array(humidity)), pressure_pa, place.elevation_m)


def read_epw(place: Place, data: Path) -> Hours:
    """Return a typical year; labels end the hour, so half an hour is taken off."""
    moments, dry, dew, pressure = [], [], [], []
    with gzip.open(
        data / "grid/weather_epw" / f"{place.epw}.epw.gz", "rt", encoding="latin-1", newline=""
    ) as stream:
        rows = list(csv.reader(stream))
    for row in rows[8:]:
        # Months come from different years: one year for all, so that days follow each other.
        moments.append(datetime(2021, int(row[1]), int(row[2])) + timedelta(hours=int(row[3]) - 0.5))
        dry.append(float(row[6]))
        dew.append(float(row[7]))
        pressure.append(float(row[9]))
    return hours_of(moments, np.array(dry), np.array(dew), float(np.mean(pressure)), float(rows[0][9]))


def smooth_year(monthly: Array, day_of_year: NDArray[np.int64]) -> Array:
    """Return monthly values as a course of the year, as the synthesis reads them."""
    return np.asarray(np.interp(day_of_year - 0.5, _MID_MONTH, monthly, period=365.0))


def fit(hours: Hours) -> dict[str, Array | float]:
    """Return the normals."""
    dry = hours.dry_c
    mean = np.array([np.nanmean(dry[hours.month == m]) for m in range(12)])
    depression = np.array([np.nanmean((dry - hours.dew_c)[hours.month == m]) for m in range(12)])
    day_range, phase = np.empty(12), np.empty(12)
    for m in range(12):
        here = (hours.month == m) & ~np.isnan(dry)
        angle = 2.0 * np.pi * hours.hour[here] / 24.0
        cosine = 2.0 * np.mean((dry[here] - mean[m]) * np.cos(angle))
        sine = 2.0 * np.mean((dry[here] - mean[m]) * np.sin(angle))
        day_range[m] = 2.0 * np.hypot(cosine, sine)
        phase[m] = np.arctan2(sine, cosine)
    days = np.arange(hours.day.max() + 1)
    daily = np.full(days.size, np.nan)
    months, year_day = np.zeros(days.size, int), np.zeros(days.size, int)
    order = np.argsort(hours.day, kind="stable")
    starts = np.searchsorted(hours.day[order], days)
    for d, part in enumerate(np.split(order, starts[1:])):
        # A day of the record's ends may be cut off; half a day says nothing about its mean.
        if part.size >= 20 and np.isfinite(dry[part]).sum() >= 20:
            daily[d] = np.nanmean(dry[part])
            months[d], year_day[d] = hours.month[part[0]], hours.day_of_year[part[0]]
    anomaly = daily - smooth_year(mean, year_day)
    spread = np.array([np.nanstd(anomaly[months == m]) for m in range(12)])
    standard = anomaly / spread[months]
    pairs = np.isfinite(standard[:-1]) & np.isfinite(standard[1:])
    persistence = float(np.corrcoef(standard[:-1][pairs], standard[1:][pairs])[0, 1])
    angle = np.angle(np.sum(day_range * np.exp(1j * phase)))
    return {
        "mean": mean,
        "diurnal_range": day_range,
        "dew_point_depression": depression,
        "anomaly": spread,
        "anomaly_persistence": persistence,
        "warmest_hour_local": float(angle / (2.0 * np.pi) * 24.0 % 24.0),
        "design_maximum": float(np.nanquantile(dry, 0.996)),
        "maximum": float(np.nanmax(dry)),
    }


def place_lines(place: Place, data: Path) -> list[str]:
    """Return one climate's YAML, and print what was fitted."""
    hours = read_series(place, data) if place.series else read_epw(place, data)
    normals = fit(hours)
    year = float(np.nanmean(hours.dry_c))
    print(
        f"{place.name}: mean {year:.1f} C, warmest hour {normals['warmest_hour_local']:.1f} h, persistence "
        f"{normals['anomaly_persistence']:.2f}, 0.4 % above {normals['design_maximum']:.1f} C, maximum "
        f"{normals['maximum']:.1f} C, {hours.pressure_pa:.0f} Pa, {int(np.isnan(hours.dry_c).sum())} blank"
    )
    source = "open-meteo-2021-2024" if place.series else "epw-typical"
    lines = [
        f"{place.name}:",
        f"  title: {sheet.quoted(place.title)}",
        f"  source: {source}",
        "  basis: calibrated",
        f"  timezone: {place.zone}",
        f"  elevation: {hours.elevation_m:.0f} m",
        f"  pressure: {hours.pressure_pa:.0f} Pa",
    ]
    for key in ("mean", "diurnal_range", "dew_point_depression", "anomaly"):
        row = " ".join(sheet.number(float(x), 1) for x in np.asarray(normals[key]))
        lines.append(f"  {key}: {sheet.quoted(row)}")
    for key, unit, digits in (
        ("anomaly_persistence", "", 2),
        ("warmest_hour_local", "", 1),
        ("design_maximum", " C", 1),
    ):
        lines.append(f"  {key}: {sheet.number(float(np.asarray(normals[key])), digits)}{unit}")
    return lines


def text(data: Path) -> str:
    """Return ``climates.yaml``, and print what was fitted."""
    lines: list[str] = []
    for place in PLACES:
        lines += ["", *place_lines(place, data)]
    header = (
        "Climates: monthly normals (January first) from which a synthetic year of weather is made.",
        "Written by analysis/calibration/climates.py; change it there.",
        "Degrees C for mean and design_maximum, kelvin for the rest. Adequate for PUE and water;",
        "heat waves are rarer than in a real year: give `weather: FILE.epw` for those.",
    )
    return sheet.file_text(header, lines)


if __name__ == "__main__":
    sheet.run("climates.yaml", __doc__.splitlines()[0], text)
