"""How numbers are written for people: rounded, never with an exponent, n/a where there is none."""

from __future__ import annotations

import numpy as np

from simulator.foundation.units import render


def count_text(value: float | None) -> str:
    """Return a count as people write it."""
    return "n/a" if value is None else render(value, "")


def known(value: float | None) -> float | None:
    """Return a number, or None if it is unknown (NaN, as columns of a table have it)."""
    return None if value is None or np.isnan(value) else float(value)


def percent(value: float | None) -> str:
    """Return a share as per cent."""
    return "n/a" if value is None else f"{100 * value:.1f} %"


def fixed(value: float | None, places: int) -> str:
    """Return a number with so many places."""
    return "n/a" if value is None else f"{value:.{places}f}"


def digits(value: float | None, most: int = 4) -> str:
    """Return a number rounded to so many digits, never with an exponent."""
    if value is None:
        return "n/a"
    if value == 0:
        return "0"
    before = int(np.floor(np.log10(abs(value)))) + 1
    text = f"{value:,.{max(0, min(most - before, 8))}f}"
    # What is lost in eight places is what rounding left of nothing.
    return text if text.strip("-0.") else "0"


def seconds_text(value: float | None) -> str:
    """Return a latency in ms or s."""
    if value is None:
        return "n/a"
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"
