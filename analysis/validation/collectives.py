"""Collectives against measured bus bandwidth, source by source and rank by rank."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from analysis.calibration.collectives import Row, error, rows
from analysis.validation import MeasurementsMissing
from analysis.validation.score import Column, Table

_NAMES: Final = {
    "a100": "all-reduce, A100 NVLink 3 (vTrain)",
    "v100": "all-reduce, V100 NVLink 2 (vTrain)",
    "network": "all-reduce, over nodes (SimAI)",
    "network all-to-all": "all-to-all, over nodes (SimAI)",
}


def tables(data: Path) -> list[Table]:
    """Return the table of errors.

    Raises
    ------
    MeasurementsMissing
        There is no ``training/nccl_busbw.csv`` below `data`.
    """
    path = data / "training" / "nccl_busbw.csv"
    if not path.is_file():
        raise MeasurementsMissing(f"no measurements at {path}")
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows(data):
        over_nodes = row.group == "nodes"
        name = _NAMES[row.link if over_nodes else row.group]
        found.setdefault((name, row.nodes if over_nodes else row.ranks), []).append(row)
    listed = []
    for (name, ranks), mine in found.items():
        ratio = [row.modelled_bus_bytes_per_s() / row.bus_bytes_per_s for row in mine]
        worst = int(np.argmax(np.abs(np.array(ratio) - 1.0)))
        fitted = "fitted" if mine[0].fitted else "scored"
        size = f"{mine[worst].size_bytes / 2**20:.0f} MiB"
        bias = float(np.mean(ratio)) - 1.0
        listed.append((name, ranks, fitted, len(mine), error(mine), bias, ratio[worst] - 1.0, size))
    columns = (
        Column("collective"),
        Column("ranks or nodes", "count"),
        Column("rows were"),
        Column("n", "count"),
        Column("MAPE", "percent"),
        Column("bias", "signed"),
        Column("worst", "signed"),
        Column("at"),
    )
    notes = (
        "V100: 2 to 7 of eight in a hybrid cube mesh have fewer rings than 8; no constant of a link says so.",
        "SimAI's tables are parts of line rate of an unnamed GPU, and plain rings: trees are left out there.",
    )
    return [Table("Collectives: bus bandwidth, modelled over measured", columns, listed, notes)]
