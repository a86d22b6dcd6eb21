"""Who shared which link: what each job lost there, and who else crossed it."""

from __future__ import annotations

from typing import Any, Final

from analysis.chapters.material import Material
from analysis.numerals import digits, percent, seconds_text
from analysis.page import paragraphs, table
from simulator.foundation.units import render

#: Jobs that are told in full; the rest is in the Parquet file.
_MOST: Final = 10


def links(material: Material) -> str:
    """Return what shared links cost, job by job and link by link."""
    found = material.digest["links"]
    if not found:
        return paragraphs(["No job was held up by a link: what all put on each at once, it carries."])
    losses = table(
        ["Job", "Held up at", "By its", "Step alone", "Step at worst", "Part that grows", "Grows by",
         "GPU-h lost", "Of its running"],
        [
            [
                loss["job"],
                loss["link"] or "its own ports",
                loss["exchange"] or "",
                seconds_text(loss["step_alone_s"]),
                seconds_text(loss["step_worst_s"]),
                loss["part"].removesuffix("_s").replace("_", " "),
                seconds_text(loss["part_grows_s"]),
                digits(loss["lost_gpu_hours"]),
                percent(loss["lost_fraction"]),
            ]
            for loss in found[:_MOST]
        ],
        text_columns=3,
    )  # fmt: skip
    said = [
        "Who crossed the link that held a job up most, when it held it up most. A link that carries what all "
        "put on it at once holds nobody up and is not listed. While a job talks it may use what the others "
        "leave on average, and never less than its fair part of a moment at which all talk; the share is the "
        "part of its ports' rate that it gets, over all links that the exchange crosses."
    ]
    return losses + paragraphs(said) + "".join(_crossing(loss) for loss in found[:_MOST])


def _crossing(loss: dict[str, Any]) -> str:
    if not loss["crossing"]:
        return ""
    rows = [
        [
            row["job"],
            row["exchange"],
            render(row["peak_bytes_per_s"], "bytes/s"),
            percent(row["share"]),
            render(row["offered_bytes_per_s"], "bytes/s"),
        ]
        for row in loss["crossing"]
    ]
    title = (
        f"{loss['site']}.{loss['link']} carries {render(loss['capacity_bytes_per_s'], 'bytes/s')} either way"
    )
    return table(
        ["Job", "Exchange", "Would send while it talks", "Share it gets", "Sends on average"],
        rows,
        caption=f"{loss['job']}: {title}",
        text_columns=2,
    )
