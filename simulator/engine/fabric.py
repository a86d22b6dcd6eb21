"""The fabric while the clock runs: whose traffic shares which links, and what is left to each.

Shares are recomputed only when the set of flows changes, once the instant has settled. A job
inside one leaf has no fabric flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulator.cluster.allocation import Placement, bits
from simulator.foundation.time_grid import Priority
from simulator.network.sharing import LEAST_SHARE, Flow, settle_shares
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class FabricControl:
    """Flows and shares of all sites."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        world = engine.world
        self.listens = any(plan.fabric is not None for plan in world.sites) and (
            any(behaviour.flows for behaviour in world.behaviours)
            or any(plan.flows for plan in world.services)
        )
        self.fabrics = [plan.fabric for plan in world.sites]
        self._dirty: dict[int, None] = {}
        self._timer = engine.clock.timer(self._settle, Priority.CONTROL)
        self.recomputed = 0

    def job_changed(self, job: int) -> None:
        """Note that a job's flow may have changed."""
        engine, board = self.engine, self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        if behaviour.flows or board.kind[job] == "replica":
            self._touch(engine.pools[board.last_pool[job]].site)

    def leaf_fault(self, site_name: str, leaf: int, *, broken: bool) -> None:
        """Take a leaf switch down or bring it back."""
        engine = self.engine
        for code, plan in enumerate(engine.world.sites):
            fabric = self.fabrics[code]
            if plan.facts.name == site_name and fabric is not None:
                self.fabrics[code] = fabric.without_leaf(leaf) if broken else fabric.with_leaf(leaf)
                engine.recorder.events.add(
                    engine.clock.environment.now,
                    "fabric",
                    "leaf",
                    f"{site_name}.{leaf}",
                    "began" if broken else "ended",
                    0.0,
                    "",
                    float("nan"),
                )
                self._touch(code)

    def flow_changed(self, site: int) -> None:
        """Note that a service declared another flow."""
        self._touch(site)

    # ------------------------------------------------------------------ inside

    def _touch(self, site: int) -> None:
        if self.fabrics[site] is not None:
            self._dirty[site] = None
            self._timer.arm_by(self.engine.clock.environment.now)

    def _settle(self) -> None:
        sites = sorted(self._dirty)
        self._dirty.clear()
        for site in sites:
            self._settle_site(site)

    def _settle_site(self, site: int) -> None:
        engine, board = self.engine, self.engine.board
        fabric = self.fabrics[site]
        assert fabric is not None
        self.recomputed += 1
        jobs: list[int] = []
        flows: list[Flow] = []
        steps: list[Callable[[float], float]] = []
        cut: list[int] = []
        for pool in engine.pools:
            if pool.site != site:
                continue
            for job, placement in engine.holders(pool.code):
                behaviour = board.behaviours[board.behaviour_of[job]]
                on_node = self._on_node(pool.code, placement)
                if board.kind[job] == "replica":
                    if any(fabric.port_share(node) == 0.0 for node in on_node):
                        cut.append(job)
                    continue
                if not behaviour.flows or board.phase[job] not in (Phase.RUNNING, Phase.STOPPING):
                    continue
                profile = board.profile(job)
                flow = fabric.flow(
                    board.job_id[job],
                    on_node,
                    profile.flow_bytes_per_step,
                )
                if flow.port_share == 0.0 and len(on_node) > 1:
                    cut.append(job)
                    continue
                jobs.append(job)
                flows.append(flow)
                steps.append(_step_time(profile, board.clock_fraction[job]))
        for job in cut:
            engine.failures.cut_off(job)
        for name, service in engine.services.services.items():
            if service.plan.flows:
                declared = service.crowd.declared_flow_bytes_per_s()
                links = self._links_of(service.serving, site)
                jobs.append(-1)
                flows.append(Flow.steady(f"service:{name}", links, max(declared, 1.0)))
                steps.append(lambda share: 1.0)
        if not flows:
            return
        shares = settle_shares(flows, fabric.capacities_bytes_per_s, steps)
        for job, flow, share in zip(jobs, flows, shares, strict=True):
            left = min(1.0, max(share, LEAST_SHARE))
            if job < 0:
                engine.services.share_transfers(flow.key.removeprefix("service:"), left)
            elif abs(left - board.link_share[job]) > 1e-6 * left:
                board.link_share[job] = left
                board.refresh(job)

    def _on_node(self, pool: int, placement: Placement) -> dict[int, int]:
        engine = self.engine
        facts = engine.pools[pool]
        first = engine.world.sites[facts.site].first_node.get(pool, 0)
        on_node = {first + node: facts.gpus_per_node for node in bits(placement.whole)}
        for node, gpus in placement.parts:
            on_node[first + node] = on_node.get(first + node, 0) + gpus
        return on_node

    def _links_of(self, serving: dict[int, None], site: int) -> tuple[int, ...]:
        """Return the uplinks between the leaves that a service's replicas lie below."""
        engine, fabric = self.engine, self.fabrics[site]
        assert fabric is not None
        leaves: dict[int, None] = {}
        for job in serving:
            placement = engine.board.placement[job]
            if placement is not None and engine.pools[placement.pool].site == site:
                for node in self._on_node(placement.pool, placement):
                    leaves[fabric.leaf_of(node)] = None
        return tuple(sorted(leaves)) if len(leaves) > 1 else ()


def _step_time(profile: object, clock_fraction: float) -> Callable[[float], float]:
    return lambda share: float(profile.at(clock_fraction, share)[0])  # type: ignore[attr-defined]
