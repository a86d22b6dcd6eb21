"""Getting rid of heat: dry coolers, wetted pads and chillers, as functions of the weather."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Latent heat of water at 25 C. [J/kg] (ASHRAE Fundamentals 2017, chapter 1)
LATENT_HEAT_J_PER_KG: Final = 2.442e6
_ZERO_C_K: Final = 273.15
#: A compressor that lifts less than this is not more efficient for it. [K]
_LEAST_LIFT_K: Final = 5.0


def inlet_c(
    dry_bulb_c: FloatArray,
    wet_bulb_c: FloatArray,
    enough_c: FloatArray,
    pad_effectiveness: float,
) -> FloatArray:
    """Return the temperature of the air that enters a cooler behind wetted pads. [C]

    Pads run only when the outside air is warmer than what the cooler needs, and no
    harder than that: so the answer never falls when either temperature rises.

    Parameters
    ----------
    dry_bulb_c, wet_bulb_c
        Outside air. [C]
    enough_c
        Warmest inlet at which the cooler alone carries the heat. [C]
    pad_effectiveness
        Share of the wet-bulb depression that the pads reach, 0 (no pads) to 1.
    """
    wettest_c = dry_bulb_c - pad_effectiveness * np.maximum(dry_bulb_c - wet_bulb_c, 0.0)
    return np.asarray(np.minimum(dry_bulb_c, np.maximum(enough_c, wettest_c)))


def pad_water_litres_per_s(air_heat_w_per_k: FloatArray, cooled_k: FloatArray, cycles: float) -> FloatArray:
    """Return water evaporated and blown down to cool a stream of air. [L/s]

    Parameters
    ----------
    air_heat_w_per_k
        Mass flow of the air times its heat capacity. [W/K]
    cooled_k
        How much colder the pads make it. [K]
    cycles
        Cycles of concentration; blow-down is evaporation / (cycles - 1).
    """
    evaporated_kg_per_s = air_heat_w_per_k * cooled_k / LATENT_HEAT_J_PER_KG
    return np.asarray(evaporated_kg_per_s * cycles / (cycles - 1.0))


def chiller_cop(
    evaporator_c: FloatArray, condenser_c: FloatArray, carnot_share: float, best_cop: float
) -> FloatArray:
    """Return heat moved per electricity used, a fixed share of Carnot's.

    It never rises with the condenser's temperature.

    Parameters
    ----------
    evaporator_c, condenser_c
        Temperatures of the refrigerant. [C]
    carnot_share
        Second-law efficiency of the machine with its fans, 0 to 1.
    best_cop
        Bound at small lifts.
    """
    lift_k = np.maximum(condenser_c - evaporator_c, _LEAST_LIFT_K)
    return np.asarray(np.minimum(carnot_share * (evaporator_c + _ZERO_C_K) / lift_k, best_cop))


def fan_power_share(flow_share: FloatArray, floor: float) -> FloatArray:
    """Return fan power over rated power: the cube of the flow, above a floor.

    Parameters
    ----------
    flow_share
        Flow over rated flow, 0 to 1.
    floor
        Share drawn at no flow (drives, controls).
    """
    return np.asarray(floor + (1.0 - floor) * flow_share**3)
