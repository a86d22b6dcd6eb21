"""A sample of a service: whole router cells of it, each request standing for several.

A service of n replicas whose router deals requests to c equal cells in turn, and routes inside
each cell, is c independent services with a c-th of the arrivals each. Simulating m of them whole
is unbiased. Anything else is not: fewer replicas with fewer arrivals behind one router make a
longer queue than many do, because less is pooled. So anything but whole cells is refused, and so
is whatever ties the cells together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import numpy as np

from simulator.serving.crowd import (
    BIN_S,
    AddReplica,
    Command,
    Fired,
    Observation,
    PowerBins,
    RemoveReplica,
    ServiceError,
    SetClock,
    SetWatch,
    SetWeights,
    Stop,
)
from simulator.serving.full_crowd import full_crowd
from simulator.serving.routers import BLIND
from simulator.serving.service_rules import ServiceRules
from simulator.serving.stability import Stability
from simulator.workload.requests import RequestSource, RequestTable

#: Shares are read as fractions with at most this denominator: 0.333 is a third.
_FINEST: Final = 100


def cells_of(service: str, replicas: int, fraction: float) -> tuple[int, int]:
    """Return (cells, cells simulated) for a share of a service.

    Parameters
    ----------
    service
        Its name, for the message.
    replicas
        Of the whole service. [count]
    fraction
        Share of it to simulate, in (0, 1].

    Raises
    ------
    ServiceError
        If the replicas do not split into that many cells; the message says the nearest share.

    Examples
    --------
    >>> cells_of("chat", 32, 0.125)
    (8, 1)
    """
    share = Fraction(fraction).limit_denominator(_FINEST)
    if not 0 < share <= 1 or replicas % share.denominator:
        good = [cells for cells in range(1, replicas + 1) if not replicas % cells]
        nearest = min(good, key=lambda cells: (abs(1.0 / cells - fraction), cells))
        raise ServiceError(
            f"service {service}: thin {fraction:g} does not split {replicas} replicas into equal cells, "
            f"and anything but whole cells is biased; the nearest good share is 1/{nearest}"
        )
    return share.denominator, share.numerator


class ThinnedCrowd:
    """Some cells of a service in full, each request with a weight; see `crowd.Crowd`.

    A replica's cell is the first with a free place. Replicas of cells that are not simulated draw,
    bin by bin, the mean power of a GPU of those that are.

    Parameters
    ----------
    rules
        The service; its weight and cells are replaced.
    replicas, fraction
        Size of the whole service, and the share of it to simulate.
    source
        Where the requests of the whole service come from; without one they must be fed.
    expected_requests, tabulated
        As `full_crowd` has them, of the sample.
    """

    def __init__(
        self,
        rules: ServiceRules,
        replicas: int,
        fraction: float,
        source: RequestSource | None = None,
        *,
        expected_requests: float = 0.0,
        tabulated: bool = False,
    ) -> None:
        if rules.shares_prefixes and not isinstance(rules.router, BLIND):
            raise ServiceError(
                f"service {rules.name}: cells get requests in turn, so a chat would leave the replica that "
                "remembers it, and a sample find less than the whole service does; use mode full or fluid, "
                "or a router that does not look at prompts"
            )
        self.cells, self.simulated = cells_of(rules.name, replicas, fraction)
        self._factor = self.cells / self.simulated
        self.rules = replace(
            rules,
            weight=rules.weight * self._factor,
            cells=self.cells,
            simulated_cells=self.simulated,
        )
        self._sample = full_crowd(
            self.rules, source, expected_requests=expected_requests, tabulated=tabulated
        )
        """The simulated cells, in full: on whichever form they run."""
        self._places = [replicas // self.cells] * self.cells
        """Free places by cell."""
        self._cell: dict[int, int] = {}
        self._gpus: dict[int, int] = {}
        """Of every replica that was ever there: its last power bin comes after it has gone."""
        self._silent: set[int] = set()
        """Replicas of cells that are not simulated; looked up, never walked."""
        self._mirror = MirroredPower(rules.origin_s)
        self._closed = False

    @property
    def now_s(self) -> float:
        """How far the crowd has come. [s since the run's start]"""
        return self._sample.now_s

    def advance(self, until_s: float) -> Stop:
        """Let time pass to `until_s`, or to the first moment at which the engine must act."""
        return self._sample.advance(until_s)

    def next_time(self) -> float:
        """Return a time by which the engine must look; inf if none is due."""
        return self._sample.next_time()

    def feed(self, block: RequestTable, known_until_s: float) -> None:
        """Append arrivals of the whole service."""
        self._sample.feed(block, known_until_s)

    def fired(self) -> Sequence[Fired]:
        """Return and forget what `Stop.WATCH` was about."""
        return self._sample.fired()

    def apply(self, command: Command, at_s: float) -> None:
        """Change the crowd; what would tie cells together or make them unequal is refused."""
        match command:
            case AddReplica():
                self._add(command, at_s)
            case RemoveReplica():
                self._remove(command, at_s)
            case SetClock():
                shown = tuple(name for name in command.replica_ids if name not in self._silent)
                if shown:
                    self._sample.apply(SetClock(shown, command.clock_fraction), at_s)
            case SetWatch(watch=watch) if watch is not None:
                raise ServiceError(
                    f"service {self.rules.name}: replicas that come and go make cells unequal, so a "
                    "thinned service does not scale; use mode full or fluid, or a fixed number"
                )
            case SetWeights(weights=weights) if weights:
                raise ServiceError(
                    f"service {self.rules.name}: shares of sites tie the cells of a thinned service "
                    "together; use mode full"
                )
            case _:
                self._sample.apply(command, at_s)

    def _add(self, command: AddReplica, at_s: float) -> None:
        if command.role != "mixed":
            raise ServiceError(
                f"service {self.rules.name}: prefill apart from decode has no equal cells; use mode full"
            )
        if command.replica_id in self._cell:
            raise ValueError(f"service {self.rules.name}: replica {command.replica_id} is there already")
        cell = next((cell for cell, free in enumerate(self._places) if free), None)
        if cell is None:
            raise ServiceError(
                f"service {self.rules.name}: a thinned service has a fixed number of replicas, and all "
                f"places of its {self.cells} cells are taken"
            )
        self._places[cell] -= 1
        self._cell[command.replica_id] = cell
        self._gpus[command.replica_id] = command.gpus
        if cell < self.simulated:
            self._sample.apply(replace(command, cell=cell), at_s)
        else:
            self._silent.add(command.replica_id)
            self._mirror.begin(command.replica_id, command.gpus, command.profile.idle_power_w, at_s)

    def _remove(self, command: RemoveReplica, at_s: float) -> None:
        name = command.replica_id
        if command.how == "drain":
            raise ServiceError(
                f"service {self.rules.name}: a thinned service has a fixed number of replicas; "
                "use mode full or fluid to take some away"
            )
        if name not in self._cell:
            raise ValueError(f"service {self.rules.name}: no replica {name}")
        if name in self._silent:
            # Which cell a failure hits is chance; those in simulated cells stand for all.
            self._silent.discard(name)
            self._mirror.end(name, at_s)
        else:
            self._sample.apply(command, at_s)
        self._places[self._cell.pop(name)] += 1

    def take_power(self) -> PowerBins:
        """Return and forget the power bins that ended by now, of all replicas."""
        bins = self._sample.take_power()
        self._mirror.learn(bins, self._gpus)
        mirrored = self._mirror.take(self.now_s, unfinished=self._closed)
        replica = np.concatenate((bins.replica, mirrored.replica))
        end_s = np.concatenate((bins.bin_end_s, mirrored.bin_end_s))
        order = np.lexsort((replica, end_s))
        return PowerBins(
            replica=replica[order],
            bin_start_s=np.concatenate((bins.bin_start_s, mirrored.bin_start_s))[order],
            bin_end_s=end_s[order],
            energy_j=np.concatenate((bins.energy_j, mirrored.energy_j))[order],
            max_w=np.concatenate((bins.max_w, mirrored.max_w))[order],
        )

    def observe(self) -> Observation:
        """Return what there is to see now, scaled up to the whole service."""
        seen = self._sample.observe()
        return replace(
            seen,
            mode=f"thinned: {self.simulated} of {self.cells} cells in full, "
            f"each request stands for {self._factor:g}",
            queue_length=round(self._factor * seen.queue_length),
            running=round(self._factor * seen.running),
            replicas_ready=seen.replicas_ready + len(self._silent),
            power_w={name: self.power_w(name) for name in sorted(self._cell)},
        )

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now: its own, or that of its like. [W]"""
        if replica_id not in self._silent:
            return self._sample.power_w(replica_id)
        shown = [name for name in sorted(self._cell) if name not in self._silent]
        gpus = sum(self._gpus[name] for name in shown)
        if not gpus:
            return self._mirror.idle_w(replica_id)
        return sum(map(self._sample.power_w, shown)) / gpus * self._gpus[replica_id]

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit, as `crowd_books.CrowdBooks.counters` has them."""
        return self._sample.counters()

    def take_rows(self) -> dict[str, Any]:
        """Return and forget finished requests, each with its weight."""
        return self._sample.take_rows()

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, scaled up to the whole service."""
        return self._sample.take_hourly()

    def histogram(self) -> dict[str, Any]:
        """Return the columns of `latency_histogram`, weighted."""
        return self._sample.histogram()

    def summary(self) -> dict[str, Any]:
        """Return percentiles over the sample, totals of the whole service."""
        return self._sample.summary()

    def stability(self) -> Stability:
        """Return whether the sampled cells keep up."""
        return self._sample.stability()

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the simulated replicas."""
        return self._sample.steps()

    def declared_flow_bytes_per_s(self) -> float:
        """Return 0: a thinned service does not part prefill from decode. [B/s]"""
        return 0.0

    def close(self, at_s: float) -> None:
        """End the run at `at_s`: unfinished bins and hours may be taken."""
        self._sample.close(at_s)
        self._closed = True


class MirroredPower:
    """Power of replicas that are not simulated: bin by bin the mean of those that are.

    Parameters
    ----------
    origin_s
        Bins are aligned at it. [s since the run's start]
    """

    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s
        self._lives: dict[int, tuple[int, float, float, float]] = {}
        """Replica -> (GPUs, idle watts of one, given away until, end)."""
        self._known: dict[int, list[float]] = {}
        """Bin -> [J, GPU-seconds, sum of largest W per GPU, replicas]."""

    def begin(self, name: int, gpus: int, idle_w: float, at_s: float) -> None:
        """Mirror a replica from `at_s` on."""
        self._lives[name] = (gpus, idle_w, at_s, math.inf)

    def end(self, name: int, at_s: float) -> None:
        """Mirror a replica no longer."""
        gpus, idle_w, since_s, _ = self._lives[name]
        self._lives[name] = (gpus, idle_w, since_s, at_s)

    def idle_w(self, name: int) -> float:
        """Return a replica's idle power. [W]"""
        gpus, idle_w, _, _ = self._lives[name]
        return gpus * idle_w

    def learn(self, bins: PowerBins, gpus: Mapping[int, int]) -> None:
        """Take note of what simulated replicas drew."""
        for name, start_s, end_s, energy_j, max_w in zip(*(column.tolist() for column in bins), strict=True):
            known = self._known.setdefault(self._bin(start_s), [0.0, 0.0, 0.0, 0.0])
            known[0] += energy_j
            known[1] += gpus[name] * (end_s - start_s)
            known[2] += max_w / gpus[name]
            known[3] += 1.0

    def take(self, now_s: float, *, unfinished: bool) -> PowerBins:
        """Return the mirrored bins that ended by now; with `unfinished`, the last short one too."""
        done_s = now_s if unfinished else self._bin(now_s) * BIN_S + self._origin_s
        rows: list[tuple[int, float, float, float, float]] = []
        for name in sorted(self._lives):
            gpus, idle_w, since_s, until_s = self._lives[name]
            stop_s = min(done_s, until_s)
            while since_s < stop_s:
                index = self._bin(since_s)
                end_s = min((index + 1) * BIN_S + self._origin_s, stop_s)
                energy_j, gpu_seconds, largest_w, count = self._known.get(index, (0.0, 0.0, 0.0, 0.0))
                mean_w = energy_j / gpu_seconds if gpu_seconds else idle_w
                peak_w = largest_w / count if count else idle_w
                rows.append((name, since_s, end_s, gpus * mean_w * (end_s - since_s), gpus * peak_w))
                since_s = end_s
            self._lives[name] = (gpus, idle_w, max(since_s, stop_s), until_s)
            if until_s <= done_s:
                del self._lives[name]
        for index in [known for known in self._known if (known + 1) * BIN_S + self._origin_s <= done_s]:
            del self._known[index]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        return PowerBins(
            np.array(columns[0], dtype=np.int32),
            *(np.array(column, dtype=np.float64) for column in columns[1:]),
        )

    def _bin(self, at_s: float) -> int:
        return math.floor((at_s - self._origin_s) / BIN_S)
