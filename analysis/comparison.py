"""Finished runs side by side: what was different, what changed, and which accounts explain it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from analysis.drawing import escape
from analysis.numerals import digits
from analysis.page import bullets, page, paragraphs, table
from simulator.foundation.errors import RunFolderError
from simulator.foundation.units import render

if TYPE_CHECKING:
    from simulator.results import Run

#: A number counts as changed beyond this share; below, it is rounding.
SAME: Final = 1e-9

#: Keys of a resolved scenario that do not change what happens.
_LABELS: Final = ("title", "question", "currency", "label", "given", "catalog_folders")

#: Group -> the summary's numbers that are compared in it.
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "GPUs": ("allocated_fraction", "productive_fraction", "stranded_fraction", "down_fraction",
             "mfu_fraction", "ettr_fraction"),
    "Waiting": ("mean_wait_s", "p95_wait_s", "mean_jct_s", "makespan_s"),
    "Energy": ("it_energy_mwh", "facility_energy_mwh", "pue", "peak_15min_power_w", "load_factor_fraction"),
    "Carbon": ("location_tco2e", "market_tco2e", "marginal_tco2e", "embodied_tco2e", "cfe_fraction"),
    "Water": ("site_water_m3", "source_water_m3", "wue_litres_per_kwh"),
    "Money": ("energy_cost_usd", "total_cost_usd", "usd_per_productive_gpu_hour"),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One number of every run."""

    group: str
    name: str
    unit: str
    values: tuple[Any, ...]

    def change(self, number: int) -> float | None:
        """Return the relative change of a run against the first; None where it has no meaning."""
        first, other = self.values[0], self.values[number]
        if not isinstance(first, int | float) or not isinstance(other, int | float):
            return None
        if first == other:
            return 0.0
        return (other - first) / abs(first) if first else None

    @property
    def changed(self) -> bool:
        """Whether any run differs from the first beyond rounding."""
        return any(not _same(self.values[0], value) for value in self.values[1:])


@dataclass(frozen=True)
class Comparison:
    """Runs against the first of them."""

    names: tuple[str, ...]
    titles: tuple[str, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """Scenario key -> its value in every run, where they differ."""
    rows: tuple[Row, ...]
    reasons: tuple[str, ...]
    """Sentences: which accounts explain the change."""

    def lines(self) -> list[str]:
        """Return the comparison for a terminal: what changed, the numbers first, the reasons last."""
        changed = [row for row in self.rows if row.changed]
        width = max([len(row.name) for row in changed] + [20])
        column = max([len(name) for name in self.names] + [12])
        said = [f"{'':{width}}  " + "  ".join(f"{name:>{column}}" for name in self.names)]
        group = ""
        for row in changed:
            if row.group != group:
                group = row.group
                said.append(group)
            shown = "  ".join(f"{number_text(value, row.unit):>{column}}" for value in row.values)
            change = "  ".join(_change_text(row, place) for place in range(1, len(row.values)))
            said.append(f"{row.name:{width}}  {shown}  {change}".rstrip())
        said.append(f"{len(self.rows) - len(changed)} of {len(self.rows)} numbers are the same")
        said += ["", "Different in the scenario"]
        said += [f"  {key}: {' | '.join(values)}" for key, values in self.differences] or [
            "  nothing: the runs have the same scenario"
        ]
        said += ["", "Why"]
        said += [f"  {reason}" for reason in self.reasons]
        return said

    def html(self) -> str:
        """Return the comparison as one offline page."""
        count = len(self.names)
        heads = ["Number", "Of", *self.names, *(f"{name}, change" for name in self.names[1:])]
        inside = table(
            heads,
            [
                [
                    row.name,
                    row.group,
                    *(number_text(value, row.unit) for value in row.values),
                    *(_change_text(row, place).strip() or "same" for place in range(1, count)),
                ]
                for row in self.rows
            ],
            text_columns=2,
        )
        differs = table(
            ["Key", *self.names],
            [[key, *values] for key, values in self.differences],
            text_columns=1 + count,
        ) or paragraphs(["Nothing: the runs have the same scenario."])
        head = f"<h1>{escape(' against '.join(self.names))}</h1>" + (
            f'<p class="question">{escape("; ".join(dict.fromkeys(self.titles)))}</p>'
        )
        sections = [
            ("why", "What changed, and why", bullets(self.reasons)),
            ("scenario", "Different in the scenario", differs),
            ("numbers", "All numbers", inside),
        ]
        foot = "Changes are against the first run. All numbers come from the runs' summary.json."
        return page(f"{' against '.join(self.names)} - datahall", head, sections, foot)


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare finished runs with the first of them.

    Raises
    ------
    RunFolderError
        Fewer than two runs.
    """
    if len(runs) < 2:
        raise RunFolderError("compare needs at least two run folders")
    names = _names(runs)
    return Comparison(
        names=names,
        titles=tuple(run.title for run in runs),
        differences=tuple(_differences(runs)),
        rows=tuple(_rows(runs)),
        reasons=tuple(
            reason
            for number, other in enumerate(runs[1:], 1)
            for reason in _reasons(runs[0], other, names[0], names[number])
        ),
    )


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return the folders' names, numbered where two are the same."""
    names = [run.path.name or str(run.path) for run in runs]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({place + 1})" for place, name in enumerate(names)
    )


def _rows(runs: Sequence[Run]) -> Iterator[Row]:
    for group, keys in _GROUPS.items():
        for key in keys:
            values = tuple(run.summary.get(key) for run in runs)
            if any(value is not None for value in values):
                yield Row(group, key, str(runs[0].summary_meta.get(key, {}).get("unit", "")), values)
    services = dict.fromkeys(key for run in runs for key in run.summary if key.startswith("service."))
    for key in services:
        unit = next((run.summary_meta[key]["unit"] for run in runs if key in run.summary_meta), "")
        values = tuple(run.summary.get(key) for run in runs)
        yield Row("Services", key.removeprefix("service."), str(unit), values)
    parts = dict.fromkeys(part for run in runs for part in run.provenance["books"]["cost_usd"])
    for part in parts:
        costs = tuple(run.provenance["books"]["cost_usd"].get(part, 0.0) for run in runs)
        if any(cost is None or cost for cost in costs):
            yield Row("Cost by part", part.replace("_", " "), "USD", costs)


def _differences(runs: Sequence[Run]) -> Iterator[tuple[str, tuple[str, ...]]]:
    flat = [dict(_flat(run.provenance["scenario"])) for run in runs]
    for key in dict.fromkeys(key for values in flat for key in values):
        if key.split(".", 1)[0] in _LABELS:
            continue
        values = [one.get(key) for one in flat]
        if any(value != values[0] for value in values[1:]):
            yield key, tuple("not set" if value is None else str(value) for value in values)
    for package in ("datahall", "numpy"):
        found = [run.provenance["versions"].get(package) for run in runs]
        if any(version != found[0] for version in found[1:]):
            yield f"version of {package}", tuple(str(version) for version in found)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Return every leaf of a resolved scenario with its dotted key; list items by their name."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _flat(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for place, below in enumerate(value):
            name = below.get("name", place) if isinstance(below, Mapping) else place
            yield from _flat(below, f"{key}.{name}")
    else:
        yield key, value


def _reasons(first: Run, other: Run, name: str, other_name: str) -> Iterator[str]:
    """Say which factors explain the change of energy, carbon, cost and waiting."""
    a, b = first.summary, other.summary
    label = f"{other_name} against {name}: "
    if all(_same(a[key], b[key]) for key in a.keys() & b.keys()):
        yield f"{label}every number of the summary is the same."
        return
    it_a, it_b, meter_a, meter_b = (
        side[key] for key in ("it_energy_mwh", "facility_energy_mwh") for side in (a, b)
    )
    if None not in (it_a, it_b, meter_a, meter_b):
        if _same(it_a, it_b) and _same(meter_a, meter_b):
            yield f"{label}energy is the same: the same work ran at the same watts, behind the same plant."
        else:
            by_it = (it_b - it_a) * meter_a / it_a if it_a else 0.0
            plant = meter_b - meter_a - by_it
            said = f"{label}energy {_signed(meter_b - meter_a, 'MWh')}: {_signed(by_it, 'MWh')} by IT"
            ratios = f" (PUE {meter_a / it_a:.3f} to {meter_b / it_b:.3f})" if it_a and it_b else ""
            yield f"{said}, {_signed(plant, 'MWh')} by the plant{ratios}."
        carbon_a, carbon_b = a["location_tco2e"], b["location_tco2e"]
        if carbon_a is not None and carbon_b is not None and meter_a and meter_b:
            grams = (1000 * carbon_a / meter_a, 1000 * carbon_b / meter_b)
            by_energy = (meter_b - meter_a) * grams[0] / 1000
            by_grid = carbon_b - carbon_a - by_energy
            yield (
                f"{label}location-based carbon {_signed(carbon_b - carbon_a, 't')}: "
                f"{_signed(by_energy, 't')} by energy, {_signed(by_grid, 't')} by the grid "
                f"({digits(grams[0], 3)} to {digits(grams[1], 3)} g/kWh on average of what was drawn)."
            )
    yield from _cost_reason(first, other, label)
    yield from _wait_reason(first, other, label)


def _cost_reason(first: Run, other: Run, label: str) -> Iterator[str]:
    a, b = (run.provenance["books"]["cost_usd"] for run in (first, other))
    unknown = [part.replace("_", " ") for part in {**a, **b} if None in (a.get(part, 0.0), b.get(part, 0.0))]
    if unknown:
        yield f"{label}cost cannot be compared: {', '.join(unknown)} has no price."
        return
    changes = {
        part.replace("_", " "): b.get(part, 0.0) - a.get(part, 0.0)
        for part in dict.fromkeys([*a, *b])
        if not _same(a.get(part, 0.0), b.get(part, 0.0))
    }
    total = sum(changes.values())
    if not changes:
        yield f"{label}cost is the same in every part."
        return
    ordered = sorted(changes.items(), key=lambda item: (-abs(item[1]), item[0]))
    parts = ", ".join(f"{part} {_signed(change, 'USD')}" for part, change in ordered[:4])
    yield f"{label}cost {_signed(total, 'USD')}: {parts}."


def _wait_reason(first: Run, other: Run, label: str) -> Iterator[str]:
    spans = []
    for run in (first, other):
        waiting = run.closing_data()["waiting"]
        spans.append({reason: share * waiting["gpu_hours"] for reason, share in waiting["by_reason"].items()})
    changes = {
        reason: spans[1].get(reason, 0.0) - spans[0].get(reason, 0.0)
        for reason in dict.fromkeys([*spans[0], *spans[1]])
    }
    total = sum(changes.values())
    if all(math.isclose(change, 0.0, abs_tol=1e-6) for change in changes.values()):
        yield f"{label}waiting is the same."
        return
    ordered = sorted(changes.items(), key=lambda item: (-abs(item[1]), item[0]))
    parts = ", ".join(f"{reason} {_signed(change, 'GPU-h')}" for reason, change in ordered[:4])
    yield f"{label}GPU-hours queued {_signed(total, 'GPU-h')}: {parts}."


def number_text(value: Any, unit: str) -> str:
    """Return a summary's number for people."""
    if value is None:
        return "n/a"
    if not isinstance(value, int | float):
        return str(value)
    if unit in ("s", "W", "W/s"):
        return render(float(value), unit)
    return f"{digits(float(value))} {unit}".rstrip()


def _change_text(row: Row, number: int) -> str:
    change = row.change(number)
    if change is None:
        return f"{'':>9}" if _same(row.values[0], row.values[number]) else f"{'changed':>9}"
    if abs(change) <= SAME:
        return f"{'same':>9}"
    return f"{100 * change:>+8.1f}%"


def _signed(value: float, unit: str) -> str:
    if abs(value) < 1e-12:
        return f"0 {unit}"
    return f"{'+' if value > 0 else '-'}{digits(abs(value), 3)} {unit}"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=SAME, abs_tol=1e-12)
    return bool(a == b)
