"""When a training run saves itself: at a fixed interval, or where saving costs what failures do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from simulator.foundation.quantity import Seconds
from simulator.hardware.failure_laws import daly_interval_s, young_interval_s

#: A run that nothing interrupts, and that still wants to save itself now and then.
NEVER_FAILS_S: Final = 86400.0


class SaveInterval(Protocol):
    """How much work lies between two checkpoints."""

    def interval_s(self, save_s: float, mean_time_between_failures_s: float) -> float:
        """Return the work between two checkpoints. [s]

        Parameters
        ----------
        save_s
            How long one stops the run. [s]
        mean_time_between_failures_s
            Of the run on all its GPUs; inf if nothing fails. [s]
        """
        ...


@dataclass(frozen=True)
class FixedInterval:
    """The same work between two checkpoints, whatever they cost."""

    every_s: Annotated[Seconds, "Work between two checkpoints."]

    def __post_init__(self) -> None:
        """Refuse an interval of nothing."""
        if not self.every_s > 0.0:
            raise ValueError(f"expected an interval above 0 s, got {self.every_s:g} s")

    def interval_s(self, save_s: float, mean_time_between_failures_s: float) -> float:
        """Return the interval as given. [s]"""
        return self.every_s


@dataclass(frozen=True)
class YoungInterval:
    """Young's first-order optimum: the root of twice the save times the mean time between failures."""

    mean_time_s: Annotated[
        Seconds | None, "Between failures of the run, as its owner believes; the preset's if not given."
    ] = None

    def interval_s(self, save_s: float, mean_time_between_failures_s: float) -> float:
        """Return Young's interval. [s]"""
        mean_s = self.mean_time_s or mean_time_between_failures_s
        return NEVER_FAILS_S if math.isinf(mean_s) else young_interval_s(save_s, mean_s)


@dataclass(frozen=True)
class DalyInterval:
    """Daly's higher-order optimum: shorter than Young's where saving takes long."""

    mean_time_s: Annotated[
        Seconds | None, "Between failures of the run, as its owner believes; the preset's if not given."
    ] = None

    def interval_s(self, save_s: float, mean_time_between_failures_s: float) -> float:
        """Return Daly's interval. [s]"""
        mean_s = self.mean_time_s or mean_time_between_failures_s
        return NEVER_FAILS_S if math.isinf(mean_s) else daly_interval_s(save_s, mean_s)
