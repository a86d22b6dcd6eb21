"""Everything that is wrong together although each value alone is right."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from simulator.catalog.shelf import Catalog
from simulator.scenario import capacity, catalog_names, coherence, references, times
from simulator.scenario.mistake import Mistake

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario


def mistakes(scenario: Scenario, catalog: Catalog, *, physics: bool = True) -> list[Mistake]:
    """Return what contradicts itself or names something that does not exist.

    Parameters
    ----------
    scenario
        Each of its values is right alone.
    catalog
        What its names are looked up in.
    physics
        Also whether things fit: more GPUs than there are, models larger than memory. Only
        asked when all names are good.
    """
    names = [*references.mistakes(scenario), *catalog_names.mistakes(scenario, catalog)]
    found = [*names, *chain(coherence.mistakes(scenario, catalog), times.mistakes(scenario))]
    if physics and not names:
        found += capacity.mistakes(scenario, catalog)
    return found
