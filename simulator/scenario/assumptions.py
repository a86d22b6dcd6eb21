"""Every value a run rests on: what it is, who set it, and where it comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from simulator.catalog.provenance import SCENARIO
from simulator.catalog.shelf import Catalog
from simulator.foundation.plugins import yaml_key
from simulator.foundation.quantity import OVERSUBSCRIPTION
from simulator.foundation.units import render
from simulator.llm.number_formats import weight_format
from simulator.llm.transforms import TRANSFORMS
from simulator.performance.power_coefficients import power_coefficients
from simulator.performance.serving_coefficients import (
    engine_coefficients,
    is_measured,
    serving_coefficients,
)
from simulator.scenario.branch import Branch
from simulator.scenario.catalog_names import named
from simulator.scenario.choices import Choice
from simulator.scenario.fields import CatalogBlock, Horizon, Measure, Moment, Ratio
from simulator.scenario.services import Service
from simulator.scenario.start import Start

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario

Origin = Literal["you", "preset", "default"]

#: Keys that name things and assume nothing.
_LABELS: Final = frozenset({"title", "question", "kind", "currency", "id"})
_YEARS: Final = 10_000

#: Where coefficients of services are kept with what they were fitted on.
_FITS: Final = "simulator/performance/serving_coefficients.py"
_POWER_FITS: Final = "simulator/performance/power_coefficients.py"


@dataclass(frozen=True)
class Assumption:
    """One value of a run.

    Parameters
    ----------
    key
        As on the command line: ``sites.frankfurt.pools.h100.nodes``, or ``catalog.gpus.h100-sxm.tdp_w``.
    value
        In `unit`; words as they are.
    unit
        Base unit; empty for counts and words.
    origin
        ``you`` wrote it, a catalog entry that you named gives it (``preset``), or nobody
        said anything (``default``).
    source, date, basis
        Of a catalog value: publication, its date, and how the value came about.
    low, high
        Range in `unit`, where the catalog knows one.
    """

    key: str
    value: Any
    unit: str
    origin: Origin
    source: str = ""
    date: str = ""
    basis: str = ""
    low: float | None = None
    high: float | None = None


def assumptions(scenario: Scenario) -> list[Assumption]:
    """Return the scenario's own values, then those of every catalog entry it names."""
    own = list(_values(scenario, "", "", scenario.given))
    return [*own, *_quality(scenario), *_coefficients(scenario), *_from_catalog(scenario)]


def _quality(scenario: Scenario) -> Iterator[Assumption]:
    """Return what is published about the quality of narrow weights and smaller models; not computed."""
    for workload in scenario.workloads:
        if not isinstance(workload, Service):
            continue
        key = f"workloads.{workload.name}"
        weights = weight_format(workload.engine.precision)
        if weights.is_narrow:
            yield Assumption(f"{key}.engine.precision.quality", weights.quality, "", "you", basis="measured")
        if workload.transform is not None:
            quality = TRANSFORMS[workload.transform.kind].quality
            yield Assumption(f"{key}.transform.quality", quality, "", "you", basis="measured")


def _coefficients(scenario: Scenario) -> Iterator[Assumption]:
    """Return which measurements fixed the time and watts of each service, by GPU generation."""
    gpus = [scenario.catalog.gpu(scenario.catalog.node(pool.node).gpu) for pool in _pools(scenario)]
    # A pool that nobody measured serving on holds no service: that is refused before the run.
    generations = [name for name in dict.fromkeys(gpu.generation for gpu in gpus) if is_measured(name)]
    for workload in scenario.workloads:
        if not isinstance(workload, Service):
            continue
        software = workload.engine.software
        for generation in generations:
            key = f"workloads.{workload.name}.engine.coefficients.{generation.casefold().replace(' ', '-')}"
            laws = {
                "watts": power_coefficients(generation).fitted_on,
            }
            if workload.engine.iteration_table is None:
                laws = {
                    "kernels": serving_coefficients(generation).fitted_on,
                    software: engine_coefficients(software, generation).fitted_on,
                } | laws
            for part, rows in laws.items():
                where = _POWER_FITS if part == "watts" else _FITS
                yield Assumption(
                    f"{key}.{part}", f"fitted on {rows}", "", "preset", source=where, basis="calibrated"
                )


def _pools(scenario: Scenario) -> Iterator[Any]:
    for site in scenario.sites:
        yield from site.pools


def as_csv_text(scenario: Scenario) -> str:
    """Return the assumptions as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Assumption)])
    for row in assumptions(scenario):
        writer.writerow(["" if value is None else value for value in astuple(row)])
    return text.getvalue()


def as_table(scenario: Scenario) -> str:
    """Return the assumptions for people: defaults nobody set first."""
    rows = assumptions(scenario)
    counts = {origin: sum(row.origin == origin for row in rows) for origin in ("you", "preset", "default")}
    lines = [
        f"{len(rows)} values: {counts['you']} set by you, {counts['preset']} from catalog entries, "
        f"{counts['default']} defaults that nobody set",
    ]
    for origin, title in (
        ("default", "Defaults that nobody set"),
        ("you", "Set by you"),
        ("preset", "From catalog entries"),
    ):
        lines += ["", title]
        for row in rows:
            if row.origin == origin:
                source = ", ".join(word for word in (row.basis, row.source, row.date) if word)
                lines.append(f"  {row.key:52} {_shown(row):>22}  {source}".rstrip())
    return "\n".join(lines) + "\n"


def _shown(row: Assumption) -> str:
    if isinstance(row.value, bool) or not isinstance(row.value, int | float):
        return str(row.value)
    if isinstance(row.value, int) and row.value < _YEARS:
        return str(row.value)  # years have no thousands separator
    return render(row.value, row.unit, 6)


def _values(value: Any, key: str, route: str, given: frozenset[str]) -> Iterator[Assumption]:
    """Return the values below a mapping; keys as YAML has them, routes as attributes."""
    if isinstance(value, Choice):
        yield Assumption(f"{key}{value.key}", value.name, "", _origin(f"{route}{value.key}", given))
        for info, item in value.fields():
            if item is not None:
                origin = _origin(f"{route}{info.name}", given)
                if origin == "default" and value.plugin not in {"", value.name}:
                    origin = "preset"
                unit = "ratio" if info.unit == OVERSUBSCRIPTION else info.unit or ""
                yield Assumption(f"{key}{info.key}", _plain(item), unit, origin)
        return
    for word, name in type(value).keys().items():
        item, reader = getattr(value, name), type(value).reader(name)
        is_label = word in _LABELS or (word == "name" and reader.is_name)
        if is_label or isinstance(reader, CatalogBlock):
            continue
        yield from _entries(item, reader, f"{key}{word}", f"{route}{name}", given)


def _entries(item: Any, reader: Any, key: str, route: str, given: frozenset[str]) -> Iterator[Assumption]:
    if isinstance(item, Branch | Choice):
        yield from _values(item, f"{key}.", f"{route}.", given)
    elif isinstance(item, tuple):
        for index, below in enumerate(item):
            name = getattr(below, "name", None) or getattr(below, "job_id", None)
            name = str(index) if name is None or isinstance(below, Choice) else name
            yield from _entries(below, reader, f"{key}.{name}", f"{route}.{index}", given)
    elif isinstance(item, Mapping):
        for name, below in item.items():
            yield Assumption(f"{key}.{name}", below, _unit(reader), _origin(route, given))
    elif item is not None or isinstance(reader, Horizon):
        said = Horizon.words if item is None else _plain(item)
        yield Assumption(key, said, _unit(reader), _origin(route, given))


def _origin(route: str, given: frozenset[str]) -> Origin:
    """Return who set a value; items of lists of words have routes of their own or the list's."""
    return "you" if route in given or route.rpartition(".")[0] in given else "default"


def _plain(value: Any) -> Any:
    if isinstance(value, Start):
        return value.text
    return " ".join(str(item) for item in value) if isinstance(value, tuple | list) else value


def _unit(reader: Any) -> str:
    if isinstance(reader, Moment | Horizon):
        return "s"
    if isinstance(reader, Ratio):
        return "ratio"
    return reader.unit if isinstance(reader, Measure) else ""


def _from_catalog(scenario: Scenario) -> Iterator[Assumption]:
    catalog = scenario.catalog
    for kind, name in dict.fromkeys(_entries_named(scenario, catalog)):
        for value in catalog.values(kind, name):
            if value.value is None or value.value == "" or value.field == "title":
                continue
            yield Assumption(
                key=f"catalog.{kind}.{name}.{yaml_key(value.field, value.unit)}",
                value=_plain(value.value),
                unit=value.unit,
                origin="you" if value.source == SCENARIO else "preset",
                source=value.source,
                date=value.date,
                basis=value.basis,
                low=value.low,
                high=value.high,
            )


def _entries_named(scenario: Scenario, catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Return every entry that is used: those named, and those that they name."""
    for _, kind, name in named(scenario):
        if kind == "models":
            name = catalog.model(name).name  # noqa: PLW2901 - an alias stands for its entry
        yield kind, name
        if kind == "nodes":
            yield "gpus", catalog.node(name).gpu
        if kind == "mixes":
            yield "shapes", catalog.mix(name).arrival_shape
    for site in scenario.sites:
        if site.cooling.plugin not in {"", site.cooling.name}:
            yield "plants", site.cooling.name
