"""The hours of a fluid service: flows and looked-up latencies added up into `services_hourly`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving.ledger import hourly_columns
from simulator.serving.load_table import METRICS, LoadTable
from simulator.serving.service_rules import ServiceRules

FloatArray = NDArray[np.float64]

#: Standard deviations from the median to the 99th percentile of a normal distribution.
_P99_SIGMAS: Final = 2.3263478740408408

#: Of the waits in a stretch, evenly, those that the whole run remembers.
_KEPT: Final = slice(5, None, 10)

#: The metrics that time in the backlog adds to, and which quantile of it; None: its mean.
_ADDED: Final = {"ttft_p50_s": 0.5, "ttft_p99_s": 0.99, "e2e_p50_s": 0.5, "e2e_mean_s": None}


class _Hour:
    def __init__(self, tiers: int) -> None:
        self.served = np.zeros(tiers + 1)
        """Requests by tier, and all."""
        self.begin_s = math.inf
        self.end_s = 0.0
        self.energy_j = 0.0
        self.replica_seconds = 0.0
        self.latency_s = np.zeros((len(METRICS), tiers + 1))
        """Summed over requests, as `LoadTable.latency_s` has them. [s]"""


class FluidHours:
    """Collects stretches of constant flow.

    Parameters
    ----------
    rules
        The service.
    prompt_tokens, output_tokens
        Mean lengths. [tokens]
    """

    def __init__(self, rules: ServiceRules, prompt_tokens: float, output_tokens: float) -> None:
        self._rules = rules
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self._hours: dict[int, _Hour] = {}
        tiers = len(rules.tiers)
        self._served = np.zeros(tiers + 1)
        self._stretches: list[tuple[FloatArray, FloatArray, FloatArray]] = []
        """Of each stretch, by tier: requests, latencies without the backlog, some waits in it."""
        self._within_slo = np.zeros(tiers)

    def add(
        self,
        begin_s: float,
        end_s: float,
        *,
        served: FloatArray,
        load: float,
        waits_s: FloatArray,
        tables: Sequence[tuple[LoadTable, int]],
        energy_j: float,
        replicas: int,
    ) -> None:
        """Count a stretch of constant flow inside one hour.

        Parameters
        ----------
        served
            (tiers,) requests. [count]
        load
            What was served over capacity, alike on all replicas.
        waits_s
            (tiers, n) times in the backlog, at equal steps through those of a tier. [s]
        tables
            Of the open replicas, and how many are alike.
        energy_j
            IT energy of all replicas. [J]
        """
        origin_s = self._rules.origin_s
        hour = self._hours.setdefault(math.floor((begin_s - origin_s) / 3600.0), _Hour(len(served)))
        counts = np.append(served, served.sum())
        hour.served += counts
        hour.begin_s = min(hour.begin_s, begin_s)
        hour.end_s = max(hour.end_s, end_s)
        hour.energy_j += energy_j
        hour.replica_seconds += replicas * (end_s - begin_s)
        capacity_per_s = sum(count * table.capacity_per_s for table, count in tables)
        if not counts[-1] or not capacity_per_s:
            return
        self._served += counts
        found = np.zeros((len(METRICS), len(counts)))
        for table, count in tables:
            found += count * table.capacity_per_s / capacity_per_s * table.latency_at(load)
        found = np.nan_to_num(found)
        waits = waits_s[:, _KEPT] if waits_s.any() else np.zeros((len(served), 1))
        self._stretches.append((served, found[:, :-1], waits))
        found = found + _added(served, waits_s)
        hour.latency_s += counts * found
        rules = self._rules
        for code, (ttft_slo_s, tpot_slo_s) in enumerate(zip(rules.ttft_slo_s, rules.tpot_slo_s, strict=True)):
            # One of the two is infinite, see `fluid.FluidCrowd`: their product is the share that met both.
            met = _share_below(ttft_slo_s, *found[:2, code].tolist())
            met *= _share_below(tpot_slo_s, *found[2:4, code].tolist())
            self._within_slo[code] += served[code] * met

    def take(self, now_s: float, *, unfinished: bool) -> dict[str, Any]:
        """Return the columns of `services_hourly` for the hours that ended by now."""
        rows: list[tuple[Any, ...]] = []
        for index in sorted(self._hours):
            start_s = index * 3600.0 + self._rules.origin_s
            if start_s + 3600.0 > now_s and not unfinished:
                break
            rows.extend(self._rows(start_s, self._hours.pop(index)))
        return hourly_columns(self._rules.name, rows)

    def summary(self) -> dict[str, Any]:
        """Return latencies of all requests together, whole and by tier.

        Requests that waited as long in a stretch stand for a log-normal distribution of its median
        and 99th percentile; quantiles are those of all of them mixed.
        """
        tiers = range(len(self._rules.tiers))
        by_name: dict[str, dict[str, Any]] = {}
        for code, name in enumerate((*self._rules.tiers, "all")):
            judged = float(self._served[code])
            found = _of_all(self._stretches, tiers if name == "all" else (code,))
            found["requests"] = self._rules.weight * judged
            within = float(np.sum(self._within_slo) if name == "all" else self._within_slo[code])
            found["slo_attainment_fraction"] = within / judged if judged else math.nan
            found["requests_within_slo"] = self._rules.weight * within
            found["tokens_within_slo"] = self._rules.weight * within * self.output_tokens
            by_name[name] = found
        whole = by_name.pop("all")
        whole["tiers"] = by_name
        return whole

    def _rows(self, start_s: float, hour: _Hour) -> list[tuple[Any, ...]]:
        weight, span_s = self._rules.weight, hour.end_s - hour.begin_s
        tokens = weight * float(hour.served[-1]) * self.output_tokens
        rows: list[tuple[Any, ...]] = []
        names = (*self._rules.tiers, "all")
        for code in (len(names) - 1, *range(len(names) - 1)):
            whole = names[code] == "all"
            count = float(hour.served[code])
            served = weight * count
            if not whole and not served:
                continue
            latencies = [total / count if count else math.nan for total in hour.latency_s[:4, code].tolist()]
            rows.append(
                (
                    names[code],
                    start_s,
                    served,
                    served * self.prompt_tokens,
                    served * self.output_tokens,
                    hour.replica_seconds / span_s if whole else math.nan,
                    *latencies,
                    hour.energy_j / span_s if whole else math.nan,
                    hour.energy_j / tokens if whole and tokens else math.nan,
                )
            )
        return rows


def _added(served: FloatArray, waits_s: FloatArray) -> FloatArray:
    """Return (metrics, tiers + 1) seconds that time in the backlog adds; the last tier is all of them."""
    found = np.zeros((len(METRICS), len(served) + 1))
    if not waits_s.any():
        return found
    steps = waits_s.shape[1]
    everybody = (waits_s.ravel(), np.repeat(served / steps, steps))
    columns = [*((waits, np.ones(steps)) for waits in waits_s), everybody]
    for metric, share in _ADDED.items():
        found[METRICS.index(metric)] = [_wait_s(*column, share) for column in columns]
    return found


def _of_all(
    stretches: Sequence[tuple[FloatArray, FloatArray, FloatArray]], tiers: Sequence[int]
) -> dict[str, Any]:
    """Return each metric over the requests of some tiers in all stretches. [s]"""
    parts = [
        (served[tier] / len(wait_s), found[:, tier], wait_s)
        for served, found, waits_s in stretches
        for tier in tiers
        if served[tier] > 0.0
        for wait_s in [waits_s[tier]]
    ]
    if not parts:
        return dict.fromkeys(METRICS, math.nan)
    counts = np.concatenate([np.full(len(wait_s), count) for count, _, wait_s in parts])
    waited_s = np.concatenate([wait_s for _, _, wait_s in parts])
    latency_s = np.concatenate(
        [np.repeat(found[:, None], len(wait_s), axis=1) for _, found, wait_s in parts], 1
    )
    of = {
        metric: column if metric.startswith("tpot") else column + waited_s
        for metric, column in zip(METRICS, latency_s, strict=True)
    }
    found = {
        f"{metric}_{name}_s": _mixed_s(share, counts, of[f"{metric}_p50_s"], of[f"{metric}_p99_s"])
        for metric in ("ttft", "tpot")
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    found["e2e_p50_s"] = _wait_s(of["e2e_p50_s"], counts, 0.5)
    found["e2e_mean_s"] = float(np.average(of["e2e_mean_s"], weights=counts))
    return found


def _mixed_s(share: float, counts: FloatArray, median_s: FloatArray, p99_s: FloatArray) -> float:
    """Return a quantile of log-normal distributions mixed by counts. [s]

    Examples
    --------
    >>> one, ten = np.array([1.0]), np.array([10.0])
    >>> round(_mixed_s(0.99, one, one, ten), 6), round(_mixed_s(0.5, one, one, ten), 6)
    (10.0, 1.0)
    >>> round(_mixed_s(0.5, np.array([9.0, 1.0]), np.array([1.0, 500.0]), np.array([2.0, 900.0])), 2)
    1.04
    """
    from scipy.special import ndtr

    known = (counts > 0.0) & (median_s > 0.0)
    if not known.any():
        return 0.0 if counts.any() else math.nan
    weights = counts[known] / counts[known].sum()
    centre = np.log(median_s[known])
    sigma = np.maximum(np.log(np.maximum(p99_s[known], median_s[known])) - centre, 1e-9) / _P99_SIGMAS
    low, high = float(np.min(centre - 5.0 * sigma)), float(np.max(centre + 5.0 * sigma))
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float(weights @ ndtr((middle - centre) / sigma)) < share:
            low = middle
        else:
            high = middle
    return math.exp(high)


def _wait_s(waits_s: FloatArray, weights: FloatArray, share: float | None) -> float:
    """Return a weighted quantile of waits; None: their mean. [s]"""
    if share is None:
        return float(np.average(waits_s, weights=weights))
    order = np.argsort(waits_s, kind="stable")
    below = np.cumsum(weights[order])
    return float(waits_s[order[np.searchsorted(below, share * below[-1])]])


def _share_below(bound_s: float, median_s: float, p99_s: float) -> float:
    """Return the share of a lognormal with this median and 99th percentile that is below a bound.

    Examples
    --------
    >>> round(_share_below(2.0, 1.0, 2.0), 6)
    0.99
    """
    if not math.isfinite(bound_s):
        return 1.0
    if not p99_s > median_s > 0.0:
        return 1.0 if bound_s >= median_s else 0.0
    sigma = math.log(p99_s / median_s) / _P99_SIGMAS
    return 0.5 * (1.0 + math.erf(math.log(bound_s / median_s) / (sigma * math.sqrt(2.0))))
