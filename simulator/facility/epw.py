"""Weather of a typical year from an EnergyPlus weather file (EPW, plain or gzip)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.facility.psychrometrics import relative_humidity_fraction, wet_bulb_c
from simulator.facility.weather import Weather
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import TraceError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.units import HOUR_S

FloatArray = NDArray[np.float64]

_HEADER_LINES: Final = 8
_HOURS: Final = 8760
#: Column, name, and the value from which on the EPW data dictionary means "missing".
_COLUMNS: Final = (
    (6, "dry bulb", 99.9),
    (7, "dew point", 99.9),
    (9, "pressure", 999999.0),
)


class _Year(NamedTuple):
    title: str
    utc_offset_s: float
    dry_c: FloatArray
    wet_c: FloatArray


def read_epw(path: Path, calendar: Calendar, horizon_s: float) -> Weather:
    """Return the file's year, laid along the run's calendar.

    EPW labels an hour by its end, in local standard time; the labels are shifted to the
    beginning and to UTC, and the notes say so. The year repeats; 29 February repeats the 28th.

    Parameters
    ----------
    path
        The file.
    calendar, horizon_s
        The run's span. [s]

    Raises
    ------
    TraceError
        The file is not an EPW file of 8,760 hours without gaps; the message gives the line.
    """
    year = _read_year(path)
    edges_s = calendar.hour_edges_s(horizon_s)
    middle_s = 0.5 * (edges_s[:-1] + edges_s[1:])
    index = _hour_of_year(calendar.start_epoch_s + middle_s + year.utc_offset_s)
    return Weather(
        StepSeries(edges_s[:-1], year.dry_c[index], horizon_s),
        StepSeries(edges_s[:-1], year.wet_c[index], horizon_s),
        f"{path.name}: {year.title}",
        (
            f"{path.name}: hours are labelled at their end in local standard time; "
            "shifted to beginning-of-hour UTC",
        ),
    )


def _read_year(path: Path) -> _Year:
    lines = _lines(path)
    head = lines[0].split(",") if lines else [""]
    if head[0].strip() != "LOCATION" or len(head) < 10:
        raise TraceError(f"{path}:1: not an EPW file: the first line must begin with LOCATION")
    try:
        offset_s = float(head[8]) * HOUR_S
    except ValueError:
        raise TraceError(f"{path}:1: time zone '{head[8]}' is not a number of hours") from None
    rows = [(number, line) for number, line in enumerate(lines[_HEADER_LINES:], _HEADER_LINES + 1) if line]
    if len(rows) != _HOURS:
        raise TraceError(f"{path}: {len(rows)} hours of data; a year has {_HOURS}")
    values = np.empty((len(_COLUMNS), _HOURS))
    for hour, (number, line) in enumerate(rows):
        fields = line.split(",")
        for row, (column, name, missing) in enumerate(_COLUMNS):
            try:
                value = float(fields[column])
            except (IndexError, ValueError):
                raise TraceError(f"{path}:{number}: {name} (column {column + 1}) is not a number") from None
            if not value < missing:
                raise TraceError(f"{path}:{number}: {name} is missing ({fields[column]})")
            values[row, hour] = value
    dry_c, dew_c, air_pa = values
    humidity = relative_humidity_fraction(dry_c, dew_c)
    wet_c = np.minimum(wet_bulb_c(dry_c, humidity, air_pa), dry_c)
    return _Year(f"{head[1].strip()}, {head[3].strip()}", offset_s, dry_c, wet_c)


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
    # Place names carry accents in several encodings; the numbers are ASCII in all of them.
    return data.decode("utf-8", errors="replace").splitlines()


def _hour_of_year(local_epoch_s: FloatArray) -> NDArray[np.int64]:
    """Index into 8,760 hours of a common year, by calendar month, day and hour."""
    moments = np.floor(local_epoch_s).astype(np.int64).astype("datetime64[s]")
    months = moments.astype("datetime64[M]")
    month = months.astype(np.int64) % 12
    day = (moments.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    hour = (moments.astype(np.int64) // int(HOUR_S)) % 24
    day = np.where((month == 1) & (day == 28), 27, day)
    first = np.concatenate(([0], np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])))
    return np.asarray((first[month] + day) * 24 + hour, dtype=np.int64)
