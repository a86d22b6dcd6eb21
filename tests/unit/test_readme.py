"""What the README shows works as it stands there."""

from __future__ import annotations

import re

import pytest

from simulator.cli.commands import COMMANDS
from simulator.cluster.allocation import PoolFree


@pytest.fixture
def readme(repository):
    return (repository / "README.md").read_text(encoding="utf-8")


def test_the_policy_of_the_readme_is_a_placement(readme):
    source = next(
        block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "HighestNodes" in block
    )
    names = {"__name__": "readme"}
    exec(compile(source, "README.md", "exec"), names)
    free = PoolFree(0, 4, 8)
    assert names["HighestNodes"]().find(16, free).nodes() == [2, 3]
    assert names["HighestNodes"]().find(12, free) is None


def test_every_command_of_the_readme_exists(readme):
    said = set(re.findall(r"^datahall (\w+)", readme, re.M))
    assert said
    assert said <= set(COMMANDS), said - set(COMMANDS)


def test_every_module_the_readme_names_is_there(readme, repository):
    for path in set(re.findall(r"`(simulator/[\w/]+\.py)`", readme)) - {
        "simulator/scheduling/highest_nodes.py"
    }:
        assert (repository / path).is_file(), path
