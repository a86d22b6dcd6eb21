"""Slow nodes: which they are, what they cost the training runs that hold them, and how they leave.

A slow node does not break. A synchronous step waits for it, so all GPUs of the run are as slow.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any, Final

from simulator.cluster.allocation import Placement, bits
from simulator.foundation.time_grid import Priority, snap, snap_up
from simulator.performance.slowed import Slowed
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Why such nodes are out.
SLOW_NODE: Final = "slow node"


class SlowNodes:
    """The slow nodes of all pools."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rules = rules = engine.world.slow_nodes
        self.listens = rules is not None and rules.ejected_after_s < math.inf
        #: Pool code -> its slow nodes, as bits.
        self.slow = [0] * len(engine.pools)
        #: Identity of a profile -> the profile, kept so that no other gets it, and what it becomes.
        self._slowed: dict[int, tuple[Any, Slowed]] = {}
        #: Runs that compute with a slow node -> since when, or since when last looked at. [s]
        self._since: dict[int, float] = {}
        self._found = engine.clock.timer(self._find, Priority.CONTROL)
        self._away: list[tuple[float, int, tuple[int, ...]]] = []
        self._back = engine.clock.timer(self._put_back, Priority.REPAIR)
        if rules is None:
            return
        for pool in engine.pools:
            site = engine.world.sites[pool.site].facts.name
            drawn = engine.world.streams.stream(f"slow-nodes.{site}.{pool.name}").random(pool.facts.nodes)
            self.slow[pool.code] = sum(
                1 << node for node in (drawn < rules.share_fraction).nonzero()[0].tolist()
            )
        if not any(self.slow):
            engine.world.notes.append("failures.slow_nodes: under this seed no node is slow")
        engine.board.slowed = self.profile

    def profile(self, job: int, placement: Placement, profile: Any) -> Any:
        """Return the profile of a job on a placement, slow nodes considered.

        Jobs whose length was given or drawn keep it, and replicas serve as measured: what slow
        nodes do to them is in those figures or not known.
        """
        if self.engine.board.kind[job] != "training" or not self._held(placement):
            return profile
        assert self.rules is not None
        known = self._slowed.get(id(profile))
        if known is None:
            known = profile, Slowed(profile, of_compute=self.rules.slowdown_fraction)
            self._slowed[id(profile)] = known
        return known[1]

    def job_changed(self, job: int) -> None:
        """Begin or end to count how long a run has computed with a slow node."""
        board = self.engine.board
        placement = board.placement[job]
        if (
            placement is not None
            and board.kind[job] == "training"
            and board.phase[job] == Phase.RUNNING
            # Who has no checkpoint would lose everything.
            and board.behaviours[board.behaviour_of[job]].checkpoints is not None
            and self._held(placement)
        ):
            self._since.setdefault(job, self.engine.clock.environment.now)
            self._arm()
        else:
            self._since.pop(job, None)

    def _held(self, placement: Placement) -> int:
        """Return the slow nodes of a placement, as bits."""
        slow = self.slow[placement.pool]
        held = placement.whole & slow
        for node, _ in placement.parts:
            held |= slow & 1 << node
        return held

    # ------------------------------------------------------------------ leaving

    def _arm(self) -> None:
        assert self.rules is not None
        if self._since:
            self._found.arm(snap_up(min(self._since.values()) + self.rules.ejected_after_s))

    def _find(self) -> None:
        assert self.rules is not None
        now_s = self.engine.clock.environment.now
        for job in sorted(self._since):
            if job in self._since and snap_up(self._since[job] + self.rules.ejected_after_s) <= now_s:
                # Looked at again after as long, if anything slow is left.
                self._since[job] = now_s
                self._eject(job)
        self._arm()

    def _eject(self, job: int) -> None:
        """Take a run's slow nodes out, as many as whole nodes stand ready in their place."""
        engine, rules = self.engine, self.rules
        placement = engine.board.placement[job]
        assert rules is not None
        assert placement is not None
        code = placement.pool
        nodes = tuple(bits(self._held(placement)))[: engine.failures.nodes_ready(code)]
        if not nodes:
            return
        # What comes back in their place is sound.
        self.slow[code] &= ~sum(1 << node for node in nodes)
        engine.failures.take_out(code, nodes, SLOW_NODE, planned=True)
        back_s = snap(engine.clock.environment.now + rules.replacement_s)
        heapq.heappush(self._away, (back_s, code, nodes))
        self._back.arm(self._away[0][0])

    def _put_back(self) -> None:
        now_s = self.engine.clock.environment.now
        while self._away and self._away[0][0] <= now_s:
            _, code, nodes = heapq.heappop(self._away)
            self.engine.failures.put_back(code, nodes, SLOW_NODE)
        if self._away:
            self._back.arm(self._away[0][0])
