"""`datahall check`: whether a scenario is right, and all that it stands for."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.cli.arguments import read_scenario, scenario_arguments


@click.command("check")
@scenario_arguments
@click.option("--assumptions", is_flag=True, help="Every value, who set it, its unit and source.")
@click.option("--layouts", is_flag=True, help="How each training run is cut, and why not otherwise.")
@click.option("--csv", "as_csv", is_flag=True, help="With --assumptions: as CSV.")
def command(
    scenario: str,
    overrides: tuple[str, ...],
    catalog_dirs: tuple[Path, ...],
    assumptions: bool,
    layouts: bool,
    as_csv: bool,
) -> None:
    """Read SCENARIO and print it resolved: parents merged, defaults written out.

    What is printed is a scenario file itself. All mistakes are told at once.
    """
    if as_csv and not assumptions:
        raise click.UsageError("--csv has no effect without --assumptions")
    if layouts and assumptions:
        raise click.UsageError("ask for --layouts or for --assumptions, one at a time")
    read = read_scenario(scenario, overrides, catalog_dirs)
    if layouts:
        from simulator.scenario.layout_table import as_table as layout_table

        click.echo(layout_table(read), nl=False)
        return
    if assumptions:
        from simulator.scenario.assumptions import as_csv_text, as_table

        click.echo((as_csv_text if as_csv else as_table)(read), nl=False)
        return
    from simulator.scenario.writing import as_yaml

    click.echo(f"# {read.label}, resolved; hash {read.hash}\n{as_yaml(read)}", nl=False)
