"""The validated scenario: what a YAML file, its parents and the command line ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simulator.scenario import shipped
from simulator.scenario.choices import Choice
from simulator.scenario.reading import load_file, load_text
from simulator.scenario.rebuilding import load_run
from simulator.scenario.tree import Scenario


def load(
    source: str | Path, overrides: Sequence[str] = (), catalog_dirs: Sequence[str | Path] = ()
) -> Scenario:
    """Return the scenario of a file, of a shipped name, or of a finished run.

    Parameters
    ----------
    source
        A YAML file, a name such as ``quickstart``, or the ``run.json`` of a run.
    overrides
        ``KEY=VALUE`` texts; keys are joined by dots, items of lists are named or counted from 0.
    catalog_dirs
        Folders with catalog files laid over the shipped ones; later ones win.

    Raises
    ------
    ScenarioError
        With every mistake found, each with its place.
    """
    path, label = shipped.locate(source)
    if path.suffix == ".json":
        return load_run(path, label, overrides, catalog_dirs)
    return load_file(path, label, overrides, catalog_dirs)


__all__ = ["Choice", "Scenario", "load", "load_text", "shipped"]
