"""Fabrics, collectives and how jobs share links."""

from __future__ import annotations

from simulator.network.sharing import Flow, max_min_shares, settle_shares
from simulator.network.spread import Spread
from simulator.network.topology import FABRIC_KINDS, Fabric, Tier

__all__ = ["FABRIC_KINDS", "Fabric", "Flow", "Spread", "Tier", "max_min_shares", "settle_shares"]
