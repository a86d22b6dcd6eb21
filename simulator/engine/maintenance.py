"""Planned maintenance: windows in which some nodes of every pool are taken out, in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.foundation.time_grid import Priority, snap

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Why the nodes are out.
MAINTENANCE = "maintenance window"


class MaintenanceWindows:
    """Takes the next share of each pool out at every window, and puts it back at its end.

    The windows are announced: a job with checkpoints saves itself and loses nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rules = engine.world.maintenance
        self._windows = 0
        self._next = [0] * len(engine.pools)
        self._out: list[tuple[int, tuple[int, ...]]] = []
        self._opens = engine.clock.timer(self._open, Priority.FAILURE)
        self._closes = engine.clock.timer(self._close, Priority.REPAIR)

    def begin(self) -> None:
        """Arm the first window."""
        if self.rules is not None:
            self._opens.arm(snap(self.rules.first_s))

    def _open(self) -> None:
        rules, engine = self.rules, self.engine
        assert rules is not None
        self._windows += 1
        for pool in engine.pools:
            nodes = pool.facts.nodes
            count = max(1, round(rules.share_fraction * nodes))
            first = self._next[pool.code]
            self._next[pool.code] = (first + count) % nodes
            out = tuple(sorted((first + step) % nodes for step in range(count)))
            self._out.append((pool.code, out))
            engine.failures.take_out(pool.code, out, MAINTENANCE, planned=True)
        self._closes.arm(snap(engine.clock.environment.now + rules.lasts_s))
        self._opens.arm(snap(rules.first_s + self._windows * rules.every_s))

    def _close(self) -> None:
        for pool, nodes in self._out:
            self.engine.failures.put_back(pool, nodes, MAINTENANCE)
        self._out.clear()
