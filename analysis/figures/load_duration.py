"""Load duration: for how many hours the meter showed at least so much power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.drawing import Drawing, Missing, legend_below, new_figure, sign
from analysis.figures.power import NEAR, QUARTER_S, peak_mean, scale, site_limit
from analysis.numerals import digits
from analysis.palette import BLACK, BLUE, GREY, ORANGE
from analysis.steps import MOST_POINTS, series_by
from simulator.foundation import StepSeries
from simulator.foundation.units import HOUR_S, render

if TYPE_CHECKING:
    from simulator.results import Run

NAME: Final = "load_duration"
TITLE: Final = "Load duration"

#: What IT equipment draws, before losses and cooling.
IT: Final = ("gpu", "host", "network")


def draw(run: Run) -> Drawing | Missing:
    """Sort the 15-minute means of the meter and of IT, highest first."""
    table = run.table("power")
    if not table.num_rows:
        return Missing(NAME, TITLE, "The run recorded no power.")
    parts = series_by(table, lambda key: key[0], ["component", "site"], "power_w", run.horizon_s)
    total = StepSeries.sum_of(list(parts.values()))
    if total.maximum() <= 0:
        return Missing(NAME, TITLE, "Nothing drew power in this run.")
    it = [series for name, series in parts.items() if name in IT]
    if run.horizon_s < HOUR_S:
        return Missing(NAME, TITLE, f"The run is over after {render(run.horizon_s, 's')}: too short for one.")
    unit, size = scale(total.maximum())
    figure = new_figure()
    axes = figure.add_subplot()
    hours, meter = _sorted_means(total)
    axes.step(hours, meter / size, where="pre", color=BLUE, linewidth=2.0, label="facility (meter)")
    columns = {"at_least_for_h": hours.tolist(), "facility_w": meter.tolist()}
    if it:
        _, inside = _sorted_means(StepSeries.sum_of(it))
        axes.step(hours, inside / size, where="pre", color=ORANGE, linestyle="--", linewidth=2.0, label="IT")
        columns["it_w"] = inside.tolist()
    peak_w, _ = peak_mean(total)
    mean_w = total.mean()
    axes.axhline(
        mean_w / size, color=GREY, linewidth=1.2, linestyle="-.", label=f"mean {digits(mean_w / size)} {unit}"
    )
    top = peak_w
    limit = site_limit(run)
    if limit is not None and limit[1].min() < NEAR * peak_w:
        lowest = float(limit[1].min())
        axes.axhline(
            lowest / size,
            color=BLACK,
            linestyle=":",
            linewidth=1.6,
            label=f"lowest limit {digits(lowest / size)} {unit}",
        )
        top = max(top, lowest)
    axes.set_xlim(0, run.horizon_s / 3600.0)
    axes.set_ylim(0, 1.08 * top / size)
    axes.xaxis.set_major_formatter(lambda hours, _: f"{hours:,.5g}")
    axes.set_xlabel(f"hours with at least this power (of {run.horizon_s / 3600.0:,.5g} h, 15-minute means)")
    axes.set_ylabel(f"power, {unit}")
    axes.grid(axis="x")
    axes.set_title("Load duration: power sorted from high to low")
    legend_below(axes, 4)
    sign(figure, run, "power.parquet")
    factor = mean_w / peak_w
    tenth = float(np.interp(0.1 * hours[-1], hours, meter))
    ramp = run.summary.get("max_ramp_w_per_s")
    per_minute = "" if ramp is None else f"{digits(60 * ramp / size, 3)} {unit} per minute"
    swing = f" Largest ramp of 5-minute means {per_minute}." if per_minute else ""
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=(
            f"Load factor {factor:.2f} (mean {digits(mean_w / size)} of {digits(peak_w / size)} {unit}); "
            f"the meter is above {digits(tenth / size)} {unit} for a tenth of the time.{swing}"
        ),
        alternative=(
            f"Falling curves of facility and IT power over hours sorted by power; load factor {factor:.2f}."
        ),
        data=columns,
        source="power.parquet",
    )


def _sorted_means(series: StepSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return hours reached and power at least kept so long, cut to what a picture shows."""
    edges = np.append(np.arange(0.0, series.end_s, QUARTER_S), series.end_s)
    widths = np.diff(edges)
    means = series.integrals_between(edges) / widths
    order = np.argsort(-means, kind="stable")
    hours = np.append(0.0, np.cumsum(widths[order]) / 3600.0)
    kept = np.append(means[order][0], means[order])
    if len(kept) <= MOST_POINTS:
        return hours, kept
    place = np.unique(np.linspace(0, len(kept) - 1, MOST_POINTS).astype(int))
    return hours[place], kept[place]
