"""The nearest link or switch of a fabric to a name that it does not have."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Final

from simulator.foundation.names import known_list, nearest

#: Most kinds of names that are listed.
_LISTED: Final = 8


def near_link(name: str, known: list[str]) -> str:
    """Return the nearest name of the same kind, by its numbers, and the ranges that there are.

    A fabric has up to a hundred thousand names, which differ in their numbers only: comparing
    letters would take seconds and find the wrong one.
    """
    kinds: dict[str, list[str]] = {}
    for each in known:
        kinds.setdefault(_kind(each), []).append(each)
    kind = _kind(name) if _kind(name) in kinds else nearest(_kind(name), kinds)
    ranges = [of[0] if len(of) == 1 else f"{of[0]} to {of[-1]}" for of in kinds.values()]
    listed = f"known: {known_list(ranges, _LISTED)}"
    if kind is None:
        return listed
    wanted = _numbers(name)
    close = min(
        kinds[kind],
        key=lambda each: sum(
            abs(one - other) for one, other in zip_longest(_numbers(each), wanted, fillvalue=0)
        ),
    )
    return f"did you mean '{close}'? {listed}"


def _kind(name: str) -> str:
    return re.sub(r"[0-9]+", "#", name)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"[0-9]+", name)]
