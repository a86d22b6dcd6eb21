"""Whether the catalog has the entries that a scenario names, and the files are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError
from simulator.scenario.mistake import Mistake, unknown
from simulator.scenario.said import Route
from simulator.scenario.services import Service
from simulator.scenario.workloads import HeliosLog, JobList, JobStream, SwfLog, Training

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario

#: Singular, for messages.
_WHAT = {
    "gpus": "GPU",
    "nodes": "node",
    "models": "model",
    "engines": "engine",
    "grids": "grid",
    "factors": "factor set",
    "water": "water factor set",
    "climates": "climate",
    "chains": "power chain",
    "failures": "failure preset",
    "tariffs": "tariff",
    "costs": "cost pack",
    "lengths": "length distribution",
    "mixes": "job mix",
    "shapes": "demand shape",
}


def named(scenario: Scenario) -> Iterator[tuple[Route, str, str]]:
    """Return each catalog entry that the scenario names: where, kind, name."""
    for index, site in enumerate(scenario.sites):
        at: Route = ("sites", index)
        for number, pool in enumerate(site.pools):
            yield (*at, "pools", number, "node"), "nodes", pool.node
        if site.climate is not None:
            yield (*at, "climate"), "climates", site.climate
        if site.grid.name is not None:
            yield (*at, "grid", "name"), "grids", site.grid.name
        if site.tariff is not None and site.tariff.name is not None:
            yield (*at, "tariff", "name"), "tariffs", site.tariff.name
        if site.power_chain != "none":
            yield (*at, "power_chain"), "chains", site.power_chain
    for index, workload in enumerate(scenario.workloads):
        yield from _of_workload(("workloads", index), workload)
    if scenario.failures.preset != "none":
        yield ("failures", "preset"), "failures", scenario.failures.preset
    yield ("books", "carbon", "factors"), "factors", scenario.books.carbon.factors
    yield ("books", "water", "factors"), "water", scenario.books.water.factors
    yield ("books", "cost", "preset"), "costs", scenario.books.cost.preset


def _of_workload(at: Route, workload: object) -> Iterator[tuple[Route, str, str]]:
    if isinstance(workload, Training):
        yield (*at, "model"), "models", workload.model
    elif isinstance(workload, Service):
        yield (*at, "model"), "models", workload.model
        if workload.transform is not None and workload.transform.student is not None:
            yield (*at, "transform", "student"), "models", workload.transform.student
        yield (*at, "engine", "preset"), "engines", workload.engine.entry
        if workload.demand is not None:
            yield (*at, "demand", "shape"), "shapes", workload.demand.shape
        if workload.lengths is not None and workload.lengths.name is not None:
            yield (*at, "lengths", "name"), "lengths", workload.lengths.name
    elif isinstance(workload, JobStream):
        yield (*at, "mix"), "mixes", workload.mix
    if isinstance(workload, Training | JobStream) and workload.gpu_type is not None:
        yield (*at, "gpu_type"), "gpus", workload.gpu_type
    if isinstance(workload, JobList):
        for index, job in enumerate(workload.jobs):
            if job.gpu_type is not None:
                yield (*at, "jobs", index, "gpu_type"), "gpus", job.gpu_type


def has(catalog: Catalog, kind: str, name: str) -> bool:
    """Return whether the catalog has an entry; models are also known by their other names."""
    if name in catalog.names(kind):
        return True
    if kind != "models":
        return False
    try:
        catalog.model(name)
    except CatalogError:
        return False
    return True


def files(scenario: Scenario) -> Iterator[tuple[Route, str]]:
    """Return each file that the scenario names: where, and its path."""
    for index, site in enumerate(scenario.sites):
        if site.weather is not None and site.weather.file is not None:
            yield ("sites", index, "weather", "file"), site.weather.file
        if site.grid.trace is not None:
            yield ("sites", index, "grid", "trace"), site.grid.trace
    for index, workload in enumerate(scenario.workloads):
        if isinstance(workload, SwfLog | HeliosLog | Service) and workload.path is not None:
            yield ("workloads", index, "path"), workload.path
        if isinstance(workload, Service) and workload.engine.iteration_table is not None:
            yield ("workloads", index, "engine", "iteration_table"), workload.engine.iteration_table
        if isinstance(workload, Service) and workload.lengths is not None and workload.lengths.path:
            yield ("workloads", index, "lengths", "path"), workload.lengths.path


def mistakes(scenario: Scenario, catalog: Catalog) -> Iterator[Mistake]:
    """Return the entries that are not in the catalog and the files that cannot be read."""
    for path, kind, name in named(scenario):
        if not has(catalog, kind, name):
            yield unknown(path, _WHAT[kind], name, list(catalog.names(kind)))
    for path, file in files(scenario):
        said = _file_trouble(Path(file))
        if said:
            key = ".".join(map(str, path))
            yield Mistake(path, f"{said}: {file}", f"say where it lies: {key}=FILE on the command line")


def _file_trouble(path: Path) -> str:
    if path.is_dir():
        return "is a folder, not a file"
    if not path.exists():
        return "no such file"
    return "" if os.access(path, os.R_OK) else "cannot be read"
