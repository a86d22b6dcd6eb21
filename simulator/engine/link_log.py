"""What is written down of shared links: who was held up where, by whom, and what it cost.

Only links that hold somebody up are kept: of each exchange that does not get all its ports could
carry, the link that is tightest for it, with everybody who crosses that link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.network.sharing import Flow, StepCurve, whole_share
from simulator.network.topology import Fabric
from simulator.telemetry.record import LinkLoss
from simulator.telemetry.tables import Phase

if TYPE_CHECKING:
    from simulator.engine.engine import Engine

#: Shares closer to full than this hold nobody up.
_FULL = 1.0 - 1e-6

#: What one row says beside whose it is and when: capacity, offered, peak, share, tightest.
_Row = tuple[float, float, float, float, int]


@dataclass(slots=True)
class _Slowed:
    """How a job stands now, and what its links have cost it so far."""

    since_s: float
    alone_s: float = 0.0
    """Step time with the links to itself. [s]"""
    step_s: float = 0.0
    gpus: int = 0
    running_gpu_s: float = 0.0
    lost_gpu_s: float = 0.0
    worst: tuple[float, str, str, str, float, float] = (0.0, "", "", "", 0.0, 0.0)
    """(slowdown, link, exchange, part that grows, seconds it grows, step alone) at its worst."""


class LinkLog:
    """Rows of the table `links`, and the loss of each job."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: (site, link, job, exchange) -> since when, and what holds since.
        self._open: dict[tuple[int, str, str, str], tuple[float, _Row]] = {}
        self._jobs: dict[int, _Slowed] = {}

    def settled(
        self,
        site: int,
        fabric: Fabric,
        jobs: Sequence[int],
        flows: Sequence[Sequence[Flow]],
        shares: Sequence[Sequence[float]],
        curves: Sequence[StepCurve],
    ) -> None:
        """Note the shares that a site's flows have from now on."""
        now_s = self.engine.clock.environment.now
        tight: dict[int, None] = {}
        tightest: dict[tuple[int, int], int] = {}
        if any(share < _FULL * flow.port_share for own, got in zip(flows, shares, strict=True)
               for flow, share in zip(own, got, strict=True)):  # fmt: skip
            offered = self._offered(flows, shares, curves)
            for place, (own, got) in enumerate(zip(flows, shares, strict=True)):
                for number, (flow, share) in enumerate(zip(own, got, strict=True)):
                    if flow.links and share < _FULL * flow.port_share:
                        link = _tightest(flow, offered, fabric)
                        tight[link] = None
                        tightest[place, number] = link
        rows: dict[tuple[int, str, str, str], _Row] = {}
        for place, (own, got) in enumerate(zip(flows, shares, strict=True)):
            per_s = 1.0 / curves[place](whole_share(own, got))
            for number, (flow, share) in enumerate(zip(own, got, strict=True)):
                for link, load, peak in zip(
                    flow.links, flow.bytes_per_step, flow.peak_bytes_per_s, strict=True
                ):
                    if link in tight:
                        capacity = float(fabric.capacities_bytes_per_s[link])
                        mine = int(tightest.get((place, number)) == link)
                        key = site, fabric.link_name(link), flow.key, flow.kind
                        rows[key] = capacity, load * per_s, peak, share, mine
        for key in [key for key in self._open if key[0] == site and rows.get(key) != self._open[key][1]]:
            self._close(key, now_s)
        for key, row in rows.items():
            if key not in self._open:
                self._open[key] = now_s, row
        self._count(site, fabric, jobs, flows, shares, curves, tightest)

    def close(self, at_s: float) -> None:
        """Write down what holds at the horizon."""
        for key in list(self._open):
            self._close(key, at_s)
        for slowed in self._jobs.values():
            self._add(slowed, at_s)

    def losses(self) -> tuple[LinkLoss, ...]:
        """Return what shared links cost each job that they held up, in submission order."""
        board = self.engine.board
        found = []
        for job, slowed in sorted(self._jobs.items()):
            slowdown, link, kind, part, grows_s, alone_s = slowed.worst
            if slowed.lost_gpu_s > 0.0:
                found.append(
                    LinkLoss(
                        job=board.job_id[job],
                        lost_gpu_seconds=slowed.lost_gpu_s,
                        running_gpu_seconds=slowed.running_gpu_s,
                        worst_slowdown_fraction=slowdown,
                        link=link,
                        exchange=kind,
                        part=part,
                        part_grows_s=grows_s,
                        step_alone_s=alone_s,
                    )
                )
        return tuple(found)

    # ------------------------------------------------------------------ inside

    @staticmethod
    def _offered(
        flows: Sequence[Sequence[Flow]], shares: Sequence[Sequence[float]], curves: Sequence[StepCurve]
    ) -> dict[int, float]:
        """Return what everybody offers to each link on average. [B/s]"""
        offered: dict[int, float] = {}
        for own, got, curve in zip(flows, shares, curves, strict=True):
            per_s = 1.0 / curve(whole_share(own, got))
            for flow in own:
                for link, load in zip(flow.links, flow.bytes_per_step, strict=True):
                    offered[link] = offered.get(link, 0.0) + load * per_s
        return offered

    def _close(self, key: tuple[int, str, str, str], at_s: float) -> None:
        since_s, row = self._open.pop(key)
        if at_s > since_s:
            site, link, job, kind = key
            name = self.engine.world.sites[site].facts.name
            self.engine.recorder.links.add(name, link, since_s, at_s, job, kind, *row)

    def _count(
        self,
        site: int,
        fabric: Fabric,
        jobs: Sequence[int],
        flows: Sequence[Sequence[Flow]],
        shares: Sequence[Sequence[float]],
        curves: Sequence[StepCurve],
        tightest: dict[tuple[int, int], int],
    ) -> None:
        """Note how each job stands now; a job that no longer runs here loses nothing more."""
        engine, board = self.engine, self.engine.board
        now_s = engine.clock.environment.now
        running = dict.fromkeys(jobs)
        for job, slowed in self._jobs.items():
            if engine.pools[board.last_pool[job]].site == site:
                self._add(slowed, now_s)
                if job not in running:
                    slowed.gpus = 0
        for place, job in enumerate(jobs):
            if job < 0 or board.phase[job] != Phase.RUNNING:
                continue
            slowed = self._jobs.setdefault(job, _Slowed(now_s))
            share = whole_share(flows[place], shares[place])
            slowed.gpus = board.held_gpus[job]
            slowed.alone_s, slowed.step_s = curves[place](1.0), curves[place](share)
            slowdown = 1.0 - slowed.alone_s / slowed.step_s
            if slowdown > slowed.worst[0]:
                own = [(got, n) for n, got in enumerate(shares[place]) if (place, n) in tightest]
                name = kind = ""
                if own:
                    number = min(own)[1]
                    name, kind = fabric.link_name(tightest[place, number]), flows[place][number].kind
                part, grows_s = self._grows(job, share)
                slowed.worst = slowdown, name, kind, part, grows_s, slowed.alone_s

    def _grows(self, job: int, share: float) -> tuple[str, float]:
        """Return the part of a job's step that grows most at a share, and by how much. [s]"""
        board = self.engine.board
        profile: Any = board.profile(job)
        if not hasattr(profile, "parts"):
            return "", 0.0
        clock = board.clock_fraction[job]
        alone, now = profile.parts(clock, 1.0), profile.parts(clock, share)
        part = max(now, key=lambda name: (now[name] - alone[name], name))
        return part, float(now[part] - alone[part])

    @staticmethod
    def _add(slowed: _Slowed, until_s: float) -> None:
        gpu_s = slowed.gpus * (until_s - slowed.since_s)
        slowed.running_gpu_s += gpu_s
        if slowed.step_s > 0.0:
            slowed.lost_gpu_s += gpu_s * max(0.0, 1.0 - slowed.alone_s / slowed.step_s)
        slowed.since_s = until_s


def _tightest(flow: Flow, offered: Mapping[int, float], fabric: Fabric) -> int:
    """Return the link at which a flow is most in excess of what is there; the first of equals."""
    capacity = fabric.capacities_bytes_per_s

    def excess(item: tuple[int, float]) -> tuple[float, int]:
        link, peak = item
        return max(offered[link], peak) / max(float(capacity[link]), 1.0), -link

    return max(zip(flow.links, flow.peak_bytes_per_s, strict=True), key=excess)[0]
