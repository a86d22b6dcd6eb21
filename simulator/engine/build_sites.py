"""Sites, pools and queues of a scenario, as the engine is given them."""

from __future__ import annotations

import numpy as np

from simulator.engine.environment import weather_of
from simulator.engine.world import PoolPlan, QueuePlan, SitePlan
from simulator.facility.chain import PowerChain
from simulator.facility.plant import Plant
from simulator.facility.site import SitePhysics
from simulator.facility.storage import Battery
from simulator.foundation.errors import BuildError
from simulator.foundation.streams import Streams
from simulator.hardware.roofline import peak_flop_per_s
from simulator.network.topology import Fabric, Machines, Topology
from simulator.performance.gpu_power import gpu_power
from simulator.scenario.sites import Pool, Site
from simulator.scenario.tree import Scenario
from simulator.telemetry.record import NodeFacts, PoolFacts, SiteFacts


def site_plans(scenario: Scenario, streams: Streams, horizon_s: float) -> list[SitePlan]:
    """Return the sites with their physics, weather and fabric."""
    plans = []
    first_pool = 0
    for site in scenario.sites:
        codes = range(first_pool, first_pool + len(site.pools))
        first_pool += len(site.pools)
        fabric, first_node = fabric_of(scenario, site, list(codes))
        plans.append(
            SitePlan(
                facts=SiteFacts(
                    name=site.name,
                    timezone=site.timezone or scenario.timezone,
                    network_power_w=network_power_w(scenario, site),
                    limit_w=site.interconnection.limit_w if site.interconnection else None,
                ),
                physics=physics_of(scenario, site),
                rated_nodes_w=rated_nodes_w(scenario, site),
                weather=weather_of(scenario, site, streams, horizon_s),
                signals={},
                fabric=fabric,
                first_node=first_node,
                battery=battery_of(site),
                power_policy=site.power_policy.build() if site.power_policy else None,
            )
        )
    return plans


def pool_plans(scenario: Scenario) -> list[PoolPlan]:
    """Return all pools, site by site."""
    return [_pool(scenario, code, pool) for code, site in enumerate(scenario.sites) for pool in site.pools]


def queue_plans(scenario: Scenario) -> list[QueuePlan]:
    """Return the queues over pool codes."""
    codes: dict[str, int] = {}
    for site in scenario.sites:
        for pool in site.pools:
            codes[f"{site.name}.{pool.name}"] = len(codes)
    plans = []
    for queue in scenario.queues:
        assert queue.policy is not None
        assert queue.placement is not None
        plans.append(
            QueuePlan(
                name=queue.name,
                pools=tuple(codes[pool] for pool in queue.pools),
                plan=queue.policy.build(),
                place=queue.placement.build(),
                admits=tuple(gate.build() for gate in queue.admit or ()),
                order=queue.order.build() if queue.order else None,
            )
        )
    return plans


def physics_of(scenario: Scenario, site: Site) -> SitePhysics:
    """Return a site's plant, chain and constant loads, sized for its nodes and network."""
    rated_w, network_w = rated_nodes_w(scenario, site), network_power_w(scenario, site)
    chain = PowerChain()
    if site.power_chain != "none":
        nodes = sum(pool.nodes for pool in site.pools)
        chain = PowerChain.from_spec(scenario.catalog.chain(site.power_chain), nodes, rated_w, network_w)
    plant: Plant = site.cooling.build()
    heat_w = rated_w + network_w + float(chain.loss_w(np.asarray(rated_w), network_w))
    return SitePhysics(plant=plant.sized_for(heat_w), chain=chain, network_w=network_w)


def battery_of(site: Site) -> Battery | None:
    """Return a site's storage, if it has any."""
    if site.battery is None:
        return None
    return Battery(
        energy_j=site.battery.energy_j,
        power_w=site.battery.power_w,
        round_trip_efficiency_fraction=site.battery.round_trip_efficiency_fraction,
        initial_fraction=site.battery.initial_fraction,
    )


def rated_nodes_w(scenario: Scenario, site: Site) -> float:
    """Return the power the site is built for: every node at its rating. [W]"""
    total_w = 0.0
    catalog = scenario.catalog
    for pool in site.pools:
        node = catalog.node(pool.node)
        rating_w = node.maximum_power_w
        if rating_w is None:
            gpu = catalog.gpu(node.gpu)
            rating_w = catalog.need(node, "host_active_w") + gpu.tdp_w * node.gpus_per_node
        total_w += rating_w * pool.nodes
    return float(total_w)


def network_power_w(scenario: Scenario, site: Site) -> float:
    """Return the constant power of switches and optics. [W]

    Each GPU has a port at its leaf, and each level above two more (up and down), fewer where it
    is oversubscribed. A port slower than the catalog's nearest draws that much less: several
    GPUs share one.
    """
    if site.network_power_w is not None:
        return float(site.network_power_w)
    catalog = scenario.catalog
    if sum(pool.nodes for pool in site.pools) < 2:
        return 0.0
    fabric, _ = fabric_of(scenario, site, list(range(len(site.pools))))
    per_gpu = 1.0 + (fabric.ports_above if fabric is not None else 0.0)
    total_w = 0.0
    for pool in site.pools:
        node = catalog.node(pool.node)
        bandwidth_bytes_per_s = site.fabric.values["link_bytes_per_s"] or node.nic_bandwidth_bytes_per_s
        if bandwidth_bytes_per_s:
            gpus = pool.nodes * node.gpus_per_node
            total_w += gpus * per_gpu * _port_w(scenario, bandwidth_bytes_per_s)
    return total_w


def _port_w(scenario: Scenario, bandwidth_bytes_per_s: float) -> float:
    """Return the power of one port of a bandwidth: the nearest link's, by its share of it. [W]"""
    catalog = scenario.catalog
    links = [
        link for link in (catalog.link(name) for name in catalog.names("links")) if link.port_w is not None
    ]
    if not links:
        return 0.0
    nearest = min(
        links, key=lambda link: (abs(link.bandwidth_bytes_per_s - bandwidth_bytes_per_s), link.name)
    )
    return float(nearest.port_w or 0.0) * bandwidth_bytes_per_s / nearest.bandwidth_bytes_per_s


def _pool(scenario: Scenario, site: int, pool: Pool) -> PoolPlan:
    catalog = scenario.catalog
    node = catalog.node(pool.node)
    gpu = catalog.gpu(node.gpu)
    power = gpu_power(gpu)
    given = pool.power_model
    host_idle_w = given.host_idle_w if given and given.host_idle_w is not None else None
    host_active_w = given.host_active_w if given and given.host_active_w is not None else None
    gpu_idle_w = given.gpu_idle_w if given and given.gpu_idle_w is not None else power.idle_w
    if host_idle_w is None:
        host_idle_w = catalog.need(node, "host_idle_w")
    if host_active_w is None:
        host_active_w = max(catalog.need(node, "host_active_w"), host_idle_w)
    return PoolPlan(
        facts=PoolFacts(
            name=pool.name,
            site=site,
            nodes=pool.nodes,
            node=NodeFacts(
                node_type=node.name,
                gpu_type=gpu.name,
                gpus_per_node=node.gpus_per_node,
                gpu_idle_w=gpu_idle_w,
                host_idle_w=host_idle_w,
                price_usd=node.price_usd,
                embodied_gco2e=node.embodied_gco2e,
                peak_flop_per_s=peak_flop_per_s(gpu, "bf16" if gpu.bf16_flop_per_s else "fp16"),
            ),
            off_when_down=scenario.failures.power_off_down_nodes,
        ),
        host_active_w=host_active_w,
        loaded_idle_w=max(power.loaded_idle_w, gpu_idle_w),
        hot_spares=pool.hot_spares,
    )


def fabric_of(scenario: Scenario, site: Site, codes: list[int]) -> tuple[Fabric | None, dict[int, int]]:
    """Return the fabric over all nodes of a site, and the first node of each pool in it."""
    first: dict[int, int] = {}
    total = 0
    shape: Topology = site.fabric.build()
    bandwidth_bytes_per_s = shape.link_bytes_per_s
    gpus_per_node = nodes_per_domain = 1
    for code, pool in zip(codes, site.pools, strict=True):
        node = scenario.catalog.node(pool.node)
        first[code] = total
        total += pool.nodes
        gpus_per_node = max(gpus_per_node, node.gpus_per_node)
        nodes_per_domain = max(nodes_per_domain, node.scale_up_domain_gpus // node.gpus_per_node)
        if bandwidth_bytes_per_s is None:
            bandwidth_bytes_per_s = node.nic_bandwidth_bytes_per_s
    if not bandwidth_bytes_per_s or total < 2:
        return None, first
    machines = Machines(total, gpus_per_node, bandwidth_bytes_per_s, nodes_per_domain)
    try:
        fabric = shape.build(machines)
    except ValueError as error:
        raise BuildError(f"sites.{site.name}.fabric: {error}") from None
    return fabric, first
