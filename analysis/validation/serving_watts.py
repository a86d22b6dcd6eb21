"""Watts of a serving GPU at measured step times: the power law by itself, each model left out once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from analysis.calibration.serving_power import groups, left_out, phases, steady_states
from analysis.estimation.case_file import Row
from analysis.estimation.serving import kv_tokens
from analysis.estimation.serving_cases import CaseReader, ServingCase
from analysis.validation.score import Column, Table, verdict
from analysis.validation.serving_points import TARGETS, measured_rows, measured_time_s
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import DatahallError
from simulator.performance.power_coefficients import power_coefficients

#: A mean batch below this part of the configured most was held back by something.
_REACHED: Final = 0.95

#: Two columns that should agree, do within this.
_AGREE: Final = 0.01


def tables(data: Path) -> list[Table]:
    """Return errors of the watts at measured times, and what the measured columns say of themselves."""
    return [_watts(data), _columns(data)]


def _watts(data: Path) -> Table:
    rows = []
    sets = {"a100-sxm-80gb, prompt and answer": phases(data), **steady_states(data)}
    for gpu, found in sets.items():
        law = power_coefficients(found.generation)
        shipped, outside = found.errors(law), left_out(found, law)
        for name, places in groups(found):
            cells: list[str | int | float | None] = [f"{gpu} {name}", len(places)]
            for errors in (shipped[places], outside[places]):
                absolute = float(np.mean(np.abs(errors)))
                cells += [absolute, float(np.mean(errors)), verdict(absolute, TARGETS["power"][0])]
            rows.append(tuple(cells))
    measures = ("power MAPE", "left out MAPE")
    kinds = [
        column
        for name in measures
        for column in (Column(name, "percent"), Column("bias", "signed"), Column("verdict"))
    ]
    notes = (
        "measured: the rows and their times of a step; calibrated: the power law "
        "(in-sample, then with the row's model left out of the fit); modelled: what a step moves and "
        "computes. Copied attention: that engine padded every group to the widest.",
    )
    title = "watts at measured step times (ML.ENERGY v3, text; Splitwise)"
    return Table(title, (Column("group"), Column("rows", "count"), *kinds), rows, notes)


def _columns(data: Path) -> Table:
    """Return how far each GPU's rows are consistent and steady."""
    reader = CaseReader(Catalog.shipped())
    rows: dict[str, list[tuple[Row, ServingCase]]] = defaultdict(list)
    for row in measured_rows(data):
        try:
            case = reader.case(row)
        except DatahallError:
            continue
        if case.steady:
            rows[case.gpu.name].append((row, case))
    columns = (
        Column("GPU"),
        Column("rows", "count"),
        Column("J/token x tokens/s is not W", "count"),
        Column("batch not reached", "count"),
        Column("of those by KV memory", "count"),
        Column("neighbours in batch", "count"),
        Column("step shorter at more", "count"),
    )
    found = []
    for gpu, mine in sorted(rows.items()):
        odd = sum(_disagrees(row) for row, _ in mine)
        short = [(row, case) for row, case in mine if case.users < _REACHED * float(row["max_num_seqs"])]
        full = sum(_is_full(row, case) for row, case in short)
        pairs = list(_neighbours([row for row, _ in mine]))
        found.append(
            (gpu, len(mine), odd, len(short), full, len(pairs), sum(more < less for less, more in pairs))
        )
    notes = (
        "a step that gets shorter with a larger batch, all else equal, was held up by something that no "
        "column names: no prediction from the columns can be right for both rows.",
    )
    return Table("what the measured columns say of themselves", columns, found, notes)


def _disagrees(row: Row) -> bool:
    watts = float(row["energy_per_token_joules"]) * float(row["output_throughput_tokens_per_sec"])
    return abs(watts / float(row["avg_power_watts"]) - 1.0) > _AGREE


def _is_full(row: Row, case: ServingCase) -> bool:
    """Return whether so many requests as were allowed would not fit the memory."""
    wanted = float(row["max_num_seqs"]) * (case.prompt_tokens + case.output_tokens / 2.0)
    return wanted > kv_tokens(case, case.decode)


def _neighbours(rows: list[Row]) -> Iterator[tuple[float, float]]:
    """Yield step times of neighbours in batch of one configuration, the smaller batch first. [s]"""
    configurations: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        key = ("model_id", "num_gpus", "task", "expert_parallel", "data_parallel")
        batch = float(row["max_num_seqs"])
        configurations[tuple(row[name] for name in key)].append((batch, measured_time_s(row)))
    for times in configurations.values():
        ordered = [time_s for _, time_s in sorted(times)]
        yield from pairwise(ordered)
