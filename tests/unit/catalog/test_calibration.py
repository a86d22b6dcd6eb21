"""The shipped files are what the calibration scripts write from the measured data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.calibration import climates, grid_shapes, job_mixes, lengths
from analysis.calibration.catalog_file import CATALOG, number, table_lines
from analysis.calibration.roots import bisected, newton


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (lengths, "lengths.yaml"),
        (job_mixes, "mixes.yaml"),
        pytest.param(climates, "climates.yaml", marks=pytest.mark.slow),
        pytest.param(grid_shapes, "grids.yaml", marks=pytest.mark.slow),
    ],
    ids=["lengths", "mixes", "climates", "grids"],
)
def test_the_shipped_file_is_what_its_script_fits(script: object, name: str, shared_data: Path) -> None:
    assert script.text(shared_data) == (CATALOG / name).read_text(encoding="utf-8")  # type: ignore[attr-defined]


def test_numbers_are_written_short() -> None:
    assert [number(x) for x in (1.0, 0.12345, -0.0001, 12.50)] == ["1", "0.123", "0", "12.5"]


def test_a_table_is_one_line_a_row() -> None:
    lines = table_lines(2, "x", np.array([[1.0, 2.0], [3.0, 4.5]]), basis="calibrated")
    assert lines == ["  x:", "    basis: calibrated", "    value:", '      - "1 2"', '      - "3 4.5"']


def test_a_root_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="no crossing between 2 and 3"):
        bisected(lambda x: x, 2.0, 3.0)


def test_an_unsolvable_set_is_refused() -> None:
    with pytest.raises(ValueError, match="not solved"):
        newton(lambda x: np.array([x[0] ** 2 + 1.0]), np.array([0.7]))


def test_dew_point_is_the_textbooks() -> None:
    """25 C at 50 % has a dew point of 13.9 C (ASHRAE Fundamentals, psychrometric chart)."""
    assert climates.dew_point_c(np.array([25.0]), np.array([50.0])) == pytest.approx([13.9], abs=0.1)
