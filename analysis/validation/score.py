"""What a validation answers with: tables of errors, and verdicts against stated targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Value = str | int | float | None

#: How each kind of column is written; None is a blank.
_FORMATS: Final = {"count": "{:d}", "percent": "{:.1%}", "signed": "{:+.1%}", "number": "{:.4g}"}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name
        What stands above it, and its key in JSON.
    kind
        ``text``, ``count``, ``percent`` (a fraction, shown in percent), ``signed`` (the same with
        its sign) or ``number``.
    """

    name: str
    kind: str = "text"

    def cell(self, value: Value) -> str:
        """Return a value as it is printed."""
        if value is None:
            return ""
        return str(value) if self.kind == "text" else _FORMATS[self.kind].format(value)


@dataclass(frozen=True)
class Table:
    """Rows under columns, with a title above and what a reader must know below."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Value, ...]]
    notes: Sequence[str] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """Return the table as text: words to the left, numbers to the right."""
        cells = [[c.cell(v) for c, v in zip(self.columns, row, strict=True)] for row in self.rows]
        widths = [
            max([len(column.name), *(len(row[i]) for row in cells)]) for i, column in enumerate(self.columns)
        ]

        def line(words: Sequence[str]) -> str:
            parts = [
                word.ljust(width) if column.kind == "text" else word.rjust(width)
                for word, width, column in zip(words, widths, self.columns, strict=True)
            ]
            return "  ".join(parts).rstrip()

        head = line([column.name for column in self.columns])
        return [self.title, head, "-" * len(head), *(line(row) for row in cells), *self.notes]

    def data(self) -> dict[str, Any]:
        """Return the same for JSON; percentages stay fractions."""
        names = [column.name for column in self.columns]
        rows = [dict(zip(names, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class Score:
    """Errors of predictions against measurements: relative, and what each row was."""

    errors: tuple[float, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, str]]) -> Score:
        """Return the score of (relative error, label) pairs."""
        return cls(tuple(error for error, _ in pairs), tuple(label for _, label in pairs))

    @property
    def rows(self) -> int:
        """Return how many were scored. [count]"""
        return len(self.errors)

    @property
    def mean_absolute(self) -> float:
        """Return the mean absolute relative error (MAPE)."""
        return sum(abs(error) for error in self.errors) / len(self.errors)

    @property
    def bias(self) -> float:
        """Return the mean relative error; above 0 is predicted too high."""
        return sum(self.errors) / len(self.errors)

    @property
    def worst(self) -> tuple[float, str]:
        """Return the largest error and its row."""
        return max(zip(self.errors, self.labels, strict=True), key=lambda pair: abs(pair[0]))


def verdict(reached: float, target: float) -> str:
    """Return PASS or MISS of an error against its target."""
    return "PASS" if reached <= target else "MISS"
