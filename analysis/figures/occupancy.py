"""Fleet occupancy: what every GPU was doing, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.drawing import Drawing, Missing, legend_below, new_figure, sign
from analysis.local_time import LocalTime
from analysis.palette import INK, STATES, colours, in_order
from analysis.steps import cut, series_by

if TYPE_CHECKING:
    from simulator.results import Run

NAME: Final = "occupancy"
TITLE: Final = "What the GPUs were doing"


def draw(run: Run) -> Drawing | Missing:
    """Stack the states of all GPUs from the best (below) to free (above), capacity as a line."""
    table = run.table("occupancy")
    if not table.num_rows:
        return Missing(NAME, TITLE, "The run has no GPUs, so nothing could be occupied.")
    series = series_by(table, lambda key: key[0], ["state", "site", "pool", "tenant"], "gpus", run.horizon_s)
    names = [name for name in in_order(list(series), STATES) if series[name].maximum() > 0]
    steps = cut({name: series[name] for name in names}, run.horizon_s)
    clock = LocalTime(run)
    paint = colours(names, STATES)
    gpus = float(run.summary["gpus"])

    figure = new_figure()
    axes = figure.add_subplot()
    x = clock.numbers(steps.edges_s)
    floor = np.zeros(len(steps.edges_s))
    for name in names:
        values = steps.means[name]
        top = floor + np.append(values, values[-1])
        axes.fill_between(x, floor, top, step="post", color=paint[name], linewidth=0, label=name, zorder=2)
        floor = top
    axes.axhline(gpus, color=INK, linewidth=1.4, label=f"capacity {gpus:,.0f}", zorder=3)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, gpus * 1.04)
    axes.set_ylabel("GPUs")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    clock.dress(axes)
    axes.set_title(TITLE)
    legend_below(axes, len(names) + 1, ncols=6)
    sign(figure, run, "occupancy.parquet")

    hours = {name: series[name].integral() / 3600.0 for name in names}
    whole = gpus * run.horizon_s / 3600.0
    places = 0 if whole >= 10.0 else 2
    shares = ", ".join(f"{name} {100 * hours[name] / whole:.1f} %" for name in names)
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=(
            f"Share of all {whole:,.{places}f} GPU-hours: {shares}. {steps.sentence()} Work that a failure "
            "undid later was productive when it was done."
        ),
        alternative=f"Stacked areas of GPUs by state over time. Of {whole:,.{places}f} GPU-hours: {shares}.",
        data={
            "start_s": steps.start_s.tolist(),
            "start_utc": [clock.utc_text(moment) for moment in steps.start_s],
            **{f"{name.replace(' ', '_')}_gpus": steps.means[name].tolist() for name in names},
        },
        source="occupancy.parquet",
    )
