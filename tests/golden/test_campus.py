"""Sameness, not truth: a small campus with everything gives the summary it gave before.

`pytest tests/golden --regenerate` rewrites the remembered numbers; the commit then says what moved.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SCENARIO = FOLDER / "campus.yaml"
REMEMBERED = FOLDER / "campus.summary.json"


def run_campus(out: Path, *more: str, hash_seed: str = "0") -> Path:
    """Run the campus in a process of its own."""
    command = [sys.executable, "-m", "simulator.cli", "run", str(SCENARIO), *more]
    subprocess.run(
        [*command, "-o", str(out), "--no-report", "-q"],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def campus(tmp_path_factory):
    return run_campus(tmp_path_factory.mktemp("golden") / "campus", hash_seed="1")


def files(folder: Path) -> dict[str, bytes]:
    """Every file that is part of the result; host.json tells times and the machine."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "host.json"
    }


def test_the_summary_is_as_remembered(campus, regenerate):
    found = json.loads((campus / "summary.json").read_text())
    if regenerate:
        REMEMBERED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    remembered = json.loads(REMEMBERED.read_text())
    assert found.keys() == remembered.keys()
    numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
    assert numbers == pytest.approx({name: remembered[name] for name in numbers}, rel=1e-9)
    rest = {name: value for name, value in found.items() if name not in numbers}
    assert rest == {name: remembered[name] for name in rest}


def test_another_process_and_hash_seed_give_the_same_bytes(campus, tmp_path):
    again = files(run_campus(tmp_path / "again", hash_seed="4242"))
    first = files(campus)
    assert again.keys() == first.keys()
    assert [name for name in first if again[name] != first[name]] == []


def test_run_json_repeats_the_run_to_the_byte(campus, tmp_path):
    command = [sys.executable, "-m", "simulator.cli", "run", str(campus / "run.json")]
    subprocess.run([*command, "-o", str(tmp_path / "again"), "--no-report", "-q"], check=True)
    again, first = files(tmp_path / "again"), files(campus)
    assert [name for name in first if again[name] != first[name]] == []


def test_another_seed_differs(campus, tmp_path):
    other = run_campus(tmp_path / "other", "seed=8")
    mine = json.loads((campus / "summary.json").read_text())
    theirs = json.loads((other / "summary.json").read_text())
    assert mine["it_energy_mwh"] != theirs["it_energy_mwh"]
    assert mine["service.chat.requests"] != theirs["service.chat.requests"]


def test_the_audit_of_everything_balances(campus):
    audit = json.loads((campus / "run.json").read_text())["audit"]
    worst = max(entry["relative_difference"] for entry in audit)
    assert worst < 1e-9
    assert len(audit) >= 12
