"""Fabrics, collectives and how jobs share links."""

from __future__ import annotations

from simulator.network.spread import Spread

__all__ = ["Spread"]
