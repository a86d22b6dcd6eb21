"""What a compiled crowd's replicas drew, read from the meters in the kernel's rows into power bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.serving import kernel
from simulator.serving.power_meter import PHASES, MeterBin

Ints = NDArray[np.int64]


class CompiledMeters:
    """Meters by slot, as `power_meter.PowerMeter` is one: bins of equal width, aligned at time zero.

    Parameters
    ----------
    bin_ps, start_ps
        Width of the bins, and start of the run. [ps]
    """

    def __init__(self, bin_ps: int, start_ps: int) -> None:
        self._bin_ps = bin_ps
        self._edge_ps = (start_ps // bin_ps + 1) * bin_ps
        self._bins: list[MeterBin] = []
        self._left_energy = 0
        self._start: list[int] = []
        self._host_mw: list[int] = []

    def enter(self, slot: int, host_mw: int, at_ps: int) -> None:
        """Begin to count for the replica in a slot."""
        more = [0] * (slot + 1 - len(self._start))
        self._start += more
        self._host_mw += more
        self._start[slot], self._host_mw[slot] = at_ps, host_mw

    def leave_bins(self, replica: Ints, base_ps: int, before_ps: int) -> None:
        """Let the bins of all replicas leave that end before a moment; nothing changes until then.

        Parameters
        ----------
        replica
            The kernel's rows of replicas.
        base_ps
            What they count from. [ps]
        """
        while self._edge_ps < before_ps:
            self.leave_all(replica, base_ps, self._edge_ps)
            self._edge_ps += self._bin_ps

    def leave_all(self, replica: Ints, base_ps: int, at_ps: int) -> None:
        """Let the bin under way of every replica leave."""
        for slot in _present(replica):
            self.leave(replica, slot, base_ps, at_ps)

    def leave(self, replica: Ints, slot: int, base_ps: int, at_ps: int) -> None:
        """Let the bin under way of a replica leave, and begin another."""
        r, start_ps = replica[slot], self._start[slot]
        kernel.plain(kernel.meter_read)(r, at_ps - base_ps)
        if at_ps <= start_ps:
            return
        meter = _meter(r)
        energies = _energies(meter)
        self._bins.append(
            MeterBin(
                int(r[kernel.REPLICA_ID]),
                self._host_mw[slot],
                start_ps,
                at_ps,
                sum(energies),
                int(r[kernel.LARGEST_MW]),
                tuple(meter[:, kernel.TIME_PS].tolist()),
                energies,
            )
        )
        self._left_energy += sum(energies)
        self._start[slot] = at_ps
        meter[:] = 0
        r[kernel.LARGEST_MW] = 0

    def take(self) -> list[MeterBin]:
        """Return and forget the bins that left."""
        bins, self._bins = self._bins, []
        return bins

    def total(self, replica: Ints) -> int:
        """Return all energy up to when each meter was read last. [mW ps]"""
        return self._left_energy + sum(sum(_energies(_meter(replica[slot]))) for slot in _present(replica))


def _present(replica: Ints) -> Any:
    return np.flatnonzero(replica[:, kernel.REPLICA_ID] >= 0).tolist()


def _meter(r: Ints) -> Ints:
    """Return (phases, METER_FIELDS) what a replica's meter counted in the bin under way."""
    return r[kernel.METER :].reshape(len(PHASES), kernel.METER_FIELDS)


def _energies(meter: Ints) -> tuple[int, ...]:
    """Return energies by phase. [mW ps]"""
    limbs = meter[:, [kernel.ENERGY_HIGH, kernel.ENERGY_LOW]].tolist()
    return tuple((high << kernel.ENERGY_SHIFT) + low for high, low in limbs)
