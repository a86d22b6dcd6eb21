"""How high a service's GPU power goes above its mean: over five minutes together, and at once in one GPU.

Breakers and supplies see peaks that a mean hides: prompts are read in bursts near the design power,
between which GPUs decode at less.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from simulator.telemetry.record import Record, ServiceRecord

#: Width of the means whose largest is told. [s]
PEAK_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class ServicePower:
    """GPU power of a service's replicas, hosts left out; None where it held no GPU.

    Parameters
    ----------
    gpu_power_mean_w, gpu_power_peak_5min_w
        All its GPUs together: over the run, and the largest mean of five whole minutes (of the
        whole run where that is shorter). [W]
    gpu_power_mean_w_per_gpu, gpu_power_largest_w_per_gpu
        One GPU: in the mean while held, and the largest of any iteration. [W]
    """

    gpu_power_mean_w: float | None = None
    gpu_power_peak_5min_w: float | None = None
    gpu_power_mean_w_per_gpu: float | None = None
    gpu_power_largest_w_per_gpu: float | None = None

    def numbers(self) -> dict[str, float | None]:
        """Return its fields and the ratios of peak to mean, by the summary's names."""
        return {
            **asdict(self),
            "gpu_power_peak_to_mean_ratio": _ratio(self.gpu_power_peak_5min_w, self.gpu_power_mean_w),
            "gpu_power_largest_to_mean_ratio": _ratio(
                self.gpu_power_largest_w_per_gpu, self.gpu_power_mean_w_per_gpu
            ),
        }


def service_power(record: Record, service: ServiceRecord) -> ServicePower:
    """Return how high the GPU power of a service went."""
    columns = record.segments
    of_service = np.zeros(len(record.jobs), dtype=bool)
    of_service[np.asarray(service.replica_jobs, dtype=np.intp)] = True
    gpus = np.asarray(columns["gpus"], dtype=np.float64)
    mine = of_service[np.asarray(columns["job"], dtype=np.intp)] & (gpus > 0.0)
    start_s = np.asarray(columns["start_s"], dtype=np.float64)[mine]
    end_s = np.asarray(columns["end_s"], dtype=np.float64)[mine]
    gpu_w = np.asarray(columns["gpu_power_w"], dtype=np.float64)[mine]
    held_gpu_s = float(np.sum(gpus[mine] * (end_s - start_s)))
    if not held_gpu_s or not record.horizon_s:
        return ServicePower()
    energy_j = float(np.sum(gpu_w * (end_s - start_s)))
    host_w = np.asarray(columns["power_w"], dtype=np.float64)[mine] - gpu_w
    largest_w = np.maximum(np.asarray(columns["max_power_w"], dtype=np.float64)[mine] - host_w, gpu_w)
    # Energy up to any moment is linear between those at which some power changes.
    at_s = np.concatenate((start_s, end_s))
    order = np.argsort(at_s, kind="stable")
    level_w = np.cumsum(np.concatenate((gpu_w, -gpu_w))[order])
    steps_s = at_s[order]
    so_far_j = np.concatenate(([0.0], np.cumsum(level_w[:-1] * np.diff(steps_s))))
    edges_s = np.arange(int(record.horizon_s // PEAK_S) + 1) * PEAK_S
    if len(edges_s) < 2:
        edges_s = np.array([0.0, record.horizon_s])
    means_w = np.diff(np.interp(edges_s, steps_s, so_far_j)) / np.diff(edges_s)
    return ServicePower(
        gpu_power_mean_w=energy_j / record.horizon_s,
        gpu_power_peak_5min_w=float(np.max(means_w)),
        gpu_power_mean_w_per_gpu=energy_j / held_gpu_s,
        gpu_power_largest_w_per_gpu=float(np.max(largest_w / gpus[mine])),
    )


def _ratio(high: float | None, low: float | None) -> float | None:
    return None if high is None or not low else high / low
