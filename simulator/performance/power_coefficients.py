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
        Of the time, in which kernels compute or stream; in the rest they are launched, GPUs talk to
        each other, or wait for the host.
    streaming
        Of its memory bandwidth.
    computing
        Of its tensor units: the geometric mean of the dense peak of the format in use that is
        executed, padding of tiles included, and of the time that arithmetic takes. A slow kernel
        keeps them busier than its operations say, and idler than its time does.
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
    says how late. ``loaded_idle`` is used only where the catalog leaves the figure blank.
    """

    loaded_idle: float
    compute: float
    memory: float
    communication: float
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


def _law(
    working: float, streaming: float, computing: float, ceiling: float, sharpness: float, fitted_on: str
) -> PowerCoefficients:
    """Return a generation's law, the shares of training as everywhere.

    Those are estimates: dense training runs at 0.85 to 0.97 of TDP (POLCA, 8-GPU H100 node
    studies), waiting in a collective near 0.4 of it (POLCA's dips between iterations).
    """
    return PowerCoefficients(
        loaded_idle=0.18,
        compute=0.92,
        memory=0.7,
        communication=0.42,
        working=working,
        streaming=streaming,
        computing=computing,
        ceiling=ceiling,
        sharpness=sharpness,
        fitted_on=f"serving: {fitted_on}; training: estimate",
    )


_AMPERE: Final = replace(
    _law(0.309, 0.406, 1.26, 1.0, 16.0, "Splitwise's prompts and answers on A100"), loaded_idle=0.2
)
_UNMEASURED: Final = replace(_law(0.3, 0.4, 1.3, 0.98, 6.0, "nothing, where all fits start"), loaded_idle=0.2)
_POWER: Final[Mapping[str, PowerCoefficients]] = {
    "volta": replace(_AMPERE, loaded_idle=0.22, fitted_on="serving: Ampere's; training: estimate"),
    "ampere": _AMPERE,
    "hopper": _law(0.296, 0.394, 2.33, 0.991, 2.57, "ML.ENERGY v3 text rows, H100"),
    "blackwell": _law(0.323, 0.42, 1.48, 0.976, 13.3, "ML.ENERGY v3 text rows, B200"),
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
