"""Says that the kernel has to be compiled: half a minute, once on a machine, in which nothing moves."""

from __future__ import annotations

import logging
from typing import Any, Final

from numba.core import event  # type: ignore[import-untyped,unused-ignore]

#: What is said, and where; the command line shows it.
MESSAGE: Final = "compiling the serving kernel, about half a minute, once on a machine"
LOG: Final = logging.getLogger("simulator.serving")


class Announcer(event.Listener):  # type: ignore[misc,unused-ignore]
    """Speaks when the first function of a module is compiled and not just loaded from the cache.

    Parameters
    ----------
    module
        Whose functions.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._said = False

    def on_start(self, what: Any) -> None:
        """Speak, the first time."""
        if not self._said and what.data["dispatcher"].py_func.__module__ == self._module:
            self._said = True
            LOG.info(MESSAGE)

    def on_end(self, what: Any) -> None:
        """Say nothing more."""


def announce(module: str) -> None:
    """Speak when a module's functions have to be compiled."""
    event.register("numba:compile", Announcer(module))  # type: ignore[no-untyped-call,unused-ignore]
