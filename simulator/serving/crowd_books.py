"""What there is to see of a service in full: observations, rows, power bins, hours and totals.

How requests pass through replicas is for the forms to say; here they are only looked at.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Final, NamedTuple

import numpy as np

from simulator.foundation.time_grid import snap
from simulator.serving.crowd import BIN_S, Observation, PowerBins
from simulator.serving.fleet_form import FleetForm
from simulator.serving.ledger import Ledger
from simulator.serving.lookout import Lookout
from simulator.serving.picoseconds import PS_PER_S, to_ps
from simulator.serving.power_meter import UNITS_PER_J, MeterBin
from simulator.serving.service_rules import ServiceRules
from simulator.serving.stability import Stability, verdict

#: Width of the power bins. [ps]
BIN_PS: Final = int(BIN_S) * PS_PER_S


class Flying(NamedTuple):
    """What is in flight, counted request by request."""

    requests: int
    tokens: int
    """Of prompts, and of the answers asked for."""
    emitted: int
    """Output tokens that are out already."""


class CrowdBooks(ABC):
    """The clock, ledger and meters of a service in full, and all that is read from them.

    Parameters
    ----------
    rules
        The service.
    fleet
        Its replicas.
    """

    def __init__(self, rules: ServiceRules, fleet: FleetForm) -> None:
        self.rules = rules
        self._now = self._stamp = to_ps(-rules.origin_s)
        self._stamp_s = 0.0
        """`_stamp` in seconds as the engine said it: integer time rounds to a picosecond."""
        self._fleet = fleet
        self._ledger = Ledger(
            rules.name,
            rules.tiers,
            rules.tenant,
            rules.ttft_slo_s,
            rules.tpot_slo_s,
            weight=rules.weight,
            origin_s=rules.origin_s,
        )
        self._ledger.sites = fleet.site_names
        self._lookout = Lookout(self._now, BIN_PS)
        self._power: list[MeterBin] = []

    # what a form must say --------------------------------------------------------------------

    @abstractmethod
    def _deal(self) -> None:
        """Deal out what waits at the door, once all commands of this instant have acted."""

    @abstractmethod
    def _in_flight(self) -> int:
        """Return the requests that came and are not over."""

    @abstractmethod
    def _queue_length(self) -> int:
        """Return the requests that wait for an iteration, at the door or at a replica."""

    @abstractmethod
    def _flying(self) -> Flying:
        """Return what is in flight, counted request by request, never as a difference."""

    @abstractmethod
    def declared_flow_bytes_per_s(self) -> float:
        """Return the KV traffic between prefill and decode in the last control epoch. [B/s]"""

    @abstractmethod
    def _count(self) -> None:
        """Bring the ledger's totals up to date."""

    @abstractmethod
    def _hand_in(self) -> None:
        """Give the ledger the rows of finished requests that it does not have."""

    # now -------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """How far the crowd has come. [s since the run's start]"""
        return self._stamp_s if self._now == self._stamp else self._seconds(self._now)

    def observe(self) -> Observation:
        """Return what there is to see now; changes nothing."""
        self._deal()
        self._count()
        fleet = self._fleet
        return Observation(
            now_s=self.now_s,
            mode="full",
            queue_length=self._queue_length(),
            running=fleet.running,
            in_flight=self.rules.weight * self._in_flight(),
            transferring=fleet.transferring,
            kv_fraction=fleet.kv_fraction(self._now),
            replicas_ready=fleet.ready,
            replicas_draining=len(fleet.draining),
            power_w={fleet.replica_id(slot): fleet.level_mw(slot) / 1000.0 for slot in fleet.slots()},
            tokens_out=self.rules.weight * self._ledger.counters.output_tokens_out,
        )

    def power_w(self, replica_id: int) -> float:
        """Return a replica's GPU power now. [W]"""
        self._deal()
        return self._fleet.level_mw(self._fleet.find(replica_id)) / 1000.0

    def energy_j(self) -> float:
        """Return the GPU energy of all replicas since the start. [J]"""
        return self._fleet.energy(self._now) / UNITS_PER_J

    def counters(self) -> dict[str, float]:
        """Return weighted totals for the audit.

        ``requests_in`` = ``requests_out`` + ``in_flight`` + ``shed`` + ``failed``; ``tokens_in``
        (prompts and the answers asked for) = ``prompt_tokens_out`` + ``tokens_out`` +
        ``tokens_in_flight`` + ``tokens_shed`` + ``tokens_failed``. What is in flight is counted
        request by request, never as a difference.
        """
        self._count()
        flying = self._flying()
        totals = self._ledger.counters.totals()
        totals["prefix_tokens_looked"], totals["prefix_tokens_hit"] = self._fleet.prefix_tokens()
        totals["in_flight"] = flying.requests
        totals["tokens_in_flight"] = flying.tokens
        totals["tokens_emitted_in_flight"] = flying.emitted
        return {name: self.rules.weight * count for name, count in totals.items()}

    def steps(self) -> tuple[int, int]:
        """Return (iterations, plans) of the replicas now present: what CI gates on."""
        return self._fleet.steps()

    # taken away ------------------------------------------------------------------------------

    def take_rows(self) -> dict[str, Any]:
        """Return and forget finished requests as columns of `requests`, in completion order."""
        self._hand_in()
        return self._ledger.take_rows()

    def take_power(self) -> PowerBins:
        """Return and forget the power bins that ended by now."""
        self._read_meters()
        bins, self._power = sorted(self._power, key=lambda entry: (entry.end_ps, entry.replica)), []
        return PowerBins(
            replica=np.array([entry.replica for entry in bins], dtype=np.int32),
            bin_start_s=np.array([snap(self._seconds(entry.start_ps)) for entry in bins]),
            bin_end_s=np.array([snap(self._seconds(entry.end_ps)) for entry in bins]),
            energy_j=np.array([entry.energy / UNITS_PER_J for entry in bins]),
            max_w=np.array([entry.largest_mw / 1000.0 for entry in bins]),
        )

    def take_hourly(self) -> dict[str, Any]:
        """Return and forget the hours that ended by now, as columns of `services_hourly`."""
        self._hand_in()
        self._read_meters()
        return self._ledger.take_hourly(self._now, unfinished=self._fleet.closed)

    # over the whole run ----------------------------------------------------------------------

    def histogram(self) -> dict[str, Any]:
        """Return the columns of `latency_histogram` over the whole run."""
        self._hand_in()
        self._ledger.seal()
        return self._ledger.histogram.columns(self.rules.name, self.rules.weight)

    def summary(self) -> dict[str, Any]:
        """Return the run's percentiles by tier, stability, headroom and tokens out."""
        self._hand_in()
        found = self._ledger.summary()
        stability = self.stability()
        found["tokens_out"] = self.rules.weight * self._ledger.counters.output_tokens_out
        found["stability"] = stability.verdict
        found["headroom_fraction"] = stability.headroom_fraction
        return found

    def stability(self) -> Stability:
        """Return whether the replicas now present keep up with what arrived."""
        self._count()
        self._hand_in()
        counts, lookout = self._ledger.counters, self._lookout
        capacity_per_s = math.nan
        if counts.requests_in:
            prompt = counts.prompt_tokens_in / counts.requests_in
            looked, hit = self._fleet.prefix_tokens() if self.rules.shares_prefixes else (0, 0)
            capacity_per_s = self._fleet.capacity_per_s(
                self._ledger.mean_request(
                    prompt, counts.output_tokens_in / counts.requests_in, prompt * hit / max(1, looked)
                )
            )
        queued = np.array(lookout.queued, dtype=np.float64)
        arrived = np.diff(np.array([0, *lookout.arrived], dtype=np.float64))
        return verdict(queued, arrived, BIN_S, capacity_per_s)

    def _read_meters(self) -> None:
        bins = self._fleet.read_meters(self._now)
        self._ledger.meter(bins)
        self._power.extend(bins)

    # time ------------------------------------------------------------------------------------

    def _picoseconds(self, at_s: float) -> int:
        return to_ps(at_s - self.rules.origin_s)

    def _seconds(self, at_ps: int) -> float:
        return at_ps / PS_PER_S + self.rules.origin_s

    def _seconds_by(self, at_ps: int) -> float:
        """Return a time that is not before a moment: rounded down, it would be asked for for ever."""
        at_s = self._seconds(at_ps)
        while self._picoseconds(at_s) < at_ps:
            at_s = math.nextafter(at_s, math.inf)
        return at_s
