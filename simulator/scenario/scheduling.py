"""Scheduling: queues, the policies that order and place jobs, and what holds them back."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice, Plugin
from simulator.scenario.fields import Name, OneOf, Words

Policy = Annotated[Choice, Plugin("policies")]
Order = Annotated[Choice, Plugin("orders")]
Placement = Annotated[Choice, Plugin("placements")]
Gate = Annotated[Choice, Plugin("admits")]


class Assign(Branch):
    """Which queue a job goes to."""

    short: ClassVar[str] = "policy"

    policy: Annotated[Literal["by-name"], OneOf()] = Field(
        default="by-name", description="The queue that the job names; the first of its site otherwise."
    )


class Queue(Branch):
    """One queue over some pools; what it does not say is as in `scheduling`."""

    name: Name = Field(description="Name of the queue.")
    pools: tuple[Words, ...] = Field(description="Pools it starts jobs on: POOL or SITE.POOL.")
    policy: Policy | None = Field(default=None, description="Which jobs start, and when.")
    order: Order | None = Field(
        default=None, description="Who is first, where the policy's own is not wanted."
    )
    placement: Placement | None = Field(default=None, description="On which nodes.")
    admit: tuple[Gate, ...] | None = Field(default=None, description="What may hold a job back.")


class Scheduling(Branch):
    """How jobs get GPUs."""

    policy: Policy = Field(
        default=Choice("policies", "fcfs"), validate_default=True, description="Which jobs start, and when."
    )
    order: Order | None = Field(
        default=None, description="Who is first, where the policy's own is not wanted."
    )
    placement: Placement = Field(
        default=Choice("placements", "lowest-numbered"), validate_default=True, description="On which nodes."
    )
    admit: tuple[Gate, ...] = Field(default=(), description="What may hold a job back.")
    queues: tuple[Queue, ...] = Field(
        default=(), description="Queues; one over every pool of a site if none is given."
    )
    assign: Assign = Field(default=Assign(), description="Which queue a job goes to.")
