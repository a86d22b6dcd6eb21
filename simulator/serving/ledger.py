"""What a crowd leaves behind: rows of requests, hours, distributions and the totals of the audit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving.batching import UNSEEN, Request
from simulator.serving.latency import Distribution, Histogram, percentile
from simulator.serving.picoseconds import PS_PER_S
from simulator.serving.power_meter import UNITS_PER_J, MeterBin

FloatArray = NDArray[np.float64]

STATES: Final = ("ok", "shed", "failed", "retried")
OK, SHED, FAILED, RETRIED = range(4)

HOUR_PS: Final = 3600 * PS_PER_S


@dataclass
class Counters:
    """Totals of one crowd, plain counts; in = out + in flight + shed + failed, to the unit.

    The in-flight side is not kept here: the crowd counts what it holds.
    """

    requests_in: int = 0
    prompt_tokens_in: int = 0
    output_tokens_in: int = 0
    requests_out: int = 0
    prompt_tokens_out: int = 0
    output_tokens_out: int = 0
    requests_shed: int = 0
    prompt_tokens_shed: int = 0
    output_tokens_shed: int = 0
    requests_failed: int = 0
    prompt_tokens_failed: int = 0
    output_tokens_failed: int = 0
    retried: int = 0
    """Times that a request began again because its replica was lost."""
    preempted: int = 0
    """Times that a finished request had been recomputed for want of KV blocks, or begun again."""
    wasted_tokens: int = 0
    """Output tokens that were lost with a replica."""

    def totals(self) -> dict[str, int]:
        """Return what is in, out, shed and failed, by the names that the audit uses."""
        return {
            "requests_in": self.requests_in,
            "requests_out": self.requests_out,
            "shed": self.requests_shed,
            "failed": self.requests_failed,
            "retried": self.retried,
            "preempted": self.preempted,
            "tokens_in": self.prompt_tokens_in + self.output_tokens_in,
            "tokens_out": self.output_tokens_out,
            "prompt_tokens_out": self.prompt_tokens_out,
            "tokens_shed": self.prompt_tokens_shed + self.output_tokens_shed,
            "tokens_failed": self.prompt_tokens_failed + self.output_tokens_failed,
            "wasted_tokens": self.wasted_tokens,
        }


@dataclass
class _Hour:
    prompts: dict[int, int] = field(default_factory=dict)
    outputs: dict[int, int] = field(default_factory=dict)
    ttft_s: dict[int, list[FloatArray]] = field(default_factory=dict)
    tpot_s: dict[int, list[FloatArray]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    gpu_energy: int = 0
    host_energy: int = 0
    replica_ps: int = 0


class Ledger:
    """Collects finished requests and power bins, and gives them away in blocks."""

    def __init__(
        self,
        service: str,
        tiers: Sequence[str],
        tenant: str,
        ttft_slo_s: Sequence[float],
        *,
        weight: float,
        origin_s: float,
    ) -> None:
        self.service = service
        self.tiers = tuple(tiers)
        self.tenant = tenant
        self.sites: Sequence[str] = ()
        """Names of the sites that rows speak of by position."""
        self.ttft_slo_s = tuple(ttft_slo_s)
        self.weight = weight
        self.origin_s = origin_s
        self.counters = Counters()
        self.rows: list[tuple[int, ...]] = []
        self.histogram = Histogram()
        self.distributions: dict[tuple[int, str], Distribution] = {
            (tier, metric): Distribution()
            for tier in range(len(self.tiers))
            for metric in ("ttft", "tpot", "e2e")
        }
        self.within_slo = [0] * len(self.tiers)
        self.judged = [0] * len(self.tiers)
        """Requests by tier that ended, shed and failed ones among them."""
        self._blocks: list[dict[str, Any]] = []
        self._hours: dict[int, _Hour] = {}

    def end(self, request: Request, state: int, at_ps: int, replica: int, site: int) -> None:
        """Write the row of a request that is over."""
        if state == OK and request.attempts:
            state = RETRIED
        counters = self.counters
        if state in (OK, RETRIED):
            counters.requests_out += 1
            counters.prompt_tokens_out += request.prompt
            counters.output_tokens_out += request.output
        elif state == SHED:
            counters.requests_shed += 1
            counters.prompt_tokens_shed += request.prompt
            counters.output_tokens_shed += request.output
        else:
            counters.requests_failed += 1
            counters.prompt_tokens_failed += request.prompt
            counters.output_tokens_failed += request.output
        counters.preempted += request.preemptions
        self.rows.append(
            (
                request.number,
                site,
                replica,
                request.tier,
                state,
                request.arrived_ps,
                request.prefill_started_ps,
                request.first_token_ps,
                at_ps,
                request.prompt,
                request.output,
                request.preemptions,
            )
        )

    def seal(self) -> None:
        """Turn the rows held so far into columns, and count them into hours and distributions."""
        if not self.rows:
            return
        columns = list(zip(*self.rows, strict=True))
        self.rows.clear()
        number, site, replica, tier, state, arrived, started, first, ended, prompt, output, lost = columns
        tier_code = np.array(tier, dtype=np.int64)
        state_code = np.array(state, dtype=np.int64)
        outputs = np.array(output, dtype=np.int64)
        prompts = np.array(prompt, dtype=np.int64)
        served = (state_code == OK) | (state_code == RETRIED)
        first_known = np.array(first, dtype=np.float64) != UNSEEN
        ttft_s = _span_s(arrived, first)
        ttft_s[~(served & first_known)] = np.nan
        e2e_s = _span_s(arrived, ended)
        e2e_s[~served] = np.nan
        tpot_s = _span_s(first, ended) / np.maximum(outputs - 1, 1)
        tpot_s[~(served & (outputs > 1))] = np.nan
        names = self.sites
        self._blocks.append(
            {
                "request_id": np.array(number, dtype=np.int64),
                "service": [self.service] * len(number),
                "site": [names[code] if code >= 0 else "" for code in site],
                "replica": np.array(replica, dtype=np.int32),
                "tenant": [self.tenant] * len(number),
                "tier": [self.tiers[code] for code in tier],
                "state": [STATES[code] for code in state],
                "weight": np.full(len(number), self.weight),
                "arrived_s": self._seconds(arrived),
                "prefill_started_s": self._seconds(started),
                "first_token_s": self._seconds(first),
                "finished_s": self._seconds(ended),
                "prompt_tokens": prompts.astype(np.int32),
                "output_tokens": outputs.astype(np.int32),
                "cached_tokens": np.zeros(len(number), dtype=np.int32),
                "ttft_s": ttft_s,
                "tpot_s": tpot_s,
                "e2e_s": e2e_s,
                "preemptions": np.array(lost, dtype=np.int32),
            }
        )
        for code, slo_s in enumerate(self.ttft_slo_s):
            of_tier = tier_code == code
            self.judged[code] += int(np.count_nonzero(of_tier))
            self.within_slo[code] += int(np.count_nonzero(ttft_s[of_tier] <= slo_s))
        hours = np.array([when // HOUR_PS for when in ended], dtype=np.int64)
        for code in np.unique(tier_code[served]).tolist():
            of_tier = served & (tier_code == code)
            several = of_tier & (outputs > 1)
            by_metric = {"ttft": ttft_s[of_tier], "tpot": tpot_s[several], "e2e": e2e_s[of_tier]}
            for metric, values in by_metric.items():
                self.distributions[code, metric].add(values)
                self.histogram.add(self.tiers[code], metric, values)
            for index in np.unique(hours[of_tier]).tolist():
                hour = self._hours.setdefault(index, _Hour())
                now = of_tier & (hours == index)
                hour.counts[code] = hour.counts.get(code, 0) + int(np.count_nonzero(now))
                hour.prompts[code] = hour.prompts.get(code, 0) + int(np.sum(prompts[now]))
                hour.outputs[code] = hour.outputs.get(code, 0) + int(np.sum(outputs[now]))
                hour.ttft_s.setdefault(code, []).append(ttft_s[now])
                hour.tpot_s.setdefault(code, []).append(tpot_s[several & (hours == index)])

    def take_rows(self) -> dict[str, Any]:
        """Return the columns of `requests` since the last call."""
        self.seal()
        blocks, self._blocks = self._blocks, []
        if len(blocks) == 1:
            return blocks[0]
        if not blocks:
            return no_rows()
        return {
            name: (
                [text for block in blocks for text in block[name]]
                if isinstance(value, list)
                else np.concatenate([block[name] for block in blocks])
            )
            for name, value in blocks[0].items()
        }

    def meter(self, bins: Sequence[MeterBin]) -> None:
        """Count power bins into their hours."""
        for entry in bins:
            hour = self._hours.setdefault(entry.start_ps // HOUR_PS, _Hour())
            span_ps = entry.end_ps - entry.start_ps
            hour.gpu_energy += entry.energy
            hour.host_energy += entry.host_mw * span_ps
            hour.replica_ps += span_ps

    def take_hourly(self, before_ps: int, *, unfinished: bool) -> dict[str, Any]:
        """Return the columns of `services_hourly` for the hours that ended by `before_ps`.

        Parameters
        ----------
        unfinished
            Whether the hour that `before_ps` lies in goes too (the run is over).
        """
        self.seal()
        start_ps = -round(self.origin_s * PS_PER_S)
        found: list[tuple[Any, ...]] = []
        for index in sorted(self._hours):
            if (index + 1) * HOUR_PS > before_ps and not unfinished:
                break
            hour = self._hours.pop(index)
            span_ps = min((index + 1) * HOUR_PS, before_ps) - max(index * HOUR_PS, start_ps)
            found.extend(self._hour_rows(index, hour, span_ps))
        return hourly_columns(self.service, found)

    def summary(self) -> dict[str, Any]:
        """Return percentiles over the run: the whole service, then `tiers` by name."""
        self.seal()
        whole = self._summary(range(len(self.tiers)))
        whole["tiers"] = {name: self._summary((code,)) for code, name in enumerate(self.tiers)}
        return whole

    def _summary(self, tiers: Sequence[int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        judged = sum(self.judged[tier] for tier in tiers)
        for metric in ("ttft", "tpot", "e2e"):
            parts = [self.distributions[tier, metric] for tier in tiers]
            merged = parts[0] if len(parts) == 1 else _merged(parts)
            found[f"{metric}_mean_s"] = merged.mean
            for percent in (50, 90, 95, 99):
                found[f"{metric}_p{percent}_s"] = merged.percentile(percent / 100.0)
            if metric == "e2e":
                found["requests"] = self.weight * merged.count
        found["slo_attainment_fraction"] = (
            sum(self.within_slo[tier] for tier in tiers) / judged if judged else math.nan
        )
        return found

    def _hour_rows(self, index: int, hour: _Hour, span_ps: int) -> list[tuple[Any, ...]]:
        energy_j = self.weight * ((hour.gpu_energy + hour.host_energy) / UNITS_PER_J)
        tokens = self.weight * sum(hour.outputs.values())
        start_s = index * 3600.0 + self.origin_s
        rows: list[tuple[Any, ...]] = []
        for code in (-1, *sorted(hour.counts)):
            tiers = sorted(hour.counts) if code < 0 else [code]
            ttft_s = [block for tier in tiers for block in hour.ttft_s[tier]]
            tpot_s = [block for tier in tiers for block in hour.tpot_s[tier]]
            first = np.concatenate(ttft_s) if ttft_s else np.empty(0)
            each = np.concatenate(tpot_s) if tpot_s else np.empty(0)
            whole = code < 0
            rows.append(
                (
                    "all" if whole else self.tiers[code],
                    start_s,
                    self.weight * sum(hour.counts[tier] for tier in tiers),
                    self.weight * sum(hour.prompts[tier] for tier in tiers),
                    self.weight * sum(hour.outputs[tier] for tier in tiers),
                    self.weight * hour.replica_ps / span_ps if whole and span_ps else math.nan,
                    percentile(first, None, 0.5),
                    percentile(first, None, 0.99),
                    percentile(each, None, 0.5),
                    percentile(each, None, 0.99),
                    energy_j / (span_ps / PS_PER_S) if whole and span_ps else math.nan,
                    energy_j / tokens if whole and tokens else math.nan,
                )
            )
        return rows

    def _seconds(self, times_ps: Sequence[int]) -> FloatArray:
        seconds = np.array(times_ps, dtype=np.float64)
        unseen = seconds == UNSEEN
        seconds /= PS_PER_S
        seconds += self.origin_s
        seconds[unseen] = np.nan
        return seconds


_HOURLY_FLOATS: Final = (
    "hour_start_s",
    "requests",
    "prompt_tokens",
    "output_tokens",
    "replicas",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p99_s",
    "power_w",
    "joules_per_token",
)


def hourly_columns(service: str, rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Return columns of `services_hourly` from rows of (tier, then the numbers in column order)."""
    columns: dict[str, Any] = {"service": [service] * len(rows), "tier": [row[0] for row in rows]}
    for position, name in enumerate(_HOURLY_FLOATS, start=1):
        columns[name] = np.array([row[position] for row in rows], dtype=np.float64)
    return columns


def no_rows() -> dict[str, Any]:
    """Return the columns of `requests` with nothing in them."""
    from simulator.telemetry.tables import TABLES

    return {
        column.name: [] if column.dtype == "str" else np.empty(0, dtype=column.dtype)
        for column in TABLES["requests"].columns
    }


def _merged(parts: Sequence[Distribution]) -> Distribution:
    whole = Distribution()
    for part in parts:
        whole.merge(part)
    return whole


def _span_s(start_ps: Sequence[int], end_ps: Sequence[int]) -> FloatArray:
    spans = np.array([end - start for start, end in zip(start_ps, end_ps, strict=True)], dtype=np.float64)
    return spans / PS_PER_S
