from __future__ import annotations

import math

import pytest

from simulator.foundation import UnitError, units
from simulator.foundation.units import exact, in_currency, is_dimensional, known_units, parse, render

READ = [
    ("30 d", "s", 30 * 86400.0),
    ("90 min", "s", 5400.0),
    ("1.5h", "s", 5400.0),
    ("5 yr", "s", 5 * 365 * 86400.0),
    ("250 ms", "s", 0.25),
    ("1.2 MW", "W", 1_200_000.0),
    ("700 W", "W", 700.0),
    ("2 MWh", "J", 7.2e9),
    ("80 GB", "bytes", 80e9),
    ("80 GiB", "bytes", 80 * 2.0**30),
    ("3.35 TB/s", "bytes/s", 3.35e12),
    ("400 Gb/s", "bytes/s", 50e9),
    ("400 GB/s", "bytes/s", 400e9),
    ("400 GB / s", "bytes/s", 400e9),
    ("989 TFLOP/s", "flop/s", 989e12),
    ("32 C", "C", 32.0),
    ("-5 °C", "C", -5.0),
    ("68 F", "C", 20.0),
    ("300 K", "C", 26.85),
    ("5 C", "K", 5.0),
    ("9 F", "K", 5.0),
    ("85 %", "fraction", 0.85),
    ("0.85", "fraction", 0.85),
    ("1/10", "fraction", 0.1),
    ("250 %", "ratio", 2.5),
    ("42 USD/MWh", "USD/kWh", 0.042),
    ("0 EUR/t", "USD/t", 0.0),
    ("3.1e4 USD", "USD", 31000.0),
    ("40 million USD", "USD", 40e6),
    ("12 USD/kW-yr", "USD/kW-month", 1.0),
    ("350 g/kWh", "g/kWh", 350.0),
    ("0.35 t/MWh", "g/kWh", 350.0),
    ("1.8 L/kWh", "litres/kWh", 1.8),
    ("150_000 per day", "1/s", 150_000 / 86400),
    ("86_400 per day", "1/s", 1.0),
    ("3 M per month", "1/s", 3e6 * 12 / (365 * 86400)),
    ("20/s", "1/s", 20.0),
    ("2.5 T", "", 2.5e12),
    ("8B", "", 8e9),
    ("150_000", "", 150_000.0),
    ("6.02e23", "", 6.02e23),
    ("3 MW/min", "W/s", 50_000.0),
    ("2 GPU-h", "gpu-s", 7200.0),
    ("2 USD/h", "USD/s", 2 / 3600),
    ("4 USD/m3", "USD/litre", 0.004),
]


@pytest.mark.parametrize(("text", "unit", "value"), READ, ids=[f"{text} as {unit}" for text, unit, _ in READ])
def test_reads_what_people_write(text, unit, value):
    assert parse(text, unit) == pytest.approx(value, rel=1e-15, abs=0)


def test_decimal_fractions_are_read_without_a_hair_of_error():
    # 1.005 * 1000 is 1004.9999999999999 in binary.
    assert parse("1.005 kW", "W") == 1005.0
    assert parse("86400 per day", "1/s") == 1.0
    assert parse("85 %", "fraction") == 0.85


def test_euros_become_dollars_at_the_one_stated_rate():
    assert parse("100 EUR/MWh", "USD/kWh") == pytest.approx(0.10824)
    # The European Central Bank quotes per euro.
    for quoted in ("1.0824 USD", "0.84662 GBP", "4.3058 PLN"):
        assert parse(quoted, "USD") == pytest.approx(parse("1 EUR", "USD"), rel=1e-12)
    assert in_currency(108.24, "EUR") == pytest.approx(100.0)
    assert "2024" in units.CURRENCY_SOURCE
    with pytest.raises(UnitError, match="unknown currency 'CHF'; known: USD, EUR, GBP, PLN"):
        in_currency(1.0, "CHF")


REFUSED = [
    ("30 days", "s", "'30 days': unknown unit 'days'; did you mean d? known: us, ms, s, min, h, d, w, yr"),
    ("5 m", "s", "did you mean min?"),
    ("30", "s", "'30' has no unit; write e.g. '30 h'"),
    ("120 kw", "W", "'120 kw': unknown unit 'kw'; did you mean kW? known: mW, W, kW, MW, GW"),
    ("400 gbps", "bytes/s", "did you mean GB/s or Gb/s?"),
    ("400 Gbps", "bytes/s", "did you mean GB/s or Gb/s?"),
    ("10 kbps", "bytes/s", "did you mean kB/s or kb/s?"),
    ("400 Gb", "bytes", "unknown unit 'Gb'; did you mean GB?"),
    ("5 MWh", "W", "'MWh' measures energy, not power"),
    ("5 GB", "bytes/s", "'GB' measures data, not bandwidth"),
    ("1,5 MW", "W", "a comma is ambiguous"),
    ("12,000", "", "a comma is ambiguous"),
    ("85", "fraction", "'85' is not a fraction between 0 and 1; did you mean '85 %'?"),
    ("120 %", "fraction", "'120 %' is not a fraction between 0 and 1"),
    ("-0.1", "fraction", "is not a fraction between 0 and 1"),
    ("3/2", "fraction", "'3/2' is not a fraction"),
    ("1/0", "ratio", "'1/0' is not a ratio"),
    ("1/1e-999999999", "ratio", "is not a ratio"),
    ("1e9999/2", "ratio", "is not a ratio"),
    ("nan", "s", "'nan' is not a number with a unit"),
    ("inf W", "W", "'inf W' is not a number with a unit"),
    ("-inf", "", "'-inf' is not a number"),
    ("", "W", "'' is not a number with a unit"),
    ("W", "W", "'W' is not a number with a unit"),
    ("1__0 W", "W", "is not a number"),
    ("- 5 W", "W", "is not a number"),
    ("5 W W", "W", "unknown unit 'W W'"),
    ("0x10 W", "W", "unknown unit 'x10 W'"),
    ("1:7", "ratio", "'1:7' is not a ratio"),
    ("1e999999999 W", "W", "too large to be meant"),
    ("\u0663 W", "W", "is not a number"),
    ("x" * 500, "W", "...' is not a number"),
]


@pytest.mark.parametrize(("text", "unit", "message"), REFUSED, ids=[repr(t)[:24] + u for t, u, _ in REFUSED])
def test_refuses_and_says_what_would_be_right(text, unit, message):
    with pytest.raises(UnitError) as refused:
        parse(text, unit)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_field_with_an_unknown_base_unit_is_a_programming_error_that_names_the_known_ones():
    with pytest.raises(UnitError, match="'furlong' is not a base unit; known: s, W"):
        parse("3 furlong", "furlong")


def test_only_counts_and_shares_may_be_bare():
    bare = [unit for unit in units._TABLES if not is_dimensional(unit)]
    assert bare == ["fraction", "ratio", "below:above", ""]
    for unit in units._TABLES:
        if is_dimensional(unit):
            with pytest.raises(UnitError, match="has no unit"):
                parse("3", unit)


@pytest.mark.parametrize("unit", units._TABLES)
def test_every_unit_that_a_message_recommends_is_read(unit):
    for spelled in known_units(unit):
        number = "0.5" if unit == "fraction" else "2"
        assert math.isfinite(parse(f"{number} {spelled}", unit))


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (571_234.0, "W", "571 kW"),
        (999_999.0, "W", "1 MW"),
        (0.0, "W", "0 W"),
        (-2.5e6, "W", "-2.5 MW"),
        (36 * 3600.0, "s", "36 h"),
        (14 * 86400.0, "s", "14 d"),
        (0.0123, "s", "12.3 ms"),
        (3.6e9, "J", "1 MWh"),
        (0.042, "USD/kWh", "42 USD/MWh"),
        (172_032, "", "172,032"),
        (2.5e12, "", "2.5 T"),
        (1.0, "1/s", "1 per s"),
        (150_000 / 86400, "1/s", "1.74 per s"),
        (0.0842, "fraction", "8.42 %"),
        (1.104, "ratio", "1.1"),
        (1.2e6, "g", "1.2 t"),
        (5000.0, "litres", "5 m3"),
        (math.inf, "s", "unlimited"),
        (math.nan, "s", "n/a"),
        (1e-9, "W", "1.00e-09 W"),
    ],
)
def test_writes_as_people_do(value, unit, written):
    assert render(value, unit) == written


def test_an_exact_text_of_a_fraction_needs_no_unit():
    assert exact(0.1, "fraction") == "0.1"
    assert exact(3.0, "W") == "3 W"
    assert exact(2.0, "bytes/s") == "2 B/s"


def test_the_named_constants_are_what_they_say():
    assert units.DAY_S == 24 * 60 * 60
    assert units.YEAR_S == 365 * units.DAY_S == units.HOURS_PER_YEAR * units.HOUR_S
    assert units.MONTH_S * 12 == units.YEAR_S
    assert units.WEEK_S == 7 * units.DAY_S
    assert units.GIB == 1024**3 == 1024 * units.MIB == 1024**2 * units.KIB
    assert units.TIB == 1024 * units.GIB
    assert units.J_PER_KWH == 1000 * units.HOUR_S
    assert units.J_PER_GWH == 1000 * units.J_PER_MWH == 1e6 * units.J_PER_KWH
    assert units.TERA == 1e12 != units.TIB
