"""How one replica answers at each load: a table made by running the twin at several rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving.crowd import AddReplica, ReplicaProfile, Stop
from simulator.serving.routers import LeastOutstanding
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

FloatArray = NDArray[np.float64]

#: Loads of the table, as shares of what a replica sustains; power rises steeply at the low end,
#: where one request alone keeps a replica awake, latency at the high end.
LEVELS: Final = (0.003, 0.008, 0.018, 0.04, 0.1, 0.25, 0.5, 0.7, 0.85, 0.95)

#: Fewest requests measured at each level, after a third as many to warm up.
MEASURED: Final = 900

#: Warming up and measuring each last this many times what is in flight, at least.
TURNOVERS: Final = 3.0

#: Replicas that share a router in the table at most: with more, waiting hardly changes.
POOLED: Final = 2

METRICS: Final = ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "e2e_p50_s", "e2e_mean_s")


@dataclass(frozen=True, eq=False)
class LoadTable:
    """Latencies and watts of one replica by load; linear in between, flat outside.

    Parameters
    ----------
    capacity_per_s
        Requests per second that a replica sustains. [1/s]
    rate_per_s
        (n,) requests per second at each level, ascending. [1/s]
    power_w, largest_w
        (n,) mean and largest GPU power of the replica. [W]
    latency_s
        Metric -> (tiers, n) percentiles. [s]
    tier_names
        Tiers in code order, then ``all``: the rows of `latency_s`.
    """

    capacity_per_s: float
    rate_per_s: FloatArray
    power_w: FloatArray
    largest_w: FloatArray
    latency_s: dict[str, FloatArray]
    tier_names: tuple[str, ...]

    def power_at(self, rate_per_s: float) -> tuple[float, float]:
        """Return mean and largest GPU power of a replica at a load. [W]"""
        mean_w = float(np.interp(rate_per_s, self.rate_per_s, self.power_w))
        return mean_w, max(mean_w, float(np.interp(rate_per_s, self.rate_per_s, self.largest_w)))

    def latency_at(self, rate_per_s: float, metric: str) -> FloatArray:
        """Return a percentile by tier (then of all) at a load. [s]"""
        levels = self.latency_s[metric]
        return np.array([np.interp(rate_per_s, self.rate_per_s, row) for row in levels])


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
    """Run the twin at `LEVELS` of load and return what it found.

    Parameters
    ----------
    rules
        The service; router and tiers matter, names and weights do not.
    profile, gpus, kv_blocks
        The replica.
    replicas
        Of the service; at most `POOLED` of them share the table's router. [count]
    sample
        Lengths and tiers to draw from; its arrivals do not matter.
    rng
        Draws requests from the sample, and Poisson arrivals.
    """
    pooled = min(replicas, POOLED)
    alone = replace(
        rules,
        router=rules.router if pooled > 1 else LeastOutstanding(),
        weight=1.0,
        origin_s=0.0,
        cells=1,
        simulated_cells=1,
        rows=1 << 60,
    )
    add = [AddReplica(number, "", "mixed", gpus, profile, kv_blocks) for number in range(pooled)]
    capacity_per_s = _drain_rate_per_s(alone, add[0], sample, rng)
    tiers = len(rules.tiers)
    shape = (tiers + 1, len(LEVELS) + 1)
    latency_s = {metric: np.full(shape, np.nan) for metric in METRICS}
    idle_w = gpus * profile.idle_power_w
    power_w, largest_w = [idle_w], [idle_w]
    hold_s = 0.0
    for column, level in enumerate(LEVELS, start=1):
        rate_per_s = level * capacity_per_s * pooled
        # Requests stay about half as long again as at the level before.
        turned_over = math.ceil(TURNOVERS * 1.5 * hold_s * rate_per_s)
        warm, measured = max(MEASURED // 3, turned_over), max(MEASURED, turned_over)
        arrived_s = np.cumsum(rng.exponential(1.0 / rate_per_s, warm + measured))
        crowd = _crowd(alone, add, _drawn(sample, arrived_s, rng))
        begin_s, end_s = float(arrived_s[warm - 1]), float(arrived_s[-1])
        crowd.advance(begin_s)
        before = crowd.energy_j()
        crowd.advance(end_s)
        power_w.append((crowd.energy_j() - before) / (end_s - begin_s) / pooled)
        bins = crowd.take_power()
        largest_w.append(float(np.max(bins.max_w, initial=power_w[-1])))
        while crowd.counters()["in_flight"]:
            crowd.advance(crowd.now_s + 60.0)
        rows = crowd.take_rows()
        counted = (rows["request_id"] >= warm) & np.isfinite(rows["ttft_s"])
        tier = np.array([rules.tiers.index(name) for name in rows["tier"]])
        for code in range(tiers + 1):
            chosen = counted if code == tiers else counted & (tier == code)
            for metric in METRICS:
                name, what, _ = metric.split("_")
                values = rows[f"{name}_s"][chosen]
                values = values[np.isfinite(values)]
                if len(values):
                    fraction = {"p50": 0.5, "p99": 0.99}.get(what)
                    latency_s[metric][code, column] = (
                        np.mean(values) if fraction is None else np.quantile(values, fraction)
                    )
        hold_s = float(latency_s["e2e_mean_s"][tiers, column])
    for levels in latency_s.values():
        _fill(levels)
    rates = capacity_per_s * np.array((0.0, *LEVELS))
    return LoadTable(
        capacity_per_s,
        rates,
        np.array(power_w),
        np.maximum.accumulate(np.array(largest_w)),
        latency_s,
        (*rules.tiers, "all"),
    )


def _crowd(rules: ServiceRules, add: list[AddReplica], table: RequestTable) -> TwinCrowd:
    crowd = TwinCrowd(rules)
    for command in add:
        crowd.apply(command, 0.0)
    crowd.feed(table, np.inf)
    return crowd


def _drawn(sample: RequestTable, arrived_s: FloatArray, rng: np.random.Generator) -> RequestTable:
    chosen = rng.integers(0, len(sample), len(arrived_s))
    return RequestTable(
        arrived_s, sample.prompt_tokens[chosen], sample.output_tokens[chosen], sample.tier[chosen]
    )


def _drain_rate_per_s(
    rules: ServiceRules, add: AddReplica, sample: RequestTable, rng: np.random.Generator
) -> float:
    """Return the rate at which a replica with an endless queue finishes requests. [1/s]"""
    count = MEASURED // 3 + 3 * rules.rule.max_sequences
    crowd = _crowd(rules, [add], _drawn(sample, np.zeros(count), rng))
    step_s = 60.0
    while crowd.counters()["in_flight"] or not crowd.counters()["requests_in"]:
        if crowd.advance(crowd.now_s + step_s) is Stop.REACHED:
            step_s *= 1.5
    finished_s = np.sort(crowd.take_rows()["finished_s"])
    # The batch is full between the first third and where the queue runs out.
    first, last = count // 3, count - max(1, min(rules.rule.max_sequences, count // 3))
    return float((last - first) / (finished_s[last - 1] - finished_s[first - 1]))


def _fill(levels: FloatArray) -> None:
    """Give levels that nothing was measured at the nearest one above, or below, that has a value."""
    for row in levels:
        known = np.flatnonzero(np.isfinite(row))
        if len(known):
            row[:] = np.interp(np.arange(len(row)), known, row[known])
