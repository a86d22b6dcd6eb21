"""Books: the rules by which the record is turned into carbon and money."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from simulator.catalog.entries import CostSpec
from simulator.catalog.shelf import Catalog
from simulator.scenario.branch import Branch
from simulator.scenario.fields import (
    BuildingPrice,
    CarbonPrice,
    DemandPrice,
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


class WaterRules(Branch):
    """How water at power stations is counted."""

    factors: Words = Field(default="macknick-2012", description="Catalog name of the factor set.")


class CostRules(Branch):
    """How money is counted: a catalog cost pack, with what is given here in its place."""

    short: ClassVar[str] = "preset"

    preset: Words = Field(default="central", description="Catalog name of a cost pack.")
    gpu_life_s: Duration | None = Field(default=None, description="Depreciation of nodes.")
    network_life_s: Duration | None = Field(default=None, description="Depreciation of fabric and storage.")
    building_life_s: Duration | None = Field(default=None, description="Depreciation of shell and plant.")
    wacc_fraction: Share | None = Field(default=None, description="Weighted cost of capital, a year.")
    residual_fraction: Share | None = Field(default=None, description="Of a node's price, at its end.")
    network_fraction: Share | None = Field(
        default=None, description="Fabric and storage, of the nodes' price."
    )
    building_usd_per_w: BuildingPrice | None = Field(
        default=None, description="Shell, mechanical and electrical, for each IT watt."
    )
    maintenance_fraction: Share | None = Field(default=None, description="Of the hardware's price, a year.")
    staff_usd_per_kw_month: DemandPrice | None = Field(default=None, description="People, for each IT kW.")
    water_usd_per_litre: WaterPrice | None = Field(default=None, description="Supply and sewage.")
    node_usd: Money | None = Field(
        default=None, alias="node", description="Price of one node; the catalog's if not given."
    )

    def spec(self, catalog: Catalog) -> CostSpec:
        """Return the cost pack with what is given here in its place."""
        pack = catalog.cost(self.preset)
        given = {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name not in {"preset", "node_usd"} and getattr(self, name) is not None
        }
        return replace(pack, **given)


class Books(Branch):
    """Rules of the accounts."""

    carbon: CarbonRules = Field(default=CarbonRules(), description="How carbon is counted.")
    water: WaterRules = Field(default=WaterRules(), description="How source water is counted.")
    cost: CostRules = Field(default=CostRules(), description="How money is counted.")
    carbon_price_usd_per_t: CarbonPrice = Field(
        default=0.0, alias="carbon_price", description="Paid for location-based emissions."
    )
