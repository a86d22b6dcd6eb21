"""`datahall estimate`: one row in, one prediction out."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("estimate")
@click.argument("kind", metavar="KIND")
@click.argument("cases", metavar="CASES.csv", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", metavar="OUT.csv", type=click.Path(path_type=Path), help="Where to; printed if not given."
)
@click.option(
    "--catalog",
    "catalog_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with catalog files laid over the shipped ones; may be repeated.",
)
def command(kind: str, cases: Path, out: Path | None, catalog_dirs: tuple[Path, ...]) -> None:
    """Predict each row of CASES.csv and write it with the predictions, or why it was refused.

    KIND is training: a step's seconds and its parts, TFLOP/s and MFU, bytes and watts of a GPU, for the
    columns of training_steps.csv. All columns and the order of rows are kept; what a row leaves
    blank gets a default, which `assumed` tells.
    """
    from importlib import import_module

    from analysis.estimation import KINDS
    from analysis.estimation.case_file import REFUSED, as_csv, predict_rows, read_rows
    from simulator.catalog.shelf import Catalog
    from simulator.foundation.errors import UnknownNameError
    from simulator.foundation.names import hint

    if kind not in KINDS:
        raise UnknownNameError(f"no kind of estimate {kind!r}", hint(kind, KINDS))
    module = import_module(KINDS[kind])
    columns, rows = read_rows(cases, module.REQUIRED)
    shelf = Catalog.shipped()
    for folder in catalog_dirs:
        shelf = shelf.with_directory(folder)
    predictions = predict_rows(rows, module.predictor(shelf))
    text = as_csv(columns, rows, module.PREDICTED, predictions)
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_bytes(text.encode())
    refused = sum(REFUSED in found for found in predictions)
    click.echo(f"{out}: {len(rows) - refused} rows predicted, {refused} refused", err=True)
