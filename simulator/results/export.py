"""A run's tables in other formats, for spreadsheets and other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from simulator.foundation.errors import RunFolderError
from simulator.foundation.names import hint
from simulator.results.finished_run import Run
from simulator.telemetry import TABLES

#: Format -> ending of its files.
FORMATS: Final = {"csv": "csv"}


def export(run: Run, folder: str | Path, *, to: str = "csv", tables: Sequence[str] = ()) -> list[Path]:
    """Write a run's tables into a folder, one file each; existing files there are replaced.

    Parameters
    ----------
    run
        The finished run; it is not changed.
    folder
        Where to; made if it is not there.
    to
        Format: ``csv`` (a header of column names, empty for null).
    tables
        Which; all if empty.

    Returns
    -------
    list of Path
        The files, in the order of the tables.

    Raises
    ------
    RunFolderError
        Unknown format or table, or nothing can be written there.
    """
    if to not in FORMATS:
        raise RunFolderError(f"cannot export to {to!r}; {hint(to, FORMATS)}")
    for name in tables:
        if name not in TABLES:
            raise RunFolderError(f"no table {name!r}; {hint(name, TABLES)}")
    from pyarrow import csv

    target = Path(folder)
    written = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in tables or TABLES:
            path = target / f"{name}.{FORMATS[to]}"
            csv.write_csv(run.table(name), path)
            written.append(path)
    except OSError as error:
        raise RunFolderError(f"{target}: cannot export here: {error.strerror or error}") from error
    return written
