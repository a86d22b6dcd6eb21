"""A site's physics in one function: IT power and weather in, power at the meter out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.facility.chain import PowerChain
from simulator.facility.plant import Plant

FloatArray = NDArray[np.float64]

#: Halvings of the ceiling's bracket; 2**-40 of the limit is less than a watt per terawatt.
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class FacilityDraw:
    """Power by component, arrays of one shape; storage and on-site supply apart."""

    node_w: FloatArray
    network_w: float
    conversion_w: FloatArray
    cooling_w: FloatArray
    other_w: float
    water_litres_per_s: FloatArray
    capacity_w: FloatArray
    """Most heat the plant could carry. [W]"""
    heat_w: FloatArray
    """Heat offered to the plant. [W]"""

    @property
    def meter_w(self) -> FloatArray:
        """Everything together. [W]"""
        return np.asarray(self.node_w + self.network_w + self.conversion_w + self.cooling_w + self.other_w)


@dataclass(frozen=True, slots=True)
class SitePhysics:
    """Chain, plant and constant loads of one site.

    Raises
    ------
    ValueError
        If a chain is given with a plant whose factor covers conversion already.
    """

    plant: Plant
    chain: PowerChain = field(default_factory=PowerChain)
    network_w: float = 0.0
    """Switches and other IT that draws constantly. [W]"""
    other_w: float = 0.0
    """Offices, lights, security: constant and outside the chain. [W]"""

    def __post_init__(self) -> None:
        """Refuse to count conversion losses twice."""
        if self.plant.includes_conversion and self.chain.stages:
            raise ValueError(
                "a constant PUE covers conversion losses, and the power chain "
                f"({', '.join(stage.name for stage in self.chain.stages)}) would add them again; "
                "set `power_chain: none`, or choose a plant that follows heat and weather"
            )

    def draw(
        self,
        node_w: ArrayLike,
        dry_bulb_c: ArrayLike,
        wet_bulb_c: ArrayLike,
        capacity_fraction: ArrayLike = 1.0,
    ) -> FacilityDraw:
        """Return power by component for IT power at the nodes' inlets.

        Parameters
        ----------
        node_w
            Power of all nodes. [W]
        dry_bulb_c, wet_bulb_c
            Outside air. [C]
        capacity_fraction
            Share of the cooling equipment that works, 0 to 1.
        """
        node = np.asarray(node_w, dtype=float)
        conversion = self.chain.loss_w(node, self.network_w)
        heat = node + self.network_w + conversion
        plant = self.plant.draw(heat, dry_bulb_c, wet_bulb_c, capacity_fraction)
        return FacilityDraw(
            node_w=node,
            network_w=self.network_w,
            conversion_w=conversion,
            cooling_w=plant.power_w,
            other_w=self.other_w,
            water_litres_per_s=plant.water_litres_per_s,
            capacity_w=plant.capacity_w,
            heat_w=heat,
        )

    def node_ceiling_w(
        self,
        limit_w: ArrayLike,
        dry_bulb_c: ArrayLike,
        wet_bulb_c: ArrayLike,
        capacity_fraction: ArrayLike = 1.0,
    ) -> FloatArray:
        """Return the largest power of all nodes that keeps the meter within a limit.

        Found by bisection, over all hours at once; the facility's power rises with IT.

        Parameters
        ----------
        limit_w
            Power allowed at the meter, storage apart. [W]
        dry_bulb_c, wet_bulb_c
            Outside air. [C]
        capacity_fraction
            Share of the cooling equipment that works, 0 to 1.

        Returns
        -------
        FloatArray
            0 where overhead alone exceeds the limit. [W]
        """
        limit, dry, wet, working = (
            np.asarray(a, dtype=float)
            for a in np.broadcast_arrays(limit_w, dry_bulb_c, wet_bulb_c, capacity_fraction)
        )
        low = np.zeros_like(limit)
        high = np.maximum(limit, 0.0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            fits = self.draw(middle, dry, wet, working).meter_w <= limit
            low = np.where(fits, middle, low)
            high = np.where(fits, high, middle)
        return low

    def meter_per_node_watt(self, node_w: float, dry_bulb_c: float, wet_bulb_c: float) -> float:
        """Return what one more watt at the nodes costs at the meter, about. [W/W]"""
        step_w = max(1.0, 0.01 * node_w)
        low, high = (
            float(self.draw(power_w, dry_bulb_c, wet_bulb_c).meter_w) for power_w in (node_w, node_w + step_w)
        )
        return (high - low) / step_w
