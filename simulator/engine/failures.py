"""What breaks: nodes go down and come back, jobs notice, recover, shrink or wait again.

All nodes of a pool share one Poisson process: the next failure of the pool is drawn, then which
GPU it hits. That equals independent exponential laws per GPU and costs one pending event a pool.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.cluster.allocation import Placement, joined, without_node
from simulator.engine.world import Cause
from simulator.foundation.streams import BlockStream
from simulator.foundation.time_grid import Priority, snap_up
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class Failures:
    """Failures and repairs of all pools."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outages = tuple(array(code) for code in "hiddib")
        self._repairs: list[tuple[float, int, int]] = []
        self._repair_timer = engine.clock.timer(self._repair_due, Priority.REPAIR)
        self._pools: list[_PoolFailures] = []
        self._down_since: dict[tuple[int, int], tuple[float, bool]] = {}
        #: Nodes that are down because they broke, and those that others took out, with the reasons;
        #: several may hold at once.
        self._broken: dict[tuple[int, int], None] = {}
        self._out: dict[tuple[int, int], dict[str, None]] = {}
        #: job -> (recovery time of the cause, nodes lost)
        self._recover_s: dict[int, float] = {}
        for code, plan in enumerate(engine.world.pools):
            spares = plan.hot_spares
            if spares:
                # Spares stand idle outside the free count until a job needs one.
                pool = engine.pools[code]
                for node in range(pool.facts.nodes - spares, pool.facts.nodes):
                    pool.free.take(Placement(code, pool.gpus_per_node, 1 << node))
        self._spares = {
            code: list(range(plan.facts.nodes - plan.hot_spares, plan.facts.nodes))
            for code, plan in enumerate(engine.world.pools)
        }

    def begin(self) -> None:
        """Draw the first failure of every pool."""
        for code, causes in self.engine.world.causes.items():
            if causes:
                self._pools.append(_PoolFailures(self, code, causes))

    # ------------------------------------------------------------------ breaking

    def strike(self, pool_code: int, node: int, cause: Cause, repair_s: float, gpu: int = 0) -> None:
        """Let a cause hit a node, or the job that holds one GPU of it. [s]"""
        engine = self.engine
        pool = engine.pools[pool_code]
        jobs = (
            self.jobs_on(pool_code, (node,)) if cause.scope == "node" else self._job_at(pool_code, node, gpu)
        )
        if cause.scope == "node":
            if (pool_code, node) in self._broken:
                return
            self._broken[pool_code, node] = None
            self._log("failure", cause.name, self._node_name(pool_code, node), "began", repair_s)
            if not pool.free.down >> node & 1:
                self._take_down(pool_code, node, cause.planned)
            if repair_s < math.inf:
                self._repairs.append((snap_up(engine.clock.environment.now + repair_s), pool_code, node))
                self._repairs.sort()
                self._repair_timer.arm(self._repairs[0][0])
            engine.pool_changed(pool_code)
        elif jobs:
            self._log("failure", cause.name, engine.board.job_id[jobs[0]], "began", math.nan)
        for job in jobs:
            self._hit(job, pool_code, (node,), cause)

    def fault(self, pool_code: int, node: int, lasts_s: float, name: str = "node-fault") -> None:
        """Let a node fail by decree."""
        self.strike(pool_code, node, self._decreed(name, pool_code, lasts_s), lasts_s)

    def take_out(self, pool_code: int, nodes: tuple[int, ...], reason: str) -> None:
        """Take nodes out that did not break, until put back; a job on several is hit once."""
        pool = self.engine.pools[pool_code]
        fresh = tuple(node for node in nodes if not pool.free.down >> node & 1)
        jobs = self.jobs_on(pool_code, fresh)
        for node in nodes:
            self._out.setdefault((pool_code, node), {})[reason] = None
            self._log("failure", reason, self._node_name(pool_code, node), "began", math.nan)
        for node in fresh:
            self._take_down(pool_code, node, planned=False)
        self.engine.pool_changed(pool_code)
        cause = self._decreed(reason, pool_code, math.inf)
        for job in jobs:
            self._hit(job, pool_code, fresh, cause)

    def put_back(self, pool_code: int, nodes: tuple[int, ...], reason: str) -> None:
        """Put back nodes taken out for a reason; those that broke meanwhile wait for their repair."""
        for node in nodes:
            reasons = self._out.get((pool_code, node), {})
            if reason in reasons:
                del reasons[reason]
                self._back(pool_code, node)

    def jobs_on(self, pool_code: int, nodes: tuple[int, ...]) -> list[int]:
        """Return the jobs that hold GPUs of any of the nodes, in submission order."""
        mask = sum(1 << node for node in nodes)
        return [
            job
            for job, placement in self.engine.holders(pool_code)
            if placement.whole & mask or any(mask >> node & 1 for node, _ in placement.parts)
        ]

    def _job_at(self, pool_code: int, node: int, gpu: int) -> list[int]:
        """Return the job that holds the GPU of that number on a node; GPUs are dealt by submission."""
        for job in self.jobs_on(pool_code, (node,)):
            placement = self.engine.board.placement[job]
            assert placement is not None
            if placement.whole >> node & 1:
                return [job]
            gpu -= dict(placement.parts)[node]
            if gpu < 0:
                return [job]
        return []

    def _decreed(self, name: str, pool_code: int, repair_s: float) -> Cause:
        """Return a cause outside the preset, noticed and recovered from as the preset's are."""
        causes = self.engine.world.causes.get(pool_code, ())
        like = next((cause for cause in causes if cause.scope == "node"), None)
        return Cause(
            name,
            "node",
            0.0,
            detect_s=like.detect_s if like else 0.0,
            recover_s=like.recover_s if like else -1.0,
            repair_s=repair_s,
        )

    def _take_down(self, pool_code: int, node: int, planned: bool) -> None:
        pool = self.engine.pools[pool_code]
        pool.free.take_down(node)
        self._down_since[pool_code, node] = (self.engine.clock.environment.now, planned)
        if node in self._spares[pool_code]:
            self._spares[pool_code].remove(node)
            pool.free.give_back(Placement(pool_code, pool.gpus_per_node, 1 << node))

    def _hit(self, job: int, pool_code: int, nodes: tuple[int, ...], cause: Cause) -> None:
        engine, board = self.engine, self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        placement = board.placement[job]
        assert placement is not None
        if board.kind[job] == "replica":
            board.restarts[job] += 1
            engine.services.failed(job)
            return
        if not cause.planned or not behaviour.checkpoints:
            board.lose_unsaved(job)
        else:
            # Planned work is announced: the job saves itself first, and loses nothing.
            board.save(job)
        board.restarts[job] += 1
        pool = engine.pools[pool_code]
        left = placement
        if cause.scope == "node":
            for node in nodes:
                left, lost = without_node(left, node, pool.gpus_per_node)
                pool.free.give_back(lost)
        stopping = board.phase[job] == Phase.STOPPING
        if stopping or not behaviour.survives_failures or not left.gpus:
            if cause.scope == "node":
                # The lost part went back above: what is left is what the board may release.
                board.stand_with(job, left, Phase.STOPPING, math.inf)
            if not stopping:
                board.then[job] = "requeue"
            engine.enactor.stopped(job)
            return
        recover_s = behaviour.restart_s if cause.recover_s < 0 else cause.recover_s
        self._recover_s[job] = recover_s
        board.stand_with(job, left, Phase.DETECTING, cause.detect_s)
        for tell in engine.listeners:
            tell(job)
        if not board.due_s[job] > engine.clock.environment.now:
            self.recover(job)

    # ------------------------------------------------------------------ recovering

    def recover(self, job: int) -> None:
        """After detection: take a spare, else a free node, else shrink, else wait again."""
        engine, board = self.engine, self.engine.board
        placement = board.placement[job]
        assert placement is not None
        pool = engine.pools[placement.pool]
        missing = board.gpus[job] - placement.gpus
        recover_s = self._recover_s.pop(job, 0.0)
        if missing > 0:
            more = self._spare_for(pool.code, missing)
            if more is None:
                more = engine.queue_of[job].place.find(missing, pool.free)
                if more is not None:
                    pool.free.take(more)
            if more is not None:
                placement = joined(placement, more)
                engine.pool_changed(pool.code)
            elif not 0 < board.minimum_gpus[job] <= placement.gpus:
                engine.leave(job)
                engine.requeue(job)
                return
            else:
                self._log("decision", "Resize", board.job_id[job], "applied", float(placement.gpus))
        board.stand_with(job, placement, Phase.RECOVERING, recover_s)
        for tell in engine.listeners:
            tell(job)
        if recover_s <= 0.0:
            engine.resume(job)

    def replace(self, job: int, node: int) -> str:
        """Give a job another node in place of one it lost; return why not."""
        board = self.engine.board
        placement = board.placement[job]
        if placement is None:
            return "the job holds no GPUs"
        pool = self.engine.pools[placement.pool]
        missing = board.gpus[job] - placement.gpus
        if missing <= 0:
            return "the job misses no GPUs"
        if pool.free.free_on(node) < min(missing, pool.gpus_per_node):
            return f"node {node} has too few free GPUs"
        if missing >= pool.gpus_per_node:
            more = Placement(pool.code, pool.gpus_per_node, 1 << node)
        else:
            more = Placement(pool.code, missing, 0, ((node, missing),))
        pool.free.take(more)
        self.engine.enactor.regroup(job, joined(placement, more))
        return ""

    def _spare_for(self, pool_code: int, gpus: int) -> Placement | None:
        """Take hot spares for `gpus`, if that is a number of whole nodes and there are as many."""
        pool = self.engine.pools[pool_code]
        nodes = -(-gpus // pool.gpus_per_node)
        spares = self._spares[pool_code]
        if len(spares) < nodes or gpus % pool.gpus_per_node:
            return None
        whole = 0
        for _ in range(nodes):
            whole |= 1 << spares.pop(0)
        return Placement(pool_code, gpus, whole)

    def _repair_due(self) -> None:
        engine = self.engine
        now_s = engine.clock.environment.now
        while self._repairs and self._repairs[0][0] <= now_s:
            _, pool_code, node = self._repairs.pop(0)
            del self._broken[pool_code, node]
            self._back(pool_code, node)
        if self._repairs:
            self._repair_timer.arm(self._repairs[0][0])

    def _back(self, pool_code: int, node: int) -> None:
        """Put a node to use again, unless it is down for another reason too."""
        if (pool_code, node) in self._broken or self._out.get((pool_code, node)):
            return
        engine = self.engine
        pool = engine.pools[pool_code]
        pool.free.bring_back(node)
        since_s, planned = self._down_since.pop((pool_code, node))
        self._add_outage(pool_code, node, since_s, engine.clock.environment.now, planned)
        self._log("repair", "", self._node_name(pool_code, node), "ended", math.nan)
        plan = engine.world.pools[pool_code]
        if len(self._spares[pool_code]) < plan.hot_spares and pool.free.free_on(node) == pool.gpus_per_node:
            # Spares are refilled before anything else: the next failure is certain to come.
            self._spares[pool_code].append(node)
            pool.free.take(Placement(pool_code, pool.gpus_per_node, 1 << node))
            return
        self._regrow(pool_code)
        engine.pool_changed(pool_code)

    def _regrow(self, pool_code: int) -> None:
        """Offer freed nodes to shrunk elastic jobs first, in submission order."""
        from simulator.decisions import Resize

        engine, board = self.engine, self.engine.board
        for job, placement in list(engine.holders(pool_code)):
            missing = board.gpus[job] - placement.gpus
            if missing > 0 and board.minimum_gpus[job] and board.phase[job] == Phase.RUNNING:
                step = engine.pools[pool_code].gpus_per_node
                if missing >= step and engine.pools[pool_code].free.free_gpus >= step:
                    engine.decide(Resize(job, placement.gpus + step), by="regrow")

    # ------------------------------------------------------------------ the record

    def close(self, at_s: float) -> None:
        """Note the nodes that are still down at the horizon."""
        for (pool_code, node), (since_s, planned) in sorted(self._down_since.items()):
            self._add_outage(pool_code, node, since_s, at_s, planned)

    def table(self) -> dict[str, NDArray[Any]]:
        """Return the outages as columns."""
        names = ("pool", "node", "start_s", "end_s", "gpus", "planned")
        return {name: np.array(column) for name, column in zip(names, self.outages, strict=True)}

    def _add_outage(self, pool_code: int, node: int, since_s: float, until_s: float, planned: bool) -> None:
        if until_s > since_s:
            gpus = self.engine.pools[pool_code].gpus_per_node
            row = (pool_code, node, since_s, until_s, gpus, int(planned))
            for column, value in zip(self.outages, row, strict=True):
                column.append(value)  # type: ignore[arg-type]

    def _node_name(self, pool_code: int, node: int) -> str:
        pool = self.engine.pools[pool_code]
        return f"{self.engine.world.sites[pool.site].facts.name}.{pool.name}.{node}"

    def _log(self, kind: str, what: str, target: str, outcome: str, value: float) -> None:
        now_s = self.engine.clock.environment.now
        self.engine.recorder.events.add(now_s, kind, what, target, outcome, 0.0, "", value)


class _PoolFailures:
    """The failure process of one pool."""

    def __init__(self, owner: Failures, code: int, causes: tuple[Cause, ...]) -> None:
        self.owner = owner
        self.code = code
        self.causes = causes
        engine = owner.engine
        pool = engine.pools[code]
        site = engine.world.sites[pool.site].facts.name
        self.stream: BlockStream = engine.world.streams.block(f"failures.{site}.{pool.name}")
        self.repairs: BlockStream = engine.world.streams.block(f"repairs.{site}.{pool.name}")
        self.gpus, self.gpus_per_node = pool.facts.gpus, pool.gpus_per_node
        per_gpu_s = sum(cause.per_gpu_s for cause in causes)
        self.mean_s = 1.0 / (per_gpu_s * pool.facts.gpus) if per_gpu_s else math.inf
        self.edges: Any = np.cumsum([cause.per_gpu_s for cause in causes]) / per_gpu_s if per_gpu_s else []
        self.timer = engine.clock.timer(self._fail, Priority.FAILURE)
        self._next()

    def _next(self) -> None:
        if self.mean_s < math.inf:
            now_s = self.owner.engine.clock.environment.now
            self.timer.arm(snap_up(now_s + self.stream.exponential(self.mean_s)))

    def _fail(self) -> None:
        node, gpu = divmod(int(self.stream.uniform() * self.gpus), self.gpus_per_node)
        which = int(np.searchsorted(self.edges, self.stream.uniform(), side="right"))
        cause = self.causes[min(which, len(self.causes) - 1)]
        repair_s = self.repairs.exponential(cause.repair_s) if cause.scope == "node" else 0.0
        self.owner.strike(self.code, node, cause, repair_s, gpu)
        self._next()
