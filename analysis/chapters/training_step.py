"""How each training run is cut, where a step's seconds go, and what the run learns."""

from __future__ import annotations

import math
from html import escape
from typing import Any, Final

from analysis.chapters.material import Material
from analysis.figures.step import PARTS
from analysis.numerals import digits, percent, seconds_text
from analysis.page import bullets, paragraphs, table
from simulator.foundation.units import render

#: Rows of a table before the rest is left to the files.
_MOST_ROWS: Final = 20


def layouts(material: Material) -> str:
    """Tell each job's layout and why, and the parts of its step."""
    found = material.run.provenance.get("layouts", ())[:_MOST_ROWS]
    if not found:
        return ""
    rows = []
    for facts in found:
        whole = sum(facts["step_s"].values())
        for part, seconds in sorted(facts["step_s"].items(), key=lambda item: (-item[1], item[0])):
            rows.append([facts["workload"], PARTS[part][0], seconds_text(seconds), percent(seconds / whole)])
    why = "".join(f"<p>{escape(facts['workload'])}:</p>{bullets(facts['reasons'])}" for facts in found)
    return (
        f"<h3>Layout and step</h3>{why}"
        + material.figure("step")
        + table(["Job", "Part of a step", "Time", "Share"], rows, text_columns=2)
        + paragraphs(["One step on nodes beside each other, at full clock, with the links to itself."])
    )


def learning(material: Material) -> str:
    """Tell what loss a scaling law expects of each run, and what halving the rest of it costs."""
    found = material.run.provenance.get("learning", ())[:_MOST_ROWS]
    said = [_sentence(material, facts) for facts in found]
    if not said:
        return ""
    law = (
        "Chinchilla's law as refitted by Besiroglu et al. (arXiv:2404.10102), with repeated tokens worth "
        "what Muennighoff et al. (arXiv:2305.16264) found. The next halving is the cheapest run whose loss "
        "above the law's floor of 1.8172 is half of this one's, at this run's energy and cost for each "
        "operation."
    )
    return "<h3>What the runs learn</h3>" + bullets(said) + paragraphs([law])


def _sentence(material: Material, facts: dict[str, Any]) -> str:
    job, tokens = facts["job"], render(facts["tokens"], "")
    if facts["expected_loss_nats"] is None:
        return f"{job}: {tokens} tokens; no loss is expected of it: {facts['said']}."
    unique = facts["unique_tokens"]
    seen = (
        "" if not unique or unique >= facts["tokens"] else f" ({facts['tokens'] / unique:.3g} times the data)"
    )
    words = (
        f"{job}: {tokens} tokens{seen} bring {render(facts['parameters'], '')} parameters to an "
        f"expected loss of {facts['expected_loss_nats']:.3f} nats a token, "
        f"{facts['reducible_nats']:.3f} above the floor"
    )
    if facts["said"]:
        words += f" (the law is stretched: {facts['said']})"
    if facts["next_halving_parameters"] is None:
        return f"{words}. No run on this data halves that."
    size, data = facts["next_halving_parameters"], facts["next_halving_tokens"]
    times = size * data / (facts["parameters"] * facts["tokens"])
    words += (
        f". Halving that takes {times:.3g} times the compute: {render(_rounded(size), '')} parameters on "
        f"{render(_rounded(data), '')} tokens"
    )
    energy, cost = facts["next_halving_mwh"], facts["next_halving_usd"]
    if energy is not None:
        words += f", {digits(energy)} MWh at the meter"
    if cost is not None:
        words += f", {material.money(cost)}"
    return f"{words}."


def _rounded(value: float) -> float:
    """Return three digits of a number that is no better known."""
    return round(value, 2 - math.floor(math.log10(value)))
