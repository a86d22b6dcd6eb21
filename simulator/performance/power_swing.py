"""How far a job's power swings, how fast and how often: what a building's supply has to bear.

All GPUs of a synchronous job come to the end of a step together. What interleaves inside
micro-batches (products, tensor-parallel exchange, bubbles of single stages) averages out over
them; what waits at the end of the step (gradients not hidden, the optimiser, the slowest rank)
does not. No waveform is simulated: amplitude, ramp and period are enough for a building.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Time constant with which a node's draw follows its GPUs: bulk capacitors of server supplies
#: carry full load for 10 to 20 ms. Estimate; ramps go inversely with it.
SUPPLY_S: Final = 0.02

#: Parts of a step that all ranks meet at the same time, and the phase whose watts they draw.
_AT_THE_END: Final[Mapping[str, str]] = {
    "dp_exposed_s": "communication",
    "optimizer_s": "memory",
    "straggler_s": "waiting",
}


@dataclass(frozen=True, slots=True)
class PowerSwing:
    """One GPU's swing inside a step, at full clock and full links.

    Parameters
    ----------
    busy_w
        Mean over what interleaves inside micro-batches. [W]
    low_w
        Lowest that the node's supply sees at the end of a step. [W]
    low_s
        How long the end of the step lasts. [s]
    period_s
        One step. [s]
    """

    busy_w: float
    low_w: float
    low_s: float
    period_s: float

    @property
    def swing_w(self) -> float:
        """From the highest to the lowest. [W]"""
        return self.busy_w - self.low_w

    @property
    def ramp_w_per_s(self) -> float:
        """Steepest change at the node's supply. [W/s]"""
        return self.swing_w / SUPPLY_S


def power_swing(profile: Any) -> PowerSwing | None:
    """Return the swing of a profile that knows the parts of its step; None for one that does not.

    Parameters
    ----------
    profile
        With ``breakdown``, ``phase_power`` and ``at``.
    """
    parts, watts = profile.breakdown, profile.phase_power
    if any(name not in watts for name in _AT_THE_END.values()):
        return None
    step_s, mean_w = profile.at(1.0, 1.0)
    ends = [(parts[name], watts[phase]) for name, phase in _AT_THE_END.items() if parts[name] > 0.0]
    low_s = sum(seconds for seconds, _ in ends)
    if not 0.0 < low_s < step_s:
        return PowerSwing(mean_w, mean_w, 0.0, step_s)
    busy_w = (mean_w * step_s - sum(seconds * w for seconds, w in ends)) / (step_s - low_s)
    # The supply follows each part in turn, with its lag; they come in no fixed order, so the
    # longest counts first.
    seen_w = lowest_w = busy_w
    for seconds, w in sorted(ends, reverse=True):
        seen_w = w + (seen_w - w) * math.exp(-seconds / SUPPLY_S)
        lowest_w = min(lowest_w, seen_w)
    return PowerSwing(busy_w, lowest_w, low_s, step_s)
