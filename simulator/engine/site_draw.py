"""What one site draws now: asked for when something changed, never sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.cluster.allocation import Placement
from simulator.facility.site import FacilityDraw
from simulator.telemetry.record import SignalRead
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine
    from simulator.engine.pool import Pool


class SiteDraw:
    """Power of a site's nodes and of what feeds and cools them."""

    def __init__(self, engine: Engine, code: int) -> None:
        self.engine = engine
        self.plan = engine.world.sites[code]
        self.name = self.plan.facts.name
        self.pools = [pool for pool in engine.pools if pool.site == code]
        self.working_fraction = 1.0
        """Share of the cooling equipment that works."""

    def holders(self) -> list[tuple[int, Placement, Pool]]:
        """Return the jobs that hold GPUs here, with what they hold."""
        return [
            (job, placement, pool) for pool in self.pools for job, placement in self.engine.holders(pool.code)
        ]

    # ------------------------------------------------------------------ nodes

    def now_w(self) -> float:
        """Return the power of all nodes now. [W]"""
        board, services = self.engine.board, self.engine.services
        return self._idle_w() + sum(
            services.power_w(job) if board.kind[job] == "replica" else board.power_w[job]
            for job, _, _ in self.holders()
        )

    def most_w(self) -> float:
        """Return what all nodes may come to draw as they are held and clocked now. [W]"""
        board = self.engine.board
        return self._idle_w() + sum(
            self.job_most_w(job, placement, pool, board.clock_fraction[job])
            for job, placement, pool in self.holders()
        )

    def job_most_w(self, job: int, placement: Placement, pool: Pool, clock_fraction: float) -> float:
        """Return what a job may come to draw at a clock while it holds a placement. [W]

        A job that is being stopped comes to no more; one that starts or recovers will run. A
        replica draws what its requests make it draw, and nobody knows them beforehand.
        """
        board = self.engine.board
        if board.phase[job] == Phase.STOPPING:
            return board.power_w[job]
        profile = board.profile_on(job, placement)
        gpu_w = float(profile.at(clock_fraction, board.link_share[job])[1])
        return (gpu_w + pool.host_active_w_per_gpu) * placement.gpus

    def _idle_w(self) -> float:
        """Return the power of the GPUs that nobody holds, with their hosts. [W]"""
        total_w = 0.0
        for pool in self.pools:
            idle = pool.facts.gpus - sum(held.gpus for _, held in self.engine.holders(pool.code))
            if pool.facts.off_when_down:
                idle -= pool.free.down.bit_count() * pool.gpus_per_node
            total_w += max(idle, 0) * pool.idle_w_per_gpu
        return total_w

    # ------------------------------------------------------------------ the facility

    def facility(self, node_w: float, reader: str) -> FacilityDraw:
        """Return power by component at a power of all nodes, in the air of now.

        What a decision rests on ties the run to this weather, so who reads it is noted.
        """
        for signal in ("dry_bulb_c", "wet_bulb_c"):
            self.engine.signals_read[SignalRead(self.name, signal, reader)] = None
        dry_c, wet_c = self._air_c()
        return self.plan.physics.draw(node_w, dry_c, wet_c, self.working_fraction)

    def meter_per_node_watt(self, node_w: float) -> float:
        """Return what one more watt at the nodes costs at the meter, about. [W/W]"""
        return self.plan.physics.meter_per_node_watt(node_w, *self._air_c())

    def next_weather_s(self) -> float | None:
        """Return when the air next changes; None if it does not. [s]"""
        now_s = self.engine.clock.environment.now
        weather = self.plan.weather
        changes = (weather.dry_bulb.next_change(now_s), weather.wet_bulb.next_change(now_s))
        return min((change for change in changes if change is not None), default=None)

    def _air_c(self) -> tuple[float, float]:
        return self.plan.weather.at(self.engine.clock.environment.now)
