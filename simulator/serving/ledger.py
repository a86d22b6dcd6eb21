"""What a crowd leaves behind: rows of requests, hours, distributions and the totals of the audit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving.latency import Distribution, Histogram, percentile
from simulator.serving.picoseconds import PS_PER_S
from simulator.serving.power_meter import PHASES, UNITS_PER_J, MeterBin
from simulator.serving.request import UNSEEN, Request
from simulator.serving.saturation import MeanRequest
from simulator.telemetry.coded_text import CodedText

FloatArray = NDArray[np.float64]

STATES: Final = ("ok", "shed", "failed", "retried")
OK, SHED, FAILED, RETRIED = range(4)

HOUR_PS: Final = 3600 * PS_PER_S

#: A time in a block of rows that there is none of.
UNSEEN_PS: Final = np.iinfo(np.int64).min

#: Where the times begin and end in a row.
_ARRIVED, _ENDED = 5, 8

#: Rows made into columns at a time.
_BLOCK_ROWS: Final = 1 << 16


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
class _PhaseTotals:
    """Time and GPU energy of replicas by phase, in order of `PHASES`. [ps], [mW ps]"""

    time_ps: list[int] = field(default_factory=lambda: [0] * len(PHASES))
    energy: list[int] = field(default_factory=lambda: [0] * len(PHASES))

    def add(self, entry: MeterBin) -> None:
        for phase in range(len(PHASES)):
            self.time_ps[phase] += entry.phase_ps[phase]
            self.energy[phase] += entry.phase_energy[phase]

    def columns(self, weight: float) -> tuple[float, ...]:
        """Return seconds of replicas by phase, then joules."""
        seconds = (weight * (time_ps / PS_PER_S) for time_ps in self.time_ps)
        return (*seconds, *(weight * (energy / UNITS_PER_J) for energy in self.energy))


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
    phases: _PhaseTotals = field(default_factory=_PhaseTotals)


class Ledger:
    """Collects finished requests and power bins, and gives them away in blocks."""

    def __init__(
        self,
        service: str,
        tiers: Sequence[str],
        tenant: str,
        ttft_slo_s: Sequence[float],
        tpot_slo_s: Sequence[float],
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
        self.tpot_slo_s = tuple(tpot_slo_s)
        self.weight = weight
        self.origin_s = origin_s
        self.counters = Counters()
        self.rows: list[tuple[int, ...]] = []
        """Number, site, replica, tier, state, arrival, start of the prompt, first token, end, prompt,
        output, preemptions, prompt tokens found of each request that is over; times since the
        origin. [ps]"""
        self.histogram = Histogram()
        self.distributions: dict[tuple[int, str], Distribution] = {
            (tier, metric): Distribution()
            for tier in range(len(self.tiers))
            for metric in ("ttft", "tpot", "e2e")
        }
        self.within_slo = [0] * len(self.tiers)
        self.tokens_within_slo = [0] * len(self.tiers)
        """Requests by tier that met every promise, and their output tokens."""
        self.judged = [0] * len(self.tiers)
        """Requests by tier that ended, shed and failed ones among them."""
        self._lengths = np.zeros((3, 3), np.int64)
        """Sums of the products of 1, prompt and output tokens with each other, over all that ended."""
        self._phases = _PhaseTotals()
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
                max(0, request.cached),
            )
        )

    def seal(self) -> None:
        """Take in the rows that `end` wrote."""
        if self.rows:
            rows, self.rows[:] = self.rows.copy(), []
            first_hour = min(row[_ARRIVED] for row in rows) // HOUR_PS
            base_ps = first_hour * HOUR_PS
            for hold in range(0, len(rows), _BLOCK_ROWS):
                block = np.array(
                    [_shifted(row, base_ps) for row in rows[hold : hold + _BLOCK_ROWS]], np.int64
                )
                self.take_in(block, base_ps)

    def take_in(self, rows: NDArray[np.int64], base_ps: int) -> None:
        """Turn requests that are over into columns, and count them into hours and distributions.

        Parameters
        ----------
        rows : (n, 12 or 13)
            In the order of `Ledger.rows`, the last column left out where nothing is ever found; times
            count from `base_ps`, `UNSEEN_PS` where there is none.
        base_ps
            A whole hour. [ps since the origin]
        """
        number, site, replica, tier, state, arrived, started, first, ended, prompts, outputs, lost = rows.T[
            :12
        ]
        cached = rows[:, 12] if rows.shape[1] > 12 else np.zeros(len(rows), np.int64)
        lengths = np.array((np.ones_like(prompts), prompts, outputs))
        self._lengths += lengths @ lengths.T
        served = (state == OK) | (state == RETRIED)
        e2e_s = np.where(served, (ended - arrived) / PS_PER_S, np.nan)
        answered = served & (first != UNSEEN_PS)
        first_ps = np.where(answered, first, ended)
        ttft_s = np.where(answered, (first_ps - arrived) / PS_PER_S, np.nan)
        several = served & (outputs > 1)
        tpot_s = np.where(several, (ended - first_ps) / PS_PER_S / np.maximum(outputs - 1, 1), np.nan)
        count = len(rows)
        names = (*self.sites, "")
        self._blocks.append(
            {
                "request_id": number.copy(),
                "service": CodedText.constant(self.service, count),
                "site": CodedText(np.where(site < 0, len(names) - 1, site).astype(np.int16), names),
                "replica": replica.astype(np.int32),
                "tenant": CodedText.constant(self.tenant, count),
                "tier": CodedText(tier.astype(np.int16), self.tiers),
                "state": CodedText(state.astype(np.int8), STATES),
                "weight": np.full(count, self.weight),
                "arrived_s": self._seconds(arrived, base_ps),
                "prefill_started_s": self._seconds(started, base_ps),
                "first_token_s": self._seconds(first, base_ps),
                "finished_s": self._seconds(ended, base_ps),
                "prompt_tokens": prompts.astype(np.int32),
                "output_tokens": outputs.astype(np.int32),
                "cached_tokens": cached.astype(np.int32),
                "ttft_s": ttft_s,
                "tpot_s": tpot_s,
                "e2e_s": e2e_s,
                "preemptions": lost.astype(np.int32),
            }
        )
        hours = ended // HOUR_PS + base_ps // HOUR_PS
        for code in range(len(self.tiers)):
            chosen = np.flatnonzero(tier == code) if len(self.tiers) > 1 else slice(None)
            self._count(
                code,
                served[chosen],
                hours[chosen],
                prompts[chosen],
                outputs[chosen],
                ttft_s[chosen],
                tpot_s[chosen],
                e2e_s[chosen],
            )

    def _count(
        self,
        code: int,
        served: NDArray[np.bool_],
        hours: NDArray[np.int64],
        prompts: NDArray[np.int64],
        outputs: NDArray[np.int64],
        ttft_s: FloatArray,
        tpot_s: FloatArray,
        e2e_s: FloatArray,
    ) -> None:
        """Count the requests of one tier that are over; NaN where a latency does not apply."""
        self.judged[code] += len(served)
        met = ttft_s <= self.ttft_slo_s[code]
        if self.tpot_slo_s[code] < math.inf:
            # An answer of one token has no gap that could be too long.
            met &= ~(tpot_s > self.tpot_slo_s[code])
        self.within_slo[code] += int(np.count_nonzero(met))
        self.tokens_within_slo[code] += int(np.sum(outputs[met]))
        if not served.any():
            return
        if not served.all():
            hours, prompts, outputs = hours[served], prompts[served], outputs[served]
            ttft_s, tpot_s, e2e_s = ttft_s[served], tpot_s[served], e2e_s[served]
        several = outputs > 1
        tpots = tpot_s if several.all() else tpot_s[several]
        for metric, values in (("ttft", ttft_s), ("tpot", tpots), ("e2e", e2e_s)):
            if len(values):
                self.distributions[code, metric].add(values)
                self.histogram.add(self.tiers[code], metric, values)
        first, last = int(hours.min()), int(hours.max())
        for index in range(first, last + 1):
            now = slice(None) if first == last else hours == index
            each = several[now]
            if not len(each):
                continue
            hour = self._hours.setdefault(index, _Hour())
            hour.counts[code] = hour.counts.get(code, 0) + len(each)
            hour.prompts[code] = hour.prompts.get(code, 0) + int(np.sum(prompts[now]))
            hour.outputs[code] = hour.outputs.get(code, 0) + int(np.sum(outputs[now]))
            hour.ttft_s.setdefault(code, []).append(ttft_s[now])
            hour.tpot_s.setdefault(code, []).append(tpot_s[now][each])

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
                CodedText.joined([block[name] for block in blocks])
                if isinstance(value, CodedText)
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
            hour.phases.add(entry)
            self._phases.add(entry)

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
        whole["phases"] = dict(zip(PHASE_COLUMNS, self._phases.columns(self.weight), strict=True))
        whole["tiers"] = {name: self._summary((code,)) for code, name in enumerate(self.tiers)}
        return whole

    def mean_request(self, prompt_tokens: float, output_tokens: float, found_tokens: float) -> MeanRequest:
        """Return a mean request whose lengths vary as those of requests that ended do.

        Parameters
        ----------
        prompt_tokens, output_tokens
            Means over all that came: of an overloaded service, short ones end first.
        found_tokens
            Of the prompt, those that were found in KV blocks. [tokens]
        """
        self.seal()
        (count, prompts, outputs), (_, prompt_squares, products), (*_, output_squares) = (
            self._lengths.tolist()
        )
        if not count:
            return MeanRequest(prompt_tokens, output_tokens, found_tokens=found_tokens)
        return MeanRequest(
            prompt_tokens,
            output_tokens,
            prompt_cv=math.sqrt(max(0.0, count * prompt_squares / prompts**2 - 1.0)),
            output_cv=math.sqrt(max(0.0, count * output_squares / outputs**2 - 1.0)),
            covariance=count * products / (prompts * outputs) - 1.0,
            found_tokens=found_tokens,
        )

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
        found["requests_within_slo"] = self.weight * sum(self.within_slo[tier] for tier in tiers)
        found["tokens_within_slo"] = self.weight * sum(self.tokens_within_slo[tier] for tier in tiers)
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
                    *(hour.phases.columns(self.weight) if whole else ()),
                )
            )
        return rows

    def _seconds(self, times_ps: NDArray[np.int64], base_ps: int) -> FloatArray:
        # Whole seconds are exact, so only the last addition rounds.
        whole = times_ps // PS_PER_S
        seconds = (whole + base_ps // PS_PER_S).astype(np.float64) + self.origin_s
        seconds += (times_ps - whole * PS_PER_S) / PS_PER_S
        unseen = times_ps == UNSEEN_PS
        if unseen.any():
            seconds[unseen] = np.nan
        return seconds


#: Seconds that replicas spent in each phase, and joules of their GPUs in it.
PHASE_COLUMNS: Final = (*(f"{phase}_s" for phase in PHASES), *(f"{phase}_gpu_j" for phase in PHASES))

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
    *PHASE_COLUMNS,
)


def hourly_columns(service: str, rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Return columns of `services_hourly` from rows of (tier, then the numbers in column order).

    A row may end early: what is left out does not apply.
    """
    columns: dict[str, Any] = {"service": [service] * len(rows), "tier": [row[0] for row in rows]}
    for position, name in enumerate(_HOURLY_FLOATS, start=1):
        columns[name] = np.array(
            [row[position] if position < len(row) else math.nan for row in rows], dtype=np.float64
        )
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


def _shifted(row: tuple[int, ...], base_ps: int) -> tuple[int, ...]:
    """Return a row whose times count from another moment."""
    times = (UNSEEN_PS if at == UNSEEN else at - base_ps for at in row[_ARRIVED : _ENDED + 1])
    return (*row[:_ARRIVED], *times, *row[_ENDED + 1 :])
