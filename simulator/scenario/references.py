"""Names inside a scenario: that they are there, and there once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from simulator.scenario.mistake import Mistake, repeated, unknown
from simulator.scenario.said import Route
from simulator.scenario.script import (
    CoolingFault,
    Curtailment,
    LeafFault,
    LinkFault,
    MoveJob,
    NicFault,
    NodeFault,
    RouteService,
    ScaleService,
    SetPower,
    SwitchFault,
)
from simulator.scenario.services import Service
from simulator.scenario.workloads import HeliosLog, JobList, JobStream, SwfLog, Training

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario


def mistakes(scenario: Scenario) -> Iterator[Mistake]:
    """Return names that stand twice and names of nothing."""
    yield from _twice(scenario)
    yield from _queues(scenario)
    for index, workload in enumerate(scenario.workloads):
        yield from _of_workload(scenario, ("workloads", index), workload)
    for index, event in enumerate(scenario.script):
        yield from _of_event(scenario, ("script", index), event)
    sites = [site.name for site in scenario.sites]
    for index, link in enumerate(scenario.links_between_sites):
        at: Route = ("links_between_sites", index)
        for key, end in (("from", link.from_site), ("to", link.to_site)):
            if end not in sites:
                yield unknown((*at, key), "site", end, sites)
        if link.from_site == link.to_site:
            yield Mistake((*at, "to"), f"a link from {link.from_site!r} to itself")
    yield from _limits(scenario)


def _twice(scenario: Scenario) -> Iterator[Mistake]:
    if not scenario.sites:
        yield Mistake(("sites",), "no site: a scenario has at least one")
    yield from repeated(("sites",), "name", [site.name for site in scenario.sites], "sites")
    for index, site in enumerate(scenario.sites):
        at: Route = ("sites", index, "pools")
        if not site.pools:
            yield Mistake(at, "no pool: a site has at least one")
        yield from repeated(at, "name", [pool.name for pool in site.pools], "pools")
    names = [workload.name for workload in scenario.workloads]
    yield from repeated(("workloads",), "name", names, "workloads")
    queues = [queue.name for queue in scenario.scheduling.queues]
    yield from repeated(("scheduling", "queues"), "name", queues, "queues")
    for index, workload in enumerate(scenario.workloads):
        if isinstance(workload, Service):
            tiers = [tier.name for tier in workload.tiers]
            yield from repeated(("workloads", index, "tiers"), "name", tiers, "tiers")
    yield from _jobs_twice(scenario)


def _jobs_twice(scenario: Scenario) -> Iterator[Mistake]:
    """Training runs and listed jobs share one table, so their names must differ."""
    seen = {workload.name for workload in scenario.workloads if isinstance(workload, Training)}
    for index, workload in enumerate(scenario.workloads):
        if isinstance(workload, JobList):
            for number, job in enumerate(workload.jobs):
                if job.job_id in seen:
                    path: Route = ("workloads", index, "jobs", number, "id")
                    yield Mistake(path, f"{job.job_id!r} is the name of two jobs")
                seen.add(job.job_id)


def _queues(scenario: Scenario) -> Iterator[Mistake]:
    owners: dict[str, list[str]] = {}
    for site in scenario.sites:
        for pool in site.pools:
            owners.setdefault(pool.name, []).append(site.name)
    known = [f"{site}.{name}" for name, sites in owners.items() for site in sites]
    taken: dict[str, str] = {}
    for index, queue in enumerate(scenario.scheduling.queues):
        if not queue.pools:
            yield Mistake(("scheduling", "queues", index, "pools"), "a queue without pools starts nothing")
        for number, said in enumerate(queue.pools):
            path: Route = ("scheduling", "queues", index, "pools", number)
            places = [f"{site}.{said}" for site in owners.get(said, ())]
            if said in known:
                places = [said]
            if not places:
                yield unknown(path, "pool", said, [*([] if "." in said else owners), *known])
            elif len(places) > 1:
                hint = f"say which: {', '.join(places)}"
                yield Mistake(path, f"{said!r} is a pool of several sites", hint)
            elif places[0] in taken:
                yield Mistake(path, f"{places[0]!r} is a pool of queue {taken[places[0]]!r} already")
            else:
                taken[places[0]] = queue.name


def _of_workload(scenario: Scenario, at: Route, workload: object) -> Iterator[Mistake]:
    queues = [queue.name for queue in scenario.scheduling.queues] or _implied(scenario)
    asked = getattr(workload, "queue", None)
    if asked is not None and asked not in queues:
        yield unknown((*at, "queue"), "queue", asked, queues)
    placed = isinstance(workload, HeliosLog) or (isinstance(workload, Service) and workload.sites)
    if isinstance(workload, JobList):
        placed = all(job.queue is not None for job in workload.jobs)
        for index, job in enumerate(workload.jobs):
            if job.queue is not None and job.queue not in queues:
                yield unknown((*at, "jobs", index, "queue"), "queue", job.queue, queues)
    if asked is None and not placed and len(queues) > 1:
        name = getattr(workload, "name", "")
        yield Mistake(at, f"{name!r} names no queue and there are several", f"queue: {' | '.join(queues)}")
    if isinstance(workload, Service):
        sites = [site.name for site in scenario.sites]
        for index, site in enumerate(workload.sites):
            if site not in sites:
                yield unknown((*at, "sites", index), "site", site, sites)
        if workload.site_weights is not None:
            yield from _weights((*at, "site_weights"), workload.site_weights, list(workload.sites) or sites)


def _implied(scenario: Scenario) -> list[str]:
    """Return the names of the queues that stand for none."""
    return [site.name for site in scenario.sites] if len(scenario.sites) > 1 else ["default"]


def _weights(at: Route, weights: Mapping[str, float], sites: list[str]) -> Iterator[Mistake]:
    for site in weights:
        if site not in sites:
            yield unknown((*at, site), "site", site, sites)
    if sum(weights.values()) <= 0:
        yield Mistake(at, "no site gets any requests")


def _of_event(scenario: Scenario, at: Route, event: object) -> Iterator[Mistake]:
    sites = [site.name for site in scenario.sites]
    services = [work.name for work in scenario.workloads if isinstance(work, Service)]
    if isinstance(event, CoolingFault | Curtailment | MoveJob) and event.site not in sites:
        yield unknown((*at, "site"), "site", event.site, sites)
    if isinstance(event, RouteService | ScaleService) and event.service not in services:
        yield unknown((*at, "service"), "service", event.service, services)
    if isinstance(event, RouteService):
        yield from _weights((*at, "weights"), event.weights, sites)
    if isinstance(event, MoveJob):
        yield from _job(scenario, (*at, "job"), event.job)
    if isinstance(event, SetPower):
        yield from _target(scenario, (*at, "target"), event.target)
    if isinstance(event, NodeFault | NicFault):
        yield from _node(scenario, (*at, "node"), event.node)
    if isinstance(event, LeafFault):
        yield from _leaf(scenario, (*at, "leaf"), event.leaf)
    if isinstance(event, LinkFault | SwitchFault):
        key = "link" if isinstance(event, LinkFault) else "switch"
        name = str(getattr(event, key)).rpartition(".")[0]
        if name not in sites:
            known = f"write SITE.NAME, such as {sites[0]}.leaf-0; sites: {', '.join(sites)}"
            yield Mistake((*at, key), f"{getattr(event, key)!r} is no {key}", known)


def _job(scenario: Scenario, path: Route, name: str) -> Iterator[Mistake]:
    """Jobs of logs and streams are known only when the run begins."""
    if any(isinstance(work, SwfLog | HeliosLog | JobStream) for work in scenario.workloads):
        return
    known = [work.name for work in scenario.workloads if isinstance(work, Training)]
    known += [job.job_id for work in scenario.workloads if isinstance(work, JobList) for job in work.jobs]
    if name not in known:
        yield unknown(path, "job", name, known)


def _target(scenario: Scenario, path: Route, target: str) -> Iterator[Mistake]:
    kind, _, name = target.partition(" ")
    services = [work.name for work in scenario.workloads if isinstance(work, Service)]
    if name and kind == "job":
        yield from _job(scenario, path, name)
    elif name and kind == "service":
        if name not in services:
            yield unknown(path, "service", name, services)
    else:
        known = [site.name for site in scenario.sites]
        known += [f"{site.name}.{pool.name}" for site in scenario.sites for pool in site.pools]
        if target not in known:
            wanted = [*known, *(f"service {service}" for service in services)]
            yield unknown(path, "target", target, wanted)


def _node(scenario: Scenario, path: Route, address: str) -> Iterator[Mistake]:
    words = address.split(".")
    known = {f"{site.name}.{pool.name}": pool for site in scenario.sites for pool in site.pools}
    owners = [name for name in known if name.endswith(f".{words[0]}")]
    pool = ".".join(words[:-1])
    if len(words) == 2 and len(owners) == 1:
        pool = owners[0]
    if pool not in known or not words[-1].isdecimal():
        yield Mistake(path, f"{address!r} is no node", f"write POOL.N, N from 0; pools: {', '.join(known)}")
    elif int(words[-1]) >= known[pool].nodes:
        yield Mistake(path, f"{address!r}: the pool has nodes 0 to {known[pool].nodes - 1}")


def _leaf(scenario: Scenario, path: Route, address: str) -> Iterator[Mistake]:
    name, _, number = address.rpartition(".")
    sites = {site.name: site for site in scenario.sites}
    if name not in sites or not number.isdecimal():
        yield Mistake(path, f"{address!r} is no leaf", f"write SITE.N, N from 0; sites: {', '.join(sites)}")


def _limits(scenario: Scenario) -> Iterator[Mistake]:
    services = [work.name for work in scenario.workloads if isinstance(work, Service)]
    tenants = tenants_of(scenario)
    for index, limit in enumerate(scenario.limits):
        if limit.service is not None and limit.service not in services:
            yield unknown(("limits", index, "service"), "service", limit.service, services)
        if limit.tenant is not None and tenants is not None and limit.tenant not in tenants:
            yield unknown(("limits", index, "tenant"), "tenant", limit.tenant, tenants)


def tenants_of(scenario: Scenario) -> list[str] | None:
    """Return who pays for something; None if a log decides."""
    names: list[str] = []
    for workload in scenario.workloads:
        if isinstance(workload, SwfLog | HeliosLog):
            return None
        if isinstance(workload, JobStream):
            names += list(workload.tenants) or [workload.name]
        elif isinstance(workload, JobList):
            names += [job.tenant or workload.name for job in workload.jobs]
        else:
            names.append(workload.tenant or workload.name)
    return list(dict.fromkeys(names))
