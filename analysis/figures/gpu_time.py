"""Where the GPU time of training runs went, as one bar a run: what was useful and what took the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analysis.drawing import Drawing, Missing, house_style, legend_below, new_figure, sign
from analysis.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, SKY, VERMILLION, YELLOW
from simulator.foundation.units import HOUR_S

if TYPE_CHECKING:
    from simulator.results import Run

NAME: Final = "gpu_time"
TITLE: Final = "Where the GPU time of training runs went"

#: Use -> (words, colour, hatch), from the best to the worst.
USES: Final = {
    "productive": ("productive", GREEN, ""),
    "recompute": ("recomputed", SKY, ""),
    "communication": ("exposed communication", ORANGE, ""),
    "bubble": ("pipeline bubble", YELLOW, ""),
    "straggler": ("slowest rank", ORANGE, "//"),
    "checkpoint": ("checkpoint", BLUE, ""),
    "lost": ("lost work", BLACK, ""),
    "detecting": ("not noticed", VERMILLION, ""),
    "diagnosing": ("diagnosis", VERMILLION, "//"),
    "restarting": ("restart", PURPLE, ""),
    "stopping": ("stopping", BLUE, "//"),
    "other": ("held otherwise", GREY, ""),
    "waiting": ("waiting", PALE, ""),
}

_MOST_RUNS: Final = 8


def draw(run: Run) -> Drawing | Missing:
    """Return the figure, or why there is none."""
    table = run.table("gpu_time").to_pylist()
    by_job: dict[str, dict[str, float]] = {}
    for row in table:
        if row["kind"] == "training":
            by_job.setdefault(row["job_id"], {})[row["use"]] = row["gpu_seconds"]
    if not by_job:
        return Missing(NAME, TITLE, "The scenario has no training job that held or waited for a GPU.")
    with house_style():
        return _drawn(run, by_job)


def _drawn(run: Run, by_job: dict[str, dict[str, float]]) -> Drawing:
    shown = dict(list(by_job.items())[:_MOST_RUNS])
    figure = new_figure(1.9 + 0.55 * len(shown))
    axes = figure.add_subplot()
    used = [use for use in USES if any(use in uses for uses in shown.values())]
    left = [0.0] * len(shown)
    for use in used:
        words, colour, hatch = USES[use]
        widths = [100.0 * uses.get(use, 0.0) / sum(uses.values()) for uses in shown.values()]
        edge = "white" if hatch else colour
        axes.barh(
            range(len(shown)), widths, left=left, color=colour, hatch=hatch, edgecolor=edge, linewidth=0,
            height=0.62, label=words, zorder=2,
        )  # fmt: skip
        for place, width in enumerate(widths):
            if width >= 4.0:
                ink = "white" if colour in (GREEN, BLACK, BLUE, VERMILLION) else "black"
                axes.text(
                    left[place] + width / 2, place, f"{width:.1f}", ha="center", va="center", fontsize=8.5,
                    color=ink,
                )  # fmt: skip
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(shown)), list(shown))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel("% of GPU time held and waited for")
    axes.set_title(TITLE)
    legend_below(axes, len(used), ncols=4)
    sign(figure, run, "gpu_time.parquet")
    rows = [(job, use, uses[use] / HOUR_S) for job, uses in by_job.items() for use in USES if use in uses]
    left_out = len(by_job) - len(shown)
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption="Steps are divided by the breakdown they ran at; work that a failure undid is lost, whatever "
        "part of a step it was." + (f" {left_out} more runs are in the data." if left_out else ""),
        alternative=TITLE
        + ". "
        + " ".join(
            f"{job}: "
            + ", ".join(
                f"{USES[use][0]} {100 * uses[use] / sum(uses.values()):.1f} %" for use in USES if use in uses
            )
            + "."
            for job, uses in shown.items()
        ),
        data={
            "job": [row[0] for row in rows],
            "use": [row[1] for row in rows],
            "gpu_hours": [row[2] for row in rows],
        },
        source="gpu_time.parquet",
    )
