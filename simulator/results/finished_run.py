"""A finished run, read from its folder: provenance, summary and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulator.foundation.errors import RunFolderError
from simulator.results.folder import IDENTITY, refuse_unfinished

if TYPE_CHECKING:
    import pyarrow as pa

    from simulator.foundation.calendar import Calendar

#: Raised when the meaning of a file in the run folder changes.
SCHEMA_VERSION: Final = 1


class Run:
    """A finished run folder; files are read when first asked for and never changed.

    Parameters
    ----------
    path
        The run folder.

    Raises
    ------
    RunFolderError
        If the folder is missing, incomplete, damaged, or written by a newer datahall.
    """

    def __init__(self, path: Path) -> None:
        refuse_unfinished(path)
        self.path = path
        self._tables: dict[str, pa.Table] = {}
        written = self.provenance.get("schema_version")
        if written != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path / IDENTITY}: schema version {written!r}; this datahall reads {SCHEMA_VERSION}. "
                "Run the scenario again, or read it with the version named in its `versions`"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The contents of ``run.json``."""
        return read_json(self.path / IDENTITY)

    @cached_property
    def host(self) -> Mapping[str, Any]:
        """The contents of ``host.json``: machine, date and times; empty if it was taken away."""
        path = self.path / "host.json"
        return read_json(path) if path.exists() else {}

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """Flat name -> number, text (stability) or None."""
        return read_json(self.path / "summary.json")

    @cached_property
    def summary_meta(self) -> Mapping[str, Mapping[str, Any]]:
        """The same names -> unit, boundary, basis, low, high, source, reason (of a null)."""
        return read_json(self.path / "summary_meta.json")

    def table(self, name: str) -> pa.Table:
        """Return one table (``jobs``, ``segments``, ``power``, ...) as Arrow.

        Raises
        ------
        RunFolderError
            If there is no such table; the message names the nearest and the known ones.
        """
        if name not in self._tables:
            from simulator.results.parquet import read_table

            self._tables[name] = read_table(self.path, name)
        return self._tables[name]

    @property
    def title(self) -> str:
        """The scenario's title."""
        return str(self.provenance["title"])

    @property
    def hash(self) -> str:
        """Hash of the resolved scenario, hexadecimal."""
        return str(self.provenance["scenario_hash"])

    @property
    def version(self) -> str:
        """The datahall that made the run."""
        return str(self.provenance["versions"]["datahall"])

    @property
    def horizon_s(self) -> float:
        """Simulated time. [s]"""
        return float(self.provenance["horizon_s"])

    @property
    def timezone(self) -> str:
        """Zone in which local times are shown: the scenario's."""
        return str(self.provenance["timezone"])

    @cached_property
    def calendar(self) -> Calendar:
        """Seconds since the run's start to calendar time."""
        from simulator.foundation.calendar import Calendar

        start = datetime.fromisoformat(str(self.provenance["start_utc"]).replace("Z", "+00:00"))
        return Calendar(start, self.timezone)

    def closing_data(self) -> dict[str, Any]:
        """Return what ``datahall run --json`` prints: the closing print as plain data."""
        from simulator.results.digest import digest

        return digest(self)

    def closing_lines(self) -> list[str]:
        """Return what ``datahall run`` prints last: at most 30 lines of 100 columns."""
        from simulator.results.closing import closing_lines

        return closing_lines(self)


def open_run(path: str | Path) -> Run:
    """Open a finished run folder (or its ``run.json``).

    Raises
    ------
    RunFolderError
        If the folder is missing, incomplete, damaged, or written by a newer datahall.
    """
    folder = Path(path)
    if folder.name == IDENTITY and folder.is_file():
        folder = folder.parent
    return Run(folder)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of a run folder; raise RunFolderError if it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: is missing; the run folder is damaged") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: expected a JSON object; the run folder is damaged")
    return value
