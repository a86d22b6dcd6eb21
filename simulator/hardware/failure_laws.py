"""How often many parts fail together, and how often it pays to save work.

Failures are taken as independent and exponential here; what a run really meets is drawn by
the engine, which these laws only check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from simulator.foundation.units import HOUR_S

#: The first-order law neglects the square of the time lost over the time between failures; up to
#: this ratio that is 2 % of the effective time.
FIRST_ORDER_LOSS_FRACTION: Final = 0.2


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


def first_order_loss_fraction(
    *, mean_time_between_failures_s: float, interval_s: float, restart_s: float, queue_s: float = 0.0
) -> float:
    """Return the time lost to a failure over the time between two, as the first-order law counts it.

    The law is good while this is small against 1; see ``FIRST_ORDER_LOSS_FRACTION``.
    """
    return (restart_s + queue_s + interval_s / 2.0) / mean_time_between_failures_s


def renewal_ettr_fraction(
    *,
    mean_time_between_failures_s: float,
    interval_s: float,
    save_s: float,
    restarts: Sequence[tuple[float, float]],
    lag_s: float = 0.0,
    undetected_s: float = 0.0,
    planned_per_s: float = 0.0,
    planned_s: float = 0.0,
) -> float:
    """Return the effective training time ratio of a long run, to all orders in the failure rate.

    The run is up for an exponential time X, until a failure (rate f) or an announced stop (rate
    p), n = f + p together. A failure leaves the whole intervals that were durable: with C interval
    and save together and P the lag, exp(-nP) / (exp(nC) - 1) of them in the mean, and wrong results
    spoil those of the last U seconds, U / C of them. An announced stop leaves all work. Then the
    run is down, and what strikes while it comes back sends it back to the begin: it is up for
    the share g of its time, the mean over what stops it of exp(-n R). So

        ETTR = g [ f t (exp(-nP) / (exp(nC) - 1) - U / C) + p (1 - exp(-nt)) / (n (1 - exp(-nC))) ]

    with t the interval. Without P, U, p and with one R this is Daly's complete model.

    Parameters
    ----------
    interval_s, save_s
        Work between two checkpoints, and the stop of each. [s]
    restarts
        (share of the failures, time from the failure to the first new step) of each cause. [., s]
    lag_s
        For how long after its stop a checkpoint is not durable yet. [s]
    undetected_s
        For how long results were wrong before a failure was noticed, mean over all failures. [s]
    planned_per_s, planned_s
        Rate and length of announced stops. [1/s], [s]

    References
    ----------
    Daly, "A higher order estimate of the optimum checkpoint interval", 2006, eq. 20; lag, causes,
    wrong results and announced stops are added here, by the same renewal argument.

    Examples
    --------
    >>> ettr = renewal_ettr_fraction(
    ...     mean_time_between_failures_s=10_000.0, interval_s=1000.0, save_s=0.0, restarts=[(1.0, 0.0)]
    ... )
    >>> round(ettr, 4)
    0.9508
    """
    failures_per_s = 1.0 / mean_time_between_failures_s
    stops_per_s = failures_per_s + planned_per_s
    cycle_s = interval_s + save_s
    if stops_per_s == 0.0:
        return interval_s / cycle_s
    if stops_per_s * cycle_s > _NOTHING_KEPT:
        return 0.0
    back = sum(share * math.exp(-stops_per_s * restart_s) for share, restart_s in restarts)
    back_planned = math.exp(-stops_per_s * planned_s)
    up = (failures_per_s * back + planned_per_s * back_planned) / stops_per_s
    kept = math.exp(-stops_per_s * lag_s) / math.expm1(stops_per_s * cycle_s) - undetected_s / cycle_s
    saved = -math.expm1(-stops_per_s * interval_s) / -math.expm1(-stops_per_s * cycle_s) / stops_per_s
    return max(0.0, up * (failures_per_s * interval_s * kept + planned_per_s * saved))


#: Cycles this many times longer than the time between failures keep exp(-700) of their work.
_NOTHING_KEPT: Final = 700.0
