"""Services: their crowds advance with the clock, and decisions about them are applied.

A crowd is advanced to the next event of the clock before that event happens, never request by
request. One service's replicas are in `live_service`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.cluster.allocation import Placement
from simulator.engine.live_service import LiveService
from simulator.serving.crowd import Role
from simulator.telemetry.record import ServiceRecord

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class Services:
    """All services of a run."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.services = {plan.name: LiveService(engine, plan) for plan in engine.world.services}
        self.any = bool(self.services)
        self._of_job: dict[int, LiveService] = {}
        for service in self.services.values():
            service.of_job = self._of_job

    def begin(self) -> None:
        """Ask for the first replicas."""
        for service in self.services.values():
            service.begin()

    def advance(self, until_s: float) -> None:
        """Bring every crowd up to `until_s`, or to where one of them wants the engine."""
        services = list(self.services.values())
        while True:
            bound_s = min(until_s, *(service.crowd.next_time() for service in services))
            if bound_s == math.inf:
                # Nobody waits for anything: whatever still happens, the clock brings about.
                return
            bound_s = max(bound_s, min(service.crowd.now_s for service in services))
            fired = False
            for service in services:
                fired = service.advance(bound_s) or fired
            if fired or bound_s >= until_s:
                return

    def close(self, at_s: float) -> None:
        """Take everything out of the crowds at the horizon."""
        for service in self.services.values():
            service.advance(at_s)
            service.close(at_s)

    # ------------------------------------------------------------------ from jobs

    def ready(self, job: int) -> None:
        """Let a warm replica serve."""
        self._of_job[job].ready(job)

    def loading(self, job: int) -> None:
        """Follow a replica through its cold start."""
        self._of_job[job].cold_starts.begin(job)

    def failed(self, job: int) -> None:
        """Lose a replica whose node failed."""
        self._of_job[job].failed(job)

    def stop(self, job: int, how: str, then: str) -> str:
        """Stop a replica by decision; return why not."""
        return self._of_job[job].stop(job, how, then)

    # ------------------------------------------------------------------ decisions

    def scale(self, name: str, replicas: int) -> str:
        """Ask for another number of replicas; return why not."""
        service = self.services.get(name)
        if service is None:
            return f"there is no service {name!r}"
        plan = service.plan
        if not plan.minimum <= replicas <= plan.maximum:
            return f"{replicas} replicas lie outside {plan.minimum} to {plan.maximum}"
        if service.ceiling is not None and replicas > service.ceiling:
            return f"a ceiling of {service.ceiling} replicas holds"
        service.scale_to(replicas)
        return ""

    def ceiling(self, name: str, gpus: int | None) -> str:
        """Bound a service's GPUs; None lifts the bound. Return why not."""
        service = self.services.get(name)
        if service is None:
            return f"there is no service {name!r}"
        if service.plan.mode == "thinned":
            return "a thinned service keeps its replicas: cells of unequal size would be biased"
        service.set_ceiling(None if gpus is None else gpus // service.plan.gpus_per_replica)
        return ""

    def route(self, name: str, weights: tuple[tuple[str, float], ...]) -> str:
        """Send shares of a service's requests to sites; return why not."""
        service = self.services.get(name)
        if service is None:
            return f"there is no service {name!r}"
        if service.plan.mode != "full":
            return f"a {service.plan.mode} service has no shares of sites; use mode full"
        sites = service.sites()
        for site, weight in weights:
            if weight > 0.0 and site not in sites:
                return f"service {name!r} has no replicas at {site!r}; it runs at {', '.join(sites)}"
        service.route(weights)
        return ""

    def set_clock(self, job: int, clock_fraction: float) -> None:
        """Run a replica at another clock."""
        self._of_job[job].set_clock(job, clock_fraction)

    # ------------------------------------------------------------------ the fabric

    def exchanging(self) -> list[tuple[str, float, list[tuple[Role, Placement]]]]:
        """Return the services that move KV: name, declared rate, and role and place of each replica."""
        return [
            (name, service.declared_bytes_per_s, service.serving_roles())
            for name, service in self.services.items()
            if service.plan.flows
        ]

    def share_transfers(self, name: str, share: float) -> None:
        """Give a service's KV transfers the share of its ports that the fabric leaves them."""
        self.services[name].share_transfers(share)

    def transfer_bytes_per_s(self, name: str) -> float:
        """Return the bandwidth of one replica's own ports for KV. [B/s]"""
        return self.services[name].plan.transfer_bytes_per_s

    # ------------------------------------------------------------------ what there is to see

    def stays(self, job: int) -> bool:
        """Whether a replica is one that the service wants, not one that drains."""
        return job in self._of_job[job].wanted

    def power_w(self, job: int) -> float:
        """Return the IT power of a replica now, GPUs and host share. [W]"""
        return self._of_job[job].power_w(job)

    def records(self) -> tuple[ServiceRecord, ...]:
        """Return what the services leave."""
        return tuple(service.record for service in self.services.values())
