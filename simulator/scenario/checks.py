"""What is wrong together although each value alone is right."""

from __future__ import annotations
from dataclasses import dataclass
from typing import Any
from collections.abc import Iterator
from simulator.scenario.said import Route


@dataclass(frozen=True)
class Mistake:
    """One."""

    path: Route
    message: str
    hint: str = ""


def mistakes(scenario: Any, catalog: Any, *, physics: bool = True) -> Iterator[Mistake]:
    """None yet."""
    return iter(())
