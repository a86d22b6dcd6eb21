"""Scheduling: who starts when, where, and whether it may at all. One row a plug-in."""

from __future__ import annotations

from typing import Final

from simulator.scheduling.carbon_hold import CarbonHold
from simulator.scheduling.conservative import Conservative
from simulator.scheduling.consolidate import Consolidate
from simulator.scheduling.easy import Easy
from simulator.scheduling.fcfs import Fcfs
from simulator.scheduling.lowest_numbered import LowestNumbered
from simulator.scheduling.orders import HighestPriority, ShortestRequest, Submission
from simulator.scheduling.pod_aligned import PodAligned
from simulator.scheduling.protocols import Admit, Order, Place, Plan
from simulator.scheduling.sjf import Sjf
from simulator.scheduling.spread_out import SpreadOut

#: `scheduling.policy`
POLICIES: Final[dict[str, type]] = {
    "fcfs": Fcfs,
    "sjf": Sjf,
    "easy": Easy,
    "conservative": Conservative,
}

#: `scheduling.order`, where a policy's own is not wanted
ORDERS: Final[dict[str, type]] = {
    "submission": Submission,
    "shortest-request": ShortestRequest,
    "highest-priority": HighestPriority,
}

#: `scheduling.placement`
PLACEMENTS: Final[dict[str, type]] = {
    "lowest-numbered": LowestNumbered,
    "consolidate": Consolidate,
    "pod-aligned": PodAligned,
    "spread": SpreadOut,
}

#: `scheduling.admit`
ADMITS: Final[dict[str, type]] = {
    "carbon-hold": CarbonHold,
}

__all__ = [
    "ADMITS",
    "ORDERS",
    "PLACEMENTS",
    "POLICIES",
    "Admit",
    "Order",
    "Place",
    "Plan",
]
