"""Energy and carbon: by hour on the clock, and by job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.columns import numbers, words
from analysis.drawing import Drawing, Missing, legend_below, new_figure, sign
from analysis.figures.power import scale
from analysis.local_time import LocalTime
from analysis.numerals import digits
from analysis.palette import BLUE, CARBON, GREY, INK
from analysis.steps import MOST_POINTS, span_text
from simulator.results.amounts import carbon_text, carbon_unit, energy_text, energy_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.results import Run

NAME: Final = "carbon"
TITLE: Final = "Energy and carbon, by hour and by job"

#: Jobs, services or groups of jobs that get a bar of their own.
MOST_BARS: Final = 8


def draw(run: Run) -> Drawing | Missing:
    """Power and intensity by hour; carbon per hour; below, who used the energy and emitted."""
    hourly = run.table("hourly")
    if not hourly.num_rows:
        return Missing(NAME, TITLE, "The run has no site with a grid, so there is nothing to account.")
    start_s, place = np.unique(numbers(hourly, "start_s"), return_inverse=True)
    end_s = np.zeros(len(start_s))
    np.maximum.at(end_s, place, numbers(hourly, "end_s"))
    energy_mwh = np.bincount(place, np.nan_to_num(numbers(hourly, "facility_energy_j"))) / 3.6e9
    tonnes = np.bincount(place, np.nan_to_num(numbers(hourly, "location_gco2e"))) / 1e6
    edges, energy, carbon = _coarser(start_s, end_s, energy_mwh, tonnes)
    clock = LocalTime(run)
    x = clock.numbers(edges)
    hours = np.diff(edges) / 3600.0

    figure = new_figure(6.4)
    rows = figure.add_gridspec(2, 2, height_ratios=[1.0, 1.0])
    above = figure.add_subplot(rows[0, :])
    unit, size = scale(1e6 * float((energy / hours).max()))
    _area(above, x, 1e6 * energy / hours / size, BLUE, f"mean power at the meter, {unit}")
    above.set_title("Power at the meter, and carbon intensity of the grid")
    above.set_ylabel(unit)
    right = above.twinx()
    # MWh and t: the ratio in kg/MWh is the same number as in g/kWh.
    intensity = np.divide(1000.0 * carbon, energy, out=np.full(len(energy), np.nan), where=energy > 0)
    right.step(
        x,
        np.append(intensity, intensity[-1]),
        where="post",
        color=CARBON["location"],
        linewidth=1.3,
        label="carbon intensity, g/kWh (right)",
    )
    right.set_ylim(0, 1.1 * max(1e-9, float(np.nanmax(np.append(intensity, 0.0)))))
    right.set_ylabel("g/kWh")
    right.grid(False)
    right.spines["right"].set_visible(True)
    handles, labels = (
        a + b
        for a, b in zip(above.get_legend_handles_labels(), right.get_legend_handles_labels(), strict=True)
    )
    legend_below(above, 2, handles=handles, labels=labels)
    above.set_xlim(x[0], x[-1])
    clock.dress(above)
    groups = by_workload(run)
    names = list(groups)
    used = [groups[name]["energy_mwh"] for name in names]
    unit, many = energy_unit(max(used, default=0.0))
    _bars(figure.add_subplot(rows[1, 0]), names, [many * value for value in used], BLUE, f"Energy, {unit}")
    caused = [groups[name]["location_tco2e"] for name in names]
    unit, many = carbon_unit(max(caused, default=0.0))
    _bars(
        figure.add_subplot(rows[1, 1]),
        names,
        [many * value for value in caused],
        CARBON["location"],
        f"Carbon, location-based, {unit} CO2e",
        labels=False,
    )
    sign(figure, run, "hourly.parquet, jobs.parquet")

    total, emitted = float(energy_mwh.sum()), float(tonnes.sum())
    books = run.provenance.get("books", {})
    factors = f", factors {books['factor_set']}" if books.get("factor_set") else ""
    largest = max(names, key=lambda name: groups[name]["location_tco2e"]) if names else ""
    share = (
        f"; {largest} {100 * groups[largest]['location_tco2e'] / emitted:.0f} %"
        if names and emitted > 0
        else ""
    )
    said = f"{energy_text(total)} at the meter, {carbon_text(emitted)} location-based{factors}{share}."
    span = (
        "Steps of an hour."
        if len(energy) == len(start_s)
        else f"Means over {span_text(float(np.diff(edges).max()))}."
    )
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=f"{said} Cooling and losses are shared over IT energy within each hour. {span}",
        alternative=f"Power and carbon intensity over time; bars of energy and carbon by workload. {said}",
        data={
            "start_utc": [clock.utc_text(moment) for moment in edges[:-1]] + [""] * len(names),
            "workload": [""] * len(energy) + names,
            "facility_energy_mwh": [*energy.tolist(), *(groups[name]["energy_mwh"] for name in names)],
            "location_tco2e": [*carbon.tolist(), *(groups[name]["location_tco2e"] for name in names)],
            "intensity_g_per_kwh": [*intensity.tolist(), *([None] * len(names))],
        },
        source="hourly.parquet, jobs.parquet",
    )


def by_workload(run: Run, most: int = MOST_BARS) -> dict[str, dict[str, float]]:
    """Return energy, carbon and cost of each large job, service, tenant of small jobs, and idle.

    Returns
    -------
    dict
        Name -> ``energy_mwh`` (at the meter), ``location_tco2e``, ``cost_usd``, ``gpu_hours``;
        the largest emitters first, ``others`` and ``idle`` last.
    """
    jobs = run.table("jobs")
    names = [
        _workload(kind, name, tenant)
        for kind, name, tenant in zip(
            words(jobs, "kind"), words(jobs, "job_id"), words(jobs, "tenant"), strict=True
        )
    ]
    columns = {
        "energy_mwh": numbers(jobs, "facility_energy_j") / 3.6e9,
        "location_tco2e": numbers(jobs, "location_gco2e") / 1e6,
        "cost_usd": numbers(jobs, "cost_usd"),
        "gpu_hours": numbers(jobs, "gpu_seconds") / 3600.0,
    }
    distinct = sorted(set(names))
    code = {name: number for number, name in enumerate(distinct)}
    codes = np.array([code[name] for name in names], dtype=np.int64)
    sums = {
        key: np.bincount(codes, np.nan_to_num(values), len(distinct)) if len(codes) else np.zeros(0)
        for key, values in columns.items()
    }
    order = sorted(
        (name for name in distinct if name != "idle"),
        key=lambda name: (-sums["energy_mwh"][code[name]], name),
    )
    groups = {name: [code[name]] for name in order[: most if len(order) <= most else most - 1]}
    if len(order) > len(groups):
        groups[f"{len(order) - len(groups)} others"] = [code[name] for name in order[len(groups) :]]
    if "idle" in code:
        groups["idle"] = [code["idle"]]
    return {
        name: {key: float(values[members].sum()) for key, values in sums.items()}
        for name, members in groups.items()
    }


def _workload(kind: str, job: str, tenant: str) -> str:
    if kind == "idle":
        return "idle"
    if kind == "training":
        return job
    if kind == "replica":
        # A replica is called SERVICE/NUMBER.
        return job.rpartition("/")[0] or tenant
    return tenant or kind


def _area(axes: Axes, x: NDArray[np.float64], values: NDArray[np.float64], colour: str, label: str) -> None:
    axes.fill_between(x, 0, np.append(values, values[-1]), step="post", color=colour, alpha=0.35, linewidth=0)
    axes.step(x, np.append(values, values[-1]), where="post", color=colour, linewidth=1.0, label=label)
    axes.set_ylim(0, 1.1 * max(1e-9, float(values.max())))


def _bars(
    axes: Axes, names: list[str], values: list[float], colour: str, title: str, *, labels: bool = True
) -> None:
    from matplotlib.ticker import MaxNLocator

    place = np.arange(len(names))
    paint = [GREY if name == "idle" or name.endswith(" others") else colour for name in names]
    axes.barh(place, values, color=paint, height=0.7, zorder=2)
    top = max([*values, 1e-12])
    for at, value in zip(place, values, strict=True):
        axes.text(value + 0.015 * top, at, digits(value, 3), va="center", fontsize=9, color=INK)
    axes.set_yticks(place, names if labels else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * top)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    axes.set_title(title)


def _coarser(
    start_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
    *values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Add neighbouring hours up until there are few enough of them to be seen."""
    size = int(np.ceil(len(start_s) / MOST_POINTS))
    first = np.arange(0, len(start_s), size)
    edges = np.append(start_s[first], end_s[-1])
    energy, carbon = (np.add.reduceat(column, first) for column in values)
    return edges, energy, carbon
