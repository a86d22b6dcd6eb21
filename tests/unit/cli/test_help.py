"""What `--help` says and, by counting modules, that saying it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from simulator.cli.commands import COMMANDS, datahall

HEAVY = ("numpy", "pydantic", "yaml", "pyarrow", "matplotlib", "numba", "simpy", "networkx", "tqdm", "pytz")
#: Python itself, click and our two small modules; measured 116 on Python 3.11.
MOST_MODULES = 160


def modules_after(code):
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.split()


def test_help_loads_nothing_heavy():
    stdout, modules = modules_after(
        "from simulator.cli.commands import datahall\ndatahall.main(['--help'], standalone_mode=False)"
    )
    assert "Commands:" in stdout
    loaded = {name.partition(".")[0] for name in modules}
    assert not loaded & set(HEAVY)
    assert not [name for name in modules if name.startswith("simulator.") and name.count(".") > 1 and
                not name.startswith(("simulator.cli", "simulator.foundation"))]  # fmt: skip
    assert len(modules) < MOST_MODULES


def test_help_lists_every_command_with_a_sentence():
    told = CliRunner().invoke(datahall, ["--help"])
    assert told.exit_code == 0
    for name, sentence in COMMANDS.items():
        assert name in told.output
        assert sentence in told.output


def test_commands_that_do_not_exist_yet_are_not_listed():
    assert list(COMMANDS) == [
        "run", "init", "check", "schema", "catalog", "report", "compare", "account", "export",
        "estimate", "validate", "calibrate",
    ]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name):
    told = CliRunner().invoke(datahall, [name, "--help"])
    assert told.exit_code == 0, told.output
    assert told.output.startswith("Usage: datahall " + name)


def test_a_wrong_command_gets_the_nearest():
    told = CliRunner().invoke(datahall, ["chekc", "x"])
    assert told.exit_code == 2
    assert "no command 'chekc'" in told.stderr
    assert "did you mean 'check'?" in told.stderr


def test_the_version_is_told():
    from simulator import __version__

    assert CliRunner().invoke(datahall, ["--version"]).output == f"datahall, version {__version__}\n"
