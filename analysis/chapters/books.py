"""The books: power and cooling, grid, carbon and water, money."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.chapters.material import Material
from analysis.columns import coded, numbers
from analysis.numerals import digits, fixed, known, percent
from analysis.page import folded, paragraphs, table
from simulator.foundation.units import DAY_S, J_PER_KWH, J_PER_MWH, render
from simulator.results.amounts import carbon_text, energy_text

if TYPE_CHECKING:
    pass


def power(material: Material) -> str:
    """Power and cooling."""
    run = material.run
    hourly = run.table("hourly")
    site, names = coded(hourly, "site")
    sums = {
        name: np.bincount(site, numbers(hourly, name), len(names))
        for name in ("it_energy_j", "facility_energy_j", "site_water_litres")
    }
    # What storage and on-site supply shift at the meter is no overhead of the IT.
    load_j = sums["facility_energy_j"] - np.bincount(
        site, numbers(hourly, "storage_energy_j") + numbers(hourly, "onsite_energy_j"), len(names)
    )
    peaks = numbers(hourly, "peak_15min_power_w")
    limits = {entry["name"]: entry["limit_w"] for entry in run.provenance["sites"]}
    rows = []
    for code_, name in enumerate(names):
        it_j = sums["it_energy_j"][code_]
        limit = limits.get(name)
        rows.append(
            [
                name,
                energy_text(it_j / J_PER_MWH),
                energy_text(sums["facility_energy_j"][code_] / J_PER_MWH),
                fixed(load_j[code_] / it_j, 3) if it_j else "n/a",
                fixed(known(sums["site_water_litres"][code_] / (it_j / J_PER_KWH)), 2) if it_j else "n/a",
                render(float(np.nanmax(peaks[site == code_])), "W"),
                "none" if limit is None else render(limit, "W"),
            ]
        )
    columns = ["Site", "IT energy", "At the meter", "PUE", "WUE L/kWh", "Highest 15 min", "Limit"]
    return table(columns, rows) + material.figure("power") + material.figure("load_duration")


def carbon(material: Material) -> str:
    """Grid, carbon and water."""
    run, meta = material.run, material.run.summary_meta
    keys = ("location_tco2e", "market_tco2e", "marginal_tco2e", "embodied_tco2e", "cfe_fraction",
            "site_water_m3", "source_water_m3")  # fmt: skip
    said = {
        "location_tco2e": "Location-based CO2e",
        "market_tco2e": "Market-based CO2e",
        "marginal_tco2e": "Marginal CO2e as given",
        "embodied_tco2e": "Embodied CO2e",
        "cfe_fraction": "Carbon-free share by hour",
        "site_water_m3": "Water on site, m3",
        "source_water_m3": "Water of generation, m3",
    }
    rows = []
    for key in keys:
        value, entry = run.summary[key], meta[key]
        low, high = entry["low"], entry["high"]
        span = "" if low is None else f"{digits(low, 3)} to {digits(high, 3)}"
        if key.endswith("_fraction"):
            shown = percent(value)
        elif key.endswith("_tco2e"):
            shown = "n/a" if value is None else carbon_text(value)
            span = "" if low is None else f"{carbon_text(low, 3)} to {carbon_text(high, 3)}"
        else:
            shown = digits(value)
        how = entry["reason"] or f"{entry['source']} ({entry['basis']})"
        rows.append([said[key], entry["boundary"], how, shown, span])
    factors = material.digest["carbon"]["factor_set_tco2e"] or {}
    by_set = table(
        ["Factor set", "Location-based CO2e"],
        [[name, carbon_text(tonnes)] for name, tonnes in factors.items()],
    )
    return (
        table(["What", "Boundary", "From", "Value", "Range"], rows, text_columns=3)
        + material.figure("carbon")
        + (folded("The same electricity under other factor sets", by_set) if by_set else "")
        + _by_month(material)
    )


def money(material: Material) -> str:
    """Return what it cost, and on whom it falls."""
    cost = material.digest["cost"]
    parts = sorted(cost["parts_usd"].items(), key=lambda item: (-(item[1] or 0.0), item[0]))
    total = cost["total_cost_usd"]
    rows = [
        [name.replace("_", " "), material.money(usd), percent(usd / total if total else None)]
        for name, usd in parts
        if usd
    ]
    rows += [[name.replace("_", " "), "unknown: no price", ""] for name, usd in parts if usd is None]
    rows.append(["total", material.money(total), "" if total is None else "100 %"])
    units = [
        f"{material.money(cost[key], 3)} per {word} GPU-hour"
        for key, word in (
            ("usd_per_allocated_gpu_hour", "allocated"),
            ("usd_per_productive_gpu_hour", "productive"),
        )
        if cost[key] is not None
    ]
    year = f" Prices of {cost['price_year']}." if cost["price_year"] else ""
    return (
        material.figure("cost")
        + table(["Part", "Amount", "Share"], rows)
        + paragraphs([", ".join(units) + "." + year] if units else [])
    )


def _by_month(material: Material) -> str:
    """Return energy, carbon and prices by local month, for runs that span some."""
    run = material.run
    if run.horizon_s < 45 * DAY_S:
        return ""
    hourly = run.table("hourly")
    start_s = numbers(hourly, "start_s")
    month = np.asarray(run.calendar.month_local(start_s), dtype=np.int64)
    year = np.asarray([run.calendar.local(float(moment)).year for moment in start_s], dtype=np.int64)
    distinct, place = np.unique(year * 12 + month, return_inverse=True)
    sums = {
        name: np.bincount(place, numbers(hourly, name))
        for name in ("it_energy_j", "facility_energy_j", "location_gco2e", "site_water_litres")
    }
    load_j = sums["facility_energy_j"] - np.bincount(
        place, numbers(hourly, "storage_energy_j") + numbers(hourly, "onsite_energy_j")
    )
    rows = [
        [
            f"{code_ // 12}-{code_ % 12 + 1:02d}",
            digits(sums["facility_energy_j"][row] / J_PER_MWH),
            fixed(load_j[row] / sums["it_energy_j"][row], 3),
            digits(sums["location_gco2e"][row] / 1e6),
            digits(
                1000 * sums["location_gco2e"][row] / 1e3 / (sums["facility_energy_j"][row] / J_PER_KWH), 3
            ),
            digits(known(sums["site_water_litres"][row] / 1e3), 3),
        ]
        for row, code_ in enumerate(distinct.tolist())
    ]
    return table(["Month", "Meter MWh", "PUE", "t CO2e", "g CO2e per kWh", "Water on site, m3"], rows)
