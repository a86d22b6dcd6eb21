"""Seconds of a run against the clock on the wall: UTC at the door, local time for people.

Hours are labelled by their beginning, in UTC.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Self, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.foundation.errors import UnitError
from simulator.foundation.names import nearest
from simulator.foundation.units import DAY_S, HOUR_S, parse

Floats: TypeAlias = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.int64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Kiribati's Line Islands.
_WIDEST_OFFSET_H: Final = 14
#: 1970-01-01 was a Thursday; Monday counts as 0.
_EPOCH_WEEKDAY: Final = 3
_MOMENT: Final = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<clock>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?))?"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2}|[A-Za-z][A-Za-z0-9_+\-/]*)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Calendar:
    """When a run begins and where its people live.

    Parameters
    ----------
    start_utc
        The moment of 0 s; aware of its zone.
    timezone
        IANA name used for local hours and for moments written without a zone.

    Raises
    ------
    UnitError
        The zone is not known; the message gives the nearest.

    Examples
    --------
    >>> calendar = Calendar.from_text("2024-03-04 00:00 Europe/Berlin")
    >>> calendar.start_utc.isoformat(), calendar.parse_moment("2024-03-04 06:00")
    ('2024-03-03T23:00:00+00:00', 21600.0)
    """

    start_utc: datetime
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.start_utc.tzinfo is None:
            raise UnitError(f"the start {self.start_utc.isoformat()} names no zone")
        object.__setattr__(self, "start_utc", self.start_utc.astimezone(UTC))
        zone_of(self.timezone)

    @classmethod
    def from_text(cls, text: str, timezone: str | None = None) -> Self:
        """Return the calendar of a start like ``2024-03-04 00:00 Europe/Berlin``.

        A zone in the text is where the people live, unless `timezone` says otherwise; without
        either, the text is UTC.
        """
        moment, zone = _moment(text, timezone or "UTC")
        return cls(moment.astimezone(UTC), timezone or zone)

    @property
    def start_epoch_s(self) -> float:
        """The moment of 0 s. [s since 1970-01-01 UTC]"""
        return (self.start_utc - _EPOCH).total_seconds()

    def utc(self, moment_s: float) -> datetime:
        """Return a moment of the run as an aware UTC datetime."""
        return self.start_utc + timedelta(seconds=moment_s)

    def local(self, moment_s: float, timezone: str | None = None) -> datetime:
        """Return a moment of the run as an aware local datetime."""
        return self.utc(moment_s).astimezone(zone_of(timezone or self.timezone))

    def seconds(self, moment: datetime) -> float:
        """Return an aware datetime as a moment of the run. [s since the run's start]"""
        if moment.tzinfo is None:
            raise UnitError(f"{moment.isoformat()} names no zone")
        return (moment - self.start_utc).total_seconds()

    def hour_edges_s(self, horizon_s: float) -> Floats:
        """Return 0, every beginning of a UTC hour within the run, and the horizon. (n,) [s]

        Examples
        --------
        >>> Calendar.from_text("2024-03-04 00:30").hour_edges_s(7200.0).tolist()
        [0.0, 1800.0, 5400.0, 7200.0]
        """
        return self.edges_s(horizon_s, HOUR_S)

    def edges_s(self, horizon_s: float, step_s: float) -> Floats:
        """Return 0, every UTC multiple of a step within the run, and the horizon. (n,) [s]"""
        if not (horizon_s > 0 and math.isfinite(horizon_s)):
            raise ValueError(f"a horizon is positive and finite, but is {horizon_s!r} s")
        first_s = -self.start_epoch_s % step_s or step_s
        count = max(math.ceil((horizon_s - first_s) / step_s), 0)
        inner = first_s + step_s * np.arange(count)
        return np.concatenate(([0.0], inner[inner < horizon_s], [horizon_s]))

    def month(self, moments_s: ArrayLike) -> Whole:
        """Return the UTC month of each moment, 0 for January. (n,) int"""
        months = self._utc64(moments_s).astype("datetime64[M]").astype(np.int64) % 12
        return np.asarray(months, dtype=np.int64)

    def year(self, moments_s: ArrayLike) -> Whole:
        """Return the UTC year of each moment. (n,) int"""
        return self._utc64(moments_s).astype("datetime64[Y]").astype(np.int64) + 1970

    def hour_of_day(self, moments_s: ArrayLike) -> Whole:
        """Return the UTC hour of each moment, 0 to 23. (n,) int"""
        return _whole((self._epoch(moments_s) // HOUR_S) % 24)

    def hour_of_day_local(self, moments_s: ArrayLike, timezone: str | None = None) -> Whole:
        """Return the local hour of each moment, 0 to 23. (n,) int"""
        return _whole((self._local_epoch(moments_s, timezone) // HOUR_S) % 24)

    def weekday_local(self, moments_s: ArrayLike, timezone: str | None = None) -> Whole:
        """Return the local day of the week of each moment, 0 for Monday. (n,) int"""
        return _whole((self._local_epoch(moments_s, timezone) // DAY_S + _EPOCH_WEEKDAY) % 7)

    def hour_of_week_local(self, moments_s: ArrayLike, timezone: str | None = None) -> Whole:
        """Return the local hour of the week of each moment, 0 for Monday's first. (n,) int"""
        hours = self._local_epoch(moments_s, timezone) // HOUR_S
        return _whole((hours + 24 * _EPOCH_WEEKDAY) % 168)

    def month_local(self, moments_s: ArrayLike, timezone: str | None = None) -> Whole:
        """Return the local month of each moment, 0 for January. (n,) int"""
        local = _datetime64(self._local_epoch(moments_s, timezone))
        return np.asarray(local.astype("datetime64[M]").astype(np.int64) % 12, dtype=np.int64)

    def parse_moment(self, text: str) -> float:
        """Return a written moment. [s since the run's start]

        Parameters
        ----------
        text
            ``2024-03-04 06:00`` (local), the same with a zone (``Z``, ``+01:00``,
            ``Europe/Berlin``), or a time since the start such as ``36 h``.

        Raises
        ------
        UnitError
            It is neither, or a local time that a change of clocks skips or repeats.
        """
        said = " ".join(text.split())
        if _MOMENT.match(said):
            return self.seconds(_moment(said, self.timezone)[0])
        try:
            return parse(said, "s")
        except UnitError:
            raise UnitError(
                f"'{said}' is not a moment (like 2024-03-04 06:00, 2024-03-04T05:00Z, or 36 h)"
            ) from None

    def _epoch(self, moments_s: ArrayLike) -> Floats:
        return np.asarray(moments_s, dtype=np.float64) + self.start_epoch_s

    def _utc64(self, moments_s: ArrayLike) -> NDArray[np.datetime64]:
        return _datetime64(self._epoch(moments_s))

    def _local_epoch(self, moments_s: ArrayLike, timezone: str | None) -> Floats:
        epoch = self._epoch(moments_s)
        if not epoch.size:
            return epoch
        first_day, last_day = int(epoch.min() // DAY_S), int(epoch.max() // DAY_S) + 1
        starts, offsets = _offsets(timezone or self.timezone, first_day, last_day)
        index = np.searchsorted(starts, epoch, side="right") - 1
        local: Floats = epoch + offsets[index]
        return local


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises
    ------
    UnitError
        There is none; the message gives the nearest.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        close = nearest(name, sorted(available_timezones()))
        meant = f"; did you mean '{close}'?" if close else ""
        raise UnitError(f"unknown time zone '{name}'{meant} (IANA names like Europe/Berlin)") from None


def _moment(text: str, timezone: str) -> tuple[datetime, str]:
    """Read a moment; answers it with the name of its zone."""
    said = " ".join(text.split())
    match = _MOMENT.fullmatch(said)
    if match is None:
        raise UnitError(
            f"'{said}' is not a moment (like 2024-03-04 06:00 Europe/Berlin or 2024-03-04T05:00Z)"
        )
    zone = match["zone"] or timezone
    try:
        naive = datetime.fromisoformat(f"{match['day']}T{match['clock'] or '00:00'}")
        if re.fullmatch(r"[+-]\d{2}:?\d{2}", zone):
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            if hours > _WIDEST_OFFSET_H or minutes >= 60:
                raise UnitError(f"'{said}' is not a moment: no zone is {zone} away from UTC")
            offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
            return (naive - offset).replace(tzinfo=UTC), "UTC"
    except UnitError:
        raise
    except (ValueError, OverflowError) as error:
        raise UnitError(f"'{said}' is not a moment: {error}") from None
    if zone in {"Z", "UTC"}:
        return naive.replace(tzinfo=UTC), "UTC"
    return _local_moment(naive, zone, said), zone


def _local_moment(naive: datetime, zone: str, said: str) -> datetime:
    """Give a local time its zone; times that clocks skip or show twice are refused."""
    try:
        early, late = (naive.replace(tzinfo=zone_of(zone), fold=fold) for fold in (0, 1))
        if early.utcoffset() == late.utcoffset():
            return early.astimezone(UTC)
        exists = early.astimezone(UTC).astimezone(zone_of(zone)).replace(tzinfo=None) == naive
    except OverflowError:
        raise UnitError(f"'{said}' is not a moment: it lies at the edge of the calendar") from None
    why = "shown twice" if exists else "skipped"
    raise UnitError(f"'{said}' is {why} when the clocks of {zone} change; write it in UTC, ending in Z")


@lru_cache(maxsize=64)
def _offsets(timezone: str, first_day: int, last_day: int) -> tuple[Floats, Floats]:
    """Return when each UTC offset begins, and the offsets, for days since 1970. [s], [s]"""
    zone = zone_of(timezone)

    def offset_s(epoch_s: float) -> float:
        offset = (_EPOCH + timedelta(seconds=epoch_s)).astimezone(zone).utcoffset()
        return offset.total_seconds() if offset is not None else 0.0

    starts, offsets = [first_day * DAY_S], [offset_s(first_day * DAY_S)]
    for day in range(first_day, last_day + 1):
        after = offset_s((day + 1) * DAY_S)
        if after == offsets[-1]:
            continue
        low, high = day * DAY_S, (day + 1) * DAY_S
        while high - low > 1.0:
            middle = math.floor((low + high) / 2)
            low, high = (middle, high) if offset_s(middle) == offsets[-1] else (low, middle)
        starts.append(high)
        offsets.append(after)
    return np.array(starts), np.array(offsets)


def _datetime64(epoch_s: Floats) -> NDArray[np.datetime64]:
    return np.floor(epoch_s).astype(np.int64).astype("datetime64[s]")


def _whole(values: Floats) -> Whole:
    return np.asarray(values, dtype=np.int64)
