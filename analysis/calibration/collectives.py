"""Fits the constants of `network.link_costs` to measured bandwidth of collectives.

Run it with ``python -m analysis.calibration.collectives DATA``; it prints the constants, the
error of the rows it fitted and that of the rows it only scored. Times are fitted in logarithms
with a soft loss, so that no size counts more than another and no odd row pulls.

Fitted are A100 all-reduces on even numbers of GPUs (odd ones are scored), and of the tables over
nodes every second number of nodes. V100 is scored only: the hybrid cube mesh of eight V100 gives
2 to 7 of them fewer rings than 8, which no constant of a link can say.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from simulator.foundation.units import GIGA, MICRO
from simulator.network.link_costs import LINK_COSTS, LinkCost, bus_bytes_per_s

#: GPUs of a node in the tables over nodes, and bandwidth of one rail there. The tables give parts
#: of line rate; where half of it is reached moves with the rate, and 400 Gb/s is assumed.
NODE_GPUS: Final = 8
RAIL_BYTES_PER_S: Final = 50e9

#: One direction of a GPU's scale-up port. [B/s]
PORT_BYTES_PER_S: Final = {"a100": 300e9, "v100": 150e9}

#: The tables' rings over nodes are plain rings: their time grows with the nodes, without a tree.
RING_ONLY: Final = True


@dataclass(frozen=True)
class Row:
    """One measured collective: what it was, and the bus bandwidth reached. [B, B/s]"""

    group: str
    link: str
    ranks: int
    nodes: int
    size_bytes: float
    line_bytes_per_s: float
    bus_bytes_per_s: float
    fitted: bool

    def modelled_bus_bytes_per_s(self, cost: LinkCost | None = None) -> float:
        """Return what the model reaches, with the shipped constants if none are given. [B/s]"""
        cost = cost or LINK_COSTS[self.link]
        if self.link == "network all-to-all":
            away = self.size_bytes * (1.0 - NODE_GPUS / self.ranks)
            return away / cost.all_to_all_s(self.ranks, away, self.line_bytes_per_s)
        if self.link == "network":
            time_s = cost.all_reduce_s(self.nodes, self.size_bytes, self.line_bytes_per_s, tree=not RING_ONLY)
            return bus_bytes_per_s(self.nodes, self.size_bytes, time_s)
        time_s = cost.all_reduce_s(self.ranks, self.size_bytes, self.line_bytes_per_s)
        return bus_bytes_per_s(self.ranks, self.size_bytes, time_s)


def rows(data: Path) -> list[Row]:
    """Return the rows of ``nccl_busbw.csv`` that say what they measured; the others are left out.

    Left out are the tables' NVLink path over several nodes and their single node, whose GPU and
    rate are not named.
    """
    found = []
    with (data / "training" / "nccl_busbw.csv").open(encoding="utf-8", newline="") as file:
        for said in csv.DictReader(file):
            ranks, nodes, size = int(said["n_gpus"]), int(said["n_nodes"]), float(said["bytes"])
            if said["gpu"] in PORT_BYTES_PER_S:
                line = PORT_BYTES_PER_S[said["gpu"]]
                reached = float(said["busbw_GBps"]) * GIGA
                fitted = said["gpu"] == "a100" and ranks % 2 == 0
                found.append(Row(said["gpu"], "nvlink", ranks, nodes, size, line, reached, fitted))
            elif nodes > 1 and "NVLink" not in said["collective"]:
                ratio = float(said["ratio_of_link"])
                fitted = nodes in (2, 8, 32)
                if said["collective"] == "all_to_all":
                    line, link = RAIL_BYTES_PER_S, "network all-to-all"
                else:
                    line, link = NODE_GPUS * RAIL_BYTES_PER_S, "network"
                found.append(Row("nodes", link, ranks, nodes, size, line, ratio * line, fitted))
    return found


def fit(mine: Sequence[Row], start: LinkCost) -> LinkCost:
    """Return the constants that come nearest to the rows."""
    from scipy.optimize import least_squares  # type: ignore[import-untyped,unused-ignore]

    def cost(values: Sequence[float]) -> LinkCost:
        return LinkCost(values[0], values[1] * MICRO, values[2] * MICRO, start.fitted_on)

    def errors(values: Sequence[float]) -> list[float]:
        trial = cost(values)
        return [float(np.log(row.modelled_bus_bytes_per_s(trial) / row.bus_bytes_per_s)) for row in mine]

    first = [start.efficiency, start.start_s / MICRO, start.hop_s / MICRO]
    found = least_squares(errors, first, bounds=([0.05, 0.0, 0.0], [1.1, 500.0, 500.0]), loss="soft_l1")
    return cost(found.x.tolist())


def error(mine: Sequence[Row], cost: LinkCost | None = None) -> float:
    """Return the mean absolute relative error of bus bandwidth."""
    return float(
        np.mean([abs(row.modelled_bus_bytes_per_s(cost) / row.bus_bytes_per_s - 1.0) for row in mine])
    )


def main(arguments: Sequence[str], say: Callable[[str], None] = print) -> None:
    """Fit, and say what was found."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m analysis.calibration.collectives DATA")
    all_rows = rows(Path(arguments[0]))
    for link, shipped in LINK_COSTS.items():
        mine = [row for row in all_rows if row.link == link]
        fitted = [row for row in mine if row.fitted]
        cost = fit(fitted, shipped)
        say(
            f"{link}: efficiency={cost.efficiency:.4g}, start_s={cost.start_s / MICRO:.3g}e-6, "
            f"hop_s={cost.hop_s / MICRO:.3g}e-6; {len(fitted)} rows fitted to {error(fitted, cost):.1%}"
        )
        for group in dict.fromkeys(row.group for row in mine):
            scored = [row for row in mine if row.group == group and not row.fitted]
            if scored:
                say(f"  {group}: {len(scored)} rows only scored, {error(scored, cost):.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
