from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from simulator.foundation import Calendar, UnitError

BERLIN = Calendar.from_text("2024-03-04 00:00 Europe/Berlin")


def test_a_start_carries_its_zone():
    assert BERLIN.start_utc == datetime(2024, 3, 3, 23, tzinfo=UTC)
    assert BERLIN.timezone == "Europe/Berlin"
    assert BERLIN.local(0.0).isoformat() == "2024-03-04T00:00:00+01:00"
    assert BERLIN.utc(3600.0).isoformat() == "2024-03-04T00:00:00+00:00"
    assert Calendar.from_text("2024-03-04").start_utc == datetime(2024, 3, 4, tzinfo=UTC)
    assert Calendar.from_text("2024-03-04 00:00", "Asia/Kolkata").start_utc.hour == 18


@pytest.mark.parametrize(
    ("text", "moment_s"),
    [
        ("2024-03-04 06:00", 6 * 3600.0),
        ("2024-03-04T06:00:30.5", 6 * 3600 + 30.5),
        ("2024-03-05", 86400.0),
        ("2024-03-04T05:00Z", 6 * 3600.0),
        ("2024-03-04 05:00 UTC", 6 * 3600.0),
        ("2024-03-04T10:30+05:30", 6 * 3600.0),
        ("2024-03-04T00:00-0500", 6 * 3600.0),
        ("2024-03-04 00:00 America/New_York", 6 * 3600.0),
        ("2024-03-03 23:00", -3600.0),
        ("36 h", 36 * 3600.0),
        # The clocks went forward on 31 March: that day had 23 hours.
        ("2024-04-01 00:00", (28 * 24 - 1) * 3600.0),
    ],
)
def test_moments_are_local_unless_they_name_a_zone(text, moment_s):
    assert BERLIN.parse_moment(text) == moment_s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2024-03-31 02:30", "is skipped when the clocks of Europe/Berlin change; write it in UTC"),
        ("2024-10-27 02:30", "is shown twice when the clocks of Europe/Berlin change"),
        ("2024-02-30", "is not a moment"),
        ("2024-13-01 00:00", "is not a moment"),
        ("2024-03-04 25:00", "is not a moment"),
        ("2024-03-04T05:00+99:99", "is not a moment"),
        (
            "2024-03-04 06:00 Europe/Berlim",
            "unknown time zone 'Europe/Berlim'; did you mean 'Europe/Berlin'?",
        ),
        ("2024-03-04 06:00 Mars/Base1", "unknown time zone"),
        ("2024-03-04 6 o'clock", "is not a moment"),
        ("0001-01-01 00:00", "edge of the calendar|is not a moment"),
        ("yesterday", "is not a moment"),
        ("", "is not a moment"),
        ("7", "is not a moment"),
    ],
)
def test_what_is_no_moment_is_refused(text, message):
    with pytest.raises(UnitError, match=message):
        BERLIN.parse_moment(text)


def test_a_calendar_without_a_zone_or_with_a_wrong_one_is_refused():
    with pytest.raises(UnitError, match="names no zone"):
        Calendar(datetime(2024, 3, 4))
    with pytest.raises(UnitError, match="did you mean 'Europe/Paris'"):
        Calendar(datetime(2024, 3, 4, tzinfo=UTC), "Europe/Pari")
    for hostile in ("../../etc/passwd", "/etc/passwd", ""):
        with pytest.raises(UnitError, match="unknown time zone"):
            Calendar(datetime(2024, 3, 4, tzinfo=UTC), hostile)


def test_hour_edges_lie_on_utc_hours_and_include_both_ends():
    kolkata = Calendar.from_text("2024-03-04 00:00 Asia/Kolkata")
    assert kolkata.hour_edges_s(7200.0).tolist() == [0.0, 1800.0, 5400.0, 7200.0]
    assert BERLIN.hour_edges_s(7200.0).tolist() == [0.0, 3600.0, 7200.0]
    assert BERLIN.hour_edges_s(7201.0).tolist() == [0.0, 3600.0, 7200.0, 7201.0]
    assert BERLIN.hour_edges_s(100.0).tolist() == [0.0, 100.0]
    assert kolkata.edges_s(1800.0, 900.0).tolist() == [0.0, 900.0, 1800.0]
    assert BERLIN.hour_edges_s(366 * 86400.0).size == 366 * 24 + 1
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="a horizon is positive and finite"):
            BERLIN.hour_edges_s(wrong)


def test_calendar_fields_agree_with_datetime_over_two_years_in_many_zones():
    calendar = Calendar(datetime(2023, 12, 31, 22, 17, 3, tzinfo=UTC))
    moments_s = np.arange(0.0, 2 * 366 * 86400.0, 3571.0)
    for zone in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Asia/Tehran",
    ):
        local = [calendar.local(float(t), zone) for t in moments_s]
        assert calendar.hour_of_day_local(moments_s, zone).tolist() == [m.hour for m in local]
        assert calendar.weekday_local(moments_s, zone).tolist() == [m.weekday() for m in local]
        assert calendar.month_local(moments_s, zone).tolist() == [m.month - 1 for m in local]
        assert calendar.hour_of_week_local(moments_s, zone).tolist() == [
            m.weekday() * 24 + m.hour for m in local
        ]
    utc = [calendar.utc(float(t)) for t in moments_s]
    assert calendar.month(moments_s).tolist() == [m.month - 1 for m in utc]
    assert calendar.year(moments_s).tolist() == [m.year for m in utc]
    assert calendar.hour_of_day(moments_s).tolist() == [m.hour for m in utc]


def test_the_clocks_change_at_their_instant_and_not_after_it():
    # 31 March 2024, 01:00 UTC: Berlin's clocks jump from 02:00 to 03:00.
    change_s = BERLIN.parse_moment("2024-03-31T01:00Z")
    moments_s = [change_s - 1, change_s, change_s + 3600]
    assert BERLIN.hour_of_day_local(moments_s).tolist() == [1, 3, 4]


def test_no_moments_have_no_hours():
    assert BERLIN.hour_of_day_local([]).tolist() == []


def test_a_moment_of_the_run_goes_to_utc_and_back():
    assert BERLIN.seconds(BERLIN.utc(1234.5)) == 1234.5
    with pytest.raises(UnitError, match="names no zone"):
        BERLIN.seconds(datetime(2024, 3, 4))
