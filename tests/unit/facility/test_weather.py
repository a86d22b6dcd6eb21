from __future__ import annotations

import gzip

import numpy as np
import pytest

from simulator.catalog.entries import ClimateSpec
from simulator.facility.epw import read_epw
from simulator.facility.weather import constant_weather, synthetic_weather
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import TraceError
from simulator.foundation.units import DAY_S, HOUR_S, YEAR_S


def climate(**changes) -> ClimateSpec:
    values = {
        "name": "plain",
        "title": "Plain",
        "timezone": "Europe/Berlin",
        "elevation_m": 100.0,
        "pressure_pa": 100_000.0,
        "mean_c": np.array([0.0, 1, 5, 9, 14, 17, 19, 19, 15, 10, 5, 1]),
        "diurnal_range_k": np.full(12, 8.0),
        "dew_point_depression_k": np.full(12, 5.0),
        "anomaly_k": np.zeros(12),
        "anomaly_persistence": 0.7,
        "warmest_hour_local": 15.0,
        "design_maximum_c": None,
    }
    return ClimateSpec(**{**values, **changes})


CALENDAR = Calendar.from_text("2024-01-01T00:00Z")


def year(spec: ClimateSpec, seed: int = 1):
    return synthetic_weather(spec, CALENDAR, YEAR_S, np.random.default_rng(seed))


def test_the_wet_bulb_never_exceeds_the_dry_bulb():
    weather = year(climate(anomaly_k=np.full(12, 4.0)))
    assert np.all(weather.wet_bulb.value <= weather.dry_bulb.value)


def test_months_keep_their_means():
    weather = year(climate())
    month = CALENDAR.month(weather.dry_bulb.start_s)
    means = np.array([weather.dry_bulb.value[month == m].mean() for m in range(12)])
    # Interpolation between mid-months rounds off peaks and troughs of the year a little.
    assert means == pytest.approx(climate().mean_c, abs=0.6)


def test_the_day_peaks_at_the_warmest_hour_of_standard_time():
    """15:00 in Berlin's standard time is 14:00 UTC, in July as in January."""
    weather = year(climate())
    for month in (0, 6):
        inside = CALENDAR.month(weather.dry_bulb.start_s) == month
        hours = CALENDAR.hour_of_day(weather.dry_bulb.start_s)[inside]
        values = weather.dry_bulb.value[inside]
        by_hour = np.array([values[hours == hour].mean() for hour in range(24)])
        # The day peaks at the boundary of these two hours.
        assert set(np.argsort(by_hour)[-2:]) == {13, 14}
        assert by_hour.max() - by_hour.min() == pytest.approx(8.0, rel=0.02)


def test_anomalies_have_the_spread_and_persistence_asked_for():
    """40 independent years; 4 standard errors, so one false alarm in 16,000 for each figure.

    Interpolation from noon to noon leaves noon values as drawn, so those are looked at.
    """
    flat = climate(mean_c=np.full(12, 10.0), diurnal_range_k=np.zeros(12), anomaly_k=np.full(12, 3.0))
    variance, correlation = [], []
    for seed in range(40):
        series = year(flat, seed).dry_bulb
        # Noon in Berlin is 11:00 UTC; the middle of an hour is half an hour off noon.
        noon = series.value[CALENDAR.hour_of_day(series.start_s) == 11] - 10.0
        variance.append(np.mean(noon**2))
        correlation.append(np.mean(noon[1:] * noon[:-1]))
    for found, expected in ((variance, 9.0), (correlation, 9.0 * 0.7)):
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        # Half an hour towards the next day takes 2 x 1/48 x 0.3 of the variance.
        assert abs(np.mean(found) - expected) < 4 * error + expected * 0.02


def test_a_longer_run_begins_with_the_same_weather():
    spec = climate(anomaly_k=np.full(12, 4.0))
    short = synthetic_weather(spec, CALENDAR, 5 * DAY_S, np.random.default_rng(3))
    long = synthetic_weather(spec, CALENDAR, 50 * DAY_S, np.random.default_rng(3))
    assert np.array_equal(short.dry_bulb.value, long.dry_bulb.value[:120])


def test_constant_air_with_an_impossible_wet_bulb_is_refused():
    with pytest.raises(ValueError, match="above dry bulb"):
        constant_weather(10.0, 12.0, DAY_S)


def epw_lines(value=lambda hour: hour % 40) -> list[str]:
    head = ["LOCATION,Nowhere,-,XXX,TEST,0,50.0,8.0,1.0,100.0"] + [f"LINE {n}" for n in range(7)]
    rows = []
    for hour in range(8760):
        dry = value(hour)
        rows.append(f"2001,1,1,{hour % 24 + 1},60,flags,{dry},{dry - 5},60,100000,0")
    return head + rows


def write(path, lines) -> None:
    text = "\r\n".join(lines) + "\r\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_epw_hours_are_shifted_to_their_beginning_and_to_utc(tmp_path):
    """Row 1 is local 00:00 to 01:00; at UTC+1 the UTC year begins in row 2."""
    path = tmp_path / "x.epw.gz"
    write(path, epw_lines())
    weather = read_epw(path, CALENDAR, YEAR_S)
    assert weather.dry_bulb.value[:3].tolist() == [1.0, 2.0, 3.0]
    assert weather.dry_bulb.at(22 * HOUR_S) == 23.0
    assert "shifted" in weather.notes[0]


def test_the_epw_year_repeats_and_leap_day_repeats_the_day_before(tmp_path):
    path = tmp_path / "x.epw"
    write(path, epw_lines(lambda hour: hour // 24 / 10))
    weather = read_epw(path, CALENDAR, 366 * DAY_S + 2 * DAY_S)
    days = [round(weather.dry_bulb.at(day * DAY_S + 6 * HOUR_S) * 10) for day in (57, 58, 59, 60, 365, 366)]
    assert days == [57, 58, 58, 59, 364, 0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines.__setitem__(0, "not an EPW"), r"x\.epw:1: not an EPW file"),
        (lambda lines: lines.pop(), "8759 hours of data; a year has 8760"),
        (lambda lines: lines.__setitem__(20, lines[20].replace("flags,12,", "flags,99.9,")), ":21: dry bulb"),
        (lambda lines: lines.__setitem__(20, "2001,1,1"), r":21: dry bulb \(column 7\) is not a number"),
        (lambda lines: lines.__setitem__(0, lines[0].replace(",1.0,", ",CET,")), "not a number of hours"),
    ],
)
def test_a_damaged_epw_file_is_refused_with_its_line(tmp_path, spoil, message):
    lines = epw_lines()
    spoil(lines)
    path = tmp_path / "x.epw"
    write(path, lines)
    with pytest.raises(TraceError, match=message):
        read_epw(path, CALENDAR, DAY_S)


def test_a_truncated_or_missing_epw_file_is_refused(tmp_path):
    path = tmp_path / "x.epw.gz"
    write(path, epw_lines())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TraceError, match="cannot be read"):
        read_epw(path, CALENDAR, DAY_S)
    with pytest.raises(TraceError, match="cannot be read"):
        read_epw(tmp_path / "absent.epw", CALENDAR, DAY_S)
