"""Sites: where they are, what feeds and cools them, and the pools of nodes they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from simulator.catalog.entries import TariffSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation import units
from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice, Plugin
from simulator.scenario.fields import (
    Bandwidth,
    DemandPrice,
    Energy,
    EnergyPrice,
    FilePath,
    Intensity,
    Measure,
    Name,
    OneOf,
    PositivePower,
    Power,
    Share,
    Span,
    Temperature,
    Whole,
    Words,
)


class PowerModel(Branch):
    """Measured watts that replace the catalog's for one pool."""

    gpu_load_w: Power | None = Field(default=None, description="Each GPU under full load.")
    gpu_idle_w: Power | None = Field(default=None, description="Each idle GPU.")
    host_active_w: Power | None = Field(default=None, description="Each node without its GPUs, in use.")
    host_idle_w: Power | None = Field(default=None, description="Each node without its GPUs, idle.")


#: Nodes of one pool; ten times the largest hall there is, and what memory holds.
MOST_NODES: Final = 10_000_000


class Pool(Branch):
    """Equal nodes under one name."""

    name: Name = Field(description="Name of the pool, unique within its site.")
    node: Words = Field(description="Catalog name of the node type.")
    nodes: Annotated[int, Measure("", low=1, high=MOST_NODES, whole=True)] = Field(
        description="Nodes that are there, hot spares included."
    )
    hot_spares: Whole = Field(default=0, description="Nodes kept free to replace failed ones.")
    power_model: PowerModel | None = Field(default=None, description="Watts that replace the catalog's.")


class Weather(Branch):
    """Outside air: a file of hours, or constants."""

    short: ClassVar[str] = "file"

    file: FilePath | None = Field(default=None, description="An EPW file of typical-year hours.")
    temperature_c: Temperature | None = Field(default=None, description="Constant dry bulb.")
    wet_bulb_c: Temperature | None = Field(default=None, description="Constant wet bulb.")


class Grid(Branch):
    """Where electricity comes from: a catalog grid, an hourly file, or constants."""

    short: ClassVar[str] = "name"

    name: Words | None = Field(default=None, description="Catalog name of a grid.")
    trace: FilePath | None = Field(default=None, description="Hourly CSV with a column time_utc.")
    intensity_column: Words | None = Field(default=None, description="Column of the average intensity.")
    marginal_column: Words | None = Field(default=None, description="Column of the marginal intensity.")
    price_column: Words | None = Field(default=None, description="Column of the price.")
    intensity_g_per_kwh: Intensity | None = Field(default=None, description="Constant average intensity.")
    marginal_g_per_kwh: Intensity | None = Field(default=None, description="Constant marginal intensity.")
    price_usd_per_kwh: EnergyPrice | None = Field(default=None, description="Constant energy price.")


class Tariff(Branch):
    """What electricity costs: a catalog tariff, with what is given here in its place."""

    short: ClassVar[str] = "name"

    name: Words | None = Field(default=None, description="Catalog name of a tariff.")
    energy_usd_per_kwh: EnergyPrice | None = Field(
        default=None, description="Flat energy price; the grid's own price if not given."
    )
    adder_usd_per_kwh: EnergyPrice | None = Field(
        default=None, description="On top of each kWh: delivery, levies, tax."
    )
    demand_charge_usd_per_kw_month: DemandPrice | None = Field(
        default=None, description="Charge on the month's highest 15-minute mean."
    )

    def spec(self, catalog: Catalog) -> TariffSpec:
        """Return the tariff, whoever gives its parts; what nobody gives costs nothing."""
        entry = _NO_TARIFF if self.name is None else catalog.tariff(self.name)
        parts = ("energy_usd_per_kwh", "adder_usd_per_kwh", "demand_charge_usd_per_kw_month")
        return replace(
            entry, **{name: getattr(self, name) for name in parts if getattr(self, name) is not None}
        )


#: Energy at the grid's own price, and nothing else.
_NO_TARIFF: Final = TariffSpec(
    name="given",
    title="As the scenario says",
    energy_usd_per_kwh=None,
    adder_usd_per_kwh=0.0,
    demand_charge_usd_per_kw_month=0.0,
    minimum_peak_fraction=0.0,
    price_year=units.CURRENCY_YEAR,
)


class Interconnection(Branch):
    """What the grid connection can carry."""

    limit_w: PositivePower = Field(description="Highest power at the meter.")
    service: Annotated[Literal["firm", "interruptible"], OneOf()] = Field(
        default="firm", description="Whether the operator may call for less."
    )


class CheckpointStorage(Branch):
    """The file system that checkpoints go to."""

    write_bandwidth_bytes_per_s: Bandwidth = Field(description="Sustained, all writers together.")
    read_bandwidth_bytes_per_s: Bandwidth | None = Field(
        default=None,
        description="Sustained; reading a checkpoint back then comes on top of a restart, which holds it "
        "if not given.",
    )


class Battery(Branch):
    """Storage behind the meter."""

    energy_j: Energy = Field(description="Usable energy.")
    power_w: PositivePower = Field(description="Highest charge and discharge at the terminals.")
    round_trip_efficiency_fraction: Share = Field(default=0.88, description="Energy out over energy in.")
    initial_fraction: Share = Field(
        default=1.0, alias="initial_fraction", description="State of charge at the start."
    )


class Site(Branch):
    """One campus behind one meter."""

    name: Name = Field(description="Name of the site.")
    timezone: Words | None = Field(default=None, description="IANA zone; the scenario's if not given.")
    climate: Words | None = Field(default=None, description="Catalog name of a climate.")
    weather: Weather | None = Field(default=None, description="Outside air; replaces `climate`.")
    grid: Grid = Field(description="Where electricity comes from.")
    tariff: Tariff | None = Field(default=None, description="What electricity costs.")
    interconnection: Interconnection | None = Field(default=None, description="Limit at the meter.")
    cooling: Annotated[Choice, Plugin("plants", catalog="plants")] = Field(description="The cooling plant.")
    power_chain: Words = Field(default="none", description="Catalog name of the conversion chain, or none.")
    network_power_w: Power | None = Field(
        default=None, description="Switches and optics together; from the fabric if not given."
    )
    fabric: Annotated[Choice, Plugin("topologies", usual="fat-tree")] = Field(
        default=Choice("topologies", "fat-tree"),
        validate_default=True,
        description="The network between nodes.",
    )
    pools: tuple[Pool, ...] = Field(description="Pools of nodes.")
    storage: CheckpointStorage | None = Field(default=None, description="Where checkpoints go.")
    battery: Battery | None = Field(default=None, description="Storage behind the meter.")
    power_policy: Annotated[Choice, Plugin("power_policies")] | None = Field(
        default=None, description="What gives way when power is short."
    )

    def pool(self, name: str) -> Pool:
        """Return the pool of that name."""
        return next(pool for pool in self.pools if pool.name == name)


class SiteLink(Branch):
    """A line between two sites."""

    from_site: Name = Field(alias="from", description="One end.")
    to_site: Name = Field(alias="to", description="The other end; traffic goes both ways.")
    bandwidth_bytes_per_s: Bandwidth = Field(description="In each direction.")
    latency_s: Span = Field(description="One way.")
