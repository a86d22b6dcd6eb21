"""The command line: `datahall COMMAND`, one module a command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the installed script calls this."""
    from simulator.cli.commands import datahall

    datahall.main(prog_name="datahall")


__all__ = ["main"]
