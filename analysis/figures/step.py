"""One step of each training run: where its seconds go, beside the layouts that came next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.drawing import Drawing, Missing, new_figure, sign
from analysis.palette import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, VERMILLION, YELLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.results import Run

NAME: Final = "step"
TITLE: Final = "Where the seconds of a step go"

#: Part -> what it is called here, and its colour; in the order in which they are stacked.
PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "compute_s": ("computing", BLUE),
    "tp_comm_s": ("tensor parallel", SKY),
    "cp_comm_s": ("context parallel", PURPLE),
    "ep_comm_s": ("expert parallel", GREEN),
    "pp_comm_s": ("between stages", YELLOW),
    "pp_bubble_s": ("pipeline bubble", PALE),
    "dp_exposed_s": ("gradients", ORANGE),
    "optimizer_s": ("optimizer", GREY),
    "straggler_s": ("slowest rank", VERMILLION),
}

#: More bars than this are not told apart.
_MOST_BARS: Final = 12


def draw(run: Run) -> Drawing | Missing:
    """One bar a layout, the one taken first; runners-up for as many tokens."""
    facts = run.provenance.get("layouts", ())
    if not facts:
        return Missing(NAME, TITLE, "No training run's step was modelled: none ran, or its MFU was given.")
    bars: list[tuple[str, str, Mapping[str, float]]] = []
    for said in facts:
        bars.append((said["workload"], f"{said['workload']}: {said['layout']}", said["step_s"]))
        runners_up = said.get("runners_up") or {}
        bars += [(said["workload"], layout, parts) for layout, parts in runners_up.items()]
    left_out = max(0, len(bars) - _MOST_BARS)
    bars = bars[:_MOST_BARS]
    shown = [key for key in PARTS if any(parts.get(key, 0.0) > 0.0 for _, _, parts in bars)]

    figure = new_figure(1.5 + 0.34 * len(bars) + 0.25 * -(-len(shown) // 4))
    axes = figure.add_subplot()
    place = np.arange(len(bars))
    left = np.zeros(len(bars))
    data: dict[str, list[float | str]] = {
        "workload": [workload for workload, _, _ in bars],
        "layout": [label.removeprefix(f"{workload}: ") for workload, label, _ in bars],
    }
    for key in shown:
        name, colour = PARTS[key]
        width = np.array([parts.get(key, 0.0) for _, _, parts in bars])
        axes.barh(place, width, left=left, height=0.72, color=colour, label=name, zorder=2)
        left += width
        data[key] = width.tolist()
    for row, total in enumerate(left):
        axes.text(total, row, f" {total:.3g} s", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(place, [label for _, label, _ in bars], fontsize=8.5)
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0.0, 1.12 * float(left.max()))
    axes.set_xlabel("Seconds of one step")
    figure.legend(loc="outside upper center", ncols=4)
    sign(figure, run, "run.json")

    first = facts[0]
    whole = sum(first["step_s"].values())
    largest = max(first["step_s"], key=lambda key: (first["step_s"][key], key))
    rest = {key: seconds for key, seconds in first["step_s"].items() if key != "compute_s"}
    second = max(rest, key=lambda key: (rest[key], key), default=None)
    caption = (
        f"{first['workload']} spends {100 * first['step_s'].get('compute_s', 0.0) / whole:.0f} % of a "
        f"step of {whole:.3g} s computing"
    )
    if second is not None:
        caption += f"; the largest rest is {PARTS[second][0]}, {100 * rest[second] / whole:.1f} %"
    notes = ["At full clock, on nodes beside each other, with the links to itself. Communication that hides "
             "behind arithmetic is not drawn."]  # fmt: skip
    if any(said.get("runners_up") for said in facts):
        notes.append("Below each run's layout stand those that came next, for as many tokens.")
    if left_out:
        notes.append(f"{left_out} more layouts are in run.json.")
    return Drawing(
        name=NAME,
        title=TITLE,
        figure=figure,
        caption=f"{caption}.",
        alternative=(
            f"Stacked bars of one step's seconds by part for {len(bars)} layouts; the first takes "
            f"{whole:.3g} s, most of it {PARTS[largest][0]}."
        ),
        data=data,
        source="run.json",
        notes=tuple(notes),
    )
