"""The look of an offline HTML page: one file, no script, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Final

from analysis.drawing import escape

#: The style sheet, which travels inside every page.
SHEET: Final = "page.css"


class Cell(str):
    """Text that is HTML already."""

    __slots__ = ()


def page(title: str, head: str, sections: Sequence[tuple[str, str, str]], foot: str) -> str:
    """Return a whole page.

    Parameters
    ----------
    title
        For the browser's tab.
    head
        HTML of the header.
    sections
        (anchor, heading, HTML), in order; the navigation is made from them.
    foot
        HTML of the footer.
    """
    links = "".join(f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, heading, _ in sections)
    body = "".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{escape(heading)}</h2>{inside}</section>\n'
        for anchor, heading, inside in sections
    )
    sheet = resources.files("analysis").joinpath(SHEET).read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="datahall">\n<title>{escape(title)}</title>\n'
        f"<style>\n{sheet}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the report</a>\n'
        f'<header><div class="wide">{head}</div></header>\n<div class="layout wide">\n'
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n<main id="main">\n{body}</main>\n</div>\n'
        f'<footer><div class="wide">{foot}</div></footer>\n</body>\n</html>\n'
    )


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", text_columns: int = 1
) -> str:
    """Return a table; the first cell of a row names it, columns from ``text_columns`` on are numbers."""
    listed = list(rows)
    if not listed:
        return ""
    heads = "".join(
        f'<th scope="col"{_kind(place, text_columns)}>{escape(name)}</th>'
        for place, name in enumerate(columns)
    )
    lines = []
    for row in listed:
        first, *rest = row
        cells = "".join(
            f"<td{_kind(place, text_columns)}>{_inside(value)}</td>" for place, value in enumerate(rest, 1)
        )
        lines.append(f'<tr><th scope="row">{_inside(first)}</th>{cells}</tr>')
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{said}<thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return the numbers on top: (name, value, note)."""
    inside = "".join(
        f'<div class="card"><div class="name">{escape(name)}</div>'
        f'<div class="value">{escape(value)}</div><div class="note">{escape(note)}</div></div>'
        for name, value, note in entries
    )
    return f'<div class="cards">{inside}</div>'


def paragraphs(texts: Iterable[str]) -> str:
    """Return sentences, a paragraph each."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def bullets(texts: Iterable[str]) -> str:
    """Return a list; nothing for nothing."""
    inside = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="plain">{inside}</ul>' if inside else ""


def folded(summary: str, inside: str, *, unfolded: bool = False) -> str:
    """Return a part that opens on a click."""
    return f"<details{' open' if unfolded else ''}><summary>{escape(summary)}</summary>{inside}</details>"


def code(text: str) -> str:
    """Return a block to copy."""
    return f"<pre><code>{escape(text)}</code></pre>"


def verdict(passed: bool | None) -> Cell:
    """Return PASS, FAIL or not checked, coloured and spelled out."""
    if passed is None:
        return Cell("not checked")
    return Cell('<span class="good">PASS</span>' if passed else '<span class="bad">FAIL</span>')


def _inside(value: Any) -> str:
    return str(value) if isinstance(value, Cell) else escape(value)


def _kind(place: int, text_columns: int) -> str:
    return "" if place < text_columns else ' class="n"'
