"""What every cooling plant answers: one function of heat and weather, read three ways.

A site limit becomes an IT ceiling through it, watchers call it while something is out of the
ordinary, and the books call it on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlantDraw:
    """What a plant needs and can do, arrays of one shape."""

    power_w: FloatArray
    """Electricity of fans, pumps, chillers and the plant's own needs. [W]"""
    water_litres_per_s: FloatArray
    """Water evaporated and blown down on site; NaN where unknown. [L/s]"""
    capacity_w: FloatArray
    """Most heat the plant could carry in this weather. [W]"""
    supply_c: FloatArray
    """Temperature it settles at: the set point, or above where heat exceeds capacity. [C]"""


class Plant(Protocol):
    """A cooling plant: a frozen dataclass, one file and one row in `PLANTS`."""

    #: The plant's factor covers conversion losses too, so no power chain may be set.
    includes_conversion: ClassVar[bool]

    @property
    def capacity_w(self) -> float:
        """Rated heat; 0 until `sized_for` was called. [W]"""

    @property
    def supply_temperature_c(self) -> float:
        """Set point of the coolant sent to the IT. [C]"""

    def sized_for(self, heat_w: float) -> Self:
        """Return the plant with `heat_w` as rated heat, unless one was given."""

    def draw(
        self,
        heat_w: ArrayLike,
        dry_bulb_c: ArrayLike,
        wet_bulb_c: ArrayLike,
        capacity_fraction: ArrayLike = 1.0,
    ) -> PlantDraw:
        """Return power, water, capacity and supply temperature.

        Power never falls when heat, dry bulb or wet bulb rises.

        Parameters
        ----------
        heat_w
            Heat of IT and of conversion losses inside the building. [W]
        dry_bulb_c, wet_bulb_c
            Outside air; the wet bulb never above the dry bulb. [C]
        capacity_fraction
            Share of the equipment that works, 0 to 1.
        """


def broadcast(*values: ArrayLike) -> tuple[FloatArray, ...]:
    """Return the values as float arrays of one common shape."""
    return tuple(
        np.asarray(value, dtype=float)
        for value in np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in values))
    )


def settled_supply_c(
    set_point_c: float, heat_w: FloatArray, capacity_w: FloatArray, rated_w: float, approach_k: float
) -> FloatArray:
    """Return the coolant's resting temperature: heat that is not carried warms it. [C]"""
    excess = np.maximum(heat_w - capacity_w, 0.0) / rated_w
    return np.asarray(set_point_c + approach_k * excess)


def require_size(plant: str, capacity_w: float) -> None:
    """Raise ValueError if a plant is asked before it was sized."""
    if not capacity_w > 0.0:
        raise ValueError(f"{plant}: capacity is {capacity_w} W; give `capacity`, or size it with sized_for()")
