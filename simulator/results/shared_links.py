"""Who shared which link, read from a finished run: what each lost, where, and who else was there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.foundation.units import HOUR_S

if TYPE_CHECKING:
    from simulator.results.finished_run import Run


def shared_links(run: Run) -> list[dict[str, Any]]:
    """Return the jobs that shared links held up, most GPU-hours lost first.

    Each says how its step stood when it was held up most, at which link, and who crossed that
    link then: rates in B/s, shares of what the ports could send.
    """
    losses = run.provenance.get("link_losses", ())
    if not losses:
        return []
    names: tuple[str, ...] = ("site", "link", "start_s", "end_s", "job", "exchange", "capacity_bytes_per_s")
    names += ("offered_bytes_per_s", "peak_bytes_per_s", "share", "tightest")
    table = run.table("links")
    columns = [table.column(name).to_pylist() for name in names]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    found = []
    for loss in sorted(losses, key=lambda loss: (-loss["lost_gpu_seconds"], loss["job"])):
        own = [
            row
            for row in rows
            if row["tightest"]
            and (row["job"], row["link"], row["exchange"]) == (loss["job"], loss["link"], loss["exchange"])
        ]
        worst = min(own, key=lambda row: (row["share"], row["start_s"]), default=None)
        there = [
            {
                name: row[name]
                for name in ("job", "exchange", "offered_bytes_per_s", "peak_bytes_per_s", "share")
            }
            for row in rows
            if worst is not None
            and (row["site"], row["link"]) == (worst["site"], worst["link"])
            and row["start_s"] <= worst["start_s"] < row["end_s"]
        ]
        slowdown = loss["worst_slowdown_fraction"]
        found.append(
            {
                "job": loss["job"],
                "lost_gpu_hours": loss["lost_gpu_seconds"] / HOUR_S,
                "lost_fraction": loss["lost_gpu_seconds"] / loss["running_gpu_seconds"],
                "step_alone_s": loss["step_alone_s"],
                "step_worst_s": loss["step_alone_s"] / (1.0 - slowdown),
                "part": loss["part"],
                "part_grows_s": loss["part_grows_s"],
                "exchange": loss["exchange"],
                "site": None if worst is None else worst["site"],
                "link": loss["link"] or None,
                "capacity_bytes_per_s": None if worst is None else worst["capacity_bytes_per_s"],
                "crossing": sorted(there, key=lambda row: (-row["peak_bytes_per_s"], row["job"])),
            }
        )
    return found
