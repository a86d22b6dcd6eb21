"""Discrete-event simulation of GPU datacenters: `load` a scenario, `run` it, read the `Run`.

Nothing heavy is imported here; the three names below are fetched when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from simulator.results import Run, run
    from simulator.scenario import load

__version__ = "0.1.0"
__all__ = ["load", "run", "Run", "__version__"]

_HOMES: Final = {"load": "simulator.scenario", "run": "simulator.results", "Run": "simulator.results"}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room the first time somebody asks for it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'simulator' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted({*globals(), *__all__})
