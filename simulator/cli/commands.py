"""The table of commands; a command's module is imported when that command is called."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Any, Final

import click

from simulator import __version__
from simulator.foundation.errors import DatahallError
from simulator.foundation.names import hint

#: Command -> what `--help` says about it, so that no command's module is needed for that.
COMMANDS: Final[dict[str, str]] = {
    "run": "Run a scenario: a folder of results, a report, and a summary.",
    "init": "Copy a shipped scenario into this folder, to change it.",
    "check": "Read a scenario and print it with every value spelled out.",
    "schema": "Print the JSON Schema of scenario files, for editors.",
    "catalog": "List what scenarios may name: GPUs, models, grids, policies ...",
    "report": "Make the report of finished runs again.",
    "compare": "Put finished runs side by side: what changed, and by how much.",
    "account": "Count a finished run under another grid, price or climate.",
    "export": "Write a run's tables in another format.",
    "estimate": "Predict a table of cases: one row in, one prediction out.",
    "validate": "Score the models against published measurements.",
    "calibrate": "Measure the GPU of this machine: a profile that the catalog loads.",
}


class Refusal(click.ClickException):
    """A message for the user instead of a traceback."""

    def __init__(self, error: DatahallError) -> None:
        super().__init__(str(error))
        # click declares one for the class; here each error has its own.
        self.__dict__["exit_code"] = error.exit_status

    def show(self, file: Any = None) -> None:
        """Print the message as it is, to stderr."""
        click.echo(self.message, file=file, err=file is None)


class LazyGroup(click.Group):
    """Commands by name; errors that a user can cause become messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"simulator.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; a wrong name gets the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"no command {name!r}\n{hint(name, COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend ends in a message and exit status 2 or 3."""
        try:
            return super().invoke(ctx)
        except DatahallError as error:
            raise Refusal(error) from None
        except MemoryError:
            raise Refusal(
                DatahallError(
                    "not enough memory for a run of this size: shorten it, ask for less, or count "
                    "requests with `mode: thinned` or `mode: fluid`"
                )
            ) from None
        except OSError as error:
            # click ends quietly when a reader of its output has gone.
            if error.errno == errno.EPIPE or error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise Refusal(DatahallError(f"{where}{error.strerror.lower()}")) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datahall")
def datahall() -> None:
    """Simulate GPU datacenters: jobs, services, power, cooling, money and carbon.

    Start with: datahall run quickstart
    """
