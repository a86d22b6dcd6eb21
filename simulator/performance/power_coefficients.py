"""How a GPU generation's watts follow what it does: numbers with what fixed them.

Design powers come from the catalog; what is here says which part of them each kind of work draws.
Nothing here knows a model. ``python -m analysis.calibration.serving_power`` refits what serving
draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from simulator.foundation.errors import CatalogError
from simulator.performance.generations import measured_generation


class Load(NamedTuple):
    """What a GPU does over a while, each as a fraction of what it could; numbers or arrays of them.

    Parameters
    ----------
    working
        Of the time, in which a kernel runs; the rest it waits for its host.
    streaming
        Of its memory bandwidth.
    computing
        Of the dense peak of the format in use, padding of tiles included.
    """

    working: Any
    streaming: Any
    computing: Any


#: Arithmetic's watts rise with this power of it, on every generation.
_FILLING: Final = 0.7


@dataclass(frozen=True, slots=True)
class PowerCoefficients:
    """How much of its thermal design power a GPU draws at each kind of work, at full clock.

    Serving asks for ``idle + working x (time at work) + streaming x (bandwidth in use) +
    computing x (peak in use) ** 0.7``: a model that is resident, being at work at all, memory, and
    arithmetic, whose power below 1 stands for tiles that a small batch only half fills. What is
    asked for is drawn as long as it is far below `ceiling`, the most that any steady state drew,
    because clocks give way from moment to moment long before the mean reaches it; `sharpness`
    says how late. ``loaded_idle`` is used only where the catalog leaves the figure blank; prompts
    draw ``prefill``, which is a peak and not a mean.
    """

    loaded_idle: float
    compute: float
    memory: float
    communication: float
    prefill: float
    working: float
    streaming: float
    computing: float
    ceiling: float
    sharpness: float
    fitted_on: str

    def drawn(self, idle: Any, load: Load) -> Any:
        """Return the share of the design power that a load draws, `idle` of it by being there.

        Numbers, or arrays of one shape.
        """
        asked = idle + self.working * load.working + self.streaming * load.streaming
        asked = asked + self.computing * load.computing**_FILLING
        return asked * (1.0 + (asked / self.ceiling) ** self.sharpness) ** (-1.0 / self.sharpness)


#: Training shares are estimates: dense training runs at 0.85 to 0.97 of TDP (POLCA, 8-GPU H100
#: node studies), waiting in a collective near 0.4 of it (POLCA's dips between iterations).
_HOPPER: Final = PowerCoefficients(
    loaded_idle=0.18,
    compute=0.92,
    memory=0.7,
    communication=0.42,
    prefill=0.96,
    working=0.293,
    streaming=0.398,
    computing=5.58,
    ceiling=0.991,
    sharpness=1.59,
    fitted_on="serving: ML.ENERGY v3 text rows, H100; training: estimate",
)
_AMPERE: Final = replace(
    _HOPPER,
    loaded_idle=0.2,
    working=0.323,
    streaming=0.412,
    computing=0.644,
    ceiling=1.0,
    sharpness=5.61,
    fitted_on="serving: Splitwise's prompts and answers on A100; training: estimate",
)
_BLACKWELL: Final = replace(
    _HOPPER,
    working=0.289,
    streaming=0.401,
    computing=1.28,
    ceiling=0.976,
    sharpness=30.0,
    fitted_on="serving: ML.ENERGY v3 text rows, B200; training: estimate",
)
_UNMEASURED: Final = replace(
    _AMPERE,
    prefill=0.95,
    working=0.3,
    streaming=0.4,
    computing=1.3,
    ceiling=0.98,
    sharpness=6.0,
    fitted_on="nothing: where all fits start, near Ampere's and Blackwell's",
)
_POWER: Final[Mapping[str, PowerCoefficients]] = {
    "volta": replace(_AMPERE, loaded_idle=0.22, fitted_on="serving: Ampere's; training: estimate"),
    "ampere": _AMPERE,
    "hopper": _HOPPER,
    "blackwell": _BLACKWELL,
    "ada": _UNMEASURED,
    "blackwell rtx": _UNMEASURED,
}


def power_coefficients(generation: str) -> PowerCoefficients:
    """Return how a GPU generation draws power; a middling set for one that nobody measured.

    Unlike time, watts between idle and design power can be guessed for any part, and jobs of
    which only a run time is known need nothing else.
    """
    try:
        return _POWER[measured_generation(generation, _POWER)]
    except CatalogError:
        return _UNMEASURED
