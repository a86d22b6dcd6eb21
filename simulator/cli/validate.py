"""`datahall validate`: the product against published measurements."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("validate")
@click.argument("suites", metavar="[SUITE ...]", nargs=-1)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="DATAHALL_DATA",
    default=Path("../shared/data"),
    show_default=True,
    help="Folder with the measurements; DATAHALL_DATA names it, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the tables as data.")
def command(suites: tuple[str, ...], data: Path, as_json: bool) -> None:
    """Score predictions against the measurements of each SUITE (all of them if none is named)."""
    import json
    from importlib import import_module

    from analysis.validation import SUITES
    from simulator.foundation.errors import UnknownNameError
    from simulator.foundation.names import hint

    for suite in suites:
        if suite not in SUITES:
            raise UnknownNameError(f"no suite {suite!r}", hint(suite, SUITES))
    found: dict[str, list[object]] = {}
    for suite in suites or SUITES:
        tables = [table for part in SUITES[suite] for table in import_module(part).tables(data)]
        found[suite] = [table.data() for table in tables]
        if not as_json:
            for table in tables:
                click.echo("\n".join(table.lines()) + "\n")
    if as_json:
        click.echo(json.dumps(found, indent=1))
