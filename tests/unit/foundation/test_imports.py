from __future__ import annotations

import subprocess
import sys

import pytest

import simulator
from simulator import foundation


def modules_after(code):
    """The names of all modules loaded by a fresh interpreter that runs some code."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in ran.stdout.split()}


HEAVY = {"numpy", "yaml", "pydantic", "pyarrow", "matplotlib", "networkx", "numba", "simpy", "scipy"}


@pytest.mark.parametrize(
    "code",
    [
        "import simulator; simulator.__version__; dir(simulator)",
        "from simulator.foundation import DatahallError, Seconds, fields_of, find, nearest, snap",
        "import simulator.foundation.units",
    ],
)
def test_names_units_and_errors_load_nothing_heavy(code):
    assert modules_after(code) & HEAVY == set()


def test_the_strict_reader_needs_yaml_and_nothing_else():
    assert modules_after("from simulator.foundation import read_document") & HEAVY == {"yaml"}


def test_every_public_name_of_the_foundation_is_there_and_comes_from_where_it_says():
    assert sorted(foundation.__all__) == sorted(foundation._HOME_OF)
    for name in foundation.__all__:
        assert getattr(foundation, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Seonds'"):
        foundation.Seonds  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        simulator.lod  # noqa: B018


def test_the_package_lists_its_door():
    assert {"load", "run", "Run", "__version__"} <= set(dir(simulator))
