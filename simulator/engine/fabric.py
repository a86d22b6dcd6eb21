"""The fabric while the clock runs: whose traffic shares which links, and what is left to each.

Shares are recomputed only when the set of flows changes, once the instant has settled. A job
inside one leaf has no fabric flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.foundation.time_grid import Priority
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class FabricControl:
    """Flows and shares of all sites."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.listens = any(behaviour.flows for behaviour in engine.world.behaviours) or any(
            plan.flows for plan in engine.world.services
        )
        self._timer = engine.clock.timer(self._settle, Priority.CONTROL)

    def job_changed(self, job: int) -> None:
        """Note that a job's flow may have changed."""
        behaviour = self.engine.board.behaviours[self.engine.board.behaviour_of[job]]
        if behaviour.flows:
            self._timer.arm_by(self.engine.clock.environment.now)

    def _settle(self) -> None:
        del Phase
