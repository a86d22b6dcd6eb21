"""Fit joint prompt and answer lengths to published traces; writes ``simulator/catalog/lengths.yaml``.

Run ``python -m analysis.calibration.lengths [--data DIR] [--write]``.

A lognormal, rounded up and cut at the trace's longest, gets the trace's mean and standard deviation: they set
the load and the queues. No lognormal has the traces' quantiles too (prompts heap up at a few lengths), so
those are printed side by side. The correlation is that of ranks, turned into that of the logarithms.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import catalog_file as sheet
from analysis.calibration.roots import bisected

Array = NDArray[np.float64]
#: Quantiles at which a lognormal is summed; fine enough for means within 0.05 %.
_RANKS = np.array([NormalDist().inv_cdf((i + 0.5) / 20_000) for i in range(20_000)])


@dataclass(frozen=True)
class Fit:
    """A lognormal that is rounded up and cut."""

    median: float
    sigma: float
    cap: int

    def sample(self) -> Array:
        """Return equally likely lengths, in order."""
        return np.minimum(np.ceil(self.median * np.exp(self.sigma * _RANKS)), self.cap)


def with_mean(mean: float, sigma: float, cap: int) -> Fit:
    """Return the lognormal of a given spread whose rounded and cut lengths have this mean."""
    log_median = bisected(
        lambda x: Fit(math.exp(x), sigma, cap).sample().mean() - mean, math.log(mean) - 12.0, math.log(cap)
    )
    return Fit(math.exp(log_median), sigma, cap)


def fitted(mean: float, deviation: float, cap: int) -> Fit:
    """Return the lognormal whose rounded and cut lengths have this mean and standard deviation."""
    sigma = bisected(lambda x: with_mean(mean, x, cap).sample().std() - deviation, 0.05, 3.0)
    return with_mean(mean, sigma, cap)


def azure(path: Path) -> tuple[Array, Array]:
    """Return prompt and answer tokens of an Azure trace."""
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return (
        np.array([float(row["ContextTokens"]) for row in rows]),
        np.array([float(row["GeneratedTokens"]) for row in rows]),
    )


def mooncake(path: Path) -> tuple[Array, Array]:
    """Return prompt and answer tokens of a Mooncake trace."""
    with gzip.open(path, "rt") as stream:
        rows: list[dict[str, Any]] = [json.loads(line) for line in stream]
    return (
        np.array([float(row["input_length"]) for row in rows]),
        np.array([float(row["output_length"]) for row in rows]),
    )


Reader = Callable[[Path], tuple[Array, Array]]
TRACES: tuple[tuple[str, str, str, str, Reader], ...] = (
    ("azure-conv-2023", "Azure 2023, conversation", "azure2023_conv.csv.gz", "azure-llm-2023", azure),
    ("azure-code-2023", "Azure 2023, code", "azure2023_code.csv.gz", "azure-llm-2023", azure),
    (
        "mooncake-2024",
        "Mooncake 2024, long conversations",
        "mooncake_conversation.jsonl.gz",
        "mooncake",
        mooncake,
    ),
)


def rank_correlation(first: Array, second: Array) -> float:
    """Return Spearman's coefficient; equal values share their mean rank."""
    ranks = []
    for values in (first, second):
        _, where, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - 0.5 * (count - 1))[where])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def show(name: str, what: str, lengths: Array, fit: Fit) -> None:
    """Print a trace's quantiles beside the fit's."""
    ranks = [5, 25, 50, 75, 95, 99]
    there = " ".join(f"{x:.0f}" for x in np.percentile(lengths, ranks))
    here = " ".join(f"{x:.0f}" for x in np.percentile(fit.sample(), ranks))
    print(
        f"{name} {what}: mean {lengths.mean():.1f} / {fit.sample().mean():.1f}, "
        f"deviation {lengths.std():.1f} / {fit.sample().std():.1f}; 5-25-50-75-95-99 %: {there} / {here}"
    )


def entry_lines(head: list[str], prompt: Fit, output: Fit, correlation: float) -> list[str]:
    """Return one entry's YAML under its head."""
    return [
        *head,
        f"  prompt_median_tokens: {prompt.median:.1f}",
        f"  prompt_sigma: {sheet.number(prompt.sigma)}",
        f"  output_median_tokens: {output.median:.1f}",
        f"  output_sigma: {sheet.number(output.sigma)}",
        f"  correlation: {sheet.number(correlation, 2)}",
        f"  prompt_cap_tokens: {prompt.cap}",
        f"  output_cap_tokens: {output.cap}",
    ]


def text(data: Path) -> str:
    """Return ``lengths.yaml``, and print what was fitted."""
    # A planner's case rather than a trace: short questions, long thinking.
    prompt, output = with_mean(700.0, 1.0, 32768), with_mean(1400.0, 0.9, 32768)
    note = "means 700 and 1,400 tokens; spread and correlation as judged from chat traces"
    head = ["", "reasoning-2025:", "  title: Reasoning chat, 2025", "  source: datahall-estimate"]
    head += ["  basis: estimate", f"  note: {sheet.quoted(note)}"]
    lines = entry_lines(head, prompt, output, 0.2)
    for name, title, file, source, read in TRACES:
        prompts, outputs = read(data / "serving" / "traces" / file)
        prompt = fitted(prompts.mean(), prompts.std(), int(prompts.max()))
        output = fitted(outputs.mean(), outputs.std(), int(outputs.max()))
        correlation = 2.0 * math.sin(math.pi * rank_correlation(prompts, outputs) / 6.0)
        show(name, "prompts", prompts, prompt)
        show(name, "answers", outputs, output)
        print(f"{name}: {len(prompts)} requests, correlation of logarithms {correlation:.2f}")
        head = ["", f"{name}:", f"  title: {title}", f"  source: {source}", "  basis: calibrated"]
        lines += entry_lines(head, prompt, output, correlation)
    header = (
        "Prompt and answer lengths: joint lognormal, rounded up, cut at the caps.",
        "Written by analysis/calibration/lengths.py; change it there.",
        "Fitted to a trace's mean and deviation after rounding and cutting; its quantiles differ.",
    )
    return sheet.file_text(header, lines)


if __name__ == "__main__":
    sheet.run("lengths.yaml", __doc__.splitlines()[0], text)
