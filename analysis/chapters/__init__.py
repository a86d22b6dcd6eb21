"""The chapters of a run's report, each a function from its material to HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from analysis.chapters.answer import answer
from analysis.chapters.books import carbon, money, power
from analysis.chapters.links import links
from analysis.chapters.material import Material
from analysis.chapters.trust import assumptions, citation, uncertainty, validity
from analysis.chapters.work import machines, scenario, services, tenants, training

#: Anchor -> heading and chapter, in the order of the report.
CHAPTERS: Final[Mapping[str, tuple[str, Callable[[Material], str]]]] = {
    "answer": ("The answer", answer),
    "scenario": ("The scenario", scenario),
    "machines": ("GPUs and queue", machines),
    "training": ("Training", training),
    "links": ("Who shared which link", links),
    "services": ("Services", services),
    "power": ("Power and cooling", power),
    "carbon": ("Grid, carbon, water", carbon),
    "money": ("Money", money),
    "tenants": ("Fairness and tenants", tenants),
    "uncertainty": ("Uncertainty", uncertainty),
    "assumptions": ("Assumptions", assumptions),
    "validity": ("Limits, audit, notes", validity),
    "citation": ("Cite and reproduce", citation),
}
