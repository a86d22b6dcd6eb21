"""The fabric while the clock runs: whose traffic shares which links, and what is left to each.

Shares are recomputed only when the set of flows changes, once the instant has settled. A job
inside one leaf has no fabric flow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from simulator.cluster.allocation import Placement, bits
from simulator.engine.link_log import LinkLog
from simulator.foundation.time_grid import Priority
from simulator.network.settling import LEAST_SHARE
from simulator.network.sharing import (
    SETTLED,
    STEADY,
    Flow,
    StepCurve,
    settle_shares,
    whole_share,
)
from simulator.network.topology import Fabric, Fault
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Why nodes without any port left, or behind a link of which nothing is left, are out.
CUT_OFF: Final = "cut off"

#: A link that has less than this of its bandwidth carries nothing.
_DEAD: Final = 1e-9


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
        self.log = LinkLog(engine)
        for pool in engine.pools:
            fabric = self.fabrics[pool.site]
            if fabric is not None:
                pool.free.nodes_per_leaf = fabric.nodes_per_edge
                pool.free.nodes_per_pod = fabric.nodes_per_pod
                pool.free.first_node = world.sites[pool.site].first_node[pool.code]
        #: site -> links of which nothing is left.
        self._dead: list[dict[int, None]] = [{} for _ in world.sites]
        self._out: list[dict[tuple[int, int], None]] = [{} for _ in world.sites]
        #: job -> (placement, profile, flows): they change with these only, and with the fabric.
        self._flows: dict[int, tuple[Placement, Any, tuple[Flow, ...]]] = {}
        self._curves: dict[tuple[int, float], tuple[Any, StepCurve]] = {}
        #: Jobs that hold GPUs and load the fabric -> site.
        self._talking: dict[int, int] = {}
        self._services_talk = any(plan.flows for plan in world.services)
        self._dirty: dict[int, None] = {}
        self._timer = engine.clock.timer(self._settle, Priority.CONTROL)

    def job_changed(self, job: int) -> None:
        """Note that a job's flow may have changed."""
        engine, board = self.engine, self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        if not behaviour.flows and (board.kind[job] != "replica" or not self._services_talk):
            return
        site = engine.pools[board.last_pool[job]].site
        if behaviour.flows:
            before = self._talking.pop(job, site)
            if before != site:
                self._touch(before)
            if board.placement[job] is not None:
                self._talking[job] = site
            else:
                self._flows.pop(job, None)
        self._touch(site)

    def flow_changed(self, pools: list[int]) -> None:
        """Note that a service with replicas in these pools declared another flow."""
        for pool in pools:
            self._touch(self.engine.pools[pool].site)

    def close(self, at_s: float) -> None:
        """Write down what holds at the horizon."""
        self.log.close(at_s)

    # ------------------------------------------------------------------ faults

    def leaf_fault(self, site_name: str, leaf: int, *, broken: bool) -> None:
        """Take a leaf switch down or bring it back; nodes without any port left are cut off."""
        self._note("leaf", f"{site_name}.{leaf}", 0.0, broken)
        self._change(self._site(site_name), (Fault("switch", leaf),), broken)

    def part_fault(self, site_name: str, what: str, part: str, left_fraction: float, *, broken: bool) -> None:
        """Take part of a link or of the switches of a place, or give it back."""
        site = self._site(site_name)
        fabric = self.fabrics[site]
        assert fabric is not None
        find = fabric.link_faults if what == "link" else fabric.switch_faults
        self._note(what, f"{site_name}.{part}", left_fraction, broken)
        self._change(site, find(part, left_fraction), broken)

    def nic_fault(self, pool_code: int, node: int, ports: int, *, broken: bool) -> None:
        """Take some of a node's ports, or give them back; without any the node is cut off."""
        pool = self.engine.pools[pool_code]
        plan = self.engine.world.sites[pool.site]
        left_fraction = max(0.0, 1.0 - ports / pool.gpus_per_node)
        self._note("nic", f"{plan.facts.name}.{pool.name}.{node}", left_fraction, broken)
        fault = Fault("nic", plan.first_node[pool_code] + node, left_fraction)
        self._change(pool.site, (fault,), broken)

    def _site(self, name: str) -> int:
        return next(code for code, plan in enumerate(self.engine.world.sites) if plan.facts.name == name)

    def _note(self, what: str, target: str, left_fraction: float, broken: bool) -> None:
        engine = self.engine
        engine.recorder.events.add(
            engine.clock.environment.now,
            "fabric",
            what,
            target,
            "began" if broken else "ended",
            0.0,
            "",
            float("nan") if what == "leaf" else left_fraction,
        )

    def _change(self, site: int, faults: tuple[Fault, ...], broken: bool) -> None:
        """Put faults into a site's fabric or take them out, and nodes out that nobody reaches."""
        fabric = self.fabrics[site]
        assert fabric is not None
        for fault in faults:
            fabric = fabric.with_fault(fault) if broken else fabric.without_fault(fault)
        self.fabrics[site] = fabric
        self._flows.clear()
        for fault in faults:
            if fault.what == "link":
                self._dead[site].pop(fault.index, None)
                whole = fabric.whole_capacities()[fault.index]
                if fabric.capacities_bytes_per_s[fault.index] <= _DEAD * whole:
                    self._dead[site][fault.index] = None
        self._cut_off(site, fabric)
        self._touch(site)

    def _cut_off(self, site: int, fabric: Fabric) -> None:
        """Take out the nodes that have no port or no way left, and put back those that have again.

        Behind a dead link work that stays there goes on; nothing new begins there.
        """
        engine = self.engine
        out: dict[tuple[int, int], None] = {}
        first_node = engine.world.sites[site].first_node
        touched = dict.fromkeys(
            fault.index for fault in fabric.faults if fault.what == "nic" and not fault.left_fraction
        )
        for fault in fabric.faults:
            if fault.what == "switch":
                touched |= dict.fromkeys(fabric.nodes_of_switch(fault.index))
        for pool in engine.pools:
            if pool.site != site:
                continue
            first = first_node[pool.code]
            for node in touched:
                if first <= node < first + pool.facts.nodes and fabric.port_share(node) <= 0.0:
                    out[pool.code, node - first] = None
            for link in self._dead[site]:
                behind = fabric.nodes_behind(link)
                own = range(max(behind.start, first), min(behind.stop, first + pool.facts.nodes))
                staying = self._staying(pool.code, first, behind)
                out |= {(pool.code, node - first): None for node in own if not staying >> node - first & 1}
        before = self._out[site]
        self._out[site] = out
        for pool in engine.pools:
            if pool.site == site:
                back = tuple(
                    node for code, node in sorted(before) if code == pool.code and (code, node) not in out
                )
                gone = tuple(
                    node for code, node in sorted(out) if code == pool.code and (code, node) not in before
                )
                if back:
                    engine.failures.put_back(pool.code, back, CUT_OFF)
                if gone:
                    engine.failures.take_out(pool.code, gone, CUT_OFF)

    def _staying(self, pool_code: int, first: int, behind: range) -> int:
        """Return the nodes of jobs that lie wholly behind a link, as bits."""
        below = sum(1 << node - first for node in behind if node >= first)
        staying = 0
        for _, placement in self.engine.holders(pool_code):
            held = placement.whole | sum(1 << node for node, _ in placement.parts)
            if held & ~below == 0:
                staying |= held
        return staying

    # ------------------------------------------------------------------ settling

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
        if self._dead[site]:
            # A job that ended behind a dead link may have left nodes that nobody reaches.
            self._cut_off(site, fabric)
        tell: list[Callable[[float], None]] = []
        flows: list[tuple[Flow, ...]] = []
        curves: list[StepCurve] = []
        jobs: list[int] = []
        for job in sorted(job for job, where in self._talking.items() if where == site):
            placement = board.placement[job]
            if placement is None or board.phase[job] != Phase.RUNNING:
                continue
            profile = board.profile(job)
            found = self._flows_of(job, placement, profile, fabric)
            if found:
                flows.append(found)
                tell.append(self._sharing(job))
                curves.append(self._curve(profile, board.clock_fraction[job]))
                jobs.append(job)
        for name, declared_bytes_per_s, replicas in engine.services.exchanging():
            senders, receivers = (
                self._weights(site, [place for own, place in replicas if own == role])
                for role in ("prefill", "decode")
            )
            if not senders or not receivers:
                continue
            flow = fabric.exchange(
                f"service:{name}",
                senders,
                receivers,
                declared_bytes_per_s,
                engine.services.transfer_bytes_per_s(name),
            )
            flows.append((flow,))
            tell.append(partial(engine.services.share_transfers, name))
            curves.append(STEADY)
            jobs.append(-1)
        shares = settle_shares(flows, fabric.capacities_bytes_per_s, curves)
        for give, own, got in zip(tell, flows, shares, strict=True):
            give(min(1.0, max(whole_share(own, got), LEAST_SHARE)))
        self.log.settled(site, fabric, jobs, flows, shares, curves)

    def _flows_of(self, job: int, placement: Placement, profile: Any, fabric: Fabric) -> tuple[Flow, ...]:
        known = self._flows.get(job)
        if known is not None and known[0] is placement and known[1] is profile:
            return known[2]
        board = self.engine.board
        on_node = self._on_node(placement)
        behaviour = board.behaviours[board.behaviour_of[job]]
        order = None
        if behaviour.scattered_ranks:
            dealt = self.engine.world.streams.stream(f"rank-order/{board.job_id[job]}")
            order = dealt.permutation(len(on_node))
        found = tuple(
            fabric.contended(flow)
            for flow in fabric.flows(board.job_id[job], on_node, profile.traffic, order)
        )
        self._flows[job] = placement, profile, found
        return found

    def _curve(self, profile: Any, clock_fraction: float) -> StepCurve:
        # Kept with its profile, so that no other can get the same identity meanwhile.
        key = id(profile), clock_fraction
        known = self._curves.get(key)
        if known is None:
            curve = StepCurve(lambda share: profile.at(clock_fraction, share)[0])
            known = self._curves[key] = profile, curve
        return known[1]

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

    def _on_node(self, placement: Placement) -> dict[int, int]:
        """Return GPUs taken by node of the fabric."""
        engine = self.engine
        facts = engine.pools[placement.pool]
        first = engine.world.sites[facts.site].first_node[placement.pool]
        on_node = {first + node: facts.gpus_per_node for node in bits(placement.whole)}
        for node, gpus in placement.parts:
            on_node[first + node] = on_node.get(first + node, 0) + gpus
        return on_node
