"""`datahall calibrate`: measure the GPU of this machine."""

from __future__ import annotations

import math
from pathlib import Path

import click


@click.command("calibrate")
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("device-profile"),
    show_default=True,
    help="Folder for the profile; `datahall run ... --catalog DIR` loads it.",
)
@click.option(
    "--like", metavar="GPU", help="Catalog name of the part; found by the device's name if not given."
)
@click.option(
    "--gpu",
    "index",
    metavar="N",
    type=click.IntRange(min=0),
    help="Which GPU, counted from 0 among those that CUDA_VISIBLE_DEVICES leaves.  [default: 0]",
)
@click.option(
    "--clocks",
    is_flag=True,
    help="Also lock the GPU's clocks at six levels, where this user may, and give them back.",
)
@click.option(
    "--patience",
    metavar="MIN",
    type=click.FloatRange(min=0.1, max=1440.0),
    default=20.0,
    show_default=True,
    help="Minutes after which nothing more is begun; what was measured is written.",
)
@click.option(
    "--tiny", is_flag=True, help="Small shapes on the processor: no GPU needed, and no GPU measured."
)
def command(
    *, out: Path, like: str | None, index: int | None, clocks: bool, patience: float, tiny: bool
) -> None:
    """Measure products, memory, decode attention and watts; write a profile that the catalog loads.

    Needs torch and an NVIDIA GPU that nobody else uses meanwhile; takes about four minutes, six with
    --clocks. Prints how the shipped coefficients of that part compare. Nothing of the GPU is changed
    except with --clocks.
    """
    if not math.isfinite(patience):
        raise click.BadParameter("expected minutes", param_hint="--patience")
    if tiny and (clocks or index is not None):
        said = "--clocks" if clocks else "--gpu"
        raise click.UsageError(f"{said} is about a GPU, and --tiny measures the processor: leave one out")

    from datetime import UTC, datetime

    from analysis.calibration.device.device_profile import node_names, profile, refuse_foreign, write
    from analysis.calibration.device.measurements import TINY, Patience
    from analysis.calibration.device.parts import alike
    from analysis.calibration.device.processor import NumpyBackend
    from analysis.calibration.device.session import measure_backend, measure_gpu
    from analysis.calibration.device.shares import lines
    from simulator.catalog.shelf import Catalog
    from simulator.foundation.units import MINUTE_S

    catalog = Catalog.shipped()
    part = catalog.gpu(like) if like is not None else None
    refuse_foreign(out)
    waiting = Patience(patience * MINUTE_S, lambda said: click.echo(f"  {said} ...", err=True))
    if tiny:
        sitting = measure_backend(NumpyBackend(), TINY, waiting)
    else:
        sitting = measure_gpu(index or 0, clocks=clocks, patience=waiting)
    device = sitting.device
    if part is None and device.kind == "GPU":
        part = alike(device, catalog)
    made = profile(device, sitting.found, part, datetime.now(UTC).date())
    write(out, made, catalog)
    click.echo(f"{device.kind} {device.name}, {device.precision}: {made.name} in {out}")
    for line in lines(made):
        click.echo(line)
    nodes = node_names(made, catalog)
    if nodes:
        click.echo(f"next: datahall run SCENARIO --catalog {out} sites.0.pools.0.node={nodes[0][0]}")
