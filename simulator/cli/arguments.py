"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from simulator.scenario import Scenario

Function = TypeVar("Function", bound=Callable[..., Any])


def scenario_arguments(function: Function) -> Function:
    """Add SCENARIO, KEY=VALUE ... and --catalog."""
    for decorate in (
        click.option(
            "--catalog",
            "catalog_dirs",
            metavar="DIR",
            multiple=True,
            type=click.Path(path_type=Path),
            help="Folder with catalog files laid over the shipped ones; may be repeated.",
        ),
        click.argument("overrides", metavar="[KEY=VALUE ...]", nargs=-1),
        click.argument("scenario", metavar="SCENARIO"),
    ):
        function = decorate(function)
    return function


def read_scenario(scenario: str, overrides: tuple[str, ...], catalog_dirs: tuple[Path, ...]) -> Scenario:
    """Return the scenario that the arguments name."""
    from simulator.scenario import load

    return load(scenario, overrides, catalog_dirs)
