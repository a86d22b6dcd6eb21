"""A training job whose step time or watts somebody gave: published figures, replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import overload

import numpy as np

from simulator.catalog.entries import GpuSpec
from simulator.hardware.power_curve import CLOCK_CURVE, ClockCurve
from simulator.network.traffic import Traffic
from simulator.performance.coefficients import training_coefficients
from simulator.performance.gpu_power import gpu_power
from simulator.performance.profile import BREAKDOWN_KEYS, FloatArray


class OnePhase:
    """A profile of which only step time and watts are known: one phase, nothing on the fabric."""

    __slots__ = ()

    given_step_s: float
    load_w: float
    floor_w: float
    compute_share: float
    curve: ClockCurve

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Return the step, all of it counted as compute: nothing more is known. [s]"""
        return MappingProxyType(
            {key: self.given_step_s if key == "compute_s" else 0.0 for key in BREAKDOWN_KEYS}
        )

    @property
    def phase_power(self) -> Mapping[str, float]:
        """Return the watts of the only phase. [W]"""
        return MappingProxyType({"compute": self.load_w})

    @property
    def flow_bytes_per_step(self) -> float:
        """Return the bytes offered to the fabric: unknown, so none. [B]"""
        return 0.0

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Return who sends to whom: not known, so nobody."""
        return ()

    @overload
    def at(self, clock_fraction: float, link_share: float) -> tuple[float, float]: ...

    @overload
    def at(
        self, clock_fraction: FloatArray, link_share: FloatArray | float
    ) -> tuple[FloatArray, FloatArray]: ...

    def at(
        self, clock_fraction: float | FloatArray, link_share: float | FloatArray
    ) -> tuple[float, float] | tuple[FloatArray, FloatArray]:
        """Return (step_s, power_w); ``link_share`` has no part in it."""
        if isinstance(clock_fraction, np.ndarray):
            pairs = [self.at(float(clock), 1.0) for clock in clock_fraction]
            return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        if clock_fraction == 1.0:
            return self.given_step_s, self.load_w
        compute, other = self.compute_share, 1.0 - self.compute_share
        stretch = compute * self.curve.compute_stretch(clock_fraction)
        stretch += other * self.curve.memory_stretch(clock_fraction)
        return self.given_step_s * stretch, self.curve.power_w(self.load_w, self.floor_w, clock_fraction)


@dataclass(frozen=True, slots=True)
class GivenProfile(OnePhase):
    """Step time and watts as given; only the clock moves them.

    Parameters
    ----------
    unit_per_step
        Work of a step. [tokens]
    given_step_s
        Its time at full clock. [s]
    load_w, floor_w
        Watts of one GPU at full clock, and the part that no clock removes. [W]
    compute_share
        Share of the time that stretches with the clock, 0 to 1.
    curve
        How the GPU follows its clock.
    """

    unit_per_step: float
    given_step_s: float
    load_w: float
    floor_w: float = 0.0
    compute_share: float = 1.0
    curve: ClockCurve = CLOCK_CURVE

    @classmethod
    def on(
        cls, gpu: GpuSpec, unit_per_step: float, step_s: float, *, load_w: float | None = None
    ) -> GivenProfile:
        """Return the profile on ``gpu``; without ``load_w`` it draws what dense training does."""
        power = gpu_power(gpu)
        watts = power.compute_w if load_w is None else load_w
        return cls(unit_per_step, step_s, watts, min(power.floor_w, watts), curve=power.curve)

    @classmethod
    def at_mfu(
        cls, gpu: GpuSpec, unit_per_step: float, step_s: float, mfu_fraction: float, precision: str
    ) -> GivenProfile:
        """Return the profile of a job of which only its MFU is known.

        MFU over what big products reach of the peak is the share of the time spent in them. What
        fills the rest nobody said: half of it is taken as streaming memory, half as waiting in
        collectives, the two ends of what training does besides.

        Parameters
        ----------
        gpu
            Where it runs.
        unit_per_step, step_s
            Work and time of a step. [tokens], [s]
        mfu_fraction
            Model FLOP over the dense peak of ``precision``.
        precision
            Of the products.
        """
        power, reached = gpu_power(gpu), training_coefficients(gpu.generation)
        products = min(1.0, mfu_fraction / reached.product_efficiency(precision))
        rest_w = 0.5 * (power.memory_w + power.communication_w)
        watts = products * power.compute_w + (1.0 - products) * rest_w
        return cls.on(gpu, unit_per_step, step_s, load_w=watts)
