"""The script: what happens at a given moment, whatever the dice say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.scenario.branch import Branch
from simulator.scenario.fields import (
    Count,
    Duration,
    Factor,
    Instant,
    Name,
    Power,
    Share,
    Span,
    Whole,
    Words,
    mistake,
)
from simulator.scenario.kinds import ByKind


class SetPower(Branch):
    """Cap clocks or watts of a site, a pool, a job or a service."""

    kind: Literal["set-power"] = "set-power"
    at_s: Instant = Field(description="When.")
    target: Words = Field(description="SITE, SITE.POOL, `job NAME` or `service NAME`.")
    clock_fraction: Share | None = Field(default=None, description="Of the GPU's full clock.")
    power_w: Power | None = Field(default=None, alias="watts", description="Cap of each GPU.")

    @model_validator(mode="after")
    def _one_level(self) -> Self:
        if (self.clock_fraction is None) == (self.power_w is None):
            raise mistake("give either clock or watts, and not both")
        return self


class NodeFault(Branch):
    """A node goes down."""

    kind: Literal["node-fault"] = "node-fault"
    at_s: Instant = Field(description="When.")
    node: Words = Field(description="SITE.POOL.N or POOL.N, counted from 0.")
    lasts_s: Duration = Field(description="Until it is back.")


class LeafFault(Branch):
    """A leaf switch goes down, and the nodes below it lose the fabric."""

    kind: Literal["leaf-fault"] = "leaf-fault"
    at_s: Instant = Field(description="When.")
    leaf: Words = Field(description="SITE.N, counted from 0.")
    lasts_s: Duration = Field(description="Until it is back.")


class SwitchFault(Branch):
    """Switches go down: a leaf or router, or part of those of a pod or of the core."""

    kind: Literal["switch-fault"] = "switch-fault"
    at_s: Instant = Field(description="When.")
    switch: Words = Field(description="SITE.leaf-N, SITE.pod-N, SITE.core or SITE.router-N, counted from 0.")
    lost_fraction: Share = Field(
        default=1.0, description="Of the pod's or the core's switches; a leaf is lost as a whole."
    )
    lasts_s: Duration = Field(description="Until they are back.")


class LinkFault(Branch):
    """Part of a link's cables is lost; what crosses it slows, or stops if nothing is left."""

    kind: Literal["link-fault"] = "link-fault"
    at_s: Instant = Field(description="When.")
    link: Words = Field(
        description="SITE.leaf-N or SITE.pod-N for its ways up, SITE.group-A-group-B ...; leaf-* for all."
    )
    left_fraction: Share = Field(default=0.0, description="What is left of its bandwidth.")
    lasts_s: Duration = Field(description="Until it is whole again.")


class NicFault(Branch):
    """A node loses some of its ports into the fabric; the others carry its traffic."""

    kind: Literal["nic-fault"] = "nic-fault"
    at_s: Instant = Field(description="When.")
    node: Words = Field(description="SITE.POOL.N or POOL.N, counted from 0.")
    ports: Count = Field(default=1, description="Ports lost, of one for each GPU; all of them cut it off.")
    lasts_s: Duration = Field(description="Until they work again.")


class CoolingFault(Branch):
    """Part of the cooling capacity is lost."""

    kind: Literal["cooling-fault"] = "cooling-fault"
    at_s: Instant = Field(description="When.")
    site: Name = Field(description="Which site.")
    capacity_fraction: Share = Field(description="What is left of the capacity.")
    lasts_s: Duration = Field(description="Until all of it is back.")


class Curtailment(Branch):
    """The grid operator asks for less power."""

    kind: Literal["curtailment"] = "curtailment"
    at_s: Instant = Field(description="When the limit begins to hold.")
    site: Name = Field(description="Which site.")
    limit_w: Power = Field(description="Highest power at the meter while it lasts.")
    notice_s: Span = Field(default=0.0, description="How long before, the site is told.")
    lasts_s: Duration = Field(description="Until the limit is lifted.")


class MoveJob(Branch):
    """A job goes on at another site."""

    kind: Literal["move"] = "move"
    at_s: Instant = Field(description="When.")
    job: Words = Field(description="Which job.")
    site: Name = Field(description="Where it goes on.")


class RouteService(Branch):
    """A service's requests are divided anew between sites."""

    kind: Literal["route"] = "route"
    at_s: Instant = Field(description="When.")
    service: Name = Field(description="Which service.")
    weights: Mapping[Name, Factor] = Field(description="Relative weight of each site.")


class ScaleService(Branch):
    """A service gets another number of replicas."""

    kind: Literal["scale"] = "scale"
    at_s: Instant = Field(description="When.")
    service: Name = Field(description="Which service.")
    replicas: Whole = Field(description="How many from then on.")


ScriptEvent = Annotated[
    SetPower
    | NodeFault
    | LeafFault
    | SwitchFault
    | LinkFault
    | NicFault
    | CoolingFault
    | Curtailment
    | MoveJob
    | RouteService
    | ScaleService,
    ByKind(),
]
