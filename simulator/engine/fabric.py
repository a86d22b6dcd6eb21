"""The fabric while the clock runs: whose traffic shares which links, and what is left to each.

Shares are recomputed only when the set of flows changes, once the instant has settled. A job
inside one leaf has no fabric flow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from simulator.cluster.allocation import Placement, bits
from simulator.foundation.time_grid import Priority
from simulator.network.sharing import LEAST_SHARE, SETTLED, Flow, settle_shares
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Why nodes without any port left are out.
CUT_OFF: Final = "cut off"


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
        #: (site, leaf switch) -> faults that hold now.
        self._faults: dict[tuple[int, int], int] = {}
        self._dirty: dict[int, None] = {}
        self._timer = engine.clock.timer(self._settle, Priority.CONTROL)

    def job_changed(self, job: int) -> None:
        """Note that a job's flow may have changed."""
        engine, board = self.engine, self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        if behaviour.flows or board.kind[job] == "replica":
            self._touch(engine.pools[board.last_pool[job]].site)

    def leaf_fault(self, site_name: str, leaf: int, *, broken: bool) -> None:
        """Take a leaf switch down or bring it back; nodes without any port left are cut off."""
        engine = self.engine
        site = next(code for code, plan in enumerate(engine.world.sites) if plan.facts.name == site_name)
        faults = self._faults.get((site, leaf), 0) + (1 if broken else -1)
        self._faults[site, leaf] = faults
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
        fabric = self.fabrics[site]
        assert fabric is not None
        was_broken = leaf in fabric.lost_leaves
        if was_broken == (faults > 0):
            # Two faults of one switch overlap: it is back when the last one is over.
            return
        fabric = self.fabrics[site] = fabric.without_leaf(leaf) if broken else fabric.with_leaf(leaf)
        for pool, nodes in self._below(site, fabric.nodes_of_leaf(leaf)):
            first = engine.world.sites[site].first_node[pool]
            cut = tuple(node for node in nodes if fabric.port_share(first + node) == 0.0)
            if broken and cut:
                engine.failures.take_out(pool, cut, CUT_OFF)
            elif not broken:
                engine.failures.put_back(pool, tuple(node for node in nodes if node not in cut), CUT_OFF)
        self._touch(site)

    def flow_changed(self, pools: list[int]) -> None:
        """Note that a service with replicas in these pools declared another flow."""
        for pool in pools:
            self._touch(self.engine.pools[pool].site)

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
        tell: list[Callable[[float], None]] = []
        flows: list[Flow] = []
        steps: list[Callable[[float], float]] = []
        for pool in engine.pools:
            if pool.site != site:
                continue
            for job, placement in engine.holders(pool.code):
                behaviour = board.behaviours[board.behaviour_of[job]]
                if not behaviour.flows or board.phase[job] != Phase.RUNNING:
                    continue
                profile = board.profile(job)
                flows.append(
                    fabric.flow(
                        board.job_id[job],
                        self._on_node(placement),
                        profile.flow_bytes_per_step,
                        replica_nodes=profile.replica_nodes,
                    )
                )
                tell.append(self._sharing(job))
                steps.append(_step_time(profile, board.clock_fraction[job]))
        for name, declared_bytes_per_s, replicas in engine.services.exchanging():
            senders, receivers = (
                self._weights(site, [place for own, place in replicas if own == role])
                for role in ("prefill", "decode")
            )
            if not senders or not receivers:
                continue
            flows.append(
                fabric.exchange(
                    f"service:{name}",
                    senders,
                    receivers,
                    declared_bytes_per_s,
                    engine.services.transfer_bytes_per_s(name),
                )
            )
            tell.append(partial(engine.services.share_transfers, name))
            # What a service offers follows its requests, whatever share it gets.
            steps.append(lambda share: 1.0)
        if not flows:
            return
        shares = settle_shares(flows, fabric.capacities_bytes_per_s, steps)
        for give, share in zip(tell, shares, strict=True):
            give(min(1.0, max(share, LEAST_SHARE)))

    def _sharing(self, job: int) -> Callable[[float], None]:
        board = self.engine.board

        def give(share: float) -> None:
            if abs(share - board.link_share[job]) > SETTLED * share:
                board.link_share[job] = share
                board.refresh(job)

        return give

    def _weights(self, site: int, places: list[Placement]) -> dict[int, float]:
        """Return how many replicas each node of a site holds; one on several nodes is divided."""
        weights: dict[int, float] = {}
        for place in places:
            if self.engine.pools[place.pool].site == site:
                for node, gpus in self._on_node(place).items():
                    weights[node] = weights.get(node, 0.0) + gpus / place.gpus
        return weights

    def _below(self, site: int, nodes: range) -> list[tuple[int, tuple[int, ...]]]:
        """Return (pool, its nodes) for a stretch of the fabric's nodes."""
        engine = self.engine
        found = []
        for pool in engine.pools:
            if pool.site == site:
                first = engine.world.sites[site].first_node[pool.code]
                own = range(max(nodes.start, first), min(nodes.stop, first + pool.facts.nodes))
                if own:
                    found.append((pool.code, tuple(node - first for node in own)))
        return found

    def _on_node(self, placement: Placement) -> dict[int, int]:
        """Return GPUs taken by node of the fabric."""
        engine = self.engine
        facts = engine.pools[placement.pool]
        first = engine.world.sites[facts.site].first_node[placement.pool]
        on_node = {first + node: facts.gpus_per_node for node in bits(placement.whole)}
        for node, gpus in placement.parts:
            on_node[first + node] = on_node.get(first + node, 0) + gpus
        return on_node


def _step_time(profile: object, clock_fraction: float) -> Callable[[float], float]:
    return lambda share: float(profile.at(clock_fraction, share)[0])  # type: ignore[attr-defined]
