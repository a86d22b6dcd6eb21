"""Fit streams of research jobs to published cluster statistics; writes ``simulator/catalog/mixes.yaml``.

Run ``python -m analysis.calibration.job_mixes [--data DIR] [--write]``.

Sizes are powers of two: a share of single-GPU jobs that makes the median 1, the rest a geometric row whose
mean is published. Run times are lognormal with one spread and a median that grows with a power of the size.
Median, mean and GPU time per job fix those three: short jobs by count, giants by GPU time. Without that mix
a generator has the right mean and the wrong cluster. What a cluster's log says beyond that is printed.
"""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import catalog_file as sheet
from analysis.calibration.roots import bisected, newton

Array = NDArray[np.float64]
_RANKS = np.array([NormalDist().inv_cdf((i + 0.5) / 4_000) for i in range(4_000)])


@dataclass(frozen=True)
class Cluster:
    """What is asked for, and which row of the table it follows."""

    name: str
    title: str
    row: str
    source: str
    single_share: float
    largest_gpus: int
    cap_s: float


CLUSTERS = (
    # More than half of the jobs ask for one GPU in both: the published median size is 1.
    Cluster(
        "helios-like", "Helios 2020, four clusters", "Helios", "helios-summary", 0.55, 2048, 50 * 86400.0
    ),
    Cluster("acme-like", "Acme 2023, cluster Seren", "Seren", "acme-summary", 0.55, 1024, 14 * 86400.0),
)


@dataclass(frozen=True)
class Mix:
    """Sizes with shares, and the law of their run times."""

    gpus: Array
    share: Array
    median_s: float
    growth: float
    sigma: float
    cap_s: float

    def medians_s(self) -> Array:
        """Return the median run time of each size. [s]"""
        return self.median_s * self.gpus**self.growth

    def runs_s(self) -> Array:
        """Return (sizes, quantiles) run times after the cut. [s]"""
        return np.minimum(self.medians_s()[:, None] * np.exp(self.sigma * _RANKS), self.cap_s)

    def mean_run_s(self) -> float:
        """Return the mean over jobs. [s]"""
        return float(self.share @ self.runs_s().mean(axis=1))

    def gpu_s(self) -> float:
        """Return the mean of GPUs times run time. [gpu-s]"""
        return float((self.share * self.gpus) @ self.runs_s().mean(axis=1))

    def overall_median_s(self) -> float:
        """Return the median over jobs. [s]"""
        logs = np.log(self.medians_s()).tolist()
        shares = self.share.tolist()

        def below_half(x: float) -> float:
            below = [NormalDist(log, self.sigma).cdf(x) for log in logs]
            return float(np.dot(shares, below)) - 0.5

        return math.exp(bisected(below_half, min(logs) - 20.0, max(logs) + 20.0))


def size_shares(mean_gpus: float, single_share: float, largest: int) -> tuple[Array, Array]:
    """Return sizes and the shares whose mean is published."""
    powers = np.arange(1, round(math.log2(largest)) + 1)
    gpus = 2.0**powers

    def row(ratio: float) -> Array:
        weights = ratio ** (powers - 1)
        return np.asarray((1.0 - single_share) * weights / weights.sum())

    ratio = bisected(lambda r: single_share + float(row(r) @ gpus) - mean_gpus, 1e-6, 2.0)
    return np.concatenate([[1.0], gpus]), np.concatenate([[single_share], row(ratio)])


def fit(cluster: Cluster, row: dict[str, str]) -> Mix:
    """Return the mix with the row's median, mean and GPU time."""
    gpus, share = size_shares(float(row["avg_gpu_num"]), cluster.single_share, cluster.largest_gpus)
    jobs = float(row["gpu_job_num"])
    gpu_s = sum(float(row[f"{end}_gpu_time"]) for end in ("complete", "cancel", "fail")) / jobs
    target = np.log([float(row["med_run_time_gpu"]), float(row["avg_run_time_gpu"]), gpu_s])

    def mix(x: Array) -> Mix:
        return Mix(gpus, share, math.exp(x[0]), x[1], math.exp(x[2]), cluster.cap_s)

    def miss(x: Array) -> Array:
        m = mix(x)
        return np.log([m.overall_median_s(), m.mean_run_s(), m.gpu_s()]) - target

    return mix(newton(miss, np.array([target[0], 0.2, math.log(2.4)])))


def show(cluster: Cluster, row: dict[str, str], mix: Mix) -> None:
    """Print what was fitted, and where GPU time lies."""
    time = mix.share * mix.gpus * mix.runs_s().mean(axis=1)
    big = time[mix.gpus >= 64].sum() / time.sum()
    print(
        f"{cluster.name}: median {mix.overall_median_s():.0f} s ({row['med_run_time_gpu']}), mean "
        f"{mix.mean_run_s():.0f} s ({row['avg_run_time_gpu']}), {mix.gpu_s():.0f} GPU-s a job, mean size "
        f"{mix.share @ mix.gpus:.2f} ({row['avg_gpu_num']}); sigma {mix.sigma:.2f}, medians grow with size^"
        f"{mix.growth:.2f}; jobs of 64 GPUs and more: {100 * mix.share[mix.gpus >= 64].sum():.1f} % "
        f"by count, {100 * big:.0f} % by GPU time"
    )


def show_slice(path: Path) -> None:
    """Print what one real log says, which the fit does not use."""
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    runs = np.array([float(row["duration_s"]) for row in rows])
    gpus = np.array([float(row["num_chips"]) for row in rows])
    print(
        f"Venus, two virtual clusters of large jobs (not fitted): {len(rows)} jobs, median "
        f"{np.median(runs):.0f} s, mean {runs.mean():.0f} s, mean size {gpus.mean():.1f}, "
        f"spread of log run time {np.log(runs + 1).std():.2f}"
    )


def mix_lines(cluster: Cluster, mix: Mix) -> list[str]:
    """Return one mix's YAML."""
    shares = [round(float(s), 5) for s in mix.share]
    shares[0] = round(shares[0] + 1.0 - sum(shares), 5)
    guess = "source: datahall-estimate, basis: estimate"
    lines = [
        "",
        f"{cluster.name}:",
        f"  title: {sheet.quoted(cluster.title)}",
        f"  source: {cluster.source}",
        "  basis: calibrated",
        "  classes:",
    ]
    for gpus, share, median_s in zip(mix.gpus, shares, mix.medians_s(), strict=True):
        facts = f"gpus: {gpus:.0f}, share: {sheet.number(share, 5)}"
        lines.append(f"    - {{{facts}, run_median: {median_s:.4g} s, run_sigma: {mix.sigma:.3f}}}")
    return [
        *lines,
        f"  run_cap: {{value: {cluster.cap_s / 86400:.0f} d, basis: measured, note: the longest job}}",
        f"  requested_over_run_median: {{value: 2, {guess}, low: 1.2, high: 5, note: not logged}}",
        f"  requested_over_run_sigma: {{value: 0.7, {guess}, low: 0.3, high: 1.2, note: as above}}",
        "  arrival_shape: research",
    ]


def text(data: Path) -> str:
    """Return ``mixes.yaml``, and print what was fitted."""
    traces = data / "scheduling" / "traces"
    with (traces / "acme_cluster_summary.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    lines: list[str] = []
    for cluster in CLUSTERS:
        mix = fit(cluster, rows[cluster.row])
        show(cluster, rows[cluster.row], mix)
        lines += mix_lines(cluster, mix)
    show_slice(traces / "helios" / "venus_2vc_sept_fleetsim.csv.gz")
    header = (
        "Job mixes: sizes and run times of research jobs, independent of the load.",
        "Written by analysis/calibration/job_mixes.py; change it there.",
        "Fitted to published count, median, mean and GPU time; shares are of jobs by count.",
    )
    return sheet.file_text(header, lines)


if __name__ == "__main__":
    sheet.run("mixes.yaml", __doc__.splitlines()[0], text)
