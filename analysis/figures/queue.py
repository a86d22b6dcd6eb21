"""Queue and reasons: how many GPUs were asked for in vain and why; below, who waited how long."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.columns import coded, numbers
from analysis.drawing import Drawing, Missing, new_figure, sign
from analysis.local_time import LocalTime
from analysis.palette import DASHES, REASONS, colours, in_order
from analysis.steps import cut
from simulator.decisions.reasons import SAID
from simulator.foundation import StepSeries
from simulator.foundation.units import render
from simulator.results.percentile import quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.results import Run

NAME: Final = "queue"
TITLE: Final = "Who waited, and why"

#: Tenants drawn apart; the others are drawn together.
MOST_TENANTS: Final = 6


def draw(run: Run) -> Drawing | Missing:
    """Stack the queued GPUs by reason; below, the share of jobs that waited at most so long."""
    jobs = run.table("jobs")
    kinds, kind_names = coded(jobs, "kind")
    counted = np.array([name not in ("idle", "replica") for name in kind_names], dtype=bool)
    mine = counted[kinds] if len(kinds) else np.zeros(0, dtype=bool)
    if not mine.any():
        return Missing(NAME, TITLE, "The run has no jobs besides services' replicas: nothing queues.")
    if not run.table("waits").num_rows:
        return Missing(NAME, TITLE, "No job waited.")
    figure = new_figure(5.6)
    upper, lower = figure.subplots(2, 1, height_ratios=[1.25, 1.0])
    data = _reasons(run, upper)
    waited = _tenants(lower, jobs, mine)
    sign(figure, run, "waits.parquet, jobs.parquet")
    hours = data.pop("gpu_hours")
    total = sum(hours.values())
    parts = ", ".join(f"{SAID.get(name, name)} {100 * value / total:.0f} %" for name, value in hours.items())
    said = f"{total:,.0f} GPU-hours were spent queued: {parts}."
    slowest = ", ".join(f"{name} {render(wait_s, 's')}" for name, wait_s in waited.items())
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=f"{said} 95 % of jobs waited at most: {slowest}.",
        alternative=f"Queued GPUs over time by reason, and the distribution of waits by tenant. {said}",
        data=data,
        source="waits.parquet, jobs.parquet",
        notes=("Jobs still queued at the end count with their wait so far.",),
    )


def _reasons(run: Run, axes: Axes) -> dict[str, Any]:
    waits = run.table("waits")
    clock = LocalTime(run)
    codes, names = coded(waits, "reason")
    start_s, end_s, gpus = (numbers(waits, name) for name in ("start_s", "end_s", "gpus"))
    series: dict[str, StepSeries] = {}
    for name in in_order(names, REASONS):
        rows = codes == names.index(name)
        series[name] = StepSeries.from_events(
            np.concatenate([start_s[rows], end_s[rows]]),
            np.concatenate([gpus[rows], -gpus[rows]]),
            0.0,
            run.horizon_s,
        )
    steps = cut(series, run.horizon_s)
    x = clock.numbers(steps.edges_s)
    paint = colours(list(series), REASONS)
    floor = np.zeros(len(x))
    for name in series:
        top = floor + np.append(steps.means[name], steps.means[name][-1])
        axes.fill_between(
            x,
            floor,
            top,
            step="post",
            color=paint[name],
            linewidth=0,
            label=fill(SAID.get(name, name), 16),
            zorder=2,
        )
        floor = top
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, max(1.0, float(floor.max()) * 1.06))
    axes.set_ylabel("GPUs queued")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_title("GPUs asked for by queued jobs, by reason")
    clock.dress(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), handlelength=1.2)
    return {
        "start_s": steps.start_s.tolist(),
        "start_utc": [clock.utc_text(moment) for moment in steps.start_s],
        **{f"{name.replace('-', '_')}_gpus": steps.means[name].tolist() for name in series},
        "gpu_hours": {name: one.integral() / 3600.0 for name, one in series.items()},
    }


def _tenants(axes: Axes, jobs: Any, mine: Any) -> dict[str, float]:
    tenant, names = coded(jobs, "tenant")
    wait_h = numbers(jobs, "wait_s") / 3600.0
    gpus = numbers(jobs, "gpus")
    burden = np.bincount(tenant[mine], np.nan_to_num(wait_h * gpus)[mine], len(names))
    count = np.bincount(tenant[mine], minlength=len(names))
    present = [code for code in np.lexsort((-count, -burden)).tolist() if count[code]]
    apart = present if len(present) <= MOST_TENANTS else present[: MOST_TENANTS - 1]
    groups = {names[code] or "no tenant": tenant == code for code in apart}
    if len(apart) < len(present):
        groups[f"{len(present) - len(apart)} others"] = ~np.isin(tenant, apart)
    paint = colours(list(groups), {})
    least = 1.0 / 60.0
    longest = least * 10
    start = 100.0
    answer: dict[str, float] = {}
    for number, (name, rows) in enumerate(groups.items()):
        waited = np.sort(wait_h[rows & mine])
        waited = waited[~np.isnan(waited)]
        if not len(waited):
            continue
        longest = max(longest, float(waited[-1]))
        share = np.arange(1, len(waited) + 1) / len(waited)
        # All that started at once are one point; the points go to those that waited.
        first = max(0, int(np.searchsorted(waited, least, side="right")) - 1)
        keep = np.unique(np.linspace(first, len(waited) - 1, 400).astype(int))
        axes.step(
            np.append(np.maximum(waited[keep], least), 1e9),
            100 * np.append(share[keep], 1.0),
            where="post",
            color=paint[name],
            linestyle=DASHES[number % len(DASHES)],
            label=f"{name} ({len(waited):,})",
        )
        start = min(start, 100 * float(np.mean(waited <= least)))
        answer[name] = 3600.0 * quantile(waited, np.ones(len(waited)), 0.95)
    axes.set_xscale("log")
    axes.set_xlim(least, longest * 1.3)
    # Where most jobs start at once, the axis begins just below that share.
    bottom = max(0.0, 10 * np.floor((start - 5) / 10))
    axes.set_ylim(bottom, 102 - 0.02 * bottom)
    ticks = [value for value in _HOURS if least <= value <= longest * 1.3]
    axes.set_xticks(ticks, [_HOURS[value] for value in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("wait until the last start (log scale; one minute and less at the left edge)")
    axes.set_ylabel("% of jobs")
    axes.set_title("Share of jobs that waited at most so long, by tenant (number of jobs)")
    axes.grid(axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), handlelength=2.0)
    return answer


_HOURS: Final = {
    1 / 60: "1 min",
    1 / 6: "10 min",
    1.0: "1 h",
    6.0: "6 h",
    24.0: "1 d",
    168.0: "7 d",
    720.0: "30 d",
    8760.0: "1 yr",
}
