"""Which measured set a GPU generation takes."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.foundation.errors import CatalogError
from simulator.foundation.names import nearest


def measured_generation(generation: str, measured: Mapping[str, object]) -> str:
    """Return the key of a table by generation; CatalogError with what is known if it has none."""
    key = generation.casefold()
    if key in measured:
        return key
    first = key.split()[0] if key.strip() else ""
    if first in measured:  # "Blackwell Ultra" is Blackwell with more of it
        return first
    near = nearest(key, measured)
    hint = f"did you mean {near!r}? " if near else ""
    raise CatalogError(
        f"GPU generation {generation!r} has no measured efficiencies; {hint}known: "
        f"{', '.join(measured)}; set catalog.gpus.NAME.generation to the nearest of them"
    )
