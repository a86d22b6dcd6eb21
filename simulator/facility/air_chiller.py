"""Air-cooled halls on chilled water: economiser with wetted pads, air-cooled chiller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from simulator.facility.cooling_loop import CoolingLoop
from simulator.facility.heat_rejection import fan_power_share
from simulator.facility.plant import PlantDraw, broadcast, require_size, settled_supply_c
from simulator.foundation.quantity import Celsius, Fraction, Kelvin, Ratio, Watts


@dataclass(frozen=True)
class AirChiller:
    """Fans blow air through the hall; its heat goes to water, a dry cooler and a chiller.

    The defaults are calibrated to the annual PUE of the large air-cooled archetype "dry cooler
    with adiabatic assist (air-cooled chiller)" of Lei et al. 2025 at full load, behind a
    chain that loses 3.6 %.
    """

    capacity_w: Annotated[Watts, "Rated heat; sized to the site's largest heat if left out."] = 0.0
    supply_temperature_c: Annotated[Celsius, "Water sent to the hall's air handlers."] = 20.0
    cooler_approach_k: Annotated[Kelvin, "Water supply above outside air at rated heat, fans flat out."] = 9.0
    cooler_air_rise_k: Annotated[Kelvin, "Warming of the dry cooler's air at rated heat."] = 12.0
    pad_effectiveness_fraction: Annotated[
        Fraction, "Share of the wet-bulb depression that wetted pads reach; 0 means no pads."
    ] = 0.7
    water_cycles: Annotated[Ratio, "Cycles of concentration of the pads' water."] = 4.0
    cooler_fan_fraction: Annotated[Fraction, "Dry-cooler fans at full flow over rated heat."] = 0.025
    hall_fan_fraction: Annotated[Fraction, "Hall fans at rated heat over rated heat."] = 0.055
    pump_fraction: Annotated[Fraction, "Pumps over heat carried."] = 0.015
    carnot_fraction: Annotated[Fraction, "Chiller's second-law efficiency, all parts."] = 0.4
    best_cop: Annotated[Ratio, "Bound on the chiller's coefficient of performance."] = 8.0
    condenser_approach_k: Annotated[Kelvin, "Condensing above outside temperature."] = 14.0
    evaporator_approach_k: Annotated[Kelvin, "Water supply above evaporating temperature."] = 4.0
    chiller_fraction: Annotated[Ratio, "Chiller capacity over rated heat."] = 1.1
    standing_fraction: Annotated[Fraction, "Lights, controls and standby over rated heat, always drawn."] = (
        0.01
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
        require_size("air-chiller", self.capacity_w)
        heat, dry, wet, working = broadcast(heat_w, dry_bulb_c, wet_bulb_c, capacity_fraction)
        flow = np.minimum(heat / self.capacity_w, 1.0)
        hall_fans_w = self.capacity_w * self.hall_fan_fraction * fan_power_share(flow, 0.2)
        # What the fans draw ends as heat in the hall.
        load = heat + hall_fans_w
        loop = self._loop().draw(load, self.capacity_w * working, dry, wet)
        spare_w = np.maximum(loop.capacity_w - hall_fans_w, 0.0)
        return PlantDraw(
            power_w=loop.power_w + hall_fans_w + self.standing_fraction * self.capacity_w,
            water_litres_per_s=loop.water_litres_per_s,
            capacity_w=spare_w,
            supply_c=settled_supply_c(
                self.supply_temperature_c, heat, spare_w, self.capacity_w, self.cooler_approach_k
            ),
        )

    def _loop(self) -> CoolingLoop:
        return CoolingLoop(
            supply_c=self.supply_temperature_c,
            approach_k=self.cooler_approach_k,
            air_rise_k=self.cooler_air_rise_k,
            pad_effectiveness=self.pad_effectiveness_fraction,
            cycles=self.water_cycles,
            fan_fraction=self.cooler_fan_fraction,
            fan_floor=0.05,
            pump_fraction=self.pump_fraction,
            carnot_share=self.carnot_fraction,
            evaporator_approach_k=self.evaporator_approach_k,
            condenser_approach_k=self.condenser_approach_k,
            best_cop=self.best_cop,
            chiller_fraction=self.chiller_fraction,
        )
