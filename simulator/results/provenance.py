"""``run.json`` says what was run and whether it balances; ``host.json`` where and how long.

Only ``host.json`` differs between two runs of the same scenario.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator import __version__
from simulator.accounting import Books
from simulator.foundation.units import CURRENCY_YEAR
from simulator.results.finished_run import SCHEMA_VERSION
from simulator.results.learning import learnings
from simulator.results.training_facts import training_facts
from simulator.telemetry import Record

if TYPE_CHECKING:
    from simulator.scenario import Scenario

#: Packages whose version can move a result's last digit or a file's bytes.
_PACKAGES: Final = ("numpy", "simpy", "pyarrow", "numba", "networkx", "pydantic", "PyYAML", "matplotlib")


def run_json(
    scenario: Scenario, record: Record, books: Books, rows: Mapping[str, int], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the contents of ``run.json``.

    Parameters
    ----------
    rows
        Table -> rows written.
    more
        Further keys of results (sensitivity, carbon by factor set), laid over ``books``.
    """
    code = str(scenario.currency)
    return {
        "format": "datahall-run",
        "schema_version": SCHEMA_VERSION,
        "name": scenario.label,
        "title": scenario.title,
        "question": scenario.question,
        "scenario_hash": scenario.hash,
        "seed": scenario.seed,
        "start_utc": scenario.start_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timezone": scenario.timezone,
        "horizon_s": record.horizon_s,
        "currency": code,
        "sites": [_site(scenario, record, number) for number in range(len(record.sites))],
        "pools": [
            {
                "name": pool.name,
                "site": record.sites[pool.site].name,
                "nodes": pool.nodes,
                "gpus": pool.gpus,
                "node": pool.node.node_type,
                "gpu": pool.node.gpu_type,
            }
            for pool in record.pools
        ],
        "services": [
            {
                "name": service.name,
                "model": service.model,
                "tiers": list(service.tiers),
                "ttft_slo_s": [_finite(slo) for slo in service.ttft_slo_s],
                "tpot_slo_s": [_finite(slo) for slo in service.tpot_slo_s],
                "by_tier": _plain(service.summary.get("tiers", {})),
                "counters": _plain(service.counters),
            }
            for service in record.services
        ],
        "training": [asdict(facts) for facts in training_facts(record, books)],
        "learning": [asdict(learned) for learned in learnings(record, books)],
        "versions": versions(),
        "events": record.events,
        "counts": dict(record.counts),
        "rows": dict(rows),
        "signals_read": [asdict(read) for read in record.signals_read],
        "audit": audit_entries(books),
        "notes": [*record.notes, *books.notes],
        "layouts": [asdict(facts) for facts in record.layouts],
        "link_losses": [asdict(loss) for loss in record.link_losses],
        "books": {
            "cost_usd": _plain(books.cost_usd),
            "price_year": books.tags.get("price_year") or CURRENCY_YEAR,
            "gpu_seconds": _plain(books.gpu_seconds),
            **{key: value for key, value in books.tags.items() if key != "price_year"},
            **dict(more.get("books", {})),
        },
        "sensitivity": list(more.get("sensitivity", ())),
        "scenario": scenario.resolved(),
    }


def audit_entries(books: Books) -> list[dict[str, Any]]:
    """Return the audit as plain data."""
    return [
        {
            "name": entry.name,
            "left": entry.left,
            "right": entry.right,
            "relative_difference": entry.relative,
        }
        for entry in books.audit
    ]


def versions() -> dict[str, str]:
    """Return the versions of datahall, Python and the packages that results depend on."""
    found = {"datahall": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass
class Stopwatch:
    """Wall and CPU time of the parts of a run, for ``host.json``."""

    wall_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    _began: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), time.process_time()))
    _date: datetime = field(default_factory=lambda: datetime.now(UTC))

    def lap(self, name: str) -> None:
        """End a part of the run and begin the next."""
        now = (time.perf_counter(), time.process_time())
        self.wall_s[name] = now[0] - self._began[0]
        self.cpu_s[name] = now[1] - self._began[1]
        self._began = now

    def host_json(self, record: Record) -> dict[str, Any]:
        """Return the contents of ``host.json``: no names of people or machines."""
        return {
            "date_utc": self._date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "wall_s": sum(self.wall_s.values()),
            "cpu_s": sum(self.cpu_s.values()),
            "wall_s_by_part": dict(self.wall_s),
            "cpu_s_by_part": dict(self.cpu_s),
            "peak_memory_bytes": _peak_memory_bytes(),
            "system": platform.system(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "services": [
                {"name": service.name, "form": service.form[0], "reason": service.form[1]}
                for service in record.services
            ],
        }


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a fixed layout; refuses NaN, which no reader would understand."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _site(scenario: Scenario, record: Record, number: int) -> dict[str, Any]:
    facts, said = record.sites[number], scenario.sites[number]
    grid = said.grid
    return {
        "name": facts.name,
        "timezone": facts.timezone,
        "limit_w": facts.limit_w,
        "gpus": sum(pool.gpus for pool in record.pools if pool.site == number),
        "grid": grid.name or (Path(grid.trace).name if grid.trace else "given constants"),
        "climate": said.climate or "given",
        "plant": said.cooling.name,
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value) if isinstance(value, Mapping) else _finite(value) for key, value in values.items()
    }


def _finite(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _peak_memory_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
