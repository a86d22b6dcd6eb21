"""How often many parts fail together, and how often it pays to save work.

Failures are taken as independent and exponential here; what a run really meets is drawn by
the engine, which these laws only check.
"""

from __future__ import annotations

import math

from simulator.foundation.units import HOUR_S


def mean_time_between_s(rate_per_gpu_hour: float, gpus: int) -> float:
    """Return the mean time between failures anywhere among ``gpus`` GPUs. [s]

    Examples
    --------
    Llama 3: 419 unexpected interruptions of 16,384 GPUs in 54 days, one every 3.1 hours.

    >>> rate = 419 / (16_384 * 54 * 24)
    >>> round(mean_time_between_s(rate, 16_384) / 3600, 2)
    3.09
    """
    return HOUR_S / (rate_per_gpu_hour * gpus)


def young_interval_s(save_s: float, mean_time_between_failures_s: float) -> float:
    """Return Young's checkpoint interval, sqrt(2 w M): work between two saves. [s]

    Parameters
    ----------
    save_s
        Time a save stops the job. [s]

    References
    ----------
    Young, "A first order approximation to the optimum checkpoint interval", 1974.
    """
    return math.sqrt(2.0 * save_s * mean_time_between_failures_s)


def daly_interval_s(save_s: float, mean_time_between_failures_s: float) -> float:
    """Return Daly's higher-order checkpoint interval; M itself once saving takes 2 M. [s]

    References
    ----------
    Daly, "A higher order estimate of the optimum checkpoint interval", 2006, eq. 37.
    """
    if save_s >= 2.0 * mean_time_between_failures_s:
        return mean_time_between_failures_s
    ratio = math.sqrt(save_s / (2.0 * mean_time_between_failures_s))
    young_s = young_interval_s(save_s, mean_time_between_failures_s)
    return young_s * (1.0 + ratio / 3.0 + ratio * ratio / 9.0) - save_s


def expected_ettr_fraction(
    *,
    mean_time_between_failures_s: float,
    interval_s: float,
    save_s: float,
    restart_s: float,
    queue_s: float = 0.0,
) -> float:
    """Return the expected effective training time ratio of a long job.

    Work lost is half an interval for each failure; restart and queueing come on top. First
    order in the failure rate: where the result falls below one half, simulate instead; below
    zero it means that no progress is made and 0 is returned.

    Parameters
    ----------
    interval_s, save_s
        Work between two saves, and the stop of each. [s]
    restart_s, queue_s
        From the failure to the first new step: detecting and starting, and waiting. [s]

    References
    ----------
    Kokolis et al., "Revisiting reliability in large-scale machine learning research
    clusters", 2024. arXiv:2410.21680
    """
    lost_s = restart_s + queue_s + interval_s / 2.0
    progress = (1.0 - lost_s / mean_time_between_failures_s) / (1.0 + save_s / interval_s)
    return max(0.0, progress)
