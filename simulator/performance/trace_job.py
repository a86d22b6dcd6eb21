"""A job of which only a recorded run time is known: it does one reference second a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, overload

import numpy as np

from simulator.catalog.entries import GpuSpec
from simulator.hardware.power_curve import CLOCK_CURVE
from simulator.performance.gpu_power import gpu_power
from simulator.performance.profile import BREAKDOWN_KEYS, FloatArray

#: Share of a recorded second that stretches with the clock. Assumed: deep-learning clusters
#: report kernels 50 to 70 % bound by arithmetic; the rest is memory, input and waiting.
COMPUTE_SHARE: Final = 0.6

#: Watts of a research job above loaded idle, as a share of what dense training adds.
#: Assumed: reported GPU utilization of such clusters has medians around 50 %.
LOAD_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """Speed and watts of a trace job; its work is counted in reference seconds.

    Parameters
    ----------
    load_w
        Watts of one GPU at full clock. [W]
    floor_w
        Part of them that no clock removes. [W]
    compute_share
        Share of the time that stretches with the clock, 0 to 1.
    unit_per_step
        Reference seconds done in a second at full clock: 1 on all the GPUs asked for.
    """

    load_w: float
    floor_w: float = 0.0
    compute_share: float = COMPUTE_SHARE
    unit_per_step: float = 1.0

    def __post_init__(self) -> None:
        """Refuse watts and shares that cannot be."""
        if not self.load_w >= 0.0 or not 0.0 <= self.compute_share <= 1.0:
            raise ValueError(f"reference profile: load_w >= 0 and compute_share in [0, 1], got {self}")

    @classmethod
    def on(cls, gpu: GpuSpec, *, load_w: float | None = None) -> ReferenceProfile:
        """Return the profile of a trace job on ``gpu``; ``load_w`` overrides its watts."""
        power = gpu_power(gpu)
        if load_w is None:
            load_w = power.loaded_idle_w + LOAD_SHARE * (power.compute_w - power.loaded_idle_w)
        return cls(load_w=load_w, floor_w=min(power.floor_w, load_w))

    def scaled(self, share: float) -> ReferenceProfile:
        """Return the profile of an elastic job on ``share`` of its GPUs: that much slower."""
        return replace(self, unit_per_step=share)

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Return the one second, all of it compute. [s]"""
        return _ONE_SECOND

    @property
    def phase_power(self) -> Mapping[str, float]:
        """Return the watts of the only phase. [W]"""
        return MappingProxyType({"compute": self.load_w})

    @property
    def flow_bytes_per_step(self) -> float:
        """Return the bytes offered to the fabric: a trace does not say, so none."""
        return 0.0

    @property
    def replica_nodes(self) -> int:
        """Return the nodes of one copy of the model: not known, so one."""
        return 1

    @overload
    def at(self, clock_fraction: float, link_share: float) -> tuple[float, float]: ...

    @overload
    def at(
        self, clock_fraction: FloatArray, link_share: FloatArray | float
    ) -> tuple[FloatArray, FloatArray]: ...

    def at(
        self, clock_fraction: float | FloatArray, link_share: float | FloatArray
    ) -> tuple[float, float] | tuple[FloatArray, FloatArray]:
        """Return (step_s, power_w) of one reference second; ``link_share`` has no part in it."""
        if isinstance(clock_fraction, np.ndarray):
            pairs = [self.at(float(clock), 1.0) for clock in clock_fraction]
            return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        if clock_fraction == 1.0:
            return 1.0, self.load_w
        other = 1.0 - self.compute_share
        step_s = self.compute_share / clock_fraction + other * CLOCK_CURVE.memory_stretch(clock_fraction)
        return step_s, CLOCK_CURVE.power_w(self.load_w, self.floor_w, clock_fraction)


_ONE_SECOND: Final[Mapping[str, float]] = MappingProxyType(
    {key: 1.0 if key == "compute_s" else 0.0 for key in BREAKDOWN_KEYS}
)
