"""Fit how a grid's mix and price move by month and UTC hour; writes ``simulator/catalog/grids.yaml``.

Run ``python -m analysis.calibration.grid_shapes [--data DIR] [--write]``; it prints what it fitted and how
that compares with an independent series. Read are hourly generation by fuel (20 European countries 2019, US
balancing authorities 2022), annual generation by country, and hourly prices 2021-2024.

What each source needs before it can be averaged
- European files label the beginning of the hour, in UTC. They run from 23:00 of the day before, so the year
  is taken by timestamp, not by row.
- ERCO labels the end of the hour: shifted by -1 h. PJM labels the beginning. CISO begins with the beginning
  and changes to the end in June 2022; the day is found by correlation with an independent series.
- Negative generation (metering of stations that consume) counts as zero, and its count is printed.
- Pumped storage is no source of energy and is left out.
- A blank hour is left out of its month-hour mean; every fuel of that hour with it.
- Netherlands 2019 is left out: its solar stops in spring and its negative cells are many.
- The annual table's oil holds other fossil fuels too. Where the hourly file shows less than a quarter of a
  fuel's annual share, its hours do not represent that fuel: it is taken as flat (solar excepted: small
  roofs are missing from hourly files, but shine at the same hours).
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import catalog_file as sheet

Table = NDArray[np.float64]
HOURS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[:, None] * np.ones((12, 24))

#: ENTSO-E production types; waste counts as biomass and coal gas as gas, as Electricity Maps does.
EU_FUEL = {
    "Biomass": "biomass",
    "Waste": "biomass",
    "Other renewable": "biomass",
    "Fossil Brown coal/Lignite": "coal",
    "Fossil Hard coal": "coal",
    "Fossil Peat": "coal",
    "Fossil Oil shale": "coal",
    "Fossil Coal-derived gas": "gas",
    "Fossil Gas": "gas",
    "Fossil Oil": "oil",
    "Geothermal": "geothermal",
    "Hydro Run-of-river and poundage": "hydro",
    "Hydro Water Reservoir": "hydro",
    "Marine": "hydro",
    "Nuclear": "nuclear",
    "Solar": "solar",
    "Wind Offshore": "wind",
    "Wind Onshore": "wind",
    "Other": "other",
}
US_FUEL = {
    "WND": "wind",
    "SUN": "solar",
    "WAT": "hydro",
    "OIL": "oil",
    "NG": "gas",
    "COL": "coal",
    "NUC": "nuclear",
    "OTH": "other",
}
#: Columns of the annual table -> our fuels.
ANNUAL_FUEL = {
    "coal_TWh": "coal",
    "gas_TWh": "gas",
    "oil_TWh": "oil",
    "nuclear_TWh": "nuclear",
    "hydroelectricity_TWh": "hydro",
    "solar_TWh": "solar",
    "wind_TWh": "wind",
    "biofuel_TWh": "biomass",
    "other_renewable_exc_biofuel_TWh": "geothermal",
}
#: IPCC AR5 medians as in factors.yaml, for what is printed.
LIFECYCLE = {
    "coal": 820.0,
    "gas": 490.0,
    "oil": 650.0,
    "biomass": 230.0,
    "nuclear": 12.0,
    "hydro": 24.0,
    "solar": 48.0,
    "wind": 11.0,
    "geothermal": 38.0,
    "other": 700.0,
}
CARBON_FREE = ("nuclear", "hydro", "solar", "wind", "geothermal")


@dataclass(frozen=True)
class Grid:
    """What the script is told about one grid."""

    name: str
    title: str
    timezone: str
    generation: str
    country: str = ""
    zone: str = ""
    borrow_solar: str = ""
    other_as: Mapping[str, float] = field(default_factory=lambda: {"other": 1.0})
    price_years: tuple[int, int] = (2021, 2024)
    losses: float | None = None
    note: str = ""
    price: tuple[str, str, str] | None = None
    """Mean day-ahead price of 2024, low, high, where no hourly price is at hand."""


GRIDS = (
    Grid("DE", "Germany", "Europe/Berlin", "eu_mix/DE_2019", "DEU", "DE-LU"),
    Grid("FR", "France", "Europe/Paris", "eu_mix/FR_2019", "FRA",
         price=("58 EUR/MWh", "50 EUR/MWh", "80 EUR/MWh")),
    Grid("GB", "Great Britain", "Europe/London", "eu_mix/GB_2019", "GBR", "GB",
         note="annual mix of the United Kingdom", price=("72 GBP/MWh", "60 GBP/MWh", "90 GBP/MWh")),
    Grid("PL", "Poland", "Europe/Warsaw", "eu_mix/PL_2019", "POL", borrow_solar="DE",
         price=("415 PLN/MWh", "350 PLN/MWh", "520 PLN/MWh")),
    Grid("SE", "Sweden", "Europe/Stockholm", "eu_mix/SE_2019", "SWE", borrow_solar="DE"),
    Grid("NO", "Norway", "Europe/Oslo", "eu_mix/NO_2019", "NOR", borrow_solar="DE"),
    Grid("IE", "Ireland", "Europe/Dublin", "eu_mix/IE_2019", "IRL", borrow_solar="GB"),
    Grid("ES", "Spain", "Europe/Madrid", "eu_mix/ES_2019", "ESP"),
    Grid("US-PJM", "PJM Interconnection", "America/New_York", "us_ba_mix/PJM_2022", zone="US-MIDA-PJM",
         other_as={"biomass": 1.0}, losses=0.05, note="EIA's 'other' read as biomass and waste"),
    Grid("US-CAISO", "California ISO", "America/Los_Angeles", "us_ba_mix/CISO_2022", zone="US-CAL-CISO",
         other_as={"geothermal": 0.67, "biomass": 0.33}, losses=0.05,
         note="in-state generation without imports; EIA's 'other' split 2:1 into geothermal and biomass"),
    Grid("US-ERCOT", "ERCOT (Texas)", "America/Chicago", "us_ba_mix/ERCO_2022", zone="US-TEX-ERCO",
         losses=0.05, price_years=(2022, 2024),
         note="prices without 2021, whose February scarcity carries half of the four-year cost"),
)  # fmt: skip


def moment(text: str) -> datetime:
    """Return the UTC moment of a row's label."""
    return datetime.fromisoformat(text).astimezone(UTC)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a gzipped CSV."""
    with gzip.open(path, "rt", newline="") as stream:
        yield from csv.DictReader(stream)


def number_or_blank(text: str) -> float:
    """Return the number, or NaN for a blank cell."""
    return float(text) if text not in ("", "nan") else float("nan")


def zone_series(data: Path, zone: str, column: str) -> dict[datetime, float]:
    """Return one column of an hourly zone file by UTC hour; empty if the zone has no such column."""
    found: dict[datetime, float] = {}
    for row in rows_of(data / "grid" / "zones" / f"{zone}_2021-2024_hourly.csv.gz"):
        if column not in row:
            return {}
        value = number_or_blank(row[column])
        if not math.isnan(value):
            found[moment(row["time_utc"])] = value
    return found


def generation(data: Path, stem: str) -> tuple[list[datetime], dict[str, Table], int]:
    """Return hour beginnings, generation by fuel, and how many negative cells were set to zero."""
    european = stem.startswith("eu_mix")
    names = EU_FUEL if european else US_FUEL
    suffix = "hourly_MW_by_type" if european else "hourly_MWh_by_fuel"
    times: list[datetime] = []
    rows: list[list[float]] = []
    columns: list[str] = []
    negative = 0
    for row in rows_of(data / "grid" / f"{stem}_{suffix}.csv.gz"):
        if not columns:
            columns = [c for c in row if c in names]
        values = [number_or_blank(row[c]) for c in columns]
        negative += sum(v < 0 for v in values)
        times.append(moment(row["time_utc"]))
        rows.append([v if math.isnan(v) else max(0.0, v) for v in values])
    table = np.array(rows)
    table[np.isnan(table).any(axis=1)] = np.nan
    fuels: dict[str, Table] = {}
    for i, column in enumerate(columns):
        fuel = names[column]
        fuels[fuel] = fuels.get(fuel, 0.0) + table[:, i]
    return times, fuels, negative


def crude_intensity(fuels: Mapping[str, Table]) -> Table:
    """Return a direct-emission intensity good enough to find a shift of hours. [g/kWh]"""
    direct = {"coal": 760.0, "gas": 370.0, "oil": 406.0}
    total = sum(fuels.values())
    return np.asarray(sum(direct.get(f, 0.0) * g for f, g in fuels.items()) / total)


def correlation_at(
    times: list[datetime], values: Table, reference: Mapping[datetime, float], lag_h: int
) -> float:
    """Return the correlation of `values` with the reference `lag_h` hours later."""
    there = np.array([reference.get(t + timedelta(hours=lag_h), np.nan) for t in times])
    good = ~np.isnan(there) & ~np.isnan(values)
    return float(np.corrcoef(values[good], there[good])[0, 1])


def hour_beginnings(
    grid: Grid, times: list[datetime], fuels: Mapping[str, Table], data: Path
) -> list[datetime]:
    """Return the labels moved to the beginning of the hour, and print why."""
    if grid.name == "US-ERCOT":
        return [t - timedelta(hours=1) for t in times]
    if grid.name != "US-CAISO":
        return times
    reference = zone_series(data, grid.zone, "ci_direct")
    values = crude_intensity(fuels)
    june = [i for i, t in enumerate(times) if t.month == 6 and t.hour == 7]
    best = max(
        june,
        key=lambda i: (
            correlation_at(times[june[0] : i + 1], values[june[0] : i + 1], reference, 0) * (i - june[0])
            + correlation_at(times[i : june[-1]], values[i : june[-1]], reference, -1) * (june[-1] - i)
            if june[0] + 48 < i < june[-1] - 48
            else -1e9
        ),
    )
    print(f"  CISO labels end the hour from about {times[best]:%Y-%m-%d} on")
    return [t if i < best else t - timedelta(hours=1) for i, t in enumerate(times)]


def month_hour_mean(times: list[datetime], values: Table) -> Table:
    """Return the (12, 24) mean by month and UTC hour; blanks left out."""
    total, count = np.zeros((12, 24)), np.zeros((12, 24))
    for t, v in zip(times, values.tolist(), strict=True):
        if not math.isnan(v):
            total[t.month - 1, t.hour] += v
            count[t.month - 1, t.hour] += 1
    return total / count


def hours_mean(table: Table) -> float:
    """Return the mean of a month-hour table over a year's hours."""
    return float((table * HOURS).sum() / HOURS.sum())


def fuel_tables(grid: Grid, data: Path) -> dict[str, Table]:
    """Return each fuel's mean generation by month and UTC hour. [MW]"""
    times, fuels, negative = generation(data, grid.generation)
    blank = int(np.isnan(next(iter(fuels.values()))).sum())
    print(f"{grid.name}: {len(times)} hours, {blank} blank, {negative} negative cells set to zero")
    times = hour_beginnings(grid, times, fuels, data)
    tables = {fuel: month_hour_mean(times, values) for fuel, values in fuels.items()}
    if "other" in tables:
        other = tables.pop("other")
        for fuel, share in grid.other_as.items():
            tables[fuel] = tables.get(fuel, np.zeros((12, 24))) + share * other
    return tables


def annual_mix(grid: Grid, data: Path, tables: Mapping[str, Table]) -> tuple[dict[str, float], int]:
    """Return each fuel's share of a year's generation, and the year."""
    if grid.country:
        row = json.loads((data / "grid/mixes/codecarbon_global_energy_mix.json").read_text())[grid.country]
        amounts = {fuel: float(row[column]) for column, fuel in ANNUAL_FUEL.items()}
        year = int(row["year"])
    else:
        amounts = {fuel: hours_mean(table) for fuel, table in tables.items()}
        year = 2022
    total = sum(amounts.values())
    mix = {fuel: round(amount / total, 4) for fuel, amount in amounts.items() if amount / total >= 0.0005}
    largest = max(mix, key=lambda fuel: mix[fuel])
    mix[largest] = round(mix[largest] + 1.0 - sum(mix.values()), 4)
    return dict(sorted(mix.items(), key=lambda item: -item[1])), year


def intensity_table(
    mix: Mapping[str, float], shapes: Mapping[str, Table], factors: Mapping[str, float]
) -> Table:
    """Return grams per kWh by month and hour."""
    amounts = {fuel: share * shapes.get(fuel, np.ones((12, 24))) for fuel, share in mix.items()}
    return np.asarray(sum(factors[f] * a for f, a in amounts.items()) / sum(amounts.values()))


def compare(grid: Grid, data: Path, intensity: Table) -> None:
    """Print how the fitted intensity compares with the zone's own series."""
    zone = zone_series(data, grid.zone, "ci_lca")
    there = month_hour_mean(list(zone), np.array(list(zone.values())))
    r = np.corrcoef((intensity / hours_mean(intensity)).ravel(), (there / hours_mean(there)).ravel())[0, 1]
    print(
        f"  against {grid.zone} 2021-24 life cycle: mean {hours_mean(intensity):.0f} / "
        f"{hours_mean(there):.0f} g/kWh, month-hour correlation {r:.3f}, spread (max-min)/mean "
        f"{np.ptp(intensity) / hours_mean(intensity):.2f} / {np.ptp(there) / hours_mean(there):.2f}"
    )


def price_lines(grid: Grid, data: Path) -> list[str]:
    """Return the price fields, blank where the zone has no price."""
    series = zone_series(data, grid.zone, "price_usd_mwh") if grid.zone else {}
    first, last = grid.price_years
    series = {t: v for t, v in series.items() if first <= t.year <= last}
    if not series and grid.price:
        mean, low, high = grid.price
        note = sheet.quoted("mean day-ahead of 2024, the same at all hours; no hourly price at hand")
        facts = {"source": "epex-2024", "basis": "estimate", "low": low, "high": high, "note": note}
        return [sheet.value_line(2, "price_mean", mean, **facts)]
    if not series:
        none = 'value: null, note: "no hourly price at hand; set it, or use a tariff with an energy price"'
        return [f"  price_mean: {{{none}}}"]
    yearly, shapes = [], []
    for year in range(first, last + 1):
        part = {t: v for t, v in series.items() if t.year == year}
        table = month_hour_mean(list(part), np.array(list(part.values())))
        yearly.append(hours_mean(table))
        shapes.append(table / hours_mean(table))
    # Each year counts the same: else the year of the gas crisis alone would set the shape.
    shape = np.mean(shapes, axis=0)
    shape /= hours_mean(shape)
    mean = yearly[-1]
    print(f"  price {mean:.1f} USD/MWh (years {', '.join(f'{y:.0f}' for y in yearly)}), "
          f"shape {shape.min():.2f} to {shape.max():.2f}")  # fmt: skip
    low_high = {"low": f"{min(yearly):.1f} USD/MWh", "high": f"{max(yearly):.1f} USD/MWh"}
    facts = {"source": "sustain-cluster-zones", "basis": "measured"}
    return [
        sheet.value_line(2, "price_mean", f"{mean:.1f} USD/MWh", **facts, **low_high,
                         note=sheet.quoted(f"mean of {last}; low and high are the years {first}-{last}")),
        *sheet.table_lines(2, "price_shape", shape, 3, source="sustain-cluster-zones", basis="calibrated"),
        sheet.value_line(2, "price_years", sheet.quoted(f"{first}-{last}"), **facts),
    ]  # fmt: skip


def represented_shapes(mix: Mapping[str, float], tables: Mapping[str, Table]) -> dict[str, Table]:
    """Return the multiplier of every fuel whose hours the file shows."""
    means = {fuel: hours_mean(table) for fuel, table in tables.items()}
    whole = sum(means.values())
    return {
        fuel: tables[fuel] / means[fuel]
        for fuel, share in mix.items()
        if means.get(fuel, 0.0) > 0 and (fuel == "solar" or means[fuel] / whole >= share / 4)
    }


def grid_lines(grid: Grid, data: Path, all_tables: Mapping[str, dict[str, Table]]) -> list[str]:
    """Return one grid's YAML."""
    tables = dict(all_tables[grid.name])
    if grid.borrow_solar:
        tables["solar"] = all_tables[grid.borrow_solar]["solar"]
    mix, year = annual_mix(grid, data, tables)
    shapes = represented_shapes(mix, tables)
    intensity = intensity_table(mix, shapes, LIFECYCLE)
    clean = intensity_table(mix, shapes, {f: float(f in CARBON_FREE) for f in mix})
    flat = [f for f in mix if f not in shapes]
    low, mean, high = intensity.min(), hours_mean(intensity), intensity.max()
    print(
        f"{grid.name}: {mean:.0f} g/kWh life cycle, carbon-free {hours_mean(clean):.3f}, intensity shape "
        f"{low / mean:.2f} to {high / mean:.2f}; flat: {', '.join(flat) or 'none'}"
    )
    if grid.zone:
        compare(grid, data, intensity)
    european = grid.generation.startswith("eu_mix")
    mix_source = "owid-mix-2023" if grid.country else "eia-930-2022"
    shape_source = "entsoe-2019" if european else "eia-930-2022"
    lines = [
        f"{grid.name}:",
        f"  title: {grid.title}",
        f"  source: {mix_source}",
        "  basis: measured",
        *([f"  note: {sheet.quoted(grid.note)}"] if grid.note else []),
        f"  timezone: {grid.timezone}",
        sheet.map_line(2, "mix", mix),
        f"  mix_year: {year}",
        "  fuel_shapes:",
    ]
    for fuel, shape in shapes.items():
        borrowed = fuel == "solar" and grid.borrow_solar
        extra = {"note": sheet.quoted(f"shape of {grid.borrow_solar}")} if borrowed else {}
        lines += sheet.table_lines(4, fuel, shape, 2, source=shape_source, basis="calibrated", **extra)
    lines += price_lines(grid, data)
    none = sheet.quoted("the one open series at hand is a month of northern California, too short for a year")
    lines.append(f"  marginal_mean: {{value: null, note: {none}}}")
    if grid.losses is None:
        lines.append("  t_and_d_loss: {value: null}")
    else:
        lines.append(
            sheet.value_line(2, "t_and_d_loss", f"{100 * grid.losses:.0f} %", source="eia-faq-losses")
        )
    return lines


def text(data: Path) -> str:
    """Return ``grids.yaml``, and print what was fitted."""
    tables = {grid.name: fuel_tables(grid, data) for grid in GRIDS}
    lines: list[str] = []
    for grid in GRIDS:
        lines += ["", *grid_lines(grid, data, tables)]
    header = (
        "Grids: annual mix, and how fuels and prices move by month (rows, January first) and UTC hour.",
        "Written by analysis/calibration/grid_shapes.py; change it there.",
        "Multipliers have mean 1 over a year's hours; a fuel without a shape is taken as flat.",
    )
    return sheet.file_text(header, lines)


if __name__ == "__main__":
    sheet.run("grids.yaml", __doc__.splitlines()[0], text)
