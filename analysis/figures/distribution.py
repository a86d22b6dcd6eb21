"""Distributions of latency: which share of the requests was answered within a time, by service and tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.columns import coded, numbers
from analysis.drawing import Drawing, Missing, new_figure, sign
from analysis.figures.latency import seconds_text, time_ticks
from analysis.palette import BLACK, colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.results import Run

NAME: Final = "distribution"
TITLE: Final = "How long requests took"

METRICS: Final = {"ttft": "time to first token", "tpot": "time per output token", "e2e": "whole answer"}

#: Services and tiers drawn; the others are named under the figure.
MOST_LINES: Final = 6

_TABLE: Final = "latency_histogram"


def draw(run: Run) -> Drawing | Missing:
    """Three panels: TTFT, TPOT and E2E as cumulated shares over time on a log axis."""
    services = list(run.provenance.get("services", ()))
    if not services:
        return Missing(NAME, TITLE, "The run has no services, so no request was answered.")
    found = _counts(run)
    if not found:
        return Missing(NAME, TITLE, "Requests were not counted one by one, so no distribution is known.")
    order = [
        (service["name"], tier)
        for service in services
        for tier in service["tiers"]
        if (service["name"], tier) in found
    ]
    drawn, left_out = order[:MOST_LINES], order[MOST_LINES:]
    many = len({name for name, _ in order}) > 1
    labels = {key: " ".join(key) if many else key[1] for key in order}
    paint = colours([labels[key] for key in drawn], {})
    promises = _promises(services)

    figure = new_figure(3.4)
    panels = figure.subplots(1, len(METRICS), sharey=True)
    data: dict[str, list[Any]] = {
        "service": [],
        "tier": [],
        "metric": [],
        "within_s": [],
        "share_fraction": [],
    }
    for axes, (metric, words) in zip(panels, METRICS.items(), strict=True):
        spans = []
        for key in drawn:
            if metric not in found[key]:
                continue
            low_s, high_s, requests = found[key][metric]
            # Both edges of each bin: where nobody was, the line runs level.
            until = np.cumsum(requests) / requests.sum()
            before = np.concatenate([[0.0], until[:-1]])
            at_s = np.column_stack([low_s, high_s]).ravel()
            percent = 100.0 * np.column_stack([before, until]).ravel()
            axes.plot(at_s, percent, color=paint[labels[key]], label=labels[key], zorder=3)
            spans += [at_s[0], at_s[-1]]
            _promise(axes, promises.get(key, {}).get(metric), paint[labels[key]])
            data["service"] += [key[0]] * len(at_s)
            data["tier"] += [key[1]] * len(at_s)
            data["metric"] += [metric] * len(at_s)
            data["within_s"] += at_s.tolist()
            data["share_fraction"] += (percent / 100.0).tolist()
        axes.set_title(words)
        axes.set_xscale("log")
        if spans:
            low, high = min(spans), max(spans)
            axes.set_xlim(low, high)
            # None at the very ends, where its words would meet the next panel's.
            inside = (low * (high / low) ** 0.05, low * (high / low) ** 0.92)
            ticks = time_ticks(*inside)
            ticks = ticks[:: 1 + len(ticks) // 4]
            axes.set_xticks(ticks, [seconds_text(value) for value in ticks])
            axes.set_xticks([], minor=True)
        axes.set_ylim(0.0, 101.0)
        axes.set_yticks([0, 25, 50, 75, 90, 99], ["0", "25", "50", "75", "90", "99"])
    panels[0].set_ylabel("% of requests within")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=4, handlelength=1.9)
    sign(figure, run, f"{_TABLE}.parquet")
    said = "; ".join(_sentence(run, key, labels[key]) for key in drawn)
    notes = [f"Not drawn: {', '.join(labels[key] for key in left_out)}."] if left_out else []
    if any(promises.get(key) for key in drawn):
        notes.append("Dotted: what was promised.")
    notes.append("Counted in 24 bins a decade of time.")
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=f"{said}.",
        alternative=f"Cumulated distributions of TTFT, TPOT and E2E. {said}.",
        data=data,
        source=f"{_TABLE}.parquet",
        notes=tuple(notes),
    )


Bins = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _counts(run: Run) -> dict[tuple[str, str], dict[str, Bins]]:
    """Return lower edges, upper edges and counts by service, tier and metric, edges rising."""
    table = run.table(_TABLE)
    if not table.num_rows:
        return {}
    service, services = coded(table, "service")
    tier, tiers = coded(table, "tier")
    metric, metrics = coded(table, "metric")
    low_s, high_s, requests = (numbers(table, name) for name in ("low_s", "high_s", "requests"))
    found: dict[tuple[str, str], dict[str, Bins]] = {}
    for one, name in enumerate(services):
        for other, tier_name in enumerate(tiers):
            for third, metric_name in enumerate(metrics):
                rows = np.flatnonzero((service == one) & (tier == other) & (metric == third))
                if len(rows) and requests[rows].sum() > 0.0:
                    rows = rows[np.argsort(low_s[rows], kind="stable")]
                    bins = (low_s[rows], high_s[rows], requests[rows])
                    found.setdefault((name, tier_name), {})[metric_name] = bins
    return found


def _promises(services: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    """Return what was promised, by service and tier and metric. [s]"""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for service in services:
        for metric in ("ttft", "tpot"):
            said = service.get(f"{metric}_slo_s") or [None] * len(service["tiers"])
            for tier, bound_s in zip(service["tiers"], said, strict=True):
                if bound_s is not None:
                    found.setdefault((service["name"], tier), {})[metric] = bound_s
    return found


def _promise(axes: Axes, bound_s: float | None, colour: str) -> None:
    if bound_s is None:
        return
    axes.axvline(bound_s, color=colour, linestyle=":", linewidth=1.4, zorder=2)
    axes.annotate(
        seconds_text(bound_s),
        (bound_s, 2.0),
        xytext=(2, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=8.5,
        color=BLACK,
    )


def _sentence(run: Run, key: tuple[str, str], label: str) -> str:
    service, tier = key
    row = next(one for one in run.closing_data()["services"] if one["name"] == service)
    facts = next(one for one in row["tiers"] if one["tier"] == tier)
    parts = []
    for metric in METRICS:
        median, high = facts.get(f"{metric}_p50_s"), facts.get(f"{metric}_p99_s")
        if median is not None and high is not None:
            parts.append(f"{metric.upper()} p50 {_time(median)}, p99 {_time(high)}")
    return f"{label}: {', '.join(parts)}"


def _time(value_s: float) -> str:
    return f"{1e3 * value_s:.3g} ms" if value_s < 1.0 else f"{value_s:.3g} s"
