"""GPU-hour waterfall: from the GPU-hours provided down to the productive ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.columns import coded, numbers
from analysis.drawing import Drawing, Missing, new_figure, sign
from analysis.numerals import digits
from analysis.palette import BLUE, GREY, INK, STATES
from analysis.steps import series_by

if TYPE_CHECKING:
    from simulator.results import Run

NAME: Final = "waterfall"
TITLE: Final = "Where the GPU-hours went"


def draw(run: Run) -> Drawing | Missing:
    """Take away from what was provided, one loss at a time, until productive work is left."""
    gpus = float(run.summary["gpus"])
    provided = gpus * run.horizon_s / 3600.0
    if provided <= 0:
        return Missing(NAME, TITLE, "The run provided no GPU-hours.")
    states = series_by(
        run.table("occupancy"), lambda key: key[0], ["state", "site", "pool", "tenant"], "gpus", run.horizon_s
    )
    hours = {name: series.integral() / 3600.0 for name, series in states.items()}
    jobs = run.table("jobs")
    kinds, kind_names = coded(jobs, "kind")
    real = np.array([name != "idle" for name in kind_names], dtype=bool)[kinds]
    held, useful, lost = (
        float(np.nansum(numbers(jobs, name)[real])) / 3600.0
        for name in ("gpu_seconds", "productive_gpu_seconds", "lost_gpu_seconds")
    )
    idle = hours.get("allocated idle", 0.0)
    falls = [
        ("down", hours.get("down", 0.0), STATES["down"]),
        ("maintenance", hours.get("maintenance", 0.0), STATES["maintenance"]),
        ("held by\na policy", hours.get("held", 0.0), STATES["held"]),
        (
            "free",
            provided - held - sum(hours.get(name, 0.0) for name in ("down", "maintenance", "held")),
            STATES["free"],
        ),
        ("allocated", None, BLUE),
        ("allocated\nidle", idle, STATES["allocated idle"]),
        ("lost to\nfailures", lost, STATES["lost"]),
        ("overhead", held - idle - lost - useful, STATES["overhead"]),
        ("productive", None, STATES["productive"]),
    ]

    figure = new_figure()
    axes = figure.add_subplot()
    labels, amounts, ends = ["provided"], [provided], [provided]
    axes.bar(0, 100.0, color=GREY, width=0.72, zorder=2)
    _number(axes, 0, 100.0, 100.0, provided)
    level = provided
    for name, amount, colour in falls:
        if amount is not None and abs(amount) < 5e-4 * provided:
            level -= amount  # too thin to be seen, but gone all the same
            continue
        place = len(labels)
        axes.plot(
            [place - 1 + 0.36, place - 0.36], [100 * level / provided] * 2, color=INK, linewidth=0.8, zorder=3
        )
        if amount is None:
            axes.bar(place, 100 * level / provided, color=colour, width=0.72, zorder=2)
            shown = level
        else:
            axes.bar(
                place,
                100 * amount / provided,
                bottom=100 * (level - amount) / provided,
                color=colour,
                width=0.72,
                zorder=2,
                edgecolor=GREY,
                linewidth=0.5,
            )
            shown = amount
            level -= amount
        _number(axes, place, 100 * (level + (amount or 0.0)) / provided, 100 * shown / provided, shown)
        labels.append(name)
        amounts.append(shown)
        ends.append(level)
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 116)
    axes.set_yticks(range(0, 101, 20))
    axes.set_title(TITLE)
    axes.set_ylabel("% of GPU-hours provided")
    sign(figure, run, "occupancy.parquet, jobs.parquet")
    mfu = run.summary.get("mfu_fraction")
    added = "" if mfu is None else f" Training ran at {100 * mfu:.1f} % MFU while running."
    percent = f"{100 * level / provided:.1f} %"
    ending = f"{_hours(level)} of {_hours(provided)} GPU-hours ({percent}) did useful, durable work."
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=ending
        + added
        + " Overhead is starting, checkpoints, detection, recovery, bubbles and exposed communication.",
        alternative="Waterfall from provided to productive GPU-hours. "
        + ", ".join(
            f"{name.replace(chr(10), ' ')} {_hours(value)}"
            for name, value in zip(labels, amounts, strict=True)
        ),
        data={
            "step": [label.replace("\n", " ") for label in labels],
            "gpu_hours": amounts,
            "share_fraction": [amount / provided for amount in amounts],
            "left_gpu_hours": ends,
        },
        source="occupancy.parquet, jobs.parquet",
    )


def _number(axes: object, place: int, top: float, percent: float, hours: float) -> None:
    axes.text(  # type: ignore[attr-defined]
        place,
        top + 1.5,
        f"{percent:.1f} %\n{_hours(hours)} h",
        ha="center",
        va="bottom",
        fontsize=8.5,
        zorder=4,
    )


def _hours(value: float) -> str:
    """Return GPU-hours; a replay of minutes has parts of one."""
    return f"{value:,.0f}" if value >= 10.0 else digits(value, 2)
