"""The queues that a service's replicas are dealt to."""

from __future__ import annotations

from simulator.foundation.errors import BuildError
from simulator.scenario.services import Service
from simulator.scenario.tree import Scenario


def queues_of(service: Service, scenario: Scenario) -> tuple[str, ...]:
    """Return the queues that replicas are dealt to: the service's own, or one for each site."""
    if service.queue is not None:
        if service.sites:
            raise BuildError(
                f"workloads.{service.name}: `queue` says where its replicas run, and so does `sites`; "
                "give one of them"
            )
        return (service.queue,)
    queues = scenario.queues
    if not service.sites:
        return (queues[0].name,)
    found = []
    for site in service.sites:
        at_site = [
            queue.name for queue in queues if all(pool.partition(".")[0] == site for pool in queue.pools)
        ]
        if not at_site:
            raise BuildError(
                f"workloads.{service.name}: no queue has pools at {site} and nowhere else; "
                f"known: {', '.join(queue.name for queue in queues)}"
            )
        found.append(at_site[0])
    return tuple(found)
