"""`datahall init`: a shipped scenario, copied to be changed."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.foundation.errors import Problem, ScenarioError


@click.command("init")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Where to write it.")
def command(name: str | None, out: Path | None) -> None:
    """Copy the shipped scenario NAME into this folder; without NAME, list what is shipped."""
    from simulator.foundation.names import hint
    from simulator.scenario import shipped

    if name is None:
        click.echo("\n".join(shipped.names()))
        return
    source = shipped.path_of(name)
    if source is None:
        raise ScenarioError([Problem("no such shipped scenario", name, hint=hint(name, shipped.names()))])
    target = out if out is not None else Path(source.name)
    if target.is_dir():
        target = target / source.name
    try:
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        raise ScenarioError([Problem("is there already; nothing was written", str(target))]) from None
    except OSError as error:
        raise ScenarioError([Problem(f"cannot be written: {error.strerror}", str(target))]) from None
    click.echo(f"{target}\nnext: datahall run {target}")
