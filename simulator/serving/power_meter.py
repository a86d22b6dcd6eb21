"""Exact energy and largest power of one replica, per bin of time.

Power is a step function of time: it holds from one boundary to the next. The meter keeps energy
as an integer (milliwatts times picoseconds), so cutting an interval in two changes nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Milliwatt-picoseconds of a joule.
UNITS_PER_J: Final = 10**15


class MeterBin(NamedTuple):
    """What one replica drew in the part of one bin in which it existed."""

    replica: int
    host_mw: int
    start_ps: int
    end_ps: int
    energy: int
    """[mW ps]"""
    largest_mw: int


class PowerMeter:
    """Integrates a replica's power into bins of equal width, aligned at time zero."""

    __slots__ = (
        "_bin_end", "_earlier", "_energy", "_largest", "_start", "host_mw", "level_mw", "out", "replica",
        "since_ps", "width_ps",
    )  # fmt: skip

    def __init__(self, replica: int, host_mw: int, start_ps: int, width_ps: int, out: list[MeterBin]) -> None:
        self.replica = replica
        self.host_mw = host_mw
        self.width_ps = width_ps
        self.out = out
        self.level_mw = 0
        self.since_ps = start_ps
        self._start = start_ps
        self._bin_end = (start_ps // width_ps + 1) * width_ps
        self._earlier = 0
        self._energy = 0
        self._largest = 0

    def total(self, at_ps: int) -> int:
        """Return all energy up to `at_ps`, which is not earlier than anything read. [mW ps]"""
        return self._earlier + self._energy + self.level_mw * (at_ps - self.since_ps)

    def set(self, at_ps: int, level_mw: int) -> None:
        """Hold another power from `at_ps` on."""
        if level_mw != self.level_mw:
            if at_ps > self.since_ps:
                self.read(at_ps)
            self.level_mw = level_mw

    def read(self, at_ps: int) -> None:
        """Account for the time up to `at_ps`; bins that end by then leave."""
        level, since = self.level_mw, self.since_ps
        while at_ps >= self._bin_end:
            edge = self._bin_end
            if edge > since:
                self._energy += level * (edge - since)
                self._largest = max(self._largest, level)
            self._leave(edge)
            since = edge
        if at_ps > since:
            self._energy += level * (at_ps - since)
            self._largest = max(self._largest, level)
            since = at_ps
        self.since_ps = since

    def close(self, at_ps: int) -> None:
        """Account for the time up to `at_ps` and let the unfinished bin leave too."""
        self.read(at_ps)
        if self.since_ps > self._start:
            out_end = self.since_ps
            self.out.append(
                MeterBin(self.replica, self.host_mw, self._start, out_end, self._energy, self._largest)
            )
            self._start = out_end
            self._earlier += self._energy
            self._energy = self._largest = 0

    def _leave(self, edge_ps: int) -> None:
        self.out.append(
            MeterBin(self.replica, self.host_mw, self._start, edge_ps, self._energy, self._largest)
        )
        self._start = edge_ps
        self._bin_end = edge_ps + self.width_ps
        self._earlier += self._energy
        self._energy = self._largest = 0
