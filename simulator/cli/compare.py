"""`datahall compare`: finished runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.foundation.errors import RunFolderError


@click.command("compare")
@click.argument("runs", metavar="RUN RUN ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write a page, too.")
def command(runs: tuple[Path, ...], html: Path | None) -> None:
    """Compare finished RUN folders with the first: what was different, what changed, and why."""
    from analysis.comparison import compare
    from simulator.results import open_run

    found = compare([open_run(path) for path in runs])
    if html is not None:
        try:
            html.write_text(found.html(), encoding="utf-8", newline="\n")
        except OSError as error:
            raise RunFolderError(f"{html}: cannot be written: {error.strerror or error}") from None
    click.echo("\n".join(found.lines()))
