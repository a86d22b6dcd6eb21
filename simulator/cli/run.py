"""`datahall run`: from a scenario to a run folder, a report and a summary."""

from __future__ import annotations

import json
from pathlib import Path

import click

from simulator.cli.arguments import read_scenario, scenario_arguments


@click.command("run")
@scenario_arguments
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The run folder; runs/NAME-HASH if not given.",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed of every random stream.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@click.option("--no-report", is_flag=True, help="Leave out report.html and the figures.")
def command(
    *,
    scenario: str,
    overrides: tuple[str, ...],
    catalog_dirs: tuple[Path, ...],
    out: Path | None,
    seed: int | None,
    as_json: bool,
    quiet: bool,
    no_report: bool,
) -> None:
    """Run SCENARIO: a file, a shipped name such as quickstart, or a run's run.json.

    KEY=VALUE changes one value; keys are joined by dots, items of lists are named or counted
    from 0: sites.frankfurt.grid=FR  sites.0.pools.0.nodes=64  scheduling.policy=fcfs
    """
    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    read = read_scenario(scenario, overrides, catalog_dirs)

    from simulator.cli.progress import progress_bar
    from simulator.results import execute
    from simulator.results.digest import shown_path
    from simulator.results.folder import unfinished

    with progress_bar(read, shown=not (quiet or as_json)) as progress:
        run = execute(read, out=out, progress=progress)
    if not no_report:
        from analysis.report import write_report

        write_report(run)
    if not quiet:
        for left in unfinished(run.path):
            click.echo(
                f"note: {shown_path(left)} is of an earlier run of this name that was killed or still runs; "
                "nothing in it is valid. Remove it once no such run is going on",
                err=True,
            )
    if as_json:
        click.echo(json.dumps(run.closing_data(), indent=1, ensure_ascii=False))
    elif not quiet:
        click.echo("\n".join(run.closing_lines()))
