"""Failures: which published causes and rates apply."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from simulator.foundation.units import DAY_S
from simulator.scenario.branch import Branch
from simulator.scenario.fields import (
    Duration,
    Factor,
    Instant,
    Measure,
    PositiveShare,
    Truth,
    Words,
    mistake,
)


class Lemons(Branch):
    """A few nodes of every pool that break more often than the others."""

    share_fraction: PositiveShare = Field(description="Of a pool's nodes.")
    rate_scale: Annotated[float, Measure("", low=1.0)] = Field(
        description="How much oftener a lemon breaks; the pool's mean stays as the preset's."
    )


class Ejection(Branch):
    """Nodes that break too often leave for good, and sound ones come in their place."""

    incidents: Annotated[int, Measure("", low=2, whole=True)] = Field(
        description="A node leaves at this many failures ..."
    )
    within_s: Duration = Field(default=28 * DAY_S, description="... within so long.")
    replacement_s: Duration = Field(default=14 * DAY_S, description="Until a sound node stands in its place.")


class Maintenance(Branch):
    """Windows in which some nodes of every pool are taken out on purpose, in turn."""

    every_s: Duration = Field(description="From one window to the next.")
    lasts_s: Duration = Field(description="Length of a window.")
    nodes_fraction: PositiveShare = Field(alias="nodes", description="Of each pool in one window.")
    first_s: Instant | None = Field(default=None, description="The first window; after `every` if not given.")

    @model_validator(mode="after")
    def _closes(self) -> Self:
        if self.lasts_s >= self.every_s:
            raise mistake("a window must close before the next opens: lasts is not below every")
        return self


class Failures(Branch):
    """What breaks, and how often."""

    short: ClassVar[str] = "preset"

    preset: Words = Field(default="none", description="Catalog name of causes and rates, or none.")
    rate_scale: Factor = Field(default=1.0, description="Multiplies every rate.")
    lemons: Lemons | None = Field(default=None, description="Nodes that break more often.")
    ejection: Ejection | None = Field(default=None, description="When a node leaves for good.")
    maintenance: Maintenance | None = Field(default=None, description="Announced windows.")
    power_off_down_nodes: Truth = Field(
        default=False, description="Nodes under repair draw nothing, instead of their idle power."
    )
