"""What the engine asks of a running job: how fast, at how many watts, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from simulator.network.traffic import Traffic

FloatArray = NDArray[np.float64]

#: Keys that every breakdown has, in the order in which reports show them.
BREAKDOWN_KEYS = (
    "compute_s",
    "tp_comm_s",
    "pp_bubble_s",
    "pp_comm_s",
    "dp_exposed_s",
    "ep_comm_s",
    "cp_comm_s",
    "optimizer_s",
    "straggler_s",
)


class Profile(Protocol):
    """Step time and watts of one job on one placement, at any clock and link share.

    Made once for a layout and a placement; ``at`` is then called at every change of clock
    or of a link's share, so it costs microseconds.
    """

    @property
    def unit_per_step(self) -> float:
        """Work of one step: tokens for training, reference seconds for trace jobs."""
        ...

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Seconds of one step at full clock and full links, by ``BREAKDOWN_KEYS``."""
        ...

    @property
    def phase_power(self) -> Mapping[str, float]:
        """Watts of one GPU in each phase at full clock. [W]"""
        ...

    @property
    def flow_bytes_per_step(self) -> float:
        """Bytes that each GPU sends into the fabric in one step. [B]"""
        ...

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Who of the job's nodes sends how much to whom in a step."""
        ...

    @overload
    def at(self, clock_fraction: float, link_share: float) -> tuple[float, float]: ...

    @overload
    def at(
        self, clock_fraction: FloatArray, link_share: FloatArray | float
    ) -> tuple[FloatArray, FloatArray]: ...

    def at(
        self, clock_fraction: float | FloatArray, link_share: float | FloatArray
    ) -> tuple[float, float] | tuple[FloatArray, FloatArray]:
        """Return (step_s, power_w): seconds of a step, mean watts of one GPU over it.

        Parameters
        ----------
        clock_fraction
            Clock as a fraction of the highest, in (0, 1].
        link_share
            Fraction of a node's network bandwidth that the fabric leaves to the job, (0, 1].
        """
        ...
