"""Says that the kernel has to be compiled: up to a minute, once on a machine, in which nothing moves."""

from __future__ import annotations

import logging
from typing import Any, Final

from numba.core import event  # type: ignore[import-untyped,unused-ignore]

#: What is said, and where; the command line shows it.
MESSAGE: Final = "compiling the serving kernel, up to a minute, once on a machine"
LOG: Final = logging.getLogger("simulator.serving")


class Announcer(event.Listener):  # type: ignore[misc,unused-ignore]
    """Speaks when the first function of a package is compiled and not just loaded from the cache.

    Parameters
    ----------
    package
        Whose functions, those of its modules.
    """

    def __init__(self, package: str) -> None:
        self._modules = f"{package}."
        self._said = False

    def on_start(self, what: Any) -> None:
        """Speak, the first time."""
        if not self._said and what.data["dispatcher"].py_func.__module__.startswith(self._modules):
            self._said = True
            LOG.info(MESSAGE)

    def on_end(self, what: Any) -> None:
        """Say nothing more."""


def announce(package: str) -> None:
    """Speak when the functions of a package have to be compiled."""
    event.register("numba:compile", Announcer(package))  # type: ignore[no-untyped-call,unused-ignore]
