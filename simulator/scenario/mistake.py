"""One thing that is wrong together although each value alone is right."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.foundation.names import hint as nearest_hint
from simulator.scenario.said import Route


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and the keys and indexes that lead to it.

    Parameters
    ----------
    path
        From the root, in the keys of YAML.
    message
        What was said and what was expected.
    hint
        The nearest good thing.
    """

    path: Route
    message: str
    hint: str = ""


def unknown(path: Route, what: str, name: str, known: list[str]) -> Mistake:
    """Return the mistake of a name that nothing has."""
    return Mistake(path, f"unknown {what} {name!r}", nearest_hint(name, known, limit=24))


def repeated(path: Route, key: str, names: list[str], what: str) -> list[Mistake]:
    """Return a mistake for each name in a list that stands there already."""
    return [
        Mistake((*path, index, key), f"{name!r} is the name of two {what}")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
