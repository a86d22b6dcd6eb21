"""One colour for one thing, in every figure: Okabe and Ito's palette plus greys.

The eight colours stay apart for the common kinds of colour blindness and in greyscale print. A
thing that a table names here looks the same in all figures and in the report; everything else
(tenants, tiers, jobs, sites) takes the next colour of ``CYCLE`` in the order given, plus its own
line style, so colour is never the only difference.

References
----------
Okabe and Ito, "Color Universal Design", 2008. https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

BLACK: Final = "#000000"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
INK: Final = "#1F2933"
GREY: Final = "#8A8F98"
PALE: Final = "#D5D8DC"
GRID: Final = "#E6E8EB"

CYCLE: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, GREY, YELLOW)
DASHES: Final = ("-", "--", "-.", ":")

#: What a GPU is doing, from the best to the worst; also the order in which states are stacked.
STATES: Final[Mapping[str, str]] = {
    "productive": GREEN,
    "overhead": ORANGE,
    "lost": BLACK,
    "allocated idle": YELLOW,
    "held": PURPLE,
    "maintenance": SKY,
    "down": VERMILLION,
    "free": PALE,
}

#: Who draws power, from the chip outwards to the meter.
COMPONENTS: Final[Mapping[str, str]] = {
    "gpu": BLUE,
    "host": SKY,
    "network": PURPLE,
    "conversion": ORANGE,
    "cooling": GREEN,
    "storage": YELLOW,
    "other": GREY,
}

#: The ways to count carbon.
CARBON: Final[Mapping[str, str]] = {
    "location": VERMILLION,
    "market": BLUE,
    "marginal": PURPLE,
    "embodied": GREY,
}

#: Why jobs wait.
REASONS: Final[Mapping[str, str]] = {
    "capacity": BLUE,
    "behind": SKY,
    "reserved": GREY,
    "fragmentation": ORANGE,
    "no-such-gpu": BLACK,
    "down": VERMILLION,
    "power-cap": YELLOW,
    "quota": "#7A5C00",
    "carbon-hold": GREEN,
    "price-hold": "#7FD1B9",
    "decision-hold": PURPLE,
    "moving": PALE,
}


def colours(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """Give every name its colour: the table's, else the next unused one of the cycle.

    Parameters
    ----------
    names
        Things to be drawn, in drawing order.
    known
        The table of this kind of thing (``STATES``, ``COMPONENTS``, ...).

    Returns
    -------
    dict
        Name to hexadecimal colour, in the order of ``names``.
    """
    taken = {known[name] for name in names if name in known}
    spare = [colour for colour in CYCLE if colour not in taken] or list(CYCLE)
    given: dict[str, str] = {}
    strangers = 0
    for name in names:
        if name in known:
            given[name] = known[name]
        else:
            given[name] = spare[strangers % len(spare)]
            strangers += 1
    return given


def in_order(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """Return the distinct names, those of the table first and in its order, others by name."""
    present = dict.fromkeys(names)
    return [name for name in known if name in present] + sorted(name for name in present if name not in known)
