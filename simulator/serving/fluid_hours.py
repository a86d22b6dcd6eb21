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
        self._latency_s = np.zeros((len(METRICS), tiers + 1))
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
        found = _added(served, waits_s)
        for table, count in tables:
            found += count * table.capacity_per_s / capacity_per_s * table.latency_at(load)
        found = np.nan_to_num(found)
        hour.latency_s += counts * found
        self._latency_s += counts * found
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
        """Return the mean over all requests of their hour's percentiles, whole and by tier."""
        names = (*self._rules.tiers, "all")
        by_name: dict[str, dict[str, Any]] = {}
        for code, name in enumerate(names):
            judged = float(self._served[code])
            found: dict[str, Any] = {
                metric: float(total[code]) / judged if judged else math.nan
                for metric, total in zip(METRICS, self._latency_s, strict=True)
            }
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
