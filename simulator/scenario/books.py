"""Books: the rules by which the record is turned into carbon and money."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from simulator.scenario.branch import Branch
from simulator.scenario.fields import (
    CarbonPrice,
    Duration,
    Money,
    OneOf,
    Share,
    WaterPrice,
    Words,
)


class CarbonRules(Branch):
    """How carbon is counted."""

    factors: Words = Field(default="ipcc-ar5-lifecycle", description="Catalog name of the factor set.")
    market: Annotated[Literal["none"], OneOf()] = Field(
        default="none", description="Contracts; with none, market-based equals location-based."
    )
    embodied: Annotated[Literal["catalog", "none"], OneOf()] = Field(
        default="catalog", description="Whether embodied carbon of the hardware is counted."
    )


class CostRules(Branch):
    """How money is counted."""

    short: ClassVar[str] = "preset"

    preset: Words = Field(default="default", description="Catalog name of the cost values not given here.")
    gpu_life_s: Duration | None = Field(default=None, description="Years over which nodes are paid.")
    wacc_fraction: Share | None = Field(default=None, description="Yearly cost of capital.")
    node_usd: Money | None = Field(
        default=None, alias="node", description="Price of one node; the catalog's if not given."
    )
    water_usd_per_litre: WaterPrice | None = Field(
        default=None, alias="water", description="Price of site water."
    )


class Books(Branch):
    """Rules of the accounts."""

    carbon: CarbonRules = Field(default=CarbonRules(), description="How carbon is counted.")
    cost: CostRules = Field(default=CostRules(), description="How money is counted.")
    carbon_price_usd_per_t: CarbonPrice = Field(
        default=0.0, alias="carbon_price", description="Paid for location-based emissions."
    )
