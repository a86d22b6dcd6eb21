"""One water loop: a dry cooler with wetted pads carries what it can, a chiller the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.facility import heat_rejection

FloatArray = NDArray[np.float64]


class LoopDraw(NamedTuple):
    """What a loop needs to carry its load, arrays of one shape."""

    power_w: FloatArray
    water_litres_per_s: FloatArray
    capacity_w: FloatArray
    """Most heat it could carry in this weather. [W]"""


@dataclass(frozen=True, slots=True)
class CoolingLoop:
    """Rated figures of a loop; shares are of its rated heat unless said otherwise.

    Power never falls when the load, the dry bulb or the wet bulb rises.
    """

    supply_c: float
    """Water sent to the load. [C]"""
    approach_k: float
    """Water supply above cooler inlet at rated heat and full air flow. [K]"""
    air_rise_k: float
    """Warming of the cooler's air at rated heat and full flow. [K]"""
    pad_effectiveness: float
    """Share of the wet-bulb depression the pads reach; 0 means no pads."""
    cycles: float
    """Cycles of concentration of the pads' water."""
    fan_fraction: float
    """Cooler fans at full flow."""
    fan_floor: float
    """Share of the fans' power that remains at no flow."""
    pump_fraction: float
    """Pumps at rated load; proportional to the load."""
    carnot_share: float
    """Second-law efficiency of the chiller with its auxiliaries."""
    evaporator_approach_k: float
    """Water supply above evaporating refrigerant. [K]"""
    condenser_approach_k: float
    """Condensing refrigerant above the outside air. [K]"""
    best_cop: float
    """Bound on the chiller's coefficient of performance."""
    chiller_fraction: float
    """Heat the chiller can carry; 0 means no chiller."""

    def draw(
        self, load_w: FloatArray, rated_w: FloatArray, dry_bulb_c: FloatArray, wet_bulb_c: FloatArray
    ) -> LoopDraw:
        """Return power, water and capacity.

        Parameters
        ----------
        load_w
            Heat offered; what exceeds the capacity is not carried and costs nothing. [W]
        rated_w
            Rated heat of the equipment that works; 0 where none does. [W]
        dry_bulb_c, wet_bulb_c
            Outside air. [C]
        """
        pads = self.pad_effectiveness
        coldest_c = heat_rejection.inlet_c(dry_bulb_c, wet_bulb_c, np.full_like(dry_bulb_c, -np.inf), pads)
        capacity_w = (
            rated_w * np.maximum(self.supply_c - coldest_c, 0.0) / self.approach_k
            + rated_w * self.chiller_fraction
        )
        carried_w = np.minimum(load_w, capacity_w)
        works = rated_w > 0.0
        share = np.divide(carried_w, rated_w, out=np.zeros_like(carried_w), where=works)

        enough_c = self.supply_c - self.approach_k * share
        inlet_c = heat_rejection.inlet_c(dry_bulb_c, wet_bulb_c, enough_c, pads)
        free_share = np.maximum(self.supply_c - inlet_c, 0.0) / self.approach_k
        cop = heat_rejection.chiller_cop(
            np.full_like(dry_bulb_c, self.supply_c - self.evaporator_approach_k),
            dry_bulb_c + self.condenser_approach_k,
            self.carnot_share,
            self.best_cop,
        )
        flow = self._cheapest_flow(share, free_share, cop)
        chilled_w = rated_w * np.maximum(share - flow * free_share, 0.0)
        power_w = (
            rated_w * self.fan_fraction * heat_rejection.fan_power_share(flow, self.fan_floor)
            + self.pump_fraction * carried_w
            + chilled_w / cop
        )
        # Pads that cannot bring the air below the supply are dry: they would only drink.
        cooled_k = np.where(inlet_c < self.supply_c, dry_bulb_c - inlet_c, 0.0)
        water = heat_rejection.pad_water_litres_per_s(rated_w * flow / self.air_rise_k, cooled_k, self.cycles)
        return LoopDraw(power_w, water, capacity_w)

    def _cheapest_flow(self, share: FloatArray, free_share: FloatArray, cop: FloatArray) -> FloatArray:
        """Return the air flow at which fans and chiller together draw least, 0 to 1.

        It is the least over flows of a power that rises with load and temperature at every
        flow, so the result rises with them too.
        """
        # The condenser of what is chilled needs its share of the air as well.
        least = share / (1.0 + free_share)
        enough = np.divide(share, free_share, out=np.ones_like(share), where=free_share > share)
        fan = 3.0 * self.fan_fraction * (1.0 - self.fan_floor)
        cheapest = np.sqrt(free_share / (cop * fan)) if fan > 0.0 else np.ones_like(share)
        return np.asarray(np.minimum(np.maximum(cheapest, least), np.minimum(enough, 1.0)))
