"""`datahall calibrate`: measure the GPU of this machine."""

from __future__ import annotations

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
    "--tiny", is_flag=True, help="Small shapes on the processor: no GPU needed, and no GPU measured."
)
def command(out: Path, like: str | None, tiny: bool) -> None:
    """Measure products, memory, decode attention and watts; write a profile that the catalog loads.

    Needs torch and an NVIDIA GPU. Prints how the shipped coefficients of that part compare.
    """
    from datetime import UTC, datetime

    from analysis.calibration.device.backends import Backend, NumpyBackend, TorchBackend
    from analysis.calibration.device.device_profile import alike, compared, write
    from analysis.calibration.device.measurements import FULL, TINY, measure
    from simulator.catalog.shelf import Catalog
    from simulator.foundation.units import GIGA

    catalog = Catalog.shipped()
    part = catalog.gpu(like) if like is not None else None
    backend: Backend = NumpyBackend() if tiny else TorchBackend()
    device = backend.device
    if part is None and device.kind == "GPU":
        part = alike(device, catalog)
    found = measure(backend, TINY if tiny else FULL)
    name = write(out, device, found, part, datetime.now(UTC).date())
    click.echo(f"{device.kind} {device.name}, {device.precision}: {name} in {out}")
    for what, rate, share, shipped in compared(found, part):
        of = "" if share is None else f", {share:.0%} of the data sheet"
        said = "" if shipped is None else f" (shipped coefficient {shipped:.0%})"
        click.echo(f"  {what:<18}{rate / GIGA:>12,.1f} G/s{of}{said}")
    watts = {"idle": found.idle_w, "at work": found.load_w, "limit": found.limit_w}
    known = [f"{word} {value:.0f} W" for word, value in watts.items() if value is not None]
    click.echo(f"  watts             {', '.join(known) if known else 'not told by this device'}")
