"""The suites of ``datahall validate``: their scores, their words, and what they say without data."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from click.testing import CliRunner

from analysis.validation import SUITES, MeasurementsMissing
from analysis.validation.score import Column, Score, Table, verdict
from simulator.cli.commands import datahall


def test_a_score_by_hand():
    score = Score.of([(0.1, "a"), (-0.3, "b"), (0.05, "c")])
    assert score.rows == 3
    assert score.mean_absolute == pytest.approx(0.15)
    assert score.bias == pytest.approx(-0.05)
    assert score.worst == (-0.3, "b")


def test_a_target_is_met_or_missed():
    assert verdict(0.0399, 0.04) == "PASS"
    assert verdict(0.0401, 0.04) == "MISS"


def test_a_table_as_text_and_as_data():
    table = Table(
        "errors",
        (Column("source"), Column("n", "count"), Column("bias", "signed")),
        [("x", 12, -0.5)],
        ("so",),
    )
    assert table.lines() == ["errors", "source   n    bias", "------------------", "x       12  -50.0%", "so"]
    assert table.data()["rows"] == [{"source": "x", "n": 12, "bias": -0.5}]


@pytest.mark.parametrize("part", [part for parts in SUITES.values() for part in parts])
def test_without_the_measurements_the_message_says_where_they_were_sought(part, tmp_path):
    with pytest.raises(MeasurementsMissing, match=str(tmp_path)):
        import_module(part).tables(tmp_path)


def test_the_command_names_the_nearest_suite_and_the_missing_file(tmp_path):
    call = CliRunner().invoke
    wrong = call(datahall, ["validate", "trainin"])
    assert wrong.exit_code == 2
    assert "did you mean 'training'?" in wrong.output
    absent = call(datahall, ["validate", "training", "--data", str(tmp_path)])
    assert absent.exit_code == 2
    assert "training_steps.csv: no such file" in absent.output


def test_the_command_prints_data(monkeypatch, tmp_path):
    table = Table("t", (Column("a"),), [("b",)])
    monkeypatch.setattr("analysis.validation.training.tables", lambda data: [table])
    monkeypatch.setattr("analysis.validation.SUITES", {"training": ("analysis.validation.training",)})
    told = CliRunner().invoke(datahall, ["validate", "--data", str(tmp_path), "--json"])
    assert json.loads(told.output) == {"training": [table.data()]}
