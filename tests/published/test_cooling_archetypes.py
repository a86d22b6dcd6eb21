"""Annual PUE and water of the two plants against the simulated archetypes of Lei et al. 2025.

N. Lei, J. Lu, A. Shehabi, E. Masanet, "The water use of data center workloads" (2025): 19,000
(PUE, WUE) pairs by cooling system and ASHRAE climate zone, all at full load.
"""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pytest

from simulator.facility.air_chiller import AirChiller
from simulator.facility.dry_cooler_adiabatic import DryCoolerAdiabatic
from simulator.facility.epw import read_epw
from simulator.foundation.calendar import Calendar
from simulator.foundation.units import HOUR_S, J_PER_KWH, YEAR_S

#: A double conversion of 97 % behind a transformer of 99.5 %.
CHAIN = 1.0 / (0.97 * 0.995)
CALENDAR = Calendar.from_text("2023-01-01T00:00Z")
#: Plant, and the number of its case in the paper's table.
ARCHETYPES = [(AirChiller, 18), (DryCoolerAdiabatic, 16)]
#: Climate zones by ASHRAE 169-2020 where the file's station is listed.
ZONES = {
    "Sydney": "3A",
    "Helsinki": "6A",
    "Stockholm": "6A",
    "Phoenix": "1B",
    "San.Jose": "3C",
    "Atlanta": "3A",
    "Chicago": "5A",
    "New.York": "4A",
    "Dallas": "2A",
    "Leesburg": "4A",
    "Seattle": "4C",
}


@pytest.fixture(scope="module")
def climates(shared_data):
    folder = shared_data / "grid" / "weather_epw"
    found = {path.name: read_epw(path, CALENDAR, YEAR_S) for path in sorted(folder.glob("*.epw.gz"))}
    if not found:
        pytest.skip(f"no weather files in {folder}")
    return found


@pytest.fixture(scope="module")
def published(shared_data):
    path = shared_data / "grid" / "cooling" / "lei2025_UEs_16cases.csv"

    @cache
    def case(number: int) -> dict[str, np.ndarray]:
        rows: dict[str, list[tuple[float, float]]] = {}
        with path.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if int(row["Case"]) == number:
                    rows.setdefault(row["Climate Zone"], []).append((float(row["PUE"]), float(row["WUE"])))
        return {zone: np.array(pairs) for zone, pairs in rows.items()}

    return case


def annual(plant_type, weather) -> tuple[float, float]:
    """PUE and WUE [L/kWh] of 1 MW of IT at full load."""
    it_w = 1e6
    plant = plant_type().sized_for(1.02 * it_w * CHAIN)
    draw = plant.draw(it_w * CHAIN, weather.dry_bulb.value, weather.wet_bulb.value)
    hours_kwh = it_w * HOUR_S / J_PER_KWH
    return (
        CHAIN + float(draw.power_w.mean()) / it_w,
        float(draw.water_litres_per_s.mean()) * HOUR_S / hours_kwh,
    )


@pytest.mark.parametrize(("plant_type", "case"), ARCHETYPES)
def test_pue_and_water_lie_inside_the_published_band_in_every_climate(plant_type, case, climates, published):
    pairs = np.concatenate(list(published(case).values()))
    low, high = np.percentile(pairs, [5, 95], axis=0)
    for name, weather in climates.items():
        pue, wue = annual(plant_type, weather)
        assert low[0] <= pue <= high[0], (name, pue)
        assert low[1] <= wue <= high[1], (name, wue)


@pytest.mark.parametrize(("plant_type", "case"), ARCHETYPES)
def test_pue_lies_inside_the_band_of_its_own_climate_zone(plant_type, case, climates, published):
    seen = 0
    for name, weather in climates.items():
        zone = next((zone for part, zone in ZONES.items() if part.lower() in name.lower()), None)
        if zone is None:
            continue
        seen += 1
        low, high = np.percentile(published(case)[zone][:, 0], [5, 95])
        pue, _ = annual(plant_type, weather)
        assert low <= pue <= high, (name, pue, low, high)
    assert seen >= 8


@pytest.mark.parametrize(("plant_type", "case"), ARCHETYPES)
def test_the_median_pue_is_within_two_hundredths(plant_type, case, climates, published):
    pues = [annual(plant_type, weather)[0] for weather in climates.values()]
    median = np.median(np.concatenate(list(published(case).values()))[:, 0])
    assert np.median(pues) == pytest.approx(median, abs=0.02)


def test_air_costs_more_than_liquid_in_every_climate(climates):
    for name, weather in climates.items():
        assert annual(AirChiller, weather)[0] > annual(DryCoolerAdiabatic, weather)[0], name
