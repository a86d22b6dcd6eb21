"""A job that is slower than its model says: one node computes slowly and all wait, or all of it is slow.

What a step takes more stands under the wait for the slowest, whatever the reason: of a persistent
slowdown it is measured that it is there, seldom where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, overload

import numpy as np

from simulator.hardware.power_curve import ClockCurve
from simulator.network.traffic import Traffic
from simulator.performance.profile import BREAKDOWN_KEYS, FloatArray


@dataclass(frozen=True, slots=True)
class Slowed:
    """A profile with longer steps.

    Parameters
    ----------
    profile
        Of the job as it should be.
    of_step
        The whole step takes this fraction longer.
    of_compute
        The slowest rank's arithmetic and optimiser take this fraction longer, and the others
        wait. In a pipeline the slow stage sets the pace of all micro-batches, while filling and
        draining pass it once. Where only a step's length is known, all of it counts as compute.
    """

    profile: Any
    of_step: float = 0.0
    of_compute: float = 0.0

    @property
    def unit_per_step(self) -> float:
        """Return the work of one step: no less for taking longer."""
        return float(self.profile.unit_per_step)

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Return the seconds of one step at full clock and full links, by part. [s]"""
        return MappingProxyType(self.parts(1.0, 1.0))

    @property
    def phase_power(self) -> Mapping[str, float]:
        """Return the watts of one GPU in each phase. [W]"""
        found: Mapping[str, float] = self.profile.phase_power
        return found

    @property
    def flow_bytes_per_step(self) -> float:
        """Return the bytes that each GPU sends into the fabric in a step. [B]"""
        return float(self.profile.flow_bytes_per_step)

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Return who of the job's nodes sends how much to whom in a step."""
        found: tuple[Traffic, ...] = self.profile.traffic
        return found

    def parts(self, clock_fraction: float, link_share: float) -> dict[str, float]:
        """Return the seconds of one step by ``profile.BREAKDOWN_KEYS``; they sum to the step."""
        known = getattr(self.profile, "parts", None)
        if known is not None:
            part: dict[str, float] = known(clock_fraction, link_share)
        else:
            part = dict.fromkeys(BREAKDOWN_KEYS, 0.0)
            part["compute_s"] = self.profile.at(clock_fraction, link_share)[0]
        more_s = self.of_step * sum(part.values())
        more_s += self.of_compute * (part["compute_s"] + part["optimizer_s"])
        return part | {"straggler_s": part["straggler_s"] + more_s}

    @overload
    def at(self, clock_fraction: float, link_share: float) -> tuple[float, float]: ...

    @overload
    def at(
        self, clock_fraction: FloatArray, link_share: FloatArray | float
    ) -> tuple[FloatArray, FloatArray]: ...

    def at(
        self, clock_fraction: float | FloatArray, link_share: float | FloatArray
    ) -> tuple[float, float] | tuple[FloatArray, FloatArray]:
        """Return (step_s, power_w); what a step takes more is drawn at the watts of waiting.

        Where the watts of waiting are not known, the given mean holds on.
        """
        if isinstance(clock_fraction, np.ndarray):
            shares = np.broadcast_to(np.asarray(link_share, dtype=np.float64), clock_fraction.shape)
            pairs = [self.at(float(c), float(s)) for c, s in zip(clock_fraction, shares, strict=True)]
            return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        share = float(link_share)
        own_s, own_w = self.profile.at(clock_fraction, share)
        step_s = sum(self.parts(clock_fraction, share).values())
        full_w = self.phase_power.get("waiting")
        if full_w is None:
            return step_s, own_w
        waiting_w = self.curve.power_w(full_w, self.floor_w, clock_fraction)
        return step_s, (own_s * own_w + (step_s - own_s) * waiting_w) / step_s

    @property
    def curve(self) -> ClockCurve:
        """Return how the GPUs follow their clock."""
        found: ClockCurve = self.profile.curve
        return found

    @property
    def floor_w(self) -> float:
        """Return the watts of one GPU that no clock removes. [W]"""
        inner = self.profile
        return float(inner.power.floor_w if hasattr(inner, "power") else inner.floor_w)
