"""Values that contradict each other, or have no effect on what was chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from simulator.catalog.shelf import Catalog
from simulator.foundation.calendar import zone_of
from simulator.foundation.errors import UnitError
from simulator.scenario import seams
from simulator.scenario.mistake import Mistake
from simulator.scenario.said import Route
from simulator.scenario.script import Curtailment
from simulator.scenario.services import Service
from simulator.scenario.sites import Grid, Site, Weather
from simulator.scenario.training_layout import given_fields
from simulator.scenario.workloads import JobStream, Training

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario

#: Shares are typed with a digit or two; sums further off are mistakes.
_SUM_TOLERANCE = 1e-6
#: Plants whose answer does not depend on the weather.
_INDOORS = frozenset({"constant-pue", "none"})


def mistakes(scenario: Scenario, catalog: Catalog) -> Iterator[Mistake]:
    """Return contradictions and options without effect."""
    called = {event.site for event in scenario.script if isinstance(event, Curtailment)}
    for index, site in enumerate(scenario.sites):
        yield from _site(("sites", index), site)
        if site.power_policy is not None and site.interconnection is None and site.name not in called:
            said = "has no effect: neither an interconnection nor a curtailment of the script limits the site"
            yield Mistake(("sites", index, "power_policy"), said)
    for number, workload in enumerate(scenario.workloads):
        at: Route = ("workloads", number)
        if isinstance(workload, Training):
            yield from _training(scenario, at, workload)
        elif isinstance(workload, Service):
            yield from _service(at, workload)
        elif isinstance(workload, JobStream) and workload.tenants:
            yield from _whole((*at, "tenants"), list(workload.tenants.values()))
    if scenario.failures.preset == "none" and scenario.failures.rate_scale != 1.0:
        yield Mistake(("failures", "rate_scale"), "has no effect: there are no failures")
    if scenario.failures.preset == "none" and scenario.failures.lemons is not None:
        yield Mistake(("failures", "lemons"), "has no effect: there are no failures")
    slow = scenario.failures.slow_nodes
    runs = [workload for workload in scenario.workloads if isinstance(workload, Training)]
    if slow is not None and not runs:
        yield Mistake(("failures", "slow_nodes"), "has no effect: there is no training run to wait for them")
    elif slow is not None and slow.ejected_after_s and all(run.checkpoint is None for run in runs):
        said = "has no effect: no training run has a `checkpoint`, and without it none gives up a node"
        yield Mistake(("failures", "slow_nodes", "ejected_after"), said)


def _site(at: Route, site: Site) -> Iterator[Mistake]:
    if site.timezone is not None:
        try:
            zone_of(site.timezone)
        except UnitError as error:
            yield Mistake((*at, "timezone"), str(error))
    yield from _grid((*at, "grid"), site.grid)
    if site.weather is not None:
        yield from _weather((*at, "weather"), site.weather)
        if site.climate is not None:
            yield Mistake((*at, "climate"), "has no effect beside `weather`; give one of them")
    plant = site.cooling.plugin or site.cooling.name
    if site.weather is None and site.climate is None and plant not in _INDOORS:
        yield Mistake(at, f"cooling by {site.cooling.name!r} needs a climate or weather")
    if site.power_chain != "none" and _counts_conversion(plant):
        said = f"has no effect: the PUE of {site.cooling.name!r} holds conversion losses already"
        yield Mistake((*at, "power_chain"), said)
    for number, pool in enumerate(site.pools):
        if pool.hot_spares >= pool.nodes:
            said = f"{pool.hot_spares} spares of {pool.nodes} nodes leave nothing to work on"
            yield Mistake((*at, "pools", number, "hot_spares"), said)


def _counts_conversion(plant: str) -> bool:
    cls = seams.table("plants").get(plant)
    return bool(getattr(cls, "includes_conversion", False))


def _grid(at: Route, grid: Grid) -> Iterator[Mistake]:
    ways = [
        word
        for word, value in (
            ("name", grid.name),
            ("trace", grid.trace),
            ("intensity", grid.intensity_g_per_kwh),
        )
        if value is not None
    ]
    if len(ways) != 1:
        said = f"{' and '.join(ways) or 'nothing'} given, exactly one is needed"
        yield Mistake(at, said, "a catalog name, {trace: FILE} or {intensity: 350 g/kWh}")
    for key in ("intensity_column", "marginal_column", "price_column"):
        if getattr(grid, key) is not None and grid.trace is None:
            yield Mistake((*at, key), "has no effect without a trace")


def _weather(at: Route, weather: Weather) -> Iterator[Mistake]:
    constants = (weather.temperature_c, weather.wet_bulb_c)
    if weather.file is not None and any(value is not None for value in constants):
        yield Mistake(at, "give either a file or constants, and not both")
    if weather.file is None and None in constants:
        yield Mistake(at, "give a file, or temperature and wet_bulb")
    dry_bulb_c, wet_bulb_c = constants
    if dry_bulb_c is not None and wet_bulb_c is not None and wet_bulb_c > dry_bulb_c:
        said = f"{wet_bulb_c:g} C is above the temperature, {dry_bulb_c:g} C"
        yield Mistake((*at, "wet_bulb"), said)


def _training(scenario: Scenario, at: Route, run: Training) -> Iterator[Mistake]:
    if run.mfu_fraction is not None and (run.parallelism.mode == "given" or given_fields(run)):
        yield Mistake((*at, "parallelism"), "has no effect: `mfu` is given and replaces the step-time model")
    saves = run.checkpoint
    if saves is None:
        if run.recovery is not None:
            yield Mistake((*at, "recovery"), "has no effect without `checkpoint`: it begins again")
        if run.elastic is not None and run.elastic.restore == "peers":
            yield Mistake((*at, "elastic", "restore"), "has no effect without `checkpoint`")
        return
    for key, said in (
        ("size", saves.size_bytes is not None),
        ("bytes_per_parameter", "bytes_per_parameter" in saves.model_fields_set),
    ):
        if said and saves.stall_s is not None and saves.mode == "sync":
            yield Mistake((*at, "checkpoint", key), "has no effect: `stall` is given")
    if saves.size_bytes is not None and "bytes_per_parameter" in saves.model_fields_set:
        yield Mistake((*at, "checkpoint", "bytes_per_parameter"), "has no effect: `size` is given")
    unknown_stall = saves.mode == "sync" and saves.stall_s is None
    if unknown_stall and all(site.storage is None for site in scenario.sites):
        yield Mistake(
            (*at, "checkpoint"),
            "the length of a checkpoint is unknown",
            "give `stall: 30 s` here, or `storage: {write_bandwidth: 200 GB/s}` at the site",
        )


def _service(at: Route, service: Service) -> Iterator[Mistake]:
    if service.tiers:
        yield from _whole((*at, "tiers"), [tier.share_fraction for tier in service.tiers])
    demand = service.demand
    if demand is not None and demand.shape == "flat" and demand.peak_to_mean not in {None, 1.0}:
        yield Mistake((*at, "demand", "peak_to_mean"), "has no effect on the shape 'flat'")
    split = service.disaggregated
    if split is not None and split.prefill + split.decode != service.replicas.minimum:
        said = (
            f"{split.prefill} prefill and {split.decode} decode replicas are not the "
            f"{service.replicas.minimum} of `replicas`"
        )
        yield Mistake((*at, "disaggregated"), said)


def _whole(path: Route, shares: list[float]) -> Iterator[Mistake]:
    total = math.fsum(shares)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        yield Mistake(path, f"the shares sum to {100 * total:.6g} %, not to 100 %")
