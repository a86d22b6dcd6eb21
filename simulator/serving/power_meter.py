"""Exact energy and largest power of one replica, per bin of time and by what it does.

Power is a step function of time: it holds from one boundary to the next. The meter keeps energy
as an integer (milliwatts times picoseconds), so cutting an interval in two changes nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Milliwatt-picoseconds of a joule.
UNITS_PER_J: Final = 10**15

#: What an iteration holds, as a sum: what several groups do together is any of what each does.
IDLE, PREFILL, DECODE = 0, 1, 2
MIXED: Final = PREFILL | DECODE

#: Names of those, by number.
PHASES: Final = ("idle", "prefill", "decode", "mixed")

_NONE: Final = (0,) * len(PHASES)


class MeterBin(NamedTuple):
    """What one replica drew in the part of one bin in which it existed."""

    replica: int
    host_mw: int
    start_ps: int
    end_ps: int
    energy: int
    """[mW ps]"""
    largest_mw: int
    phase_ps: tuple[int, ...] = _NONE
    """Time by phase, in order of `PHASES`. [ps]"""
    phase_energy: tuple[int, ...] = _NONE
    """Energy by phase; their sum is `energy`. [mW ps]"""


class PowerMeter:
    """Integrates a replica's power into bins of equal width, aligned at time zero."""

    __slots__ = (
        "_bin_end", "_earlier", "_energy", "_largest", "_start", "_time", "doing", "host_mw", "level_mw",
        "out", "replica", "since_ps", "width_ps",
    )  # fmt: skip

    def __init__(self, replica: int, host_mw: int, start_ps: int, width_ps: int, out: list[MeterBin]) -> None:
        self.replica = replica
        self.host_mw = host_mw
        self.width_ps = width_ps
        self.out = out
        self.level_mw = 0
        self.doing = IDLE
        self.since_ps = start_ps
        self._start = start_ps
        self._bin_end = (start_ps // width_ps + 1) * width_ps
        self._earlier = 0
        self._energy = list(_NONE)
        self._time = list(_NONE)
        self._largest = 0

    def total(self, at_ps: int) -> int:
        """Return all energy up to `at_ps`, which is not earlier than anything read. [mW ps]"""
        return self._earlier + sum(self._energy) + self.level_mw * (at_ps - self.since_ps)

    def set(self, at_ps: int, level_mw: int, doing: int) -> None:
        """Hold another power, or do something else, from `at_ps` on."""
        if level_mw != self.level_mw or doing != self.doing:
            if at_ps > self.since_ps:
                self.read(at_ps)
            self.level_mw = level_mw
            self.doing = doing

    def read(self, at_ps: int) -> None:
        """Account for the time up to `at_ps`; bins that end by then leave."""
        since = self.since_ps
        while at_ps >= self._bin_end:
            edge = self._bin_end
            if edge > since:
                self._add(edge - since)
            self._leave(edge)
            since = edge
        if at_ps > since:
            self._add(at_ps - since)
            since = at_ps
        self.since_ps = since

    def close(self, at_ps: int) -> None:
        """Account for the time up to `at_ps` and let the unfinished bin leave too."""
        self.read(at_ps)
        if self.since_ps > self._start:
            self._out(self.since_ps)

    def _add(self, span_ps: int) -> None:
        self._energy[self.doing] += self.level_mw * span_ps
        self._time[self.doing] += span_ps
        self._largest = max(self._largest, self.level_mw)

    def _leave(self, edge_ps: int) -> None:
        self._out(edge_ps)
        self._bin_end = edge_ps + self.width_ps

    def _out(self, end_ps: int) -> None:
        energy = sum(self._energy)
        self.out.append(
            MeterBin(
                self.replica, self.host_mw, self._start, end_ps, energy, self._largest,
                tuple(self._time), tuple(self._energy),
            )
        )  # fmt: skip
        self._start = end_ps
        self._earlier += energy
        self._energy = list(_NONE)
        self._time = list(_NONE)
        self._largest = 0
