"""Fabrics, collectives and how jobs share links. One row a shape of fabric."""

from __future__ import annotations

from typing import Final

from simulator.network.dragonfly import Dragonfly
from simulator.network.sharing import Flow, max_min_shares, settle_shares
from simulator.network.spread import Spread
from simulator.network.topology import Fabric, Fault, Machines, Tier, Topology
from simulator.network.torus import Torus
from simulator.network.traffic import Traffic
from simulator.network.trees import FatTree, RailOnly, RailOptimised

#: `fabric.type`
TOPOLOGIES: Final[dict[str, type]] = {
    "fat-tree": FatTree,
    "rail-optimised": RailOptimised,
    "rail-only": RailOnly,
    "dragonfly": Dragonfly,
    "torus": Torus,
}

__all__ = [
    "TOPOLOGIES",
    "Fabric",
    "Fault",
    "Flow",
    "Machines",
    "Spread",
    "Tier",
    "Topology",
    "Traffic",
    "max_min_shares",
    "settle_shares",
]
