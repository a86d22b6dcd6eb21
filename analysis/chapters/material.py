"""What every chapter is written from, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.drawing import Drawing, Missing, escape, inline_svg
from analysis.numerals import digits
from simulator.foundation.units import in_currency

if TYPE_CHECKING:
    from simulator.results import Run


@dataclass(frozen=True)
class Material:
    """What every chapter is written from: the run, its digest and its figures as SVG."""

    run: Run
    digest: Mapping[str, Any]
    figures: Mapping[str, tuple[Drawing | Missing, str]]

    def figure(self, name: str) -> str:
        """Return a figure with its caption, or why there is none."""
        drawing, svg = self.figures[name]
        if isinstance(drawing, Missing):
            return f'<div class="missing"><b>{escape(drawing.title)}.</b> {escape(drawing.reason)}</div>'
        notes = " ".join(drawing.notes)
        return (
            f'<figure id="figure-{name}">{inline_svg(drawing, svg)}'
            f"<figcaption><b>{escape(drawing.title)}.</b> {escape(drawing.caption)} {escape(notes)} "
            f'Data: <a href="figures/{name}.csv">figures/{name}.csv</a> from {escape(drawing.source)}.'
            "</figcaption></figure>"
        )

    def money(self, usd: float | None, most: int = 4) -> str:
        """Return an amount in the scenario's currency."""
        if usd is None:
            return "n/a"
        currency = str(self.digest["currency"])
        return f"{digits(in_currency(usd, currency), most)} {currency}"

    def short_money(self, usd: float | None) -> str:
        """Return an amount in three digits, as kEUR or MEUR where it is so large."""
        if usd is None:
            return "n/a"
        currency = str(self.digest["currency"])
        amount = in_currency(usd, currency)
        size, letter = next(
            (rung for rung in ((1e6, "M"), (1e3, "k")) if abs(amount) >= 10 * rung[0]), (1.0, "")
        )
        return f"{digits(amount / size, 3)} {letter}{currency}"

    def local(self, time_s: float | None) -> str:
        """Return a moment in the scenario's zone."""
        if time_s is None or np.isnan(time_s):
            return ""
        moment = self.run.calendar.local(time_s)
        return f"{moment.day} {moment:%b %Y %H:%M}"
