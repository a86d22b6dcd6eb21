"""Liquid-cooled IT: a warm-water loop on dry coolers, and a small cool loop for the air share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from simulator.facility.air_chiller import AirChiller
from simulator.facility.cooling_loop import CoolingLoop
from simulator.facility.plant import PlantDraw, broadcast, require_size, settled_supply_c
from simulator.foundation.quantity import Celsius, Fraction, Kelvin, Ratio, Watts


@dataclass(frozen=True)
class DryCoolerAdiabatic:
    """Cold plates take most heat into warm water; dry coolers, pads on hot days, reject it.

    The rest leaves the IT as warm air through chilled water, as in `air-chiller`. The
    defaults are calibrated to the annual PUE of the archetype "IT liquid cooling: dry cooler
    with adiabatic assist" of Lei et al. 2025 at full load, behind a chain that loses 3.6 %.
    """

    capacity_w: Annotated[Watts, "Rated heat; sized to the site's largest heat if left out."] = 0.0
    supply_temperature_c: Annotated[Celsius, "Water sent to the cold plates' loop."] = 36.0
    liquid_fraction: Annotated[
        Fraction, "Share of the heat that cold plates take; the rest warms the hall's air."
    ] = 0.87
    cooler_approach_k: Annotated[Kelvin, "Water supply above outside air at rated heat, fans flat out."] = 8.0
    cooler_air_rise_k: Annotated[Kelvin, "Warming of the dry cooler's air at rated heat."] = 16.0
    pad_effectiveness_fraction: Annotated[
        Fraction, "Share of the wet-bulb depression that wetted pads reach; 0 means no pads."
    ] = 0.7
    water_cycles: Annotated[Ratio, "Cycles of concentration of the pads' water."] = 4.0
    cooler_fan_fraction: Annotated[Fraction, "Dry-cooler fans at full flow over rated heat."] = 0.02
    pump_fraction: Annotated[Fraction, "Facility and rack-loop pumps over heat carried."] = 0.03
    chiller_fraction: Annotated[Ratio, "Trim chiller of the warm loop over its rated heat; 0 means none."] = (
        1.1
    )
    standing_fraction: Annotated[Fraction, "Lights, controls and standby over rated heat, always drawn."] = (
        0.006
    )

    includes_conversion: ClassVar[bool] = False

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
        require_size("dry-cooler-adiabatic", self.capacity_w)
        heat, dry, wet, working = broadcast(heat_w, dry_bulb_c, wet_bulb_c, capacity_fraction)
        liquid = self.liquid_fraction
        warm = self._warm_loop().draw(heat * liquid, self.capacity_w * liquid * working, dry, wet)
        power_w = warm.power_w + self.standing_fraction * self.capacity_w
        water = warm.water_litres_per_s
        # The loop that fills first bounds the heat, as the split is the IT's and not ours.
        capacity_w = warm.capacity_w / liquid if liquid > 0.0 else np.full_like(heat, np.inf)
        if liquid < 1.0:
            hall = self._hall().draw(heat * (1.0 - liquid), dry, wet, working)
            power_w = power_w + hall.power_w
            water = water + hall.water_litres_per_s
            capacity_w = np.minimum(capacity_w, hall.capacity_w / (1.0 - liquid))
        return PlantDraw(
            power_w=power_w,
            water_litres_per_s=water,
            capacity_w=capacity_w,
            supply_c=settled_supply_c(
                self.supply_temperature_c, heat, capacity_w, self.capacity_w, self.cooler_approach_k
            ),
        )

    def _warm_loop(self) -> CoolingLoop:
        return CoolingLoop(
            supply_c=self.supply_temperature_c,
            approach_k=self.cooler_approach_k,
            air_rise_k=self.cooler_air_rise_k,
            pad_effectiveness=self.pad_effectiveness_fraction,
            cycles=self.water_cycles,
            fan_fraction=self.cooler_fan_fraction,
            fan_floor=0.05,
            pump_fraction=self.pump_fraction,
            carnot_share=0.4,
            evaporator_approach_k=4.0,
            condenser_approach_k=14.0,
            best_cop=8.0,
            chiller_fraction=self.chiller_fraction,
        )

    def _hall(self) -> AirChiller:
        return AirChiller(
            capacity_w=self.capacity_w * (1.0 - self.liquid_fraction),
            # The small loop has no pads: its chiller is cheaper than a second water system.
            pad_effectiveness_fraction=0.0,
            standing_fraction=0.0,
        )
