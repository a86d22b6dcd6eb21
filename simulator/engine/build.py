"""A scenario becomes a world: everything that the engine is given."""

from __future__ import annotations

import math

from simulator.engine.build_failures import causes_of, ejection_of, lemons_of, maintenance_of, slow_nodes_of
from simulator.engine.build_jobs import JobBuilder
from simulator.engine.build_services import ServiceBuilder
from simulator.engine.build_sites import pool_plans, queue_plans, site_plans
from simulator.engine.environment import policy_signals, signals_of
from simulator.engine.world import ScriptStep, World
from simulator.foundation.streams import Streams
from simulator.foundation.units import DAY_S
from simulator.scenario.tree import Scenario

#: How far weather and signals reach in a run without a duration, until its end is known.
_OPEN_S = 366.0 * DAY_S


def build_world(scenario: Scenario) -> World:
    """Return the world of a scenario.

    Raises
    ------
    BuildError, LayoutError, TraceError, CatalogError
        What the scenario asks for cannot be run; the message says which key and why.
    """
    streams = Streams(scenario.seed)
    horizon_s = math.inf if scenario.duration_s is None else scenario.duration_s
    reach_s = horizon_s if math.isfinite(horizon_s) else _OPEN_S
    sites = site_plans(scenario, streams, reach_s)
    if any(queue.admit for queue in scenario.queues) or any(site.power_policy for site in scenario.sites):
        for site, plan in zip(scenario.sites, sites, strict=True):
            signals = signals_of(scenario, site.grid, reach_s)
            plan.signals = policy_signals(signals, plan.weather)
    pools = pool_plans(scenario)
    jobs = JobBuilder(scenario, sites, pools, streams, horizon_s)
    table, behaviour_of = jobs.build()
    services = ServiceBuilder(jobs).build()
    causes = causes_of(scenario)
    links = {}
    names = [site.name for site in scenario.sites]
    for link in scenario.links_between_sites:
        ends = names.index(link.from_site), names.index(link.to_site)
        for pair in (ends, ends[::-1]):
            links[pair] = (link.bandwidth_bytes_per_s, link.latency_s)
    return World(
        horizon_s=horizon_s,
        calendar=scenario.calendar,
        streams=streams,
        sites=sites,
        pools=pools,
        queues=queue_plans(scenario),
        jobs=table,
        behaviours=jobs.behaviours,
        behaviour_of=behaviour_of,
        services=services,
        causes=dict.fromkeys(range(len(pools)), causes) if causes else {},
        lemons=lemons_of(scenario),
        ejection=ejection_of(scenario),
        slow_nodes=slow_nodes_of(scenario),
        maintenance=maintenance_of(scenario),
        script=[_step(scenario, event) for event in scenario.script],
        site_links=links,
        layouts=tuple(jobs.layouts),
        learning=tuple(jobs.learning),
        reliability=tuple(jobs.reliability),
        swings=tuple(jobs.swings),
        notes=jobs.notes + [note for site in sites for note in site.weather.notes],
    )


def _step(scenario: Scenario, event: object) -> ScriptStep:
    """Return a script event with its target as the engine addresses it."""
    values = {name: getattr(event, name) for name in type(event).model_fields}  # type: ignore[attr-defined]
    kind = values.pop("kind")
    at_s = values.pop("at_s")
    if kind == "set-power":
        values["target"] = _power_target(scenario, values["target"])
        values["watts"] = values.pop("power_w")
    elif kind in ("node-fault", "nic-fault"):
        address, _, node = values["node"].rpartition(".")
        values["pool"] = _pool_code(scenario, address)
        values["node"] = int(node)
    elif kind == "leaf-fault":
        values["site"], _, leaf = values["leaf"].rpartition(".")
        values["leaf"] = int(leaf)
    elif kind in ("link-fault", "switch-fault"):
        key = kind.removesuffix("-fault")
        values["site"], _, values["part"] = values.pop(key).rpartition(".")
        lost = values.pop("lost_fraction", None)
        if lost is not None:
            values["left_fraction"] = 1.0 - lost
    elif kind == "route":
        values["weights"] = tuple(values["weights"].items())
    return ScriptStep(at_s, kind, values)


def _power_target(scenario: Scenario, said: str) -> str:
    for kind in ("job", "service"):
        if said.startswith(f"{kind} "):
            return f"{kind}:{said.removeprefix(f'{kind} ').strip()}"
    if "." in said:
        return f"pool:{said}"
    names = [site.name for site in scenario.sites]
    return f"site:{said}" if said in names else f"pool:{scenario.pool_address(said)}"


def _pool_code(scenario: Scenario, address: str) -> int:
    full = scenario.pool_address(address)
    codes = [f"{site.name}.{pool.name}" for site in scenario.sites for pool in site.pools]
    return codes.index(full)
