"""The clock: builds a world from a scenario, applies decisions, lets time pass."""

from __future__ import annotations

from simulator.engine.simulate import simulate

__all__ = ["simulate"]
