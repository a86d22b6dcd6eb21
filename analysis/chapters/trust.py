"""How far to trust it: uncertainty, assumptions, limits, audit, how to get it again."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from analysis.chapters.material import Material
from analysis.numerals import digits
from analysis.page import bullets, code, folded, paragraphs, table, verdict
from simulator.foundation.units import render

if TYPE_CHECKING:
    from simulator.results import Run

#: What no run of this version holds, whatever the scenario.
NOT_MODELLED: Final = (
    "Loss curves and answer quality: tokens are counted, what they are worth is not.",
    "Single packets: flows share links by max-min fairness.",
    "Temperatures of single GPUs; rooms have a temperature only while cooling is short.",
    "The market's answer: prices and intensities do not react to what the campus draws.",
)


def uncertainty(material: Material) -> str:
    """Return what the numbers hang on."""
    moves = table(
        ["Assumption", "Number", "With the low value", "With the high value"],
        [
            [
                move["assumption"],
                move["number"],
                f"{100 * move['low_fraction']:+.1f} %",
                f"{100 * move['high_fraction']:+.1f} %",
            ]
            for move in material.digest["moves"]
        ],
        text_columns=2,
        caption="One assumption at a time, the run as it was.",
    )
    return (
        paragraphs(["Chance: one seed was run. Other seeds move failures, arrivals and request lengths."])
        + moves
        + "<h3>Not modelled</h3>"
        + bullets(NOT_MODELLED)
    )


def assumptions(material: Material) -> str:
    """Return the ledger of every value."""
    rows = assumption_rows(material.run)
    if not rows:
        return '<div class="missing">This run folder holds no assumptions.csv.</div>'
    parts = []
    for origin, title in (
        ("default", "Defaults that nobody set"),
        ("you", "Set in the scenario"),
        ("preset", "From catalog entries"),
    ):
        mine = [row for row in rows if row.get("origin") == origin]
        if not mine:
            continue
        inside = table(
            ["Key", "Value", "Basis", "Source", "Date", "Range"],
            [
                [
                    row["key"],
                    value_text(row),
                    row.get("basis", ""),
                    row.get("source", ""),
                    row.get("date", ""),
                    f"{row['low']} to {row['high']}" if row.get("low") else "",
                ]
                for row in mine
            ],
            text_columns=6,
        )
        parts.append(folded(f"{title} ({len(mine)})", inside))
    return paragraphs(
        ["Every value the run rests on, by who set it; the same as assumptions.csv."]
    ) + "".join(parts)


def validity(material: Material) -> str:
    """Limits, audit and notes."""
    run, found = material.run, material.digest
    limits = table(
        ["Limit", "Of", "Found", "Bound", "Verdict"],
        [
            [limit["metric"], limit["of"] or "all", digits(limit["value"]), digits(limit["bound"]),
             verdict(limit["passed"])]
            for limit in found["limits"]
        ],
        text_columns=2,
    )  # fmt: skip
    audit = table(
        ["Account", "Left", "Right", "Relative difference"],
        [
            [entry["name"], f"{entry['left']:.10g}", f"{entry['right']:.10g}",
             f"{entry['relative_difference']:.1e}"]
            for entry in run.provenance["audit"]
        ],
        caption="Every pair must agree to 1e-9, or the run is refused.",
    )  # fmt: skip
    reads = run.provenance["signals_read"]
    signals = (
        bullets(f"{read['reader']} read {read['signal']} of {read['site']}" for read in reads)
        if reads
        else paragraphs(["No decision read a grid signal: the run may be accounted under any grid."])
    )
    notes = bullets(run.provenance["notes"]) or paragraphs(["None."])
    return (
        ("<h3>Limits</h3>" + limits if limits else paragraphs(["The scenario sets no limits."]))
        + "<h3>Audit</h3>" + audit + "<h3>Signals that decisions read</h3>" + signals
        + "<h3>Notes of the run</h3>" + notes
    )  # fmt: skip


def citation(material: Material) -> str:
    """How to get these numbers again."""
    run = material.run
    known = ", ".join(f"{name} {version}" for name, version in run.provenance["versions"].items())
    return (
        paragraphs(["This folder holds the whole scenario; with the same versions it gives the same bytes."])
        + code("datahall run FOLDER_OF_THIS_REPORT/run.json")
        + paragraphs([f"Scenario hash {run.hash}. Versions: {known}.", "To cite:"])
        + code(
            f"datahall {run.version}, scenario '{run.title}', hash {run.hash[:12]}, "
            f"seed {run.provenance['seed']}."
        )
    )


def assumption_rows(run: Run) -> list[dict[str, str]]:
    """Return the rows of ``assumptions.csv``."""
    path = run.path / "assumptions.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def value_text(row: Mapping[str, str]) -> str:
    """Return an assumption's value with its unit, for people."""
    value, unit = row["value"], row.get("unit", "")
    try:
        number = float(value)
    except ValueError:
        return value
    if not unit:
        return value
    try:
        return render(number, unit, 6)
    except (KeyError, ValueError):
        return f"{value} {unit}"
