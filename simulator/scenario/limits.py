"""Limits: bounds that the report checks and never silently enforces."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from simulator.scenario.branch import Branch
from simulator.scenario.fields import (
    Duration,
    Factor,
    Measure,
    Money,
    Name,
    Power,
    Share,
    mistake,
)


class Limit(Branch):
    """One upper bound on one number of the summary, for everybody or for one tenant or service."""

    p95_wait_s: Duration | None = Field(default=None, description="95th percentile of the wait.")
    mean_wait_s: Duration | None = Field(default=None, description="Mean wait.")
    makespan_s: Duration | None = Field(default=None, description="Until the last job is done.")
    pue: Factor | None = Field(default=None, description="Facility energy over IT energy.")
    wue_litres_per_kwh: Annotated[float, Measure("litres/kWh")] | None = Field(
        default=None, alias="wue", description="Site water over IT energy."
    )
    peak_power_w: Power | None = Field(default=None, description="Highest facility power.")
    peak_15min_power_w: Power | None = Field(default=None, description="Highest 15-minute mean.")
    energy_j: Annotated[float, Measure("J")] | None = Field(
        default=None, alias="energy", description="Facility energy."
    )
    carbon_g: Annotated[float, Measure("g")] | None = Field(
        default=None, alias="carbon", description="Location-based emissions."
    )
    cost_usd: Money | None = Field(default=None, alias="cost", description="Total cost.")
    ttft_p99_s: Duration | None = Field(default=None, description="Of the named service.")
    tpot_p99_s: Duration | None = Field(default=None, description="Of the named service.")
    slo_missed_fraction: Share | None = Field(
        default=None, alias="slo_missed", description="Requests of the named service that missed a promise."
    )
    tenant: Name | None = Field(default=None, description="Whose jobs count, for waits.")
    service: Name | None = Field(default=None, description="Which service, for latencies.")

    @model_validator(mode="after")
    def _one_metric(self) -> Self:
        said = [name for name in METRICS if getattr(self, name) is not None]
        if len(said) != 1:
            raise mistake(f"{len(said)} bounds in one limit, exactly one is needed")
        name = said[0]
        if self.tenant is not None and name not in TENANT_METRICS:
            raise mistake(f"tenant has no effect on {name}")
        if (self.service is None) == (name in SERVICE_METRICS):
            raise mistake("name the service" if self.service is None else f"service has no effect on {name}")
        return self

    @property
    def metric(self) -> str:
        """Name of the attribute that holds the bound."""
        return next(name for name in METRICS if getattr(self, name) is not None)

    @property
    def bound(self) -> float:
        """The bound, in the unit that `metric` ends in."""
        return float(getattr(self, self.metric))


TENANT_METRICS = frozenset({"p95_wait_s", "mean_wait_s"})
SERVICE_METRICS = frozenset({"ttft_p99_s", "tpot_p99_s", "slo_missed_fraction"})
METRICS = tuple(name for name in Limit.model_fields if name not in {"tenant", "service"})
