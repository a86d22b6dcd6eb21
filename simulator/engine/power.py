"""Watts while the clock runs: caps, called limits, storage, and cooling that fails.

Only what can act on the IT is here. Power itself is never sampled: it is asked for at the
moments at which something changed, and only at sites where it can matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.decisions import CallView
from simulator.engine.caps import Caps
from simulator.engine.site_cooling import SiteCooling
from simulator.engine.site_draw import SiteDraw
from simulator.engine.site_power import SitePower
from simulator.engine.world import ScriptStep
from simulator.foundation.time_grid import snap

if TYPE_CHECKING:
    from simulator.engine.engine import Engine


class PowerControl:
    """Caps of the whole house; calls, storage and cooling of every site."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.caps = Caps(engine)
        draws = [SiteDraw(engine, code) for code in range(len(engine.world.sites))]
        self._names = [draw.name for draw in draws]
        self.power = [SitePower(engine, draw) for draw in draws]
        self.cooling = [SiteCooling(engine, draw) for draw in draws]

    @property
    def listens(self) -> bool:
        """Whether anything here depends on what jobs do."""
        faults = any(step.kind == "cooling-fault" for step in self.engine.world.script)
        return (
            faults
            or any(site.policy is not None for site in self.power)
            or any(site.may_overheat for site in self.cooling)
        )

    def begin(self) -> None:
        """Let every site begin."""
        for site in self.power:
            site.begin()
        for cooling in self.cooling:
            cooling.begin()

    def job_changed(self, job: int) -> None:
        """Note that a job's power changed."""
        pool = self.engine.board.last_pool[job]
        if pool >= 0:
            site = self.engine.pools[pool].site
            self.power[site].changed()
            self.cooling[site].changed()

    # ------------------------------------------------------------------ what is told

    def add_call(self, step: ScriptStep) -> None:
        """Take in a curtailment of the script."""
        start_s = snap(step.at_s)
        self.power[self._names.index(step.values["site"])].calls.append(
            CallView(
                max(0.0, start_s - step.values["notice_s"]),
                start_s,
                snap(start_s + step.values["lasts_s"]),
                step.values["limit_w"],
            )
        )

    def set_cooling(self, name: str, capacity_fraction: float) -> None:
        """Let a share of the cooling equipment of a site work from now on."""
        self.cooling[self._names.index(name)].set_working(capacity_fraction)

    def store(self, name: str, power_w: float) -> str:
        """Charge or discharge the storage of a site; return why not."""
        if name not in self._names:
            return f"there is no site {name!r}"
        return self.power[self._names.index(name)].store(power_w)

    def bound_jobs(self, name: str, watts: float | None) -> str:
        """Let jobs of a site start only within so many watts above idle; return why not."""
        if name not in self._names:
            return f"there is no site {name!r}"
        self.power[self._names.index(name)].bound_jobs(watts)
        return ""

    # ------------------------------------------------------------------ what is left

    def storage_series(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the dispatch of online storage by site. [s], [W]"""
        return {
            code: (np.array(site.dispatch[0]), np.array(site.dispatch[1]))
            for code, site in enumerate(self.power)
            if site.battery is not None
        }

    def limit_series(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the called limits by site; inf where none holds. [s], [W]"""
        return {code: site.limits() for code, site in enumerate(self.power) if site.calls}

    def thermal_series(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the working share of the cooling equipment by site, where it ever changed."""
        return {
            code: (np.array(site.log[0]), np.array(site.log[1]))
            for code, site in enumerate(self.cooling)
            if len(site.log[0]) > 1
        }
