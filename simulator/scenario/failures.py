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


class SlowNodes(Branch):
    """Nodes that do not break but compute slowly; a training run is as slow as the slowest it holds."""

    share_fraction: PositiveShare = Field(description="Chance of each node of every pool to be one.")
    slowdown_fraction: Annotated[float, Measure("fraction", above=True)] = Field(
        description="How much longer its arithmetic takes; 10 % in MegaScale (arXiv 2402.15627)."
    )
    ejected_after_s: Duration | None = Field(
        default=None,
        description="A training run with checkpoints that computed with it for so long saves itself and "
        "takes another node, if one is free; never if not given.",
    )
    replacement_s: Duration = Field(default=14 * DAY_S, description="Until a sound node stands in its place.")

    @model_validator(mode="after")
    def _leaves(self) -> Self:
        if self.ejected_after_s is None and "replacement_s" in self.model_fields_set:
            raise mistake("replacement has no effect without ejected_after: no slow node leaves")
        return self


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
    slow_nodes: SlowNodes | None = Field(default=None, description="Nodes that compute slowly.")
    ejection: Ejection | None = Field(default=None, description="When a node leaves for good.")
    maintenance: Maintenance | None = Field(default=None, description="Announced windows.")
    power_off_down_nodes: Truth = Field(
        default=False, description="Nodes under repair draw nothing, instead of their idle power."
    )
