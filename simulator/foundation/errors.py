"""Every error a user can cause: one root, a leaf per kind of mistake, each with its exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class DatahallError(Exception):
    """Root of all errors that are answered with a message instead of a traceback."""

    #: What the command line exits with.
    exit_status: ClassVar[int] = 2


@dataclass(frozen=True)
class Problem:
    """One mistake in one file: where it is, what was said, and the nearest good thing.

    Parameters
    ----------
    message
        What was said and what was expected, in one line.
    file, line, column
        Where; lines and columns count from 1, and 0 means "the whole file".
    key
        Dotted path of the field, e.g. ``sites.frankfurt.cooling.plant``; may be empty.
    hint
        A second line: the nearest valid name and what is known; may be empty.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""
    hint: str = ""

    def __str__(self) -> str:
        where = self.file
        if self.line:
            where = f"{where}:{self.line}:{self.column}" if where else f"{self.line}:{self.column}"
        head = ": ".join(part for part in (where, self.key, self.message) if part)
        return f"{head}\n    {self.hint}" if self.hint else head


class ScenarioError(DatahallError):
    """All mistakes found in one reading of a scenario, study or catalog file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: list[Problem] = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines.insert(0, f"{len(lines)} problems")
        return "\n".join(lines)


class UnitError(DatahallError, ValueError):
    """A quantity, moment or ratio that cannot be read; the message lists what is known."""


class UnknownNameError(DatahallError, LookupError):
    """A name that no table holds; the message gives the nearest one and what is known.

    Parameters
    ----------
    message
        What was asked for.
    hint
        The nearest name and the known ones.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        return f"{self.message}\n    {self.hint}" if self.hint else self.message


class CatalogError(DatahallError):
    """A catalog entry that is missing, malformed, or blank where a value is needed."""


class TraceError(DatahallError, ValueError):
    """A trace or series that is malformed or too short; the message says where."""


class PolicyError(DatahallError):
    """A policy answered with something impossible."""


class AccountingRefusal(DatahallError):  # noqa: N818 - a refusal, with its reason, is an answer
    """Re-accounting would give a wrong answer, because the run would have gone differently."""


class LayoutError(DatahallError, ValueError):
    """A model does not fit on the GPUs given, or degrees of parallelism do not divide."""


class ScalingLawError(DatahallError, ValueError):
    """A loss that no training reaches, or a run of which the scaling law says nothing."""


class RunFolderError(DatahallError):
    """A run folder that is missing, incomplete or cannot be written."""


class AuditError(DatahallError):
    """The books do not balance: a bug in datahall, never the user's fault."""

    exit_status: ClassVar[int] = 3


class BuildError(DatahallError):
    """A valid scenario that cannot be made into a run; the message says which key and why."""
