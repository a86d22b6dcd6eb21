"""Decisions become facts here, after their delay, or are refused with a reason; all is logged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.cluster.allocation import Placement, joined
from simulator.decisions import (
    Assign,
    Ceiling,
    Decision,
    Hold,
    Move,
    Replace,
    Reserve,
    Resize,
    Resume,
    Route,
    Scale,
    SetPower,
    Stop,
    Store,
    Wake,
)
from simulator.decisions.reasons import DECISION_HOLD, MOVING
from simulator.foundation.time_grid import Priority, snap_up
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.board import Board
    from simulator.engine.engine import Engine
    from simulator.engine.queues import Queue


class Enactor:
    """Applies one decision at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._later: list[tuple[float, int, Decision, str]] = []
        self._count = 0
        self._timer = engine.clock.timer(self.act, Priority.CONTROL)

    # ------------------------------------------------------------------ in and out

    def enact(self, decision: Decision, by: str) -> None:
        """Apply a decision now, or later if acting on it takes time."""
        delay_s = self._delay_s(decision)
        if delay_s <= 0.0:
            self._apply(decision, by, 0.0)
            return
        at_s = snap_up(self.engine.clock.environment.now + delay_s)
        self._count += 1
        self._later.append((at_s, self._count, decision, by))
        self._later.sort(key=lambda entry: entry[:2])
        self._timer.arm(self._later[0][0])

    def log(self, what: str, target: str, outcome: str, delay_s: float, reason: str, value: float) -> None:
        """Write a decision's fate into the events."""
        now_s = self.engine.clock.environment.now
        self.engine.recorder.events.add(now_s, "decision", what, target, outcome, delay_s, reason, value)

    def act(self) -> None:
        """Apply the decisions whose delay is over; who looks at this instant calls it first."""
        now_s = self.engine.clock.environment.now
        while self._later and self._later[0][0] <= now_s:
            _, _, decision, by = self._later.pop(0)
            self._apply(decision, by, self._delay_s(decision))
        if self._later:
            self._timer.arm(self._later[0][0])

    def _delay_s(self, decision: Decision) -> float:
        # A cap goes through the nodes' controllers; the rest acts through the scheduler at once.
        return self.engine.world.cap_delay_s if isinstance(decision, SetPower) else 0.0

    def _apply(self, decision: Decision, by: str, delay_s: float) -> None:
        what = type(decision).__name__
        target, value = _target(decision, self.engine)
        refused = self._act(decision, by)
        self.log(what, target, "refused" if refused else "applied", delay_s, refused or f"by {by}", value)

    # ------------------------------------------------------------------ one by one

    def _act(self, decision: Decision, by: str) -> str:
        """Apply; return why not, or an empty string."""
        engine, board = self.engine, self.engine.board
        match decision:
            case Stop():
                return self._stop(decision)
            case Resume(job):
                if board.phase[job] == Phase.SUSPENDED:
                    engine.requeue(job)
                    return ""
                engine.decide_soon()
                return engine.queue_of[job].unhold(job)
            case Hold(job, until_s, reason):
                queue = engine.queue_of[job]
                if not queue.waits(job):
                    return "the job is not waiting"
                queue.hold(job, until_s, reason or DECISION_HOLD)
                # Whoever stood behind it may be the head now.
                queue.dirty = True
                engine.decide_soon()
            case Resize(job, gpus):
                return self._resize(job, gpus)
            case Replace(job, node):
                return engine.failures.replace(job, node)
            case Assign(job, name):
                return self._assign(job, name)
            case Move(job, site):
                return self._move(job, site)
            case SetPower():
                return engine.power.caps.set(decision, by)
            case Scale(service, pool, replicas):
                if pool:
                    return f"replicas are dealt to the service's queues, not to pool {pool!r}"
                return engine.services.scale(service, replicas)
            case Route(service, weights):
                return engine.services.route(service, weights)
            case Store(storage, power_w):
                return engine.power.store(storage, power_w)
            case Ceiling():
                return self._ceiling(decision)
            case Reserve(job, start_s, gpus):
                return engine.queue_of[job].reserve(job, start_s, gpus)
            case Wake(at_s):
                engine.wake(at_s)
            case _:
                return f"{type(decision).__name__} has no effect here"
        return ""

    def _stop(self, stop: Stop) -> str:
        engine, board, job = self.engine, self.engine.board, stop.job
        if board.phase[job] == Phase.ENDED:
            return "the job has ended"
        if board.kind[job] == "replica":
            return engine.services.stop(job, stop.how, stop.then)
        if not board.held_gpus[job]:
            if stop.then != "end":
                return "the job holds no GPUs"
            if board.phase[job] == Phase.MOVING:
                return "the job is moving"
            queue = engine.queue_of[job]
            if queue.waits(job):
                queue.remove(job)
                engine.decide_soon()
            elif board.phase[job] == Phase.QUEUED:
                return _NOT_YET
            board.end(job, "killed")
            return ""
        if stop.how == "drain":
            return "only replicas drain: a job has no requests to finish"
        if board.phase[job] == Phase.STOPPING:
            return "the job is stopping already"
        board.preemptions[job] += 1
        board.then[job] = stop.then
        behaviour = board.behaviours[board.behaviour_of[job]]
        checkpoints = behaviour.checkpoints
        if stop.how == "checkpoint" and checkpoints is not None:
            _, stall_s, lag_s = checkpoints.under(board.storage_stretch[job])
            board.pause(job, Phase.STOPPING, stall_s + lag_s)
            for tell in engine.listeners:
                tell(job)
            if not board.due_s[job] > engine.clock.environment.now:
                self.saved(job)
            return ""
        if stop.how == "kill" or (stop.how == "checkpoint" and checkpoints is None):
            board.lose_unsaved(job)
        self.stopped(job)
        return ""

    def saved(self, job: int) -> None:
        """Finish a stop by checkpoint: all that was done is durable."""
        self.engine.board.save(job)
        self.stopped(job)

    def stopped(self, job: int) -> None:
        """Finish a stop: the state is saved (or lost) and the GPUs go back."""
        engine, board = self.engine, self.engine.board
        engine.leave(job)
        then = board.then[job]
        if then == "requeue":
            engine.requeue(job)
        elif then == "hold":
            board.park(job, Phase.SUSPENDED)
        elif then == "end":
            board.end(job, "killed")
        elif then.startswith("move:"):
            self._depart(job, then.removeprefix("move:"))

    def _move(self, job: int, site: str) -> str:
        engine, board = self.engine, self.engine.board
        if board.phase[job] == Phase.ENDED:
            return "the job has ended"
        if board.kind[job] == "replica":
            return "replicas do not move: scale the service, or route its requests"
        if board.phase[job] == Phase.MOVING:
            return "the job is moving already"
        queue = self._queue_at(site)
        if queue is None:
            return f"no queue has pools at {site!r} and nowhere else"
        if queue is engine.queue_of[job]:
            return f"the job is at {site!r} already"
        if not queue.could_hold(job):
            return _too_large(board, job, f"at {site!r}")
        if self._transfer_s(job, site) is None:
            return f"there is no line to {site!r} for the job's state"
        if board.held_gpus[job]:
            refused = self._stop(Stop(job, "checkpoint", "hold"))
            if refused:
                return refused
            board.then[job] = f"move:{site}"
            # A stop without anything to write is over already, and left the job suspended.
            if not board.held_gpus[job]:
                self._depart(job, site)
            return ""
        if board.phase[job] == Phase.QUEUED:
            if not engine.queue_of[job].waits(job):
                return _NOT_YET
            engine.queue_of[job].remove(job)
            engine.decide_soon()
        self._depart(job, site)
        return ""

    def _assign(self, job: int, name: str) -> str:
        engine, board = self.engine, self.engine.board
        queue, old = engine.queues.get(name), engine.queue_of[job]
        if queue is None:
            return f"there is no queue {name!r}"
        if board.phase[job] == Phase.ENDED:
            return "the job has ended"
        if board.held_gpus[job]:
            return "the job holds GPUs"
        if board.kind[job] == "replica":
            return "replicas stay in the queues of their service"
        if not queue.could_hold(job):
            return _too_large(board, job, f"of queue {name!r}")
        engine.queue_of[job] = queue
        board.queue[job] = name
        if old.waits(job):
            old.remove(job)
            engine.submit(job)
        return ""

    def _transfer_s(self, job: int, site: str) -> float | None:
        """Return how long a job's state takes to another site; None if there is no line. [s]"""
        engine, board = self.engine, self.engine.board
        here = board.last_pool[job]
        behaviour = board.behaviours[board.behaviour_of[job]]
        if here < 0 or not behaviour.state_bytes:
            return 0.0
        origin = engine.pools[here].site
        target = next(code for code, plan in enumerate(engine.world.sites) if plan.facts.name == site)
        if origin == target:
            return 0.0
        link = engine.world.site_links.get((origin, target))
        if link is None:
            return None
        bandwidth_bytes_per_s, latency_s = link
        return behaviour.state_bytes / bandwidth_bytes_per_s + latency_s

    def _depart(self, job: int, site: str) -> None:
        engine, board = self.engine, self.engine.board
        board.then[job] = f"move:{site}"
        now_s = engine.clock.environment.now
        due_s = snap_up(now_s + (self._transfer_s(job, site) or 0.0))
        board.park(job, Phase.MOVING, due_s - now_s)
        engine.waits.apart(job, MOVING, now_s, min(due_s, engine.world.horizon_s))

    def moved(self, job: int) -> None:
        """Queue a job at the site it moved to."""
        engine, board = self.engine, self.engine.board
        site = board.then[job].removeprefix("move:")
        queue = self._queue_at(site)
        assert queue is not None
        engine.queue_of[job] = queue
        board.queue[job] = queue.name
        engine.requeue(job)

    def _queue_at(self, site: str) -> Queue | None:
        """Return the first queue with pools at a site and nowhere else."""
        for queue in self.engine.queue_list:
            if queue.view.sites == (site,):
                return queue
        return None

    def _resize(self, job: int, gpus: int) -> str:
        engine, board = self.engine, self.engine.board
        placement = board.placement[job]
        if placement is None:
            return "the job holds no GPUs"
        if board.minimum_gpus[job] == 0:
            return "the job is rigid"
        if not board.minimum_gpus[job] <= gpus <= board.gpus[job]:
            return f"{gpus} GPUs lie outside {board.minimum_gpus[job]} to {board.gpus[job]}"
        pool = engine.pools[placement.pool]
        if gpus > placement.gpus:
            more = engine.queue_of[job].place.find(gpus - placement.gpus, pool.free)
            if more is None:
                return "no free GPUs to grow by"
            pool.free.take(more)
            changed = joined(placement, more)
        elif gpus < placement.gpus:
            changed, lost = _shrunk(placement, gpus, pool.gpus_per_node)
            pool.free.give_back(lost)
        else:
            return ""
        self.regroup(job, changed)
        return ""

    def regroup(self, job: int, placement: Placement) -> None:
        """Let a job go on with other GPUs (taken already), after a restart if it was running."""
        engine, board = self.engine, self.engine.board
        board.change_placement(job, placement)
        engine.pool_changed(placement.pool)
        restart_s = board.behaviours[board.behaviour_of[job]].restart_s
        if restart_s and board.phase[job] == Phase.RUNNING:
            board.pause(job, Phase.RECOVERING, restart_s)
        for tell in engine.listeners:
            tell(job)

    def _ceiling(self, ceiling: Ceiling) -> str:
        engine = self.engine
        kind, _, name = ceiling.target.partition(":")
        if (ceiling.gpus if kind == "jobs" else ceiling.watts) is not None:
            return "jobs of a site are bounded by watts, queues and services by GPUs"
        if kind == "queue" and name in engine.queues:
            engine.queues[name].ceiling_gpus = ceiling.gpus
            engine.queues[name].changed()
            engine.decide_soon()
            return ""
        if kind == "service":
            return engine.services.ceiling(name, ceiling.gpus)
        if kind == "jobs":
            return engine.power.bound_jobs(name, ceiling.watts)
        return f"there is no {ceiling.target!r}"


_NOT_YET = "the job is not submitted yet"


def _too_large(board: Board, job: int, where: str) -> str:
    return f"no pool {where} could ever hold its {board.gpus[job]} {board.gpu_type[job] or 'GPUs'}"


def _shrunk(placement: Placement, gpus: int, gpus_per_node: int) -> tuple[Placement, Placement]:
    """Split a placement into (what stays, what goes): highest-numbered nodes go first."""
    whole, parts = placement.whole, list(placement.parts)
    go_whole, go_parts, excess = 0, [], placement.gpus - gpus
    while excess and parts:
        node, count = parts.pop()
        take = min(count, excess)
        go_parts.append((node, take))
        if take < count:
            parts.append((node, count - take))
        excess -= take
    while excess >= gpus_per_node:
        top = 1 << (whole.bit_length() - 1)
        whole ^= top
        go_whole |= top
        excess -= gpus_per_node
    if excess:
        node = whole.bit_length() - 1
        whole ^= 1 << node
        parts.append((node, gpus_per_node - excess))
        go_parts.append((node, excess))
    stays = Placement(placement.pool, gpus, whole, tuple(sorted(parts)))
    gone = Placement(placement.pool, placement.gpus - gpus, go_whole, tuple(sorted(go_parts)))
    # A whole node of which a part goes is held in part from now on.
    return stays, gone


def _target(decision: Decision, engine: Engine) -> tuple[str, float]:
    """Return what a decision is about, and its number, for the log."""
    job = getattr(decision, "job", None)
    name = engine.board.job_id[job] if isinstance(job, int) else ""
    match decision:
        case SetPower(target, clock, watts):
            return target, clock if clock is not None else watts if watts is not None else math.nan
        case Store(storage, power_w):
            return storage, power_w
        case Ceiling(target, gpus, watts):
            return target, float(gpus) if gpus is not None else watts if watts is not None else math.nan
        case Scale(service, _, replicas):
            return service, float(replicas)
        case Route(service, _):
            return service, math.nan
        case Resize(_, gpus):
            return name, float(gpus)
        case Hold(_, until_s, _):
            return name, until_s
        case Reserve(_, start_s, _):
            return name, start_s
        case Wake(at_s):
            return "", at_s
    return name, math.nan
