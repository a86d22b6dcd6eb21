"""How one replica answers at each load: a table made by running a service in full at several rates."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.serving.crowd import AddReplica, ReplicaProfile, Stop
from simulator.serving.crowd_in_full import CrowdInFull
from simulator.serving.full_crowd import full_crowd
from simulator.serving.log_stretch import LogStretches
from simulator.serving.routers import BLIND, LeastOutstanding
from simulator.serving.service_rules import ServiceRules
from simulator.workload.requests import RequestTable

FloatArray = NDArray[np.float64]

#: Loads of the table, as shares of what a replica sustains; power rises steeply at the low end,
#: where one request alone keeps a replica awake, latency at the high end.
LEVELS: Final = (0.003, 0.008, 0.018, 0.04, 0.1, 0.25, 0.5, 0.7, 0.85, 0.95)

#: Fewest requests measured at each level, after a third as many to warm up.
MEASURED: Final = 900

#: Warming up and measuring each last this many times what a request stays, at least: batches near
#: saturation forget slowly, and come from empty.
TURNOVERS: Final = 12.0

#: A level is measured again, at most so often, if requests stayed longer than was thought.
_AGAIN: Final = 2

#: Replicas that share a router in the table at most: with more, waiting hardly changes.
POOLED: Final = 2

#: A queue that never ends is fed at so many times what replicas finish.
_BEYOND: Final = 2.0

METRICS: Final = ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "e2e_p50_s", "e2e_mean_s")


#: Loads at which a table has values: idle, then `LEVELS`.
_LOADS: Final = (0.0, *LEVELS)


@dataclass(frozen=True, eq=False)
class LoadTable:
    """Latencies and watts of one replica by load; linear in between, flat beyond the last level.

    Parameters
    ----------
    capacity_per_s
        Requests per second that a replica sustains: load 1. [1/s]
    power_w, largest_w
        (n,) mean and largest GPU power of the replica, idle first. [W]
    latency_s
        (metrics, tiers + 1, n) in the order of `METRICS`; the last tier is all of them. [s]
    found_fraction
        (n,) share of the prompts' tokens that requests found in the cache.
    """

    capacity_per_s: float
    power_w: FloatArray
    largest_w: FloatArray
    latency_s: FloatArray
    found_fraction: FloatArray

    def power_at(self, load: float) -> tuple[float, float]:
        """Return mean and largest GPU power of a replica at a share of its capacity. [W]"""
        below, part = _between(load)
        mean_w = float(self.power_w[below] + part * (self.power_w[below + 1] - self.power_w[below]))
        largest_w = self.largest_w[below] + part * (self.largest_w[below + 1] - self.largest_w[below])
        return mean_w, max(mean_w, float(largest_w))

    def latency_at(self, load: float) -> FloatArray:
        """Return (metrics, tiers + 1) latencies at a share of its capacity. [s]"""
        below, part = _between(load)
        low = self.latency_s[..., below]
        found: FloatArray = low + part * (self.latency_s[..., below + 1] - low)
        return found

    def found_at(self, load: float) -> float:
        """Return the share of the prompts' tokens that requests find in the cache."""
        below, part = _between(load)
        low, high = self.found_fraction[below : below + 2].tolist()
        return float(low + part * (high - low))

    def hold_s(self, load: float, metric: str = "e2e_mean_s") -> float:
        """Return how long a request stays with a replica. [s]"""
        below, part = _between(load)
        low, high = self.latency_s[METRICS.index(metric), -1, below : below + 2].tolist()
        return float(low + part * (high - low))


def _between(load: float) -> tuple[int, float]:
    """Return the level below a load, and how far it is on the way to the next."""
    below = min(max(bisect_right(_LOADS, load) - 1, 0), len(_LOADS) - 2)
    low, high = _LOADS[below], _LOADS[below + 1]
    return below, min(1.0, max(0.0, (load - low) / (high - low)))


def load_table(
    rules: ServiceRules,
    profile: ReplicaProfile,
    *,
    gpus: int,
    kv_blocks: int,
    replicas: int,
    sample: RequestTable,
    rng: np.random.Generator,
) -> LoadTable:
    """Run replicas in full at `LEVELS` of load and return what came out.

    Parameters
    ----------
    rules
        The service; router and tiers matter, names and weights do not.
    profile, gpus, kv_blocks
        The replica.
    replicas
        Of the service; at most `POOLED` of them share the table's router. [count]
    sample
        Lengths and tiers to draw from; its arrivals do not matter. Where prompts begin alike, their
        order and bursts do.
    rng
        Draws requests from the sample, and Poisson arrivals.
    """
    shared = rules.shares_prefixes and sample.prefixes is not None
    # Where a chat stays with who remembers it, what a replica finds hangs on all of them.
    sticky = shared and not isinstance(rules.router, BLIND)
    pooled = replicas if sticky else min(replicas, POOLED)
    met = LogStretches(sample, pooled / replicas) if shared else AnyOrder(sample)
    alone = replace(
        rules,
        router=rules.router if pooled > 1 else LeastOutstanding(),
        weight=1.0,
        origin_s=0.0,
        cells=1,
        simulated_cells=1,
    )
    add = [AddReplica(number, "", "mixed", gpus, profile, kv_blocks) for number in range(pooled)]
    # So many requests fill the caches, or are all that there is to be found.
    filling = 0
    if shared:
        tokens = float(np.mean(sample.prompt_tokens + sample.output_tokens))
        held = pooled * rules.attention_data_parallel * kv_blocks * rules.rule.block_tokens
        filling = math.ceil(min(held / tokens, len(sample) * pooled / replicas))
    capacity_per_s = drain_rate_per_s(alone, add if shared else add[:1], met, rng, warm=filling)
    if sticky:
        # Dealt out all at once, before anything is remembered, requests go anywhere: once more, in time.
        beyond_per_s = _BEYOND * capacity_per_s * pooled
        found_per_s = drain_rate_per_s(alone, add, met, rng, warm=filling, rate_per_s=beyond_per_s)
        capacity_per_s = max(capacity_per_s, found_per_s)
    tiers = len(rules.tiers)
    latency_s = np.full((len(METRICS), tiers + 1, len(_LOADS)), np.nan)
    idle_w = gpus * profile.idle_power_w
    power_w, largest_w = [idle_w], [idle_w]
    found_fraction = [0.0]
    hold_s = 0.0
    for column, level in enumerate(LEVELS, start=1):
        rate_per_s = level * capacity_per_s * pooled
        for _ in range(1 + _AGAIN):
            # Requests stay about half as long again as at the level before.
            stay_s = 1.5 * hold_s
            warm = max(MEASURED // 3, math.ceil(TURNOVERS * stay_s * rate_per_s), filling)
            found = _at_rate(alone, add, met, rng, rate_per_s, warm, math.ceil(1.5 * stay_s * rate_per_s))
            hold_s = float(found.latency_s[METRICS.index("e2e_mean_s"), -1])
            if not TURNOVERS * hold_s * rate_per_s > warm:
                break
        power_w.append(found.power_w)
        largest_w.append(found.largest_w)
        found_fraction.append(found.found_fraction)
        latency_s[:, :, column] = found.latency_s
    _fill(latency_s.reshape(-1, len(_LOADS)))
    # What an idle replica finds is what it finds at the lowest load.
    found_fraction[0] = found_fraction[1]
    return LoadTable(
        capacity_per_s,
        np.array(power_w),
        np.maximum.accumulate(np.array(largest_w)),
        latency_s,
        np.array(found_fraction),
    )


@dataclass(frozen=True)
class _Level:
    """What came out at one level of load; see `LoadTable`."""

    power_w: float
    largest_w: float
    latency_s: FloatArray
    """(metrics, tiers + 1); NaN where nothing was measured."""
    found_fraction: float


def _at_rate(
    rules: ServiceRules,
    add: list[AddReplica],
    met: Met,
    rng: np.random.Generator,
    rate_per_s: float,
    warm: int,
    behind: int,
) -> _Level:
    """Run replicas in full at a constant rate; measure as many requests as warm up, or `MEASURED`.

    Parameters
    ----------
    warm, behind
        Requests before those that are measured, and after them: the last ones have company, too.
    """
    measured = max(MEASURED, warm)
    requests = met.drawn(warm + measured + behind, rate_per_s, rng)
    crowd = _crowd(rules, add, requests)
    begin_s, end_s = requests.arrived_s[[warm - 1, warm + measured - 1]].tolist()
    crowd.advance(begin_s)
    before = crowd.energy_j()
    crowd.advance(end_s)
    power_w = (crowd.energy_j() - before) / (end_s - begin_s) / len(add)
    largest_w = float(np.max(crowd.take_power().max_w, initial=power_w))
    while crowd.observe().in_flight:
        crowd.advance(crowd.now_s + 60.0)
    rows = crowd.take_rows()
    number = rows["request_id"]
    counted = (number >= warm) & (number < warm + measured) & np.isfinite(rows["ttft_s"])
    looked = float(np.sum(rows["prompt_tokens"][counted]))
    found_fraction = float(np.sum(rows["cached_tokens"][counted])) / looked if looked else 0.0
    tiers = len(rules.tiers)
    latency_s = np.full((len(METRICS), tiers + 1), np.nan)
    tier = np.array([rules.tiers.index(name) for name in rows["tier"]])
    for code in range(tiers + 1):
        chosen = counted if code == tiers else counted & (tier == code)
        for row, metric in enumerate(METRICS):
            name, what, _ = metric.split("_")
            values = rows[f"{name}_s"][chosen]
            values = values[np.isfinite(values)]
            if len(values):
                fraction = {"p50": 0.5, "p99": 0.99}.get(what)
                latency_s[row, code] = np.mean(values) if fraction is None else np.quantile(values, fraction)
    return _Level(power_w, largest_w, latency_s, found_fraction)


class Met(Protocol):
    """What requests a table's replicas meet."""

    def drawn(self, count: int, rate_per_s: float, rng: np.random.Generator) -> RequestTable:
        """Return so many requests; inf a second: all at once."""
        ...


@dataclass(frozen=True)
class AnyOrder:
    """Requests of a sample, each drawn by itself, in Poisson arrivals."""

    sample: RequestTable

    def drawn(self, count: int, rate_per_s: float, rng: np.random.Generator) -> RequestTable:
        """Return so many requests; inf a second: all at once."""
        sample, together = self.sample, rate_per_s == math.inf
        arrived_s = np.zeros(count) if together else np.cumsum(rng.exponential(1.0 / rate_per_s, count))
        chosen = rng.integers(0, len(sample), count)
        return RequestTable(
            arrived_s, sample.prompt_tokens[chosen], sample.output_tokens[chosen], sample.tier[chosen]
        )


def _crowd(rules: ServiceRules, add: list[AddReplica], table: RequestTable) -> CrowdInFull:
    tabulated = not add[0].profile.iteration.linear_in_context
    # Each level asks for about as many, and the twin takes a group's plan as long as a replica's.
    asked = len(table) * len(LEVELS) * rules.attention_data_parallel
    # All rows are taken at the end.
    every = replace(rules, rows=len(table) + 1)
    crowd = full_crowd(every, None, expected_requests=asked, tabulated=tabulated)
    for command in add:
        crowd.apply(command, 0.0)
    crowd.feed(table, np.inf)
    return crowd


def drain_rate_per_s(
    rules: ServiceRules,
    add: list[AddReplica],
    met: Met,
    rng: np.random.Generator,
    *,
    warm: int = 0,
    rate_per_s: float = math.inf,
) -> float:
    """Return the rate at which replicas with an endless queue finish requests, of one of them. [1/s]

    Parameters
    ----------
    warm
        Requests beside those that fill the batch before counting begins, for the cache. [count]
    rate_per_s
        Of arrivals; inf: all at once. [1/s]
    """
    batch = len(add) * rules.attention_data_parallel * rules.rule.max_sequences
    count = MEASURED // 3 + 3 * batch + 3 * warm // 2
    crowd = _crowd(rules, add, met.drawn(count, rate_per_s, rng))
    step_s = 60.0
    crowd.advance(0.0)
    while crowd.observe().in_flight:
        if crowd.advance(crowd.now_s + step_s) is Stop.REACHED:
            step_s *= 1.5
    finished_s = np.sort(crowd.take_rows()["finished_s"])
    # The batch is full between the first third and where the queue runs out.
    first, last = count // 3, count - max(1, min(batch, count // 3))
    return float((last - first) / (finished_s[last - 1] - finished_s[first - 1])) / len(add)


def _fill(levels: FloatArray) -> None:
    """Give levels that nothing was measured at the nearest one above, or below, that has a value."""
    for row in levels:
        known = np.flatnonzero(np.isfinite(row))
        if len(known):
            row[:] = np.interp(np.arange(len(row)), known, row[known])
