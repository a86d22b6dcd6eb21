"""`datahall report`: the report of finished runs, made again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("runs", metavar="RUN ...", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(runs: tuple[Path, ...]) -> None:
    """Write report.html and figures/ into each finished RUN folder again."""
    from analysis.report import write_report
    from simulator.results import open_run

    # All are opened first: a wrong name stops before anything is written.
    for run in [open_run(path) for path in runs]:
        click.echo(str(write_report(run)))
