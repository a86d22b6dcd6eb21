"""Effective training time against the time between checkpoints: the curve, its optimum, Young and Daly.

Run ``python -m analysis.studies.goodput [--seeds 20] [--out DIR]``. For each length of a
checkpoint the scenario ``training/goodput`` runs at intervals around the optimum, many seeds at
each. Printed: where the simulated curve is highest (a parabola through the means around the best
interval, in the logarithm of the interval), beside Young's and Daly's intervals and what each of
them reaches. Written with ``--out``: ``goodput_interval`` as PNG, SVG and CSV.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.drawing import Drawing, house_style, legend_below, new_figure, save
from analysis.palette import CYCLE, DASHES, GREY, INK
from analysis.studies.many_runs import Interval, interval, over_seeds
from simulator.hardware import daly_interval_s, young_interval_s
from simulator.results.training_facts import expected_ettr
from simulator.telemetry import ReliabilityFacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCENARIO: Final = "training/goodput"

#: Stop of a checkpoint: what 2 TB/s allow, a minute, five minutes. [s]
STOPS_S: Final = (3.0, 60.0, 300.0)

#: Intervals as multiples of Young's.
_AROUND: Final = np.geomspace(1 / 6, 6, 13)


@dataclass(frozen=True)
class Curve:
    """Effective time over intervals for one length of a checkpoint."""

    stop_s: float
    law: ReliabilityFacts
    intervals_s: tuple[float, ...]
    ettr: tuple[Interval, ...]

    @property
    def young_s(self) -> float:
        """Young's interval. [s]"""
        return young_interval_s(self.stop_s, self.law.mean_time_s)

    @property
    def daly_s(self) -> float:
        """Daly's interval. [s]"""
        return daly_interval_s(self.stop_s, self.law.mean_time_s)

    def expected(self, interval_s: float) -> float:
        """Return the renewal law at an interval."""
        return expected_ettr(replace(self.law, interval_s=interval_s, save_s=self.stop_s))

    def optimum(self) -> tuple[float, float]:
        """Return (interval [s], effective time) at the top of the simulated curve."""
        means = np.array([point.mean for point in self.ettr])
        place = np.log(np.array(self.intervals_s))
        best = int(np.clip(means.argmax(), 2, len(means) - 3))
        near = slice(best - 2, best + 3)
        bend, slope, level = np.polyfit(place[near] - place[best], means[near], 2)
        if bend >= 0.0:
            return self.intervals_s[best], float(means[best])
        top = float(
            np.clip(-slope / (2.0 * bend), place[near][0] - place[best], place[near][-1] - place[best])
        )
        return float(np.exp(place[best] + top)), float(level + slope * top + bend * top * top)


def curve(stop_s: float, seeds: Sequence[int]) -> Curve:
    """Run the scenario at intervals around Young's for one length of a checkpoint. [s]"""
    probe = over_seeds(SCENARIO, seeds[:1], [f"workloads.0.checkpoint.stall={stop_s} s"])[0].law
    assert probe is not None
    young_s = young_interval_s(stop_s, probe.mean_time_s)
    points, intervals_s = [], []
    for factor in _AROUND.tolist():
        every_s = factor * young_s
        runs = over_seeds(
            SCENARIO,
            seeds,
            [f"workloads.0.checkpoint.stall={stop_s} s", f"workloads.0.checkpoint.every={every_s!r} s"],
        )
        points.append(interval([run.ettr_fraction for run in runs]))
        intervals_s.append(every_s)
    return Curve(stop_s, probe, tuple(intervals_s), tuple(points))


def draw(curves: Sequence[Curve], seeds: int) -> Drawing:
    """Return the figure."""
    with house_style():
        figure = _figure(curves)
    data: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    for found in curves:
        for every_s, point in zip(found.intervals_s, found.ettr, strict=True):
            row = (found.stop_s, every_s, point.mean, point.low, point.high, found.expected(every_s))
            for name, value in zip(_COLUMNS, row, strict=True):
                data[name].append(value)
    title = "Effective training time of 16,384 GPUs against the time between checkpoints"
    return Drawing(
        name="goodput_interval",
        title=title,
        figure=figure,
        caption=f"Points: mean and 95 % interval of {seeds} seeds of 54 days. Lines: renewal law. "
        "Upright marks: Young's interval (full) and Daly's (dotted).",
        alternative=title
        + ". "
        + " ".join(
            f"Checkpoints of {found.stop_s:g} s: best {100 * found.optimum()[1]:.1f} % at "
            f"{found.optimum()[0] / 60:.1f} min."
            for found in curves
        ),
        data=data,
        source=f"scenario {SCENARIO}",
    )


_COLUMNS: Final = ("stop_s", "interval_s", "ettr_fraction", "low_fraction", "high_fraction", "law_fraction")


def _figure(curves: Sequence[Curve]) -> Figure:
    figure = new_figure()
    axes = figure.add_subplot()
    for found, colour, dash in zip(curves, CYCLE, DASHES, strict=False):
        minutes = np.array(found.intervals_s) / 60.0
        fine_s = np.geomspace(found.intervals_s[0], found.intervals_s[-1], 200)
        axes.plot(
            fine_s / 60.0,
            [100 * found.expected(float(value)) for value in fine_s],
            color=colour,
            linestyle=dash,
            label=f"checkpoint of {found.stop_s:g} s",
        )
        mean = np.array([100 * point.mean for point in found.ettr])
        below = mean - np.array([100 * point.low for point in found.ettr])
        axes.errorbar(
            minutes, mean, yerr=below, color=colour, fmt="o", markersize=3.5, capsize=2, linewidth=1
        )
        for best_s, style in ((found.young_s, "-"), (found.daly_s, ":")):
            top = 100 * found.expected(best_s)
            axes.plot([best_s / 60.0] * 2, [top - 1.5, top + 1.5], color=INK, linestyle=style, linewidth=1.2)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0.6, 1.1 * max(found.intervals_s[-1] for found in curves) / 60.0)
    axes.set_xlabel("work between two checkpoints, minutes")
    axes.set_ylabel("effective training time, %")
    axes.set_title("54 days of 16,384 GPUs: how often to save")
    axes.annotate(
        "upright marks: Young (full), Daly (dotted)",
        (0.99, 0.02),
        xycoords="axes fraction",
        ha="right",
        fontsize=8.5,
        color=GREY,
    )
    legend_below(axes, len(curves))
    return figure


def main() -> None:
    """Print the optima and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds, from 1")
    parser.add_argument("--out", type=Path, help="folder for the figure and its numbers")
    said = parser.parse_args()
    curves = [curve(stop_s, range(1, said.seeds + 1)) for stop_s in STOPS_S]
    print(f"{SCENARIO}, seeds 1 to {said.seeds}; effective training time in %")
    heads = ("checkpoint", "best interval", "reaches", "Young", "reaches", "Daly", "reaches")
    print("".join(f"{head:>15}" for head in heads))
    for found in curves:
        best_s, best = found.optimum()
        cells = [f"{found.stop_s:g} s", f"{best_s / 60:.1f} min", f"{100 * best:.2f}"]
        for other_s in (found.young_s, found.daly_s):
            cells += [f"{other_s / 60:.1f} min", f"{100 * _read(found, other_s):.2f}"]
        print("".join(f"{cell:>15}" for cell in cells))
    worst = max(
        abs(point.mean - found.expected(every_s))
        for found in curves
        for every_s, point in zip(found.intervals_s, found.ettr, strict=True)
    )
    print(f"renewal law beside the means of {said.seeds} seeds: at most {100 * worst:.2f} points apart")
    if said.out is not None:
        said.out.mkdir(parents=True, exist_ok=True)
        save(draw(curves, said.seeds), said.out)
        print(said.out / "goodput_interval.png")


def _read(found: Curve, interval_s: float) -> float:
    """Return the simulated effective time at an interval, between the two nearest points."""
    places = np.log(np.array(found.intervals_s))
    return float(np.interp(np.log(interval_s), places, [point.mean for point in found.ettr]))


if __name__ == "__main__":
    main()
