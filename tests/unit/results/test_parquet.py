"""Tables in files: values, units, and the same bytes however the rows came."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulator.foundation.errors import RunFolderError
from simulator.results import parquet
from simulator.results.parquet import ParquetSink, read_table
from simulator.telemetry import TABLES


def power(rows: int) -> dict:
    rng = np.random.default_rng(3)
    return {
        "site": [f"site-{number % 3}" for number in range(rows)],
        "component": ["gpu"] * rows,
        "time_s": np.arange(rows, dtype=float),
        "power_w": rng.random(rows),
    }


def cut(columns: dict, sizes: list[int]) -> list[dict]:
    blocks, start = [], 0
    for size in sizes:
        blocks.append({name: values[start : start + size] for name, values in columns.items()})
        start += size
    return blocks


@pytest.mark.parametrize("sizes", [[1000], [1] * 10 + [990], [333, 333, 334], [999, 0, 1]])
def test_bytes_do_not_depend_on_how_rows_were_cut(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 300)
    whole = tmp_path / "whole"
    parts = tmp_path / "parts"
    for folder, blocks in ((whole, [power(1000)]), (parts, cut(power(1000), sizes))):
        folder.mkdir()
        sink = ParquetSink(folder)
        for block in blocks:
            sink.write("power", block)
        sink.close()
    assert (whole / "power.parquet").read_bytes() == (parts / "power.parquet").read_bytes()
    groups = pq.ParquetFile(parts / "power.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [300, 300, 300, 100]


def test_every_table_has_a_file_with_units_and_meanings(tmp_path):
    sink = ParquetSink(tmp_path, stamp={"scenario_hash": "abc"})
    sink.close()
    for name, declared in TABLES.items():
        schema = read_table(tmp_path, name).schema
        assert schema.names == list(declared.names)
        assert schema.metadata[b"scenario_hash"] == b"abc"
        for column in declared.columns:
            metadata = schema.field(column.name).metadata
            assert metadata[b"unit"].decode() == column.unit
            assert metadata[b"meaning"].decode() == column.meaning


def test_codes_become_names_and_nan_becomes_null(tmp_path):
    sink = ParquetSink(tmp_path, sites=["here", "there"], pools=["old", "new"])
    sink.write(
        "segments",
        {
            "job": np.array([0, 1]),
            "site": np.array([1, 0], dtype=np.int16),
            "pool": np.array([0, -1], dtype=np.int16),
            "start_s": np.array([0.0, 1.0]),
            "end_s": np.array([1.0, np.inf]),
            "gpus": np.array([8, 8]),
            "phase": np.array([2, 4], dtype=np.int8),
            "rate": np.array([np.nan, 1.0]),
            "power_w": np.array([1.0, 2.0]),
            "gpu_power_w": np.array([1.0, 2.0]),
            "max_power_w": np.array([1.0, 2.0]),
        },
    )
    sink.close()
    rows = read_table(tmp_path, "segments").to_pylist()
    assert [row["site"] for row in rows] == ["there", "here"]
    assert [row["pool"] for row in rows] == ["old", None]
    assert [row["phase"] for row in rows] == ["running", "detecting"]
    assert [row["rate"] for row in rows] == [None, 1.0]
    assert [row["end_s"] for row in rows] == [1.0, None]


def test_wrong_columns_are_named(tmp_path):
    sink = ParquetSink(tmp_path)
    block = power(3)
    del block["site"]
    with pytest.raises(ValueError, match=r"missing columns \['site'\]"):
        sink.write("power", block)
    with pytest.raises(ValueError, match="different lengths"):
        sink.write("power", power(3) | {"site": ["a"]})
    with pytest.raises(ValueError, match="code 9 has no name"):
        sink.write("power", power(2) | {"site": (np.array([0, 9]), ("a",))})


def test_an_unknown_table_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(RunFolderError, match=r"did you mean 'power'"):
        read_table(tmp_path, "powr")
    with pytest.raises(RunFolderError, match="is missing"):
        read_table(tmp_path, "power")
    (tmp_path / "power.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_table(tmp_path, "power")
