"""`datahall export`: a run's tables in another format."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("tables", metavar="[TABLE ...]", nargs=-1)
@click.option("--to", "form", metavar="FORMAT", required=True, help="csv")
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where to; RUN-FORMAT beside the run if not given.",
)
def command(run: Path, tables: tuple[str, ...], form: str, out: Path | None) -> None:
    """Write the tables of a finished RUN (or only those named) as files that other tools read."""
    from simulator.results import open_run
    from simulator.results.export import export

    found = open_run(run)
    folder = out if out is not None else found.path.with_name(f"{found.path.name}-{form}")
    for path in export(found, folder, to=form, tables=tables):
        click.echo(str(path))
