"""What collectives reach on real links: a few constants per kind of link, and where they come from.

``analysis.calibration.collectives`` fits them to measured bandwidth and says which rows it fitted
and which it only scored. They describe a collective by itself; what training software reaches
while it computes is in ``performance.coefficients``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simulator.network.collectives import in_network_all_reduce_s, ring_all_reduce_s, tree_all_reduce_s


@dataclass(frozen=True, slots=True)
class LinkCost:
    """A kind of link as collectives meet it.

    Parameters
    ----------
    efficiency
        Part of the line rate that a long message reaches.
    start_s
        Start and end of any collective, whatever its ranks. [s]
    hop_s
        Each step from one rank to the next. [s]
    fitted_on
        Rows that fixed these numbers.
    """

    efficiency: float
    start_s: float
    hop_s: float
    fitted_on: str

    def all_reduce_s(
        self,
        ranks: int,
        size_bytes: float,
        line_bytes_per_s: float,
        *,
        tree: bool = True,
        in_network: bool = False,
    ) -> float:
        """Return the time of the best all-reduce that the ranks can do. [s]

        Parameters
        ----------
        ranks
            Who takes part, or nodes where rails run beside each other. [count]
        size_bytes
            Of the whole buffer. [B]
        line_bytes_per_s
            Of one rank's link (of all rails of a node), one direction. [B/s]
        tree, in_network
            Whether the library has trees, and the switches can add up.
        """
        if ranks < 2:
            return 0.0
        rate = self.efficiency * line_bytes_per_s
        best_s = ring_all_reduce_s(ranks, size_bytes, rate, self.hop_s)
        if tree:
            best_s = min(best_s, tree_all_reduce_s(ranks, size_bytes, rate, self.hop_s))
        if in_network:
            best_s = min(best_s, in_network_all_reduce_s(ranks, size_bytes, rate, self.hop_s))
        return self.start_s + best_s

    def all_to_all_s(self, ranks: int, away_bytes: float, line_bytes_per_s: float) -> float:
        """Return the time of an all-to-all in which each rank sends ``away_bytes`` over this link. [s]"""
        if ranks < 2:
            return 0.0
        wire_s = away_bytes / (self.efficiency * line_bytes_per_s)
        return self.start_s + math.log2(ranks) * self.hop_s + wire_s


def bus_bytes_per_s(ranks: int, size_bytes: float, time_s: float) -> float:
    """Return the bus bandwidth of an all-reduce, as NCCL's tests count it. [B/s]

    Examples
    --------
    >>> bus_bytes_per_s(4, 8e9, 2.0)
    6000000000.0
    """
    return 2.0 * (ranks - 1) / ranks * size_bytes / time_s


#: Kind of link -> its constants.
LINK_COSTS: Final[dict[str, LinkCost]] = {
    "nvlink": LinkCost(
        efficiency=0.7141,
        start_s=34.9e-6,
        hop_s=3.63e-6,
        fitted_on="all-reduce on 2, 4, 6 and 8 A100 (vTrain's tables); odd counts and V100 only scored",
    ),
    "network": LinkCost(
        efficiency=0.967,
        start_s=27.3e-6,
        hop_s=35.4e-6,
        fitted_on="all-reduce over 2, 8 and 32 nodes (SimAI's ratios, GPU not named); the rest only scored",
    ),
    "network all-to-all": LinkCost(
        efficiency=0.8648,
        start_s=136e-6,
        hop_s=0.0,
        fitted_on="all-to-all over 2 and 8 nodes (SimAI's ratios, GPU not named); the rest only scored",
    ),
}
