"""Power at the meter by component, against the site's limit, with the highest 15 minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.columns import numbers
from analysis.drawing import Drawing, Missing, legend_below, new_figure, sign
from analysis.local_time import LocalTime
from analysis.numerals import digits
from analysis.palette import BLACK, COMPONENTS, INK, colours, in_order
from analysis.steps import cut, extremes, series_by
from simulator.foundation import StepSeries
from simulator.results.amounts import energy_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.results import Run

NAME: Final = "power"
TITLE: Final = "Power at the meter"

#: Utilities bill the highest mean over this span. [s]
QUARTER_S: Final = 900.0

#: What is less than this share of the largest component is not there.
NOTHING: Final = 1e-9

#: A limit above this many times the peak is named, not drawn: it would flatten everything else.
NEAR: Final = 2.5


def draw(run: Run) -> Drawing | Missing:
    """Stack the components; mark the highest 15 minutes, and the limit where it is near."""
    table = run.table("power")
    if not table.num_rows:
        return Missing(NAME, TITLE, "The run recorded no power.")
    series = series_by(table, lambda key: key[0], ["component", "site"], "power_w", run.horizon_s)
    highest_w = max((one.maximum() for one in series.values()), default=0.0)
    # A component that is the rest of others may be a rounding error instead of nothing.
    names = [
        name for name in in_order(list(series), COMPONENTS) if series[name].maximum() > NOTHING * highest_w
    ]
    if not names:
        return Missing(NAME, TITLE, "Nothing drew power in this run.")
    total = StepSeries.sum_of([series[name] for name in names])
    steps = cut({name: series[name] for name in names}, run.horizon_s)
    clock = LocalTime(run)
    paint = colours(names, COMPONENTS)
    unit, size = scale(total.maximum())

    figure = new_figure()
    axes = figure.add_subplot()
    x = clock.numbers(steps.edges_s)
    floor = np.zeros(len(x))
    for name in names:
        top = floor + np.append(steps.means[name], steps.means[name][-1]) / size
        axes.fill_between(x, floor, top, step="post", color=paint[name], linewidth=0, label=name, zorder=2)
        floor = top
    if not steps.exact:
        _, highest = extremes(total, steps.edges_s)
        axes.step(
            x,
            np.append(highest, highest[-1]) / size,
            where="post",
            color=INK,
            linewidth=0.6,
            label="highest within a step",
            zorder=3,
        )
    peak_w, peak_s = peak_mean(total)
    axes.plot(
        clock.numbers(np.array([peak_s + QUARTER_S / 2])),
        [peak_w / size],
        marker="v",
        color=BLACK,
        markersize=7,
        linestyle="none",
        label=f"highest 15 min {digits(peak_w / size)} {unit}",
        zorder=5,
    )
    ceiling = peak_w / size
    limit = site_limit(run)
    if limit is not None:
        starts, watts = limit
        lowest = float(watts.min())
        if lowest < NEAR * peak_w:
            axes.step(
                clock.numbers(np.append(starts, run.horizon_s)),
                np.append(watts, watts[-1]) / size,
                where="post",
                color=BLACK,
                linestyle="--",
                linewidth=1.4,
                label=f"limit {_span(watts / size)} {unit}",
                zorder=4,
            )
            ceiling = max(ceiling, float(watts[watts < NEAR * peak_w].max()) / size)
        said = f"the limit is {_span(watts / size)} {unit} ({100 * peak_w / lowest:.0f} % used)"
    else:
        said = "no limit is set"
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, 1.1 * max(ceiling, total.maximum() / size))
    axes.set_ylabel(f"power, {unit}")
    clock.dress(axes)
    axes.set_title(TITLE)
    legend_below(axes, len(names) + 3, ncols=4)
    sign(figure, run, "power.parquet, hourly.parquet")
    energy = {name: series[name].integral() / 3.6e9 for name in names}
    whole = sum(energy.values())
    shares = ", ".join(f"{name} {100 * value / whole:.1f} %" for name, value in energy.items())
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=(
            f"Highest 15-minute mean {digits(peak_w / size)} {unit} on {clock.local_text(peak_s)}; {said}. "
            f"Energy {energy_text(whole)}: {shares}. {steps.sentence()}"
        ),
        alternative=f"Stacked areas of power by component over time; {said}. Energy shares: {shares}.",
        data={
            "start_s": steps.start_s.tolist(),
            "start_utc": [clock.utc_text(moment) for moment in steps.start_s],
            **{f"{name}_w": steps.means[name].tolist() for name in names},
            "highest_total_w": extremes(total, steps.edges_s)[1].tolist(),
        },
        source="power.parquet, hourly.parquet",
    )


def scale(watts: float) -> tuple[str, float]:
    """Return the unit in which a power reads best, and its size. [W]"""
    for unit, size in (("GW", 1e9), ("MW", 1e6), ("kW", 1e3)):
        if watts >= size:
            return unit, size
    return "W", 1.0


def peak_mean(total: StepSeries, span_s: float = QUARTER_S) -> tuple[float, float]:
    """Return the highest mean over the quarter hours of the clock, and when it begins. [W, s]"""
    edges = np.append(np.arange(0.0, total.end_s, span_s), total.end_s)
    means = total.integrals_between(edges) / np.diff(edges)
    # A short last span would let a moment pass for a quarter of an hour.
    whole = means if len(means) == 1 or edges[-1] - edges[-2] >= span_s * (1 - 1e-9) else means[:-1]
    place = int(np.argmax(whole))
    return float(whole[place]), float(edges[place])


def site_limit(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the sum of the sites' limits by hour (starts and watts), None unless all have one."""
    hourly = run.table("hourly")
    limit_w, start_s = numbers(hourly, "limit_w"), numbers(hourly, "start_s")
    if not len(limit_w) or np.isnan(limit_w).any():
        return None
    starts, place = np.unique(start_s, return_inverse=True)
    watts = np.bincount(place, limit_w)
    changed = np.append(True, watts[1:] != watts[:-1])
    return starts[changed], watts[changed]


def _span(values: NDArray[np.float64]) -> str:
    low, high = float(values.min()), float(values.max())
    return digits(low) if low == high else f"{digits(low)}-{digits(high)}"
