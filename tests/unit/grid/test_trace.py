from __future__ import annotations

import gzip

import numpy as np
import pytest

from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import TraceError
from simulator.foundation.units import DAY_S, HOUR_S
from simulator.grid.trace import read_trace

CALENDAR = Calendar.from_text("2024-03-04T00:00Z")


def rows(hours: int = 48, first_hour: int = 0) -> list[str]:
    start = np.datetime64("2024-03-04T00:00:00") + np.timedelta64(first_hour, "h")
    return [
        f"{str(start + np.timedelta64(hour, 'h')).replace('T', ' ')}+00:00,{100 + hour},{40 + hour},{hour}"
        for hour in range(hours)
    ]


HEADER = "time_utc,ci_lca,price_usd_mwh,other"


@pytest.fixture
def file(tmp_path):
    def write(lines, name="grid.csv"):
        path = tmp_path / name
        text = "\n".join(lines) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


def read(path, **options):
    return read_trace(path, CALENDAR, DAY_S, **options)


def test_hours_are_laid_from_their_begin(file):
    signals = read(file([HEADER, *rows()]))
    assert signals.intensity_g_per_kwh.at(0.0) == 100.0
    assert signals.intensity_g_per_kwh.at(HOUR_S) == 101.0
    assert signals.intensity_g_per_kwh.end_s == DAY_S
    assert signals.price_usd_per_kwh.at(0.0) == pytest.approx(0.040)
    assert (signals.basis, signals.vintage) == ("lifecycle", "2024")
    assert signals.marginal_g_per_kwh is None


def test_labels_at_the_end_are_shifted_and_said(file):
    signals = read(file([HEADER, *rows(first_hour=1)]), label="end")
    assert signals.intensity_g_per_kwh.at(0.0) == 100.0
    assert "shifted by 3600 s" in signals.notes[0]


def test_a_run_that_begins_within_an_hour_takes_the_rest_of_it(file):
    signals = read_trace(file([HEADER, *rows()]), Calendar.from_text("2024-03-04T00:30Z"), 2 * HOUR_S)
    assert signals.intensity_g_per_kwh.start_s.tolist() == [0.0, 1800.0, 5400.0]


def test_gzip_and_other_columns_by_name(file):
    signals = read(file([HEADER, *rows()], "grid.csv.gz"), intensity_column="other", marginal_column="ci_lca")
    assert signals.intensity_g_per_kwh.at(5 * HOUR_S) == 5.0
    assert signals.marginal_g_per_kwh.at(0.0) == 100.0
    assert signals.basis == "as given"


def test_offsets_and_plain_times_mean_the_same(file):
    lines = [HEADER, "2024-03-04T01:00:00+01:00,1,2,3", *rows()[1:]]
    assert read(file(lines)).intensity_g_per_kwh.at(0.0) == 1.0
    plain = [HEADER, *(row.replace("+00:00", "") for row in rows())]
    assert read(file(plain)).intensity_g_per_kwh.at(HOUR_S) == 101.0


def test_quarter_hours_keep_their_step(file):
    start = np.datetime64("2024-03-04T00:00:00")
    lines = [f"{start + np.timedelta64(15 * k, 'm')}Z,{k}" for k in range(96)]
    signals = read(file(["time_utc,ci_direct", *lines]))
    assert len(signals.intensity_g_per_kwh) == 96
    assert signals.basis == "direct"
    assert signals.price_usd_per_kwh is None


def test_blanks_outside_the_run_do_no_harm_and_negative_prices_are_prices(file):
    lines = [HEADER, *rows()]
    lines[40] = "2024-03-05 15:00:00+00:00,,,"
    lines[3] = "2024-03-04 02:00:00+00:00,102,-500,2"
    assert read(file(lines)).price_usd_per_kwh.at(2 * HOUR_S) == pytest.approx(-0.5)


SPOILT = {
    "empty": (lambda lines: lines.clear(), r"grid\.csv: the file is empty"),
    "no time": (lambda lines: lines.__setitem__(0, "time,ci_lca,p,o"), r":1: no column 'time_utc'"),
    "no intensity": (
        lambda lines: lines.__setitem__(0, "time_utc,a,price_usd_mwh,o"),
        r":1: no column of carbon intensity",
    ),
    "header only": (lambda lines: lines.__delitem__(slice(1, None)), r"0 rows of data"),
    "short row": (
        lambda lines: lines.__setitem__(5, "2024-03-04 04:00:00+00:00,1"),
        r":6: 2 fields; the header has 4",
    ),
    "word": (
        lambda lines: lines.__setitem__(5, "2024-03-04 04:00:00+00:00,dirty,1,1"),
        r":6: ci_lca: 'dirty' is not a number",
    ),
    "blank": (
        lambda lines: lines.__setitem__(
            slice(5, 7),
            [
                line.replace(",4", ",", 1)
                for line in ["2024-03-04 04:00:00+00:00,4,1,1", "2024-03-04 05:00:00+00:00,4,1,1"]
            ],
        ),
        r":6: ci_lca is blank in 2 of 24 steps that the run needs; the first is 2024-03-04 04:00Z",
    ),
    "nan": (
        lambda lines: lines.__setitem__(5, "2024-03-04 04:00:00+00:00,nan,1,1"),
        r":6: ci_lca is blank in 1 of 24",
    ),
    "infinite": (
        lambda lines: lines.__setitem__(5, "2024-03-04 04:00:00+00:00,inf,1,1"),
        r":6: ci_lca is inf; expected 0 to 5000 \(is the unit right\?\)",
    ),
    "negative": (
        lambda lines: lines.__setitem__(5, "2024-03-04 04:00:00+00:00,-3,1,1"),
        r":6: ci_lca is -3; expected 0",
    ),
    "huge price": (
        lambda lines: lines.__setitem__(5, "2024-03-04 04:00:00+00:00,3,1e9,1"),
        r":6: price_usd_mwh is 1e9; expected -100000 to 100000",
    ),
    "not a moment": (
        lambda lines: lines.__setitem__(5, "04.03.2024 04:00,3,1,1"),
        r":6: time_utc: '04\.03\.2024 04:00' is not a moment",
    ),
    "no moment": (lambda lines: lines.__setitem__(5, ",3,1,1"), r":6: time_utc: '' is not a moment"),
    "twice": (lambda lines: lines.insert(5, lines[4]), r":6: 2024-03-04 03:00Z does not come after"),
    "backwards": (
        lambda lines: lines.__setitem__(slice(5, 7), lines[6:4:-1]),
        r":7: 2024-03-04 04:00Z does not come after 2024-03-04 05:00Z",
    ),
    "gap": (
        lambda lines: lines.__delitem__(5),
        r":6: 1 gap in steps of 3600 s; the first is after 2024-03-04 03:00Z, the next row is .*05:00Z",
    ),
    "too short": (
        lambda lines: lines.__delitem__(slice(20, None)),
        r"covers 2024-03-04 00:00Z to 2024-03-04 19:00Z, but the run is .*00:00Z to 2024-03-05 00:00Z",
    ),
    "starts late": (lambda lines: lines.__delitem__(1), r"covers 2024-03-04 01:00Z"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_file_is_refused_with_its_line(file, name):
    spoil, message = SPOILT[name]
    lines = [HEADER, *rows()]
    spoil(lines)
    path = file(lines) if lines else file([])
    if not lines:
        path.write_bytes(b"")
    with pytest.raises(TraceError, match=message):
        read(path)


def test_an_unknown_column_is_refused_with_the_nearest(file):
    with pytest.raises(TraceError, match=r"intensity_column: no column 'ci_lac'; did you mean 'ci_lca'"):
        read(file([HEADER, *rows()]), intensity_column="ci_lac")


def test_a_price_without_a_unit_is_refused(file):
    with pytest.raises(TraceError, match="unit of the price column 'other' cannot be told"):
        read(file([HEADER, *rows()]), price_column="other")


def test_unreadable_files_are_refused(file, tmp_path):
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path / "absent.csv")
    path = file([HEADER, *rows()], "grid.csv.gz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TraceError, match="cannot be read"):
        read(path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00time")
    with pytest.raises(TraceError, match="not a text file"):
        read(binary)


def test_a_real_zone_is_read_in_its_own_step(shared_data):
    path = shared_data / "grid" / "zones" / "DE-LU_2021-2024_hourly.csv.gz"
    signals = read(path)
    assert len(signals.intensity_g_per_kwh) == 24
    assert 100 < signals.intensity_g_per_kwh.mean() < 700
    direct = read(path, intensity_column="ci_direct")
    assert np.all(direct.intensity_g_per_kwh.value < signals.intensity_g_per_kwh.value)
