"""What breaks: nodes go down and come back, jobs notice, recover, shrink or wait again.

All nodes of a pool share one Poisson process: the next failure of the pool is drawn, then which
GPU it hits. That equals independent exponential laws per GPU and costs one pending event a pool.
"""

from __future__ import annotations

import heapq
import math
from array import array
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.cluster.allocation import Placement, joined, without_node
from simulator.engine.failure_draws import PoolFailures
from simulator.engine.hot_spares import HotSpares
from simulator.engine.world import Cause
from simulator.foundation.errors import DatahallError
from simulator.foundation.time_grid import Priority, snap_up
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Failures in a row after each of which a job stood where it had stood before: in a run that
#: waits for it, it will hardly ever be done. At one chance in a hundred to keep anything, this
#: many come in a row once in 23,000 runs.
_IN_VAIN: Final = 1000

#: Strikes of a pool between two looks at whether anything was done at all meanwhile.
_STRIKES: Final = 10_000


class Failures:
    """Failures and repairs of all pools."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outages = tuple(array(code) for code in "hiddib")
        self._repairs: list[tuple[float, int, int]] = []
        self._repair_timer = engine.clock.timer(self._repair_due, Priority.REPAIR)
        self.draws: dict[int, PoolFailures] = {}
        self._down_since: dict[tuple[int, int], tuple[float, bool]] = {}
        #: Nodes that are down because they broke, and those that others took out, with the reasons;
        #: several may hold at once.
        self._broken: dict[tuple[int, int], str] = {}
        self._out: dict[tuple[int, int], dict[str, None]] = {}
        #: job -> (diagnosis, recovery) of what hit it last
        self._ahead_s: dict[int, tuple[float, float]] = {}
        #: (pool, node) -> moments of its failures that may still count against it.
        self._incidents: dict[tuple[int, int], list[float]] = {}
        #: job -> (work it has kept, failures since that grew)
        self._kept: dict[int, tuple[float, int]] = {}
        self._strikes = 0
        self._most_done = -1.0
        #: Replicas of elastic jobs that are starting again beside them: (moment, job, pool, nodes).
        self._joining: list[tuple[float, int, int, tuple[int, ...]]] = []
        self._join_timer = engine.clock.timer(self._join_due, Priority.COMPLETION)
        self._spares = [
            HotSpares(pool, plan.hot_spares)
            for pool, plan in zip(engine.pools, engine.world.pools, strict=True)
        ]

    def begin(self) -> None:
        """Draw the first failure of every pool."""
        for code, causes in self.engine.world.causes.items():
            if causes:
                self.draws[code] = PoolFailures(self.engine, code, causes)

    # ------------------------------------------------------------------ breaking

    def strike(self, pool_code: int, node: int, cause: Cause, repair_s: float, gpu: int = 0) -> None:
        """Let a cause hit a node, or the job that holds one GPU of it. [s]"""
        engine = self.engine
        if engine.world.horizon_s == math.inf:
            self._look_for_progress()
        pool = engine.pools[pool_code]
        jobs = (
            self.jobs_on(pool_code, (node,)) if cause.scope == "node" else self._job_at(pool_code, node, gpu)
        )
        if cause.scope == "node":
            if (pool_code, node) in self._broken:
                return
            self._broken[pool_code, node] = cause.name
            self._log("failure", cause.name, self._node_name(pool_code, node), "began", repair_s)
            repair_s = self._judged(pool_code, node, cause, repair_s)
            if not pool.free.down >> node & 1:
                self._take_down(pool_code, node, cause.planned)
            if repair_s < math.inf:
                due_s = snap_up(engine.clock.environment.now + repair_s)
                heapq.heappush(self._repairs, (due_s, pool_code, node))
                self._repair_timer.arm(self._repairs[0][0])
            engine.pool_changed(pool_code)
        elif jobs:
            self._log("failure", cause.name, engine.board.job_id[jobs[0]], "began", math.nan)
        for job in jobs:
            self._hit(job, pool_code, (node,), cause)

    def fault(self, pool_code: int, node: int, lasts_s: float, name: str = "node-fault") -> None:
        """Let a node fail by decree."""
        self.strike(pool_code, node, self._decreed(name, pool_code, lasts_s), lasts_s)

    def _judged(self, pool_code: int, node: int, cause: Cause, repair_s: float) -> float:
        """Count a node's failure; return how long it is away, which is longer if it must leave."""
        rules = self.engine.world.ejection
        if rules is None or cause.planned or repair_s == math.inf:
            return repair_s
        now_s = self.engine.clock.environment.now
        before = self._incidents.get((pool_code, node), [])
        recent = [at_s for at_s in before if at_s > now_s - rules.within_s]
        recent.append(now_s)
        self._incidents[pool_code, node] = recent
        if len(recent) < rules.incidents:
            return repair_s
        del self._incidents[pool_code, node]
        self._log("decision", "Eject", self._node_name(pool_code, node), "applied", float(len(recent)))
        if pool_code in self.draws:
            self.draws[pool_code].replaced(node)
        return rules.replacement_s

    def take_out(self, pool_code: int, nodes: tuple[int, ...], reason: str, *, planned: bool = False) -> None:
        """Take nodes out that did not break, until put back; a job on several is hit once."""
        pool = self.engine.pools[pool_code]
        fresh = tuple(node for node in nodes if not pool.free.down >> node & 1)
        jobs = self.jobs_on(pool_code, fresh)
        for node in nodes:
            self._out.setdefault((pool_code, node), {})[reason] = None
            self._log("failure", reason, self._node_name(pool_code, node), "began", math.nan)
        for node in fresh:
            self._take_down(pool_code, node, planned)
        self.engine.pool_changed(pool_code)
        cause = self._decreed(reason, pool_code, math.inf, planned=planned)
        for job in jobs:
            self._hit(job, pool_code, fresh, cause)

    def nodes_ready(self, pool_code: int) -> int:
        """Return how many whole nodes stand ready: hot spares and idle ones."""
        pool = self.engine.pools[pool_code]
        return pool.free.levels[pool.gpus_per_node].bit_count() + len(self._spares[pool_code])

    def put_back(self, pool_code: int, nodes: tuple[int, ...], reason: str) -> None:
        """Put back nodes taken out for a reason; those that broke meanwhile wait for their repair."""
        for node in nodes:
            reasons = self._out.get((pool_code, node), {})
            if reason in reasons:
                del reasons[reason]
                self._back(pool_code, node, reason)

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

    def _decreed(self, name: str, pool_code: int, repair_s: float, *, planned: bool = False) -> Cause:
        """Return a cause outside the preset, noticed and recovered from as the preset's are."""
        causes = self.engine.world.causes.get(pool_code, ())
        like = next((cause for cause in causes if cause.scope == "node"), None)
        return Cause(
            name,
            "node",
            0.0,
            detect_s=like.detect_s if like and not planned else 0.0,
            recover_s=like.recover_s if like else -1.0,
            repair_s=repair_s,
            planned=planned,
            diagnose_s=like.diagnose_s if like and not planned else 0.0,
        )

    def _take_down(self, pool_code: int, node: int, planned: bool) -> None:
        pool = self.engine.pools[pool_code]
        pool.free.take_down(node)
        self._down_since[pool_code, node] = (self.engine.clock.environment.now, planned)
        self._spares[pool_code].lose(node)

    def _hit(self, job: int, pool_code: int, nodes: tuple[int, ...], cause: Cause) -> None:
        engine, board = self.engine, self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        placement = board.placement[job]
        assert placement is not None
        if board.kind[job] == "replica":
            board.restarts[job] += 1
            engine.services.failed(job)
            return
        board.restarts[job] += 1
        pool = engine.pools[pool_code]
        if self._goes_on(job, pool_code, nodes, cause):
            return
        if not cause.planned or not behaviour.checkpoints:
            # Only what computes can compute wrongly.
            was_running = board.phase[job] == Phase.RUNNING
            board.lose_unsaved(job, cause.undetected_s if was_running else 0.0)
            self._count_in_vain(job)
        else:
            # Planned work is announced: the job saves itself first, and loses nothing.
            board.save(job)
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
        detect_s, *ahead_s = self._times_s(job, cause)
        self._ahead_s[job] = (ahead_s[0], ahead_s[1])
        board.stand_with(job, left, Phase.DETECTING, detect_s)
        for tell in engine.listeners:
            tell(job)
        if not board.due_s[job] > engine.clock.environment.now:
            self.diagnose(job)

    def _times_s(self, job: int, cause: Cause) -> tuple[float, float, float]:
        """Return (detection, diagnosis, restart) of a job that a cause hit. [s]"""
        behaviour = self.engine.board.behaviours[self.engine.board.behaviour_of[job]]
        own = behaviour.recovery
        if cause.planned:
            # Nothing is to be noticed or found out.
            known_s = cause.recover_s + own.load_s + own.warm_up_s
            return cause.detect_s, cause.diagnose_s, behaviour.restart_s if cause.recover_s < 0 else known_s
        return (
            cause.detect_s if own.detect_s is None else own.detect_s,
            cause.diagnose_s if own.diagnose_s is None else own.diagnose_s,
            behaviour.restart_s if cause.recover_s < 0 else own.again_s(cause.recover_s),
        )

    def _count_in_vain(self, job: int) -> None:
        """Refuse a run that waits for a job which keeps nothing from failure to failure."""
        board = self.engine.board
        kept, failures = self._kept.get(job, (0.0, 0))
        done = board.done[job]
        failures = 0 if done > kept else failures + 1
        self._kept[job] = (max(done, kept), failures)
        if failures >= _IN_VAIN:
            said = (
                f"job {board.job_id[job]!r} failed {failures:,} times in a row without keeping any work "
                f"({done:g} of {board.work[job]:g} done, restart {board.restarts[job]:,})"
            )
            if self.engine.world.horizon_s == math.inf:
                raise DatahallError(
                    f"the run will hardly ever be done: {said}; save more often, lower "
                    "`failures.rate_scale`, or give a `duration`"
                )
            if failures == _IN_VAIN:
                self.engine.world.notes.append(said)

    def _look_for_progress(self) -> None:
        """Refuse a run that waits for jobs which, through many failures, did nothing."""
        engine, board = self.engine, self.engine.board
        self._strikes += 1
        if self._strikes % _STRIKES:
            return
        for pool in engine.pools:
            for job, _ in engine.holders(pool.code):
                board.refresh(job)
        done = math.fsum(board.done) - board.unfinished
        if done <= self._most_done:
            job = next(job for job, state in enumerate(board.state) if state in ("queued", "running", "held"))
            raise DatahallError(
                f"the run will hardly ever be done: {_STRIKES:,} failures on, no job has got any further; "
                f"job {board.job_id[job]!r} is {board.state[job]} with {board.done[job]:g} of "
                f"{board.work[job]:g} done; lower `failures.rate_scale`, or give a `duration`"
            )
        self._most_done = done

    # ------------------------------------------------------------------ replicas that stand in

    def _goes_on(self, job: int, pool_code: int, nodes: tuple[int, ...], cause: Cause) -> bool:
        """Let a job whose other replicas hold all state go on without the broken one.

        Only what breaks a node is confined to one replica; the step that was cut short is small
        beside the stall.
        """
        engine, board = self.engine, self.engine.board
        behaviour = board.behaviours[board.behaviour_of[job]]
        own = behaviour.recovery
        placement = board.placement[job]
        assert placement is not None
        on = board.phase[job] in (Phase.RUNNING, Phase.RECOVERING)
        if not own.from_peers or cause.planned or not on:
            return False
        pool = engine.pools[pool_code]
        left = placement
        if cause.scope == "node":
            for node in nodes:
                left, _ = without_node(left, node, pool.gpus_per_node)
        lost = placement.gpus - left.gpus
        if not 0 < board.minimum_gpus[job] <= left.gpus:
            return False
        detect_s, diagnose_s, again_s = self._times_s(job, cause)
        if cause.scope == "node":
            for node in nodes:
                _, gone = without_node(placement, node, pool.gpus_per_node)
                if gone.gpus:
                    pool.free.give_back(gone)
                placement, _ = without_node(placement, node, pool.gpus_per_node)
        board.stand_with(job, left, Phase.RECOVERING, own.regroup_s)
        if lost:
            at_s = snap_up(engine.clock.environment.now + detect_s + diagnose_s + again_s)
            heapq.heappush(self._joining, (at_s, job, pool_code, nodes))
            self._join_timer.arm(self._joining[0][0])
        for tell in engine.listeners:
            tell(job)
        if own.regroup_s <= 0.0:
            engine.resume(job)
        return True

    def _join_due(self) -> None:
        """Let replicas that are up again join their jobs, on spares or whatever is free."""
        engine, board = self.engine, self.engine.board
        now_s = engine.clock.environment.now
        while self._joining and self._joining[0][0] <= now_s:
            _, job, pool_code, _ = heapq.heappop(self._joining)
            placement = board.placement[job]
            if placement is None or board.phase[job] not in (Phase.RUNNING, Phase.RECOVERING):
                continue
            missing = board.gpus[job] - placement.gpus
            more = self._more_for(job, pool_code, missing) if missing > 0 else None
            if more is not None:
                # It caught up beside the others, which do not wait for it.
                board.change_placement(job, joined(placement, more))
                engine.pool_changed(pool_code)
                for tell in engine.listeners:
                    tell(job)
        if self._joining:
            self._join_timer.arm(self._joining[0][0])

    # ------------------------------------------------------------------ recovering

    def diagnose(self, job: int) -> None:
        """After detection: find out which part it was."""
        engine, board = self.engine, self.engine.board
        placement = board.placement[job]
        assert placement is not None
        diagnose_s, _ = self._ahead_s.get(job, (0.0, 0.0))
        if diagnose_s <= 0.0:
            self.recover(job)
            return
        board.stand_with(job, placement, Phase.DIAGNOSING, diagnose_s)
        for tell in engine.listeners:
            tell(job)
        if not board.due_s[job] > engine.clock.environment.now:
            self.recover(job)

    def recover(self, job: int) -> None:
        """After diagnosis: take a spare, else a free node, else shrink, else wait again."""
        engine, board = self.engine, self.engine.board
        placement = board.placement[job]
        assert placement is not None
        pool = engine.pools[placement.pool]
        missing = board.gpus[job] - placement.gpus
        _, recover_s = self._ahead_s.pop(job, (0.0, 0.0))
        own = board.behaviours[board.behaviour_of[job]].recovery
        if missing > 0:
            if not own.swaps:
                engine.leave(job)
                engine.requeue(job)
                return
            more = self._more_for(job, pool.code, missing)
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

    def _more_for(self, job: int, pool_code: int, gpus: int) -> Placement | None:
        """Take hot spares for `gpus`, else what is free and fits; None if there is neither."""
        more = self._spares[pool_code].take(gpus)
        if more is None:
            pool = self.engine.pools[pool_code]
            more = self.engine.queue_of[job].place.find(gpus, pool.free)
            if more is not None:
                pool.free.take(more)
        return more

    def _repair_due(self) -> None:
        engine = self.engine
        now_s = engine.clock.environment.now
        while self._repairs and self._repairs[0][0] <= now_s:
            _, pool_code, node = heapq.heappop(self._repairs)
            self._back(pool_code, node, self._broken.pop((pool_code, node)))
        if self._repairs:
            self._repair_timer.arm(self._repairs[0][0])

    def _back(self, pool_code: int, node: int, reason: str) -> None:
        """Put a node to use again after a reason to be down, unless there is another one."""
        if (pool_code, node) in self._broken or self._out.get((pool_code, node)):
            return
        engine = self.engine
        pool = engine.pools[pool_code]
        pool.free.bring_back(node)
        since_s, planned = self._down_since.pop((pool_code, node))
        self._add_outage(pool_code, node, since_s, engine.clock.environment.now, planned)
        self._log("repair", reason, self._node_name(pool_code, node), "ended", math.nan)
        # Spares are refilled before anything else: the next failure is certain to come.
        if self._spares[pool_code].refill(node):
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
