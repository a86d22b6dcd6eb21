"""What a figure is - picture, words and the numbers behind it - and how it becomes files.

Only matplotlib's ``Figure`` is used, never pyplot: no window system, no global state, nothing left
open. The same run gives the same bytes: a fixed salt for the names inside an SVG, no dates.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.palette import GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.results import Run

#: Wide enough for a page, and its 10-point letters are still read at half a slide's width.
WIDTH_IN: Final = 8.0
HEIGHT_IN: Final = 4.2
PNG_DOTS_PER_IN: Final = 160

STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "datahall",
    "path.simplify": True,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    ``caption`` says what to see in it, ``alternative`` says the same to someone who cannot see it,
    ``data`` holds the numbers drawn (column name with its unit -> values, equally long).
    """

    name: str
    title: str
    figure: Figure
    caption: str
    alternative: str
    data: Mapping[str, Sequence[Any]]
    source: str
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Missing:
    """A figure that this run cannot have, and why."""

    name: str
    title: str
    reason: str


#: What every module of ``analysis.figures`` offers under the name ``draw``.
Draw = Callable[["Run"], Drawing | Missing]


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this, so that a user's matplotlibrc changes nothing."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def new_figure(height_in: float = HEIGHT_IN) -> Figure:
    """Return an empty figure of the house's width; constrained layout keeps labels apart."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def sign(figure: Figure, run: Run, source: str) -> None:
    """Write one grey line under the figure: which run, from which tables.

    It travels with the picture into slides, where the report's caption does not.
    """
    seed = run.provenance.get("seed")
    figure.supxlabel(
        f"scenario {run.hash[:12]}, seed {seed} | {source} | datahall {run.version}",
        fontsize=7.5,
        color=GREY,
        x=0.995,
        ha="right",
    )


def legend_below(axes: Axes, entries: int, **keywords: Any) -> None:
    """Put the legend in rows under the axes, where it can hide no data."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    # A distance in inches, not a share of the axes: clear of the axis label at every height.
    below = axes.transAxes + ScaledTranslation(0.0, -0.52, figure.dpi_scale_trans)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=below,
        ncols=max(1, min(entries, keywords.pop("ncols", 4))),
        borderaxespad=0.0,
        handlelength=1.4,
        columnspacing=1.4,
        **keywords,
    )


def svg_text(drawing: Drawing) -> str:
    """Return the figure as SVG; the same figure gives the same text."""
    text = io.StringIO()
    with house_style():
        drawing.figure.savefig(
            text, format="svg", metadata={"Date": None, "Creator": None, "Title": drawing.title}
        )
    # Hundredths of a point are finer than any screen; the other digits are half of the file.
    return re.sub(r'\bd="[^"]*"', _shorter, text.getvalue())


def _shorter(path: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", path.group())


def png_bytes(drawing: Drawing) -> bytes:
    """Return the figure as PNG, at twice the usual screen's resolution."""
    data = io.BytesIO()
    with house_style():
        drawing.figure.savefig(data, format="png", dpi=PNG_DOTS_PER_IN, metadata={"Software": None})
    return data.getvalue()


def csv_text(drawing: Drawing) -> str:
    """Return the numbers behind the figure; floats with 9 digits, missing values empty."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(drawing.data)
    for row in zip(*drawing.data.values(), strict=True):
        writer.writerow([_cell(value) for value in row])
    return lines.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.9g}"
    return str(value)


def inline_svg(drawing: Drawing, svg: str) -> str:
    """Return the SVG ready to stand inside an HTML page, readable by a screen reader.

    Names inside get the figure's name in front: several figures of one page must not share them.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{drawing.name}-', body)
    body = re.sub(r'(xlink:)?href="#', f'href="#{drawing.name}-', body)
    body = body.replace("url(#", f"url(#{drawing.name}-")
    opening = body.index(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", body[:opening])
    head = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", head)
    words = (
        f"<title>{escape(drawing.title)}</title>"
        f'<desc id="{drawing.name}-words">{escape(drawing.alternative)}</desc>'
    )
    inside = re.sub(r"\s*<title>.*?</title>", "", body[opening + 1 :], count=1, flags=re.DOTALL)
    return f'{head} role="img" aria-describedby="{drawing.name}-words">{words}{inside}'


def escape(text: object) -> str:
    """Return text that is safe between HTML tags and inside quoted attributes."""
    import html

    return html.escape(str(text), quote=True)


def save(drawing: Drawing, folder: Path, svg: str | None = None) -> None:
    """Write ``NAME.svg``, ``NAME.png`` and ``NAME.csv`` into a folder that exists."""
    text = svg_text(drawing) if svg is None else svg
    (folder / f"{drawing.name}.svg").write_text(text, encoding="utf-8", newline="\n")
    (folder / f"{drawing.name}.png").write_bytes(png_bytes(drawing))
    (folder / f"{drawing.name}.csv").write_text(csv_text(drawing), encoding="utf-8", newline="\n")
