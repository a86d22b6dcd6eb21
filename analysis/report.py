"""``report.html``: a finished run in one offline file, and its figures beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.chapters import CHAPTERS
from analysis.chapters.material import Material
from analysis.drawing import Drawing, Missing, escape, house_style, save, svg_text
from analysis.figures import FIGURES
from analysis.page import page
from simulator.foundation.units import render

if TYPE_CHECKING:
    from simulator.results import Run


def write_report(run: Run) -> Path:
    """Write ``report.html`` and ``figures/`` into a run's folder, in place of earlier ones.

    Returns
    -------
    Path
        The report. The same run gives the same bytes.
    """
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    figures = draw_figures(run)
    for drawing, svg in figures.values():
        if isinstance(drawing, Drawing):
            save(drawing, folder, svg)
    target = run.path / "report.html"
    # Written beside and moved, so that a browser never loads half a report.
    half = run.path / ".report.html.incomplete"
    half.write_text(report_html(run, figures), encoding="utf-8", newline="\n")
    os.replace(half, target)
    return target


def draw_figures(run: Run) -> dict[str, tuple[Drawing | Missing, str]]:
    """Return every figure with its SVG; the text is empty for one that the run cannot have."""
    found: dict[str, tuple[Drawing | Missing, str]] = {}
    for name, draw in FIGURES.items():
        with house_style():
            drawing = draw(run)
        found[name] = (drawing, svg_text(drawing) if isinstance(drawing, Drawing) else "")
    return found


def report_html(run: Run, figures: Mapping[str, tuple[Drawing | Missing, str]]) -> str:
    """Return the report as one HTML text that needs nothing else."""
    material = Material(run, run.closing_data(), figures)
    sections = [(anchor, heading, chapter(material)) for anchor, (heading, chapter) in CHAPTERS.items()]
    begin = run.calendar.local(0.0)
    sites = [site["name"] for site in run.provenance["sites"]]
    grids = dict.fromkeys(str(site.get("grid")) for site in run.provenance["sites"] if site.get("grid"))
    tags = [
        ", ".join(sites),
        f"grid {', '.join(grids)}",
        f"{begin:%Y-%m-%d} + {render(run.horizon_s, 's')}",
        f"{run.summary['gpus']:,} GPUs",
        f"seed {run.provenance['seed']}",
        f"scenario {run.hash[:12]}",
        f"datahall {run.version}",
    ]
    question = run.provenance.get("question")
    head = (
        f"<h1>{escape(run.title)}</h1>"
        + (f'<p class="question">{escape(question)}</p>' if question else "")
        + f'<ul class="tags" aria-label="Facts">{"".join(f"<li>{escape(tag)}</li>" for tag in tags)}</ul>'
    )
    foot = (
        f"datahall {escape(run.version)}, scenario {escape(run.hash)}, seed {run.provenance['seed']}. "
        f"All times are local in {escape(run.timezone)} unless they say UTC."
    )
    return page(f"{run.title} - datahall", head, sections, foot)
