"""Human units at the door, base units inside: reading "1.2 MW" and writing "571 kW".

Inside datahall every number is a plain float in the base unit its name ends in. This module is
the only place where another unit is understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from simulator.foundation.errors import UnitError
from simulator.foundation.names import known_list, nearest

MICRO: Final = 1e-6
MILLI: Final = 1e-3
KILO: Final = 1e3
MEGA: Final = 1e6
GIGA: Final = 1e9
TERA: Final = 1e12
PETA: Final = 1e15
EXA: Final = 1e18

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30
TIB: Final = 2**40
BITS_PER_BYTE: Final = 8

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
WEEK_S: Final = 604800.0
#: A year of rates and lifetimes has 365 days; calendars know leap years.
YEAR_S: Final = 31536000.0
#: A month of rates is a twelfth of that year.
MONTH_S: Final = YEAR_S / 12
HOURS_PER_YEAR: Final = 8760

J_PER_WH: Final = 3600.0
J_PER_KWH: Final = 3.6e6
J_PER_MWH: Final = 3.6e9
J_PER_GWH: Final = 3.6e12
G_PER_KG: Final = 1e3
G_PER_T: Final = 1e6
LITRES_PER_M3: Final = 1e3
LITRES_PER_US_GALLON: Final = 3.785411784
KELVIN_AT_0_C: Final = 273.15

#: Prices in other currencies become US dollars at one rate and price year, printed in every report.
CURRENCY_YEAR: Final = 2024
CURRENCY_SOURCE: Final = (
    "ECB euro reference rates, averages of 2024: 1 EUR = 1.0824 USD = 0.84662 GBP = 4.3058 PLN"
)
USD_PER: Final[Mapping[str, float]] = MappingProxyType(
    {"USD": 1.0, "EUR": 1.0824, "GBP": 1.0824 / 0.84662, "PLN": 1.0824 / 4.3058}
)

_TIME: Final = {
    "us": MICRO, "ms": MILLI, "s": 1.0, "min": MINUTE_S, "h": HOUR_S, "d": DAY_S, "w": WEEK_S, "yr": YEAR_S,
}  # fmt: skip
_POWER: Final = {"mW": MILLI, "W": 1.0, "kW": KILO, "MW": MEGA, "GW": GIGA}
_BYTES: Final = {
    "B": 1.0, "kB": KILO, "MB": MEGA, "GB": GIGA, "TB": TERA, "PB": PETA, "EB": EXA,
    "KiB": float(KIB), "MiB": float(MIB), "GiB": float(GIB), "TiB": float(TIB),
}  # fmt: skip
_BITS: Final = {"kb": KILO / 8, "Mb": MEGA / 8, "Gb": GIGA / 8, "Tb": TERA / 8, "Pb": PETA / 8}
_FLOP: Final = {
    "FLOP": 1.0, "MFLOP": MEGA, "GFLOP": GIGA, "TFLOP": TERA, "PFLOP": PETA, "EFLOP": EXA, "ZFLOP": 1e21,
}  # fmt: skip
_MASS: Final = {"g": 1.0, "kg": G_PER_KG, "t": G_PER_T, "kt": 1e9, "Mt": 1e12}
_SCALE: Final = {"": 1.0, "k": KILO, "thousand": KILO, "M": MEGA, "million": MEGA, "G": GIGA, "B": GIGA,
                 "billion": GIGA, "T": TERA, "trillion": TERA, "P": PETA}  # fmt: skip
_PERIODS: Final = {
    "s": 1.0, "second": 1.0, "min": MINUTE_S, "minute": MINUTE_S, "h": HOUR_S, "hour": HOUR_S, "d": DAY_S,
    "day": DAY_S, "w": WEEK_S, "week": WEEK_S, "month": MONTH_S, "yr": YEAR_S, "year": YEAR_S,
}  # fmt: skip


def _exact(factor: float) -> Decimal:
    return Decimal(repr(factor))


def _table(factors: Mapping[str, float]) -> dict[str, Decimal]:
    return {name: _exact(factor) for name, factor in factors.items()}


def _over(numerators: Mapping[str, float], denominators: Mapping[str, float]) -> dict[str, Decimal]:
    # Decimals, so that "86400 per day" is one per second and not a hair less.
    return {f"{n}/{d}": _exact(x) / _exact(y) for n, x in numerators.items() for d, y in denominators.items()}


def _money() -> dict[str, Decimal]:
    leads = {"": 1.0, "k": KILO, "M": MEGA, "B": GIGA, "million ": MEGA, "billion ": GIGA}
    return {
        f"{lead}{name}": _exact(x) * _exact(y) for name, x in USD_PER.items() for lead, y in leads.items()
    }


def _money_over(denominators: Mapping[str, float]) -> dict[str, Decimal]:
    return _over(USD_PER, denominators)


def _rates() -> dict[str, Decimal]:
    rates = {}
    for scale, factor in _SCALE.items():
        for period, length_s in _PERIODS.items():
            lead = f"{scale} " if scale else ""
            rates[f"{lead}per {period}"] = _exact(factor) / _exact(length_s)
            rates[f"{scale}/{period}"] = _exact(factor) / _exact(length_s)
    return rates


_ENERGY: Final = {
    "J": 1.0, "kJ": KILO, "MJ": MEGA, "GJ": GIGA, "Wh": J_PER_WH, "kWh": J_PER_KWH, "MWh": J_PER_MWH,
    "GWh": J_PER_GWH, "TWh": 3.6e15,
}  # fmt: skip
_KWH: Final = {"kWh": 1.0, "MWh": 1e3, "GWh": 1e6}
_VOLUME: Final = {"L": 1.0, "l": 1.0, "litre": 1.0, "litres": 1.0, "m3": LITRES_PER_M3, "ML": 1e6,
                  "gal": LITRES_PER_US_GALLON}  # fmt: skip
_CO2: Final = {f"{mass}{tag}": x for mass, x in _MASS.items() for tag in ("", "CO2", "CO2e")}

#: Base unit -> what may be written -> factor to the base unit. Temperatures also have an offset.
_TABLES: Final[Mapping[str, Mapping[str, Decimal]]] = {
    "s": _table(_TIME),
    "W": _table(_POWER),
    "W/s": _over(_POWER, {"s": 1.0, "min": MINUTE_S, "h": HOUR_S}),
    "J": _table(_ENERGY),
    "bytes": _table(_BYTES),
    "bytes/s": _over(_BYTES, {"s": 1.0}) | _over(_BITS, {"s": 1.0}),
    "flop": _table(_FLOP),
    "flop/s": _over(_FLOP, {"s": 1.0}),
    "C": {"C": Decimal(1), "°C": Decimal(1), "K": Decimal(1), "F": Decimal(5) / 9},
    "K": {"K": Decimal(1), "C": Decimal(1), "°C": Decimal(1), "F": Decimal(5) / 9},
    "K/s": _over({"K": 1.0, "C": 1.0}, {"s": 1.0, "min": MINUTE_S, "h": HOUR_S}),
    "J/K": _over(_ENERGY, {"K": 1.0}),
    "W/K": _over(_POWER, {"K": 1.0}),
    "Pa": _table({"Pa": 1.0, "hPa": 100.0, "kPa": KILO, "mbar": 100.0, "bar": 1e5}),
    "m": _table({"m": 1.0, "km": KILO, "ft": 0.3048}),
    "fraction": _table({"": 1.0, "%": 0.01}),
    "ratio": _table({"": 1.0, "%": 0.01}),
    "below:above": _table({"": 1.0}),
    "USD": _money(),
    "USD/kWh": _money_over(_KWH),
    "USD/W": _money_over(_POWER),
    "USD/kW-month": _money_over(
        {"kW-month": 1.0, "kW-yr": 12.0, "kW-year": 12.0, "MW-month": 1e3, "MW-yr": 12e3, "MW-year": 12e3}
    ),
    "USD/t": _money_over({"t": 1.0, "tCO2": 1.0, "tCO2e": 1.0, "kg": 1e-3}),
    "USD/litre": _money_over(_VOLUME),
    "USD/s": _money_over({"s": 1.0, "h": HOUR_S, "d": DAY_S, "month": MONTH_S, "yr": YEAR_S}),
    "g": _table(_CO2),
    "g/kWh": _over(_CO2, _KWH),
    "g/W": _over(_CO2, _POWER),
    "litres": _table(_VOLUME),
    "litres/kWh": _over(_VOLUME, _KWH),
    "litres/s": _over(_VOLUME, {"s": 1.0, "min": MINUTE_S, "h": HOUR_S, "d": DAY_S}),
    "1/s": _rates(),
    "gpu-s": _table(
        {
            "GPU-s": 1.0, "GPU-h": HOUR_S, "GPU-hours": HOUR_S, "GPU-d": DAY_S, "GPU-days": DAY_S,
            "GPU-yr": YEAR_S, "GPU-years": YEAR_S,
        }
    ),
    "": _table(_SCALE),
}  # fmt: skip

#: The few spellings an error message shows, when the whole table would be too long.
_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "bytes/s": ("MB/s", "GB/s", "TB/s", "GiB/s", "Mb/s", "Gb/s", "Tb/s"),
    "W/s": ("W/s", "kW/s", "MW/s", "kW/min", "MW/min"),
    "K/s": ("K/s", "K/min", "K/h"),
    "J/K": ("J/K", "kJ/K", "MJ/K", "kWh/K"),
    "flop/s": ("GFLOP/s", "TFLOP/s", "PFLOP/s", "EFLOP/s"),
    "USD": ("USD", "kUSD", "MUSD", *USD_PER),
    "USD/kWh": ("USD/kWh", "USD/MWh", "EUR/kWh", "EUR/MWh", "GBP/MWh", "PLN/MWh"),
    "USD/W": ("USD/W", "USD/kW", "USD/MW", "EUR/W", "EUR/kW"),
    "USD/kW-month": ("USD/kW-month", "USD/kW-yr", "EUR/kW-month", "EUR/kW-yr"),
    "USD/t": ("USD/t", "EUR/t", "GBP/t", "PLN/t"),
    "USD/litre": ("USD/m3", "USD/L", "EUR/m3"),
    "USD/s": ("USD/h", "USD/d", "USD/yr", "EUR/h"),
    "g": ("g", "kg", "t", "gCO2e", "kgCO2e", "tCO2e"),
    "g/kWh": ("g/kWh", "kg/MWh", "gCO2e/kWh"),
    "g/W": ("g/W", "kg/kW", "tCO2e/kW"),
    "litres": ("L", "m3", "ML", "gal"),
    "litres/kWh": ("L/kWh", "L/MWh", "m3/MWh", "gal/kWh"),
    "litres/s": ("L/s", "L/min", "L/h", "m3/h"),
    "1/s": ("per s", "per min", "per hour", "per day", "per month", "k per day", "M per day", "/s"),
    "": ("k", "M", "B", "T"),
}

_LONG_FORMS: Final[Mapping[str, str]] = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "m": "min", "mins": "min", "minute": "min",
    "minutes": "min", "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d",
    "week": "w", "weeks": "w", "y": "yr", "year": "yr", "years": "yr", "watt": "W", "watts": "W",
    "celsius": "C", "percent": "%", "pct": "%", "mn": "M", "bn": "B", "gbyte": "GB",
}  # fmt: skip

_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:_\d+)*)?(?:\.\d*(?:_\d+)*)?(?:[eE][+-]?\d+)?", re.ASCII)
_BITS_OR_BYTES: Final = re.compile(r"([kmgtp])i?bps", re.IGNORECASE)
#: A number with more digits before its point is a typing mistake, and would only overflow later.
_MOST_DIGITS: Final = 60
#: So that an error message stays readable.
_LONGEST: Final = 120


def known_units(unit: str) -> tuple[str, ...]:
    """Return the spellings an error message shows for a base unit.

    Examples
    --------
    >>> known_units("s")
    ('us', 'ms', 's', 'min', 'h', 'd', 'w', 'yr')
    """
    return _SHOWN.get(unit) or tuple(name for name in _TABLES[unit] if name)


def is_dimensional(unit: str) -> bool:
    """Return whether a bare number is refused for this base unit."""
    return "" not in _TABLES[unit]


def parse(text: str, unit: str) -> float:
    """Return a human quantity in its base unit.

    Parameters
    ----------
    text
        What was written, e.g. ``1.2 MW``, ``400 Gb/s`` (bits), ``85 %``, ``42 USD/MWh``.
    unit
        The field's base unit, e.g. ``W``; the empty unit is a count.

    Returns
    -------
    float
        The same quantity in `unit`. Money becomes US dollars at `USD_PER`.

    Raises
    ------
    UnitError
        The text is no number with a known unit; the message gives the nearest and the known ones.

    Examples
    --------
    >>> parse("30 d", "s"), parse("1.2 MW", "W"), parse("400 Gb/s", "bytes/s")
    (2592000.0, 1200000.0, 50000000000.0)
    >>> parse("85 %", "fraction"), parse("2.5 T", ""), parse("86_400 per day", "1/s")
    (0.85, 2500000000000.0, 1.0)
    """
    if unit not in _TABLES:
        raise UnitError(f"'{unit}' is not a base unit; known: {known_list(_TABLES, 40)}")
    said = " ".join(text.split())
    if len(said) > _LONGEST:
        raise UnitError(f"'{said[:_LONGEST]}...' is not {_expected(unit)}")
    number, spelled = _split(said, unit)
    if unit in {"fraction", "ratio"} and spelled.startswith("/"):
        return _share(said, number, spelled, unit)
    factor = _factor(said, spelled, unit)
    # Checked before multiplying: "1e999999999" would overflow the product, not the number.
    if number.adjusted() > _MOST_DIGITS:
        raise UnitError(f"'{said}': too large to be meant")
    base = number * factor
    if unit == "C":
        base += _celsius_offset(spelled)
    if unit == "fraction" and not 0 <= base <= 1:
        raise UnitError(_not_a_fraction(said, number, spelled))
    return float(base)


def _split(said: str, unit: str) -> tuple[Decimal, str]:
    """Cut the leading number from the unit behind it."""
    match = _NUMBER.match(said)
    digits = match.group() if match else ""
    if not any(character.isdigit() for character in digits):
        raise UnitError(f"'{said}' is not {_expected(unit)}")
    rest = said[len(digits) :]
    if re.match(r",\d", rest):
        raise UnitError(
            f"'{said}': a comma is ambiguous; write 1_000 for a thousand and 1.5 for one and a half"
        )
    if rest[:1].isalnum() is False and rest[:1] not in {"", " ", "%", "/", "°"}:
        raise UnitError(f"'{said}' is not {_expected(unit)}")
    try:
        return Decimal(digits.replace("_", "")), rest.strip()
    except InvalidOperation:
        raise UnitError(f"'{said}' is not {_expected(unit)}") from None


def _factor(said: str, spelled: str, unit: str) -> Decimal:
    """Look up what a spelling is worth in the base unit, or say what would have been right."""
    table = _TABLES[unit]
    tight = re.sub(r"\s*/\s*", "/", spelled)
    for form in (spelled, tight):
        if form in table:
            return table[form]
    if not spelled:
        raise UnitError(
            f"'{said}' has no unit; write e.g. '{said} {known_units(unit)[_typical(unit)]}'; "
            f"known: {', '.join(known_units(unit))}"
        )
    listed = f"known: {', '.join(known_units(unit))}"
    if _BITS_OR_BYTES.fullmatch(spelled) and unit == "bytes/s":
        letter = spelled[0].upper() if spelled[0] not in "kK" else "k"
        raise UnitError(
            f"'{said}': unknown unit '{spelled}'; did you mean {letter}B/s or {letter}b/s? {listed}"
        )
    if elsewhere := _other_dimension(tight, unit):
        raise UnitError(f"'{said}': '{spelled}' measures {elsewhere}, not {_meaning(unit)}; {listed}")
    close = _LONG_FORMS.get(spelled.casefold())
    if close not in table:
        close = nearest(tight, [name for name in table if name])
    meant = f"did you mean {close}? " if close else ""
    raise UnitError(f"'{said}': unknown unit '{spelled}'; {meant}{listed}")


def _share(said: str, number: Decimal, spelled: str, unit: str) -> float:
    """Read a share written as one number over another, e.g. ``1/10``."""
    try:
        below = Decimal(spelled[1:].strip().replace("_", ""))
        share = number / below
    except ArithmeticError:
        raise UnitError(f"'{said}' is not {_expected(unit)}") from None
    if share.adjusted() > _MOST_DIGITS or (unit == "fraction" and not 0 <= share <= 1):
        raise UnitError(f"'{said}' is not {_expected(unit)}")
    return float(share)


def _celsius_offset(spelled: str) -> Decimal:
    if spelled == "K":
        return Decimal("-273.15")
    if spelled == "F":
        return Decimal(-160) / Decimal(9)
    return Decimal(0)


def _not_a_fraction(said: str, number: Decimal, spelled: str) -> str:
    meant = f"; did you mean '{number} %'?" if not spelled and 1 < number <= 100 else ""
    return f"'{said}' is not a fraction between 0 and 1{meant}"


def _typical(unit: str) -> int:
    """Index, among the known spellings, of the one people mostly write."""
    return {"s": 4, "W": 2, "bytes": 3, "bytes/s": 5, "J": 5}.get(unit, 0)


_MEANINGS: Final[Mapping[str, str]] = {
    "s": "time", "W": "power", "W/s": "a change of power", "J": "energy", "bytes": "data",
    "bytes/s": "bandwidth", "flop": "arithmetic", "flop/s": "arithmetic per second", "C": "temperature",
    "K": "a difference of temperatures", "USD": "money", "USD/kWh": "a price of energy", "g": "mass",
    "g/kWh": "carbon intensity", "litres": "volume", "litres/kWh": "water per energy",
    "1/s": "a rate", "gpu-s": "GPU time", "USD/t": "a price of carbon", "fraction": "a fraction",
    "ratio": "a ratio", "below:above": "an oversubscription", "": "a count",
}  # fmt: skip


def _meaning(unit: str) -> str:
    return _MEANINGS.get(unit, f"a quantity in {unit}")


def _expected(unit: str) -> str:
    if not unit:
        return "a number (like 8, 150_000 or 2.5 T)"
    if unit in {"fraction", "ratio"}:
        return f"a {unit} (like 0.85 or 85 %)"
    return f"a number with a unit ({', '.join(known_units(unit))})"


def _other_dimension(spelled: str, unit: str) -> str | None:
    """Return what a spelling measures, when it is a good unit of something else."""
    for other in ("s", "W", "J", "bytes", "bytes/s", "flop/s", "USD/kWh", "g/kWh", "litres", "gpu-s"):
        if other != unit and spelled in _TABLES[other]:
            return _meaning(other)
    return None


_RENDERED: Final[Mapping[str, tuple[tuple[str, float], ...]]] = {
    "s": (("us", MICRO), ("ms", MILLI), ("s", 1.0), ("min", MINUTE_S), ("h", HOUR_S), ("d", DAY_S)),
    "W": (("W", 1.0), ("kW", KILO), ("MW", MEGA), ("GW", GIGA)),
    "W/s": (("W/s", 1.0), ("kW/s", KILO), ("MW/s", MEGA)),
    "J": (("J", 1.0), ("kJ", KILO), ("kWh", J_PER_KWH), ("MWh", J_PER_MWH), ("GWh", J_PER_GWH)),
    "bytes": (("B", 1.0), ("kB", KILO), ("MB", MEGA), ("GB", GIGA), ("TB", TERA), ("PB", PETA)),
    "bytes/s": (("B/s", 1.0), ("kB/s", KILO), ("MB/s", MEGA), ("GB/s", GIGA), ("TB/s", TERA)),
    "flop": (("FLOP", 1.0), ("GFLOP", GIGA), ("TFLOP", TERA), ("PFLOP", PETA), ("EFLOP", EXA)),
    "flop/s": (("FLOP/s", 1.0), ("GFLOP/s", GIGA), ("TFLOP/s", TERA), ("PFLOP/s", PETA), ("EFLOP/s", EXA)),
    "C": (("C", 1.0),),
    "K": (("K", 1.0),),
    "fraction": (("%", 0.01),),
    "ratio": (("", 1.0),),
    "below:above": (("", 1.0),),
    "USD": (("USD", 1.0), ("kUSD", KILO), ("MUSD", MEGA), ("BUSD", GIGA)),
    "USD/kWh": (("USD/MWh", 1e-3),),
    "USD/litre": (("USD/m3", 1e-3),),
    "USD/s": (("USD/h", 1 / HOUR_S),),
    "g": (("g", 1.0), ("kg", G_PER_KG), ("t", G_PER_T), ("kt", 1e9)),
    "litres": (("L", 1.0), ("m3", LITRES_PER_M3)),
    "litres/kWh": (("L/kWh", 1.0),),
    "litres/s": (("L/s", 1.0),),
    "1/s": (("per day", 1 / DAY_S), ("per hour", 1 / HOUR_S), ("per s", 1.0)),
    "gpu-s": (("GPU-h", HOUR_S),),
    "": (("", 1.0), ("M", MEGA), ("B", GIGA), ("T", TERA)),
}


def render(value: float, unit: str, digits: int = 3) -> str:
    """Return a quantity as people write it, rounded to `digits` significant digits.

    Parameters
    ----------
    value
        The quantity in its base unit.
    unit
        The base unit.
    digits
        Significant digits; numbers with more digits before the point are written whole.

    Examples
    --------
    >>> render(571_234.0, "W"), render(36 * 3600.0, "s"), render(0.0842, "fraction")
    ('571 kW', '36 h', '8.42 %')
    >>> render(172032, ""), render(2.5e12, ""), render(4.2e-2, "USD/kWh")
    ('172,032', '2.5 T', '42 USD/MWh')
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "unlimited" if value > 0 else "-unlimited"
    ladder = _RENDERED.get(unit) or ((unit, 1.0),)
    # Nothing is nothing in the base unit: 0 s, not 0 us.
    name, factor = next((rung for rung in ladder if value == 0 and rung[1] == 1.0), ladder[0])
    # A day is written from two days on, a megawatt from one: 36 h, not 1.5 d.
    for candidate, size in ladder:
        least = 2.0 if candidate in {"min", "h", "d"} else 10.0 if unit == "" and candidate == "M" else 1.0
        if abs(value) >= least * size * (1 - 0.5 * 10.0**-digits):
            name, factor = candidate, size
    number = _significant(value / factor, digits)
    return f"{number} {name}" if name else number


def _significant(number: float, digits: int) -> str:
    if number == 0:
        return "0"
    before = math.floor(math.log10(abs(number))) + 1
    if before > 15:
        return f"{number:.{digits - 1}e}"
    if before < -3:
        return f"{number:.{digits - 1}e}"
    places = max(digits - before, 0)
    written = f"{number:,.{places}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def exact(value: float, unit: str) -> str:
    """Return a quantity that `parse` reads back to the same float, in its base unit.

    Examples
    --------
    >>> exact(1234567.25, "W"), exact(0.1, "fraction"), exact(1e-7, "1/s")
    ('1234567.25 W', '0.1', '1e-07 per s')
    """
    spelled = _BASE_SPELLING.get(unit, unit)
    number = repr(float(value))
    number = number.removesuffix(".0")
    return f"{number} {spelled}" if spelled else number


_BASE_SPELLING: Final[Mapping[str, str]] = {
    "bytes": "B", "bytes/s": "B/s", "flop": "FLOP", "flop/s": "FLOP/s", "fraction": "", "ratio": "",
    "below:above": "",
    "litres": "L", "litres/kWh": "L/kWh", "litres/s": "L/s", "USD/litre": "USD/L", "1/s": "per s",
    "gpu-s": "GPU-s",
}  # fmt: skip


def in_currency(value_usd: float, currency: str) -> float:
    """Return dollars in another currency, at the stated rate and price year.

    Raises
    ------
    UnitError
        The currency is not in the table; the message lists those that are.
    """
    if currency not in USD_PER:
        raise UnitError(f"unknown currency '{currency}'; known: {', '.join(USD_PER)}")
    return value_usd / USD_PER[currency]
