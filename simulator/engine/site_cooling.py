"""A site's cooling while the clock runs: what fails, and what the IT then does."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

from simulator.engine.site_draw import SiteDraw
from simulator.facility.thermal import Episode, ThermalChange
from simulator.foundation.time_grid import Priority, snap_up

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Why nodes are down, in the failures' books, while the IT of a site is switched off.
_TRIPPED = "thermal trip"


class SiteCooling:
    """Cooling faults and thermal episodes of one site."""

    def __init__(self, engine: Engine, draw: SiteDraw) -> None:
        self.engine = engine
        self.draw = draw
        self.plan = draw.plan
        self.log = (array("d", [0.0]), array("d", [1.0]))
        """Share of the cooling equipment that works: times, and values that hold from then. [s]"""
        self.may_overheat = self._may_overheat()
        self._episode: Episode | None = None
        clock = engine.clock
        self._change = clock.timer(self._changes, Priority.SIGNAL)
        self._look = clock.timer(self._looks, Priority.CONTROL)

    def begin(self) -> None:
        """Look at the weather from the start, where the cooling may not suffice for the site."""
        if self.may_overheat:
            self._look.arm(0.0)

    def changed(self) -> None:
        """Look at the heat once the instant has settled, if it can matter."""
        if self._watches():
            self._look.arm_by(self.engine.clock.environment.now)

    def set_working(self, capacity_fraction: float) -> None:
        """Let a share of the cooling equipment work from now on."""
        now_s = self.engine.clock.environment.now
        self.draw.working_fraction = capacity_fraction
        times, values = self.log
        if times[-1] == now_s:
            values[-1] = capacity_fraction
        else:
            times.append(now_s)
            values.append(capacity_fraction)
        self._note("cooling", "began" if capacity_fraction < 1.0 else "ended", capacity_fraction)
        self._look.arm_by(now_s)

    # ------------------------------------------------------------------ inside

    def _may_overheat(self) -> bool:
        """Whether the site at its rating could exceed its cooling in the run's weather."""
        weather = self.plan.weather
        times_s = np.union1d(weather.dry_bulb.start_s, weather.wet_bulb.start_s)
        air_c = weather.dry_bulb.at(times_s), weather.wet_bulb.at(times_s)
        draw = self.plan.physics.draw(self.plan.rated_nodes_w, *air_c)
        # Sized for its rating, a plant carries it but for rounding.
        return bool(np.any(draw.heat_w > draw.capacity_w * (1.0 + 1e-9)))

    def _watches(self) -> bool:
        return self.may_overheat or self._episode is not None or self.draw.working_fraction < 1.0

    def _looks(self) -> None:
        """Tell the episode what heat and capacity are now; begin one if heat is too much."""
        now_s = self.engine.clock.environment.now
        draw = self.draw.facility(self.draw.now_w(), "cooling")
        heat_w, capacity_w = float(draw.heat_w), float(draw.capacity_w)
        if self._episode is None and heat_w > capacity_w:
            self._episode = Episode.begin(self.plan.thermal, self.plan.physics.plant.capacity_w, now_s)
            self._note("episode", "began", heat_w - capacity_w)
        if self._episode is not None:
            self._episode = self._episode.with_load(now_s, heat_w, capacity_w)
            self._arm()
        weather_s = self.draw.next_weather_s() if self._watches() else None
        if weather_s is not None:
            self._look.arm_by(snap_up(weather_s))

    def _arm(self) -> None:
        change = self._episode.next_change() if self._episode is not None else None
        self._change.arm(math.inf if change is None else snap_up(change[0]))

    def _changes(self) -> None:
        """Do what the threshold that is reached now asks for."""
        now_s = self.engine.clock.environment.now
        change = self._episode.next_change() if self._episode is not None else None
        if self._episode is None or change is None or snap_up(change[0]) > now_s:
            self._arm()
            return
        what = change[1]
        self._episode = self._episode.changed(now_s, what)
        self._note(what.value, "applied", self._episode.clock_fraction)
        if what is ThermalChange.TRIP:
            self._switch_off()
        elif what is ThermalChange.RESTART:
            self._switch_on()
        elif what is ThermalChange.SETTLED:
            self._note("episode", "ended", 0.0)
            self._episode = None
        # A tripped site has nothing left to clock.
        clock = self._episode.clock_fraction if self._episode is not None else 1.0
        self.engine.power.caps.throttle(self.draw.name, clock if clock > 0.0 else 1.0)
        self._arm()
        self._look.arm_by(now_s)

    def _switch_off(self) -> None:
        """Take every node down: jobs lose what they did not save, and wait."""
        for pool in self.draw.pools:
            self.engine.failures.take_out(pool.code, tuple(range(pool.facts.nodes)), _TRIPPED)

    def _switch_on(self) -> None:
        for pool in self.draw.pools:
            self.engine.failures.put_back(pool.code, tuple(range(pool.facts.nodes)), _TRIPPED)

    def _note(self, what: str, outcome: str, value: float) -> None:
        self.engine.recorder.events.add(
            self.engine.clock.environment.now, "thermal", what, self.draw.name, outcome, 0.0, "", value
        )
