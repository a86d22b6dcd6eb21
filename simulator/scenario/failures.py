"""Failures: which published causes and rates apply."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from simulator.scenario.branch import Branch
from simulator.scenario.fields import Factor, Truth, Words


class Failures(Branch):
    """What breaks, and how often."""

    short: ClassVar[str] = "preset"

    preset: Words = Field(default="none", description="Catalog name of causes and rates, or none.")
    rate_scale: Factor = Field(default=1.0, description="Multiplies every rate.")
    power_off_down_nodes: Truth = Field(
        default=False, description="Nodes under repair draw nothing, instead of their idle power."
    )
