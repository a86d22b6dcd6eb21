"""Energy and carbon in the unit that suits their size, for people."""

from __future__ import annotations

from simulator.foundation.units import KILO, render

#: (from how many of the summary's unit on, name, how many make one of the summary's unit).
_ENERGY = ((1.0, "MWh", 1.0), (1e-3, "kWh", KILO), (0.0, "Wh", KILO * KILO))
_CARBON = ((1.0, "t", 1.0), (1e-3, "kg", KILO), (0.0, "g", KILO * KILO))


def energy_unit(mwh: float) -> tuple[str, float]:
    """Return the unit that suits an energy, and how many of it make a MWh."""
    return _unit(mwh, _ENERGY)


def carbon_unit(tonnes: float) -> tuple[str, float]:
    """Return the unit that suits a mass of CO2-equivalent, and how many of it make a tonne."""
    return _unit(tonnes, _CARBON)


def energy_text(mwh: float | None, digits: int = 4) -> str:
    """Return energy with its unit, MWh where it is one or more.

    Examples
    --------
    >>> energy_text(0.07922), energy_text(150.5), energy_text(8.473e-5)
    ('79.22 kWh', '150.5 MWh', '84.73 Wh')
    """
    return _text(mwh, _ENERGY, digits)


def carbon_text(tonnes: float | None, digits: int = 4) -> str:
    """Return a mass of CO2-equivalent with its unit, t where it is one or more.

    Examples
    --------
    >>> carbon_text(0.02721), carbon_text(57.3), carbon_text(3.7e-5)
    ('27.21 kg', '57.3 t', '37 g')
    """
    return _text(tonnes, _CARBON, digits)


def _text(amount: float | None, units: tuple[tuple[float, str, float], ...], digits: int) -> str:
    if amount is None:
        return "unknown"
    name, many = _unit(amount, units)
    return f"{render(amount * many, 'ratio', digits)} {name}"


def _unit(amount: float, units: tuple[tuple[float, str, float], ...]) -> tuple[str, float]:
    # Nothing is nothing in the summary's own unit.
    rows = units[:1] if amount == 0.0 else [row for row in units if abs(amount) >= row[0]]
    return rows[0][1], rows[0][2]
