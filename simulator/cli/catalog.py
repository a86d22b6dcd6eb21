"""`datahall catalog`: what a scenario may name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.foundation.errors import CatalogError

if TYPE_CHECKING:
    from simulator.catalog.shelf import Catalog


@click.command("catalog")
@click.argument("kind", metavar="[KIND", required=False)
@click.argument("name", metavar="[NAME]]", required=False)
@click.option(
    "--catalog",
    "catalog_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with catalog files laid over the shipped ones; may be repeated.",
)
def command(kind: str | None, name: str | None, catalog_dirs: tuple[Path, ...]) -> None:
    """List the kinds, the entries of one KIND, or every value of one entry with its source.

    Kinds are tables of facts (gpus, models, grids ...) and of plug-ins (policies, plants ...).
    """
    from simulator.catalog.shelf import Catalog
    from simulator.foundation.names import hint
    from simulator.scenario import seams

    shelf = Catalog.shipped()
    for folder in catalog_dirs:
        shelf = shelf.with_directory(folder)
    plugins = {word.replace("_", "-"): word for word in seams.SEAMS}
    kinds = [*shelf.kinds(), *(word for word in plugins if word not in shelf.kinds())]
    if kind is None:
        for word in kinds:
            entries = list(shelf.names(word)) if word in shelf.kinds() else list(seams.table(plugins[word]))
            click.echo(f"{word:15} {_shortened(entries)}")
    elif kind not in kinds:
        raise CatalogError(f"no kind {kind!r}\n    {hint(kind, kinds, limit=40)}")
    elif kind in plugins and (kind not in shelf.kinds() or name in seams.table(plugins[kind])):
        _echo(_plugins(seams.table(plugins[kind]), kind, name))
    else:
        _echo(_facts(shelf, kind, name))
        if name is None and kind in plugins:
            _echo(_plugins(seams.table(plugins[kind]), kind, None))


def _echo(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _shortened(names: list[str]) -> str:
    return textwrap.shorten(", ".join(names), 84, placeholder=" ...")


def _facts(shelf: Catalog, kind: str, name: str | None) -> Iterator[str]:
    """Return the lines for a kind's entries, or for the values of one."""
    from simulator.foundation.plugins import yaml_key
    from simulator.foundation.units import render

    if name is None:
        for entry in shelf.names(kind):
            yield f"{entry:28} {shelf.get(kind, entry).title}"
        return
    yield f"{kind} {name}: {shelf.get(kind, name).title}"
    for value in shelf.values(kind, name):
        said = "(blank)" if value.value is None else value.written
        span = ""
        if value.low is not None and value.high is not None:
            span = f"  [{render(value.low, value.unit)} to {render(value.high, value.unit)}]"
        source = ", ".join(part for part in (value.basis, value.source, value.date) if part)
        yield f"  {yaml_key(value.field, value.unit):34} {said:24}{span} {source}".rstrip()
        if value.note:
            yield textwrap.fill(value.note, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _plugins(rows: Any, kind: str, name: str | None) -> Iterator[str]:
    """Return the lines for a table of plug-ins, or for the fields of one."""
    from simulator.foundation.plugins import fields_of, find

    if name is None:
        for word, cls in rows.items():
            yield f"{word:28} {(cls.__doc__ or '').strip().splitlines()[0]}"
        return
    cls = find(rows, name, kind)
    yield f"{kind} {name}: {(cls.__doc__ or '').strip().splitlines()[0]}"
    for field in fields_of(cls):
        default = "required" if field.required else f"default {field.default!r}"
        yield f"  {field.key:28} {field.unit or '':12} {default:16} {field.meaning}".rstrip()
