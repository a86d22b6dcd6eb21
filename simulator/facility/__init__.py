"""Power and cooling of a site: plants, chain, weather, storage, thermal episodes, power policies.

Plants and power policies are plug-ins: a frozen dataclass in one file and a row below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simulator.facility.air_chiller import AirChiller
from simulator.facility.chain import PowerChain, Stage
from simulator.facility.constant_pue import ConstantPue, NoPlant
from simulator.facility.dry_cooler_adiabatic import DryCoolerAdiabatic
from simulator.facility.epw import read_epw
from simulator.facility.plant import Plant, PlantDraw
from simulator.facility.power_policy import PowerPolicy
from simulator.facility.ride_through import RideThrough
from simulator.facility.site import FacilityDraw, SitePhysics
from simulator.facility.storage import Battery, BatteryState, replay_threshold
from simulator.facility.thermal import Episode, ThermalChange, ThermalLimits
from simulator.facility.weather import Weather, constant_weather, synthetic_weather

#: Name in YAML (`cooling.plant`, or the `kind` of a catalog entry) -> plant.
PLANTS: Final[Mapping[str, type[Plant]]] = {
    "air-chiller": AirChiller,
    "dry-cooler-adiabatic": DryCoolerAdiabatic,
    "constant-pue": ConstantPue,
    "none": NoPlant,
}

#: Name in YAML (`power_policy.policy`) -> policy.
POWER_POLICIES: Final[Mapping[str, type[PowerPolicy]]] = {
    "ride-through": RideThrough,
}

__all__ = [
    "PLANTS",
    "POWER_POLICIES",
    "Battery",
    "BatteryState",
    "Episode",
    "FacilityDraw",
    "Plant",
    "PlantDraw",
    "PowerChain",
    "PowerPolicy",
    "SitePhysics",
    "Stage",
    "ThermalChange",
    "ThermalLimits",
    "Weather",
    "constant_weather",
    "read_epw",
    "replay_threshold",
    "synthetic_weather",
]
