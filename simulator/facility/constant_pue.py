"""A site whose published PUE is taken as it stands, whatever the load and the weather."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final, Self

import numpy as np
from numpy.typing import ArrayLike

from simulator.facility.plant import PlantDraw, broadcast, require_size, settled_supply_c
from simulator.foundation.quantity import Celsius, LitresPerKwh, Ratio, Watts
from simulator.foundation.units import J_PER_KWH

#: Warming of the coolant per rated heat that is not carried; as in the other plants. [K]
_APPROACH_K: Final = 10.0


@dataclass(frozen=True)
class ConstantPue:
    """Overhead of conversion and cooling together: a fixed multiple of the IT power.

    For replays of published figures. It does not rise at low load, as real sites do.
    """

    pue: Annotated[Ratio, "Facility energy over IT energy, at least 1."] = 1.0
    wue_litres_per_kwh: Annotated[LitresPerKwh | None, "Site water over IT energy; unknown if left out."] = (
        None
    )
    capacity_w: Annotated[Watts, "Rated heat; sized to the site's largest heat if left out."] = 0.0
    supply_temperature_c: Annotated[Celsius, "Coolant sent to the IT."] = 25.0

    includes_conversion: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a PUE below 1: the IT is part of the facility."""
        if not self.pue >= 1.0:
            raise ValueError(f"pue is {self.pue}; facility energy includes IT energy, so it is at least 1")
        if self.wue_litres_per_kwh is not None and not self.wue_litres_per_kwh >= 0.0:
            raise ValueError(f"wue is {self.wue_litres_per_kwh} L/kWh; it cannot be negative")

    def sized_for(self, heat_w: float) -> Self:
        """Return the plant with `heat_w` as rated heat, unless one was given."""
        return self if self.capacity_w > 0.0 else replace(self, capacity_w=heat_w)

    def draw(
        self,
        heat_w: ArrayLike,
        dry_bulb_c: ArrayLike,
        wet_bulb_c: ArrayLike,
        capacity_fraction: ArrayLike = 1.0,
    ) -> PlantDraw:
        """Return power, water, capacity and supply temperature; see `Plant.draw`."""
        require_size("constant-pue", self.capacity_w)
        heat, _, _, working = broadcast(heat_w, dry_bulb_c, wet_bulb_c, capacity_fraction)
        capacity_w = self.capacity_w * working
        return PlantDraw(
            power_w=(self.pue - 1.0) * heat,
            # A PUE says nothing of water.
            water_litres_per_s=np.full_like(heat, np.nan)
            if self.wue_litres_per_kwh is None
            else heat * self.wue_litres_per_kwh / J_PER_KWH,
            capacity_w=capacity_w,
            supply_c=settled_supply_c(
                self.supply_temperature_c, heat, capacity_w, self.capacity_w, _APPROACH_K
            ),
        )


@dataclass(frozen=True)
class NoPlant:
    """No cooling: for accounts of IT alone."""

    capacity_w: Annotated[Watts, "Rated heat; without bound if left out."] = 0.0
    supply_temperature_c: Annotated[Celsius, "Coolant sent to the IT."] = 25.0

    includes_conversion: ClassVar[bool] = False

    def sized_for(self, heat_w: float) -> Self:
        """Return the plant itself."""
        return self

    def draw(
        self,
        heat_w: ArrayLike,
        dry_bulb_c: ArrayLike,
        wet_bulb_c: ArrayLike,
        capacity_fraction: ArrayLike = 1.0,
    ) -> PlantDraw:
        """Return nothing drawn; see `Plant.draw`."""
        heat, _, _, _ = broadcast(heat_w, dry_bulb_c, wet_bulb_c, capacity_fraction)
        nothing = np.zeros_like(heat)
        return PlantDraw(
            power_w=nothing,
            water_litres_per_s=nothing,
            capacity_w=np.full_like(heat, np.inf),
            supply_c=np.full_like(heat, self.supply_temperature_c),
        )
