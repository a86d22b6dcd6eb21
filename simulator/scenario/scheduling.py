"""Scheduling: queues, the policies that order and place jobs, and what holds them back."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice, Plugin
from simulator.scenario.fields import Name, OneOf, Words

Policy = Annotated[Choice, Plugin("policies", key="policy")]
Order = Annotated[Choice, Plugin("orders", key="policy")]
Placement = Annotated[Choice, Plugin("placements", key="policy")]
Gate = Annotated[Choice, Plugin("admits", key="policy")]


class Assign(Branch):
    """Which queue a job goes to."""

    short: ClassVar[str] = "policy"

    policy: Annotated[Literal["by-name"], OneOf()] = Field(
        "by-name", description="The queue that the job names; the first of its site otherwise."
    )


class Queue(Branch):
    """One queue over some pools; what it does not say is as in `scheduling`."""

    name: Name = Field(description="Name of the queue.")
    pools: tuple[Words, ...] = Field(description="Pools it starts jobs on: POOL or SITE.POOL.")
    policy: Policy | None = Field(None, description="Which jobs start, and when.")
    order: Order | None = Field(None, description="Who is first, where the policy's own is not wanted.")
    placement: Placement | None = Field(None, description="On which nodes.")
    admit: tuple[Gate, ...] | None = Field(None, description="What may hold a job back.")


class Scheduling(Branch):
    """How jobs get GPUs."""

    policy: Policy = Field(Choice("policies", "fcfs"), description="Which jobs start, and when.")
    order: Order | None = Field(None, description="Who is first, where the policy's own is not wanted.")
    placement: Placement = Field(
        Choice("placements", "lowest-numbered"), description="On which nodes."
    )
    admit: tuple[Gate, ...] = Field((), description="What may hold a job back.")
    queues: tuple[Queue, ...] = Field(
        (), description="Queues; one over every pool of a site if none is given."
    )
    assign: Assign = Field(Assign(), description="Which queue a job goes to.")
