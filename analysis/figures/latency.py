"""Latency by hour of day and tier: TTFT and TPOT, median and 99th percentile, arrivals behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.columns import coded, numbers
from analysis.drawing import Drawing, Missing, new_figure, sign
from analysis.local_time import LocalTime
from analysis.numerals import digits
from analysis.palette import BLACK, PALE, colours
from simulator.results.percentile import quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.results import Run

NAME: Final = "latency"
TITLE: Final = "Latency by hour of day and tier"

#: Services drawn; the others are named under the figure.
MOST_SERVICES: Final = 3

#: A 99th percentile of fewer requests than this in an hour of the day is not drawn.
FEWEST_FOR_P99: Final = 100

#: Hours of the day with arrivals below which lines by hour say nothing.
FEWEST_HOURS: Final = 3

HOURS: Final = np.arange(24)


def draw(run: Run) -> Drawing | Missing:
    """One row a service, TTFT left and TPOT right."""
    services = list(run.provenance.get("services", ()))
    if not services:
        return Missing(NAME, TITLE, "The run has no services, so no request was answered.")
    table = run.table("requests")
    exact = table.num_rows > 0
    found = _from_requests(run) if exact else _from_hours(run)
    if not found:
        return Missing(NAME, TITLE, "No request was answered before the run ended.")
    known = sum(curves["arrivals"] for curves in found.values())
    if np.count_nonzero(known) < FEWEST_HOURS:
        hours = {0: "no hour", 1: "one hour"}.get(np.count_nonzero(known), "two hours")
        return Missing(NAME, TITLE, f"Requests came in {hours} of the day only: too few for a rhythm.")
    drawn = [service for service in services if service["name"] in found]
    drawn.sort(key=lambda service: -float(np.sum(found[service["name"]]["arrivals"])))
    left_out = [service["name"] for service in drawn[MOST_SERVICES:]]
    drawn = drawn[:MOST_SERVICES]

    figure = new_figure(0.9 + 3.2 * len(drawn))
    grid = figure.subplots(len(drawn), 2, squeeze=False, sharex="row")
    data: dict[str, list[Any]] = {"service": [], "tier": [], "local_hour": [], "requests": []}
    data |= {f"{metric}_{share}_s": [] for metric in ("ttft", "tpot") for share in ("p50", "p99")}
    # One colour a tier name, whichever service has it.
    named = [tier for service in drawn for tier in [*service["tiers"], *found[service["name"]]["tiers"]]]
    paint = colours(list(dict.fromkeys(named)), {})
    sayings = []
    for row, service in zip(grid, drawn, strict=True):
        curves = found[service["name"]]
        for axes, metric in zip(row, ("ttft", "tpot"), strict=True):
            said = service.get(f"{metric}_slo_s") or [None] * len(service["tiers"])
            promised = dict(zip(service["tiers"], said, strict=True))
            _panel(axes, service["name"], metric, curves, promised, paint)
        for tier, values in curves["tiers"].items():
            for hour in HOURS:
                data["service"].append(service["name"])
                data["tier"].append(tier)
                data["local_hour"].append(int(hour))
                data["requests"].append(float(values["requests"][hour]))
                for key in ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"):
                    data[key].append(float(values[key][hour]))
            worst = values["ttft_p99_s"]
            if not np.isnan(worst).all():
                hour = int(np.nanargmax(worst))
                sayings.append(
                    f"{service['name']} {tier}: slowest hour {hour:02d}-{hour + 1:02d} h, "
                    f"TTFT p99 {digits(float(worst[hour]), 2)} s"
                )
    handles, labels = _legend(grid)
    figure.legend(handles, labels, loc="outside upper left", ncols=5, columnspacing=1.3, handlelength=1.9)
    for axes in grid[-1]:
        axes.set_xlabel(f"local hour of arrival, {run.timezone}")
    how = (
        "Percentiles over all requests that arrived in that hour of the day."
        if exact
        else "Requests were not kept one by one: medians over the days of each hour's percentile."
    )
    source = "requests.parquet" if exact else "services_hourly.parquet"
    sign(figure, run, source)
    notes = [f"Not drawn: {', '.join(left_out)}."] if left_out else []
    notes.append(
        f"A p99 needs {FEWEST_FOR_P99} requests in its hour of the day; where they lack it is left out."
    )
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=f"{'; '.join(sayings)}. {how}",
        alternative=f"Lines of TTFT and TPOT by hour of the day and tier. {'; '.join(sayings)}.",
        data=data,
        source=source,
        notes=tuple(notes),
    )


def _from_requests(run: Run) -> dict[str, dict[str, Any]]:
    table = run.table("requests")
    service, names = coded(table, "service")
    tier, tiers = coded(table, "tier")
    state, states = coded(table, "state")
    weight = numbers(table, "weight")
    hour = LocalTime(run).hour_of_day(numbers(table, "arrived_s"))
    answered = np.array([name == "ok" for name in states], dtype=bool)[state]
    values = {metric: numbers(table, f"{metric}_s") for metric in ("ttft", "tpot")}
    found: dict[str, dict[str, Any]] = {}
    for code, name in enumerate(names):
        mine = service == code
        curves: dict[str, Any] = {}
        for level, tier_name in enumerate(tiers):
            rows = np.flatnonzero(mine & answered & (tier == level))
            if not len(rows):
                continue
            rows = rows[np.argsort(hour[rows], kind="stable")]
            borders = np.searchsorted(hour[rows], np.arange(25))
            column = {f"{m}_{s}_s": np.full(24, np.nan) for m in values for s in ("p50", "p99")}
            column["requests"] = np.bincount(hour[rows], weight[rows], 24)
            for h in HOURS:
                part = rows[borders[h] : borders[h + 1]]
                for metric, all_values in values.items():
                    known = part[~np.isnan(all_values[part])]
                    column[f"{metric}_p50_s"][h] = quantile(all_values[known], weight[known], 0.5)
                    if len(known) >= FEWEST_FOR_P99:
                        column[f"{metric}_p99_s"][h] = quantile(all_values[known], weight[known], 0.99)
            curves[tier_name] = column
        if curves:
            days = max(run.horizon_s / 86400.0, 1e-9)
            arrivals = np.bincount(hour[mine], weight[mine], 24) / days
            found[name] = {"tiers": curves, "arrivals": arrivals}
    return found


def _from_hours(run: Run) -> dict[str, dict[str, Any]]:
    table = run.table("services_hourly")
    service, names = coded(table, "service")
    tier, tiers = coded(table, "tier")
    hour = LocalTime(run).hour_of_day(numbers(table, "hour_start_s"))
    requests = numbers(table, "requests")
    found: dict[str, dict[str, Any]] = {}
    for code, name in enumerate(names):
        curves: dict[str, Any] = {}
        arrivals = np.zeros(24)
        for level, tier_name in enumerate(tiers):
            rows = (service == code) & (tier == level)
            if not rows.any():
                continue
            counts = np.bincount(hour[rows], np.nan_to_num(requests[rows]), 24)
            if tier_name == "all":
                arrivals = counts / max(run.horizon_s / 86400.0, 1e-9)
                if len(set(tier[service == code].tolist())) > 1:
                    continue
            column: dict[str, NDArray[np.float64]] = {"requests": counts}
            for key in ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"):
                values = numbers(table, key)
                column[key] = np.array(
                    [quantile(values[rows & (hour == h)], requests[rows & (hour == h)], 0.5) for h in HOURS]
                )
            curves[tier_name] = column
        if curves:
            found[name] = {"tiers": curves, "arrivals": arrivals}
    return found


def _panel(
    axes: Axes,
    service: str,
    metric: str,
    curves: dict[str, Any],
    promised: dict[str, float | None],
    paint: dict[str, str],
) -> None:
    behind = axes.twinx()
    behind.bar(HOURS + 0.5, curves["arrivals"], width=0.9, color=PALE, zorder=0, label="arrivals")
    behind.set_ylim(0, 2.6 * max(1e-9, float(np.max(curves["arrivals"]))))
    behind.set_yticks([])
    behind.grid(False)
    behind.spines[:].set_visible(False)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    tiers = curves["tiers"]
    ordered = [name for name in promised if name in tiers] + [name for name in tiers if name not in promised]
    low, high = np.inf, 0.0
    for name in ordered:
        for share, dash in (("p50", "-"), ("p99", "--")):
            values = tiers[name][f"{metric}_{share}_s"]
            low, high = np.nanmin(np.append(values, low)), np.nanmax(np.append(values, high))
            axes.plot(
                HOURS + 0.5,
                values,
                color=paint[name],
                linestyle=dash,
                marker="o",
                markersize=3.2,
                label=f"{name} {share}",
                zorder=3,
            )
        slo = promised.get(name)
        if slo is not None and np.isfinite(slo):
            axes.axhline(slo, color=paint[name], linestyle=":", linewidth=1.4, zorder=2)
            axes.annotate(
                f"promised {seconds_text(slo)}",
                (_hours_drawn(curves["arrivals"])[1], slo),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=8.5,
                color=BLACK,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
            )
            low, high = min(low, slo), max(high, slo)
    axes.set_yscale("log")
    if high > 0 and np.isfinite(low):
        axes.set_ylim(low / 1.5, high * 1.8)
        decades = time_ticks(low / 1.5, high * 1.8)
        axes.set_yticks(decades, [seconds_text(value) for value in decades])
        axes.set_yticks([], minor=True)
    first, last = _hours_drawn(curves["arrivals"])
    axes.set_xlim(first, last)
    every = max(1, (last - first) // 6)
    axes.set_xticks(range(first, last + 1, every), [f"{h:02d}" for h in range(first, last + 1, every)])
    words = "time to first token" if metric == "ttft" else "time per output token"
    axes.set_title(f"{service}: {words}")
    axes.set_ylabel("log scale")


def _hours_drawn(arrivals: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and the last hour of an axis: the day, or the part of it that a short run knows."""
    known = np.flatnonzero(arrivals > 0.0)
    if not len(known) or known[-1] - known[0] >= 11:
        return 0, 24
    return max(0, int(known[0]) - 1), min(24, int(known[-1]) + 2)


def time_ticks(low: float, high: float) -> list[float]:
    """Return four to seven round values of a log axis, whatever the span."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        found = [
            round(step * 10.0**power, 12)
            for power in range(-6, 6)
            for step in steps
            if low <= step * 10.0**power <= high
        ]
        if len(found) >= 4:
            break
    return found[:: 1 + len(found) // 8]


def _legend(grid: NDArray[Any]) -> tuple[list[Any], list[str]]:
    """Return each line once, whichever panels it stands in, and the bars behind."""
    from matplotlib.patches import Patch

    found: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return [*found.values(), Patch(color=PALE)], [*found, "arrivals"]


def seconds_text(value: float) -> str:
    """Return a short time: ``20 ms``, ``5 s``."""
    return f"{value * 1e3:g} ms" if value < 1 else f"{value:g} s"
