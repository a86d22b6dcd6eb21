"""A job of which only a recorded run time is known: it does one reference second a second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from simulator.catalog.entries import GpuSpec
from simulator.hardware.power_curve import CLOCK_CURVE, ClockCurve
from simulator.performance.given import OnePhase
from simulator.performance.gpu_power import gpu_power

#: Share of a recorded second that stretches with the clock. Assumed: deep-learning clusters
#: report kernels 50 to 70 % bound by arithmetic; the rest is memory, input and waiting.
COMPUTE_SHARE: Final = 0.6

#: Watts of a research job above loaded idle, as a share of what dense training adds.
#: Assumed: reported GPU utilization of such clusters has medians around 50 %.
LOAD_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class ReferenceProfile(OnePhase):
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
    curve
        How the GPU follows its clock.
    """

    load_w: float
    floor_w: float = 0.0
    compute_share: float = COMPUTE_SHARE
    unit_per_step: float = 1.0
    curve: ClockCurve = CLOCK_CURVE
    given_step_s: ClassVar[float] = 1.0  # type: ignore[misc]

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
        return cls(load_w=load_w, floor_w=min(power.floor_w, load_w), curve=power.curve)

    def scaled(self, share: float) -> ReferenceProfile:
        """Return the profile of an elastic job on ``share`` of its GPUs: that much slower."""
        return replace(self, unit_per_step=share)
