"""The two forms of the kernel, from one source: with all features, and lean, which compiles in half the time.

A form is the same functions with another value of the word `FEATURED`, a constant when they are
compiled: what stands behind `if FEATURED and` is left out before anything is made of it. Both work
on the same arrays, so a crowd may go on in the other form when a command asks for a feature.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.state import compiled_like, plain

_PACKAGE = f"{__name__.rpartition('.')[0]}."


def asks_for_features(crowd: Any) -> bool:
    """Return whether a crowd needs what the lean form does not know.

    Parameters
    ----------
    crowd
        `State.crowd`.
    """
    return bool(
        crowd[[PREFIXES, DRAFTS, UNTIL_DONE, APART]].any()
        or crowd[GROUPS] > 1
        or crowd[ROUTER] == PREFIX_AWARE
    )


def with_words(function: Any, **words: Any) -> FunctionType:
    """Return a function anew, and all of the kernel that it calls, with other values of some words."""
    made: dict[Any, Any] = {}

    def anew(written: FunctionType) -> FunctionType:
        names = {**written.__globals__, **words}
        for name in written.__code__.co_names:
            called = names.get(name)
            body = plain(called)
            if isinstance(body, FunctionType) and body.__module__.startswith(_PACKAGE):
                if called not in made:
                    made[called] = compiled_like(called, anew(body))
                names[name] = made[called]
        copy = FunctionType(
            written.__code__, names, written.__name__, written.__defaults__, written.__closure__
        )
        copy.__module__ = written.__module__
        return copy

    return anew(function)
