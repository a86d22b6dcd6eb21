"""A synthetic stream of research jobs: sizes, run times, estimates and tenants by a mix.

The stream begins with nothing running, as a new cluster does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from simulator.catalog.entries import JobClass, JobMixSpec, ShapeSpec
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import CatalogError
from simulator.foundation.streams import Streams
from simulator.workload.arrivals import Floats, PoissonArrivals
from simulator.workload.demand import Demand
from simulator.workload.jobs import IntColumn, JobTable, Labels
from simulator.workload.requests import Shares

_BLOCK: Final = 8192


class JobMix:
    """Draws jobs whose mean offered load is a given number of GPUs.

    Run times are log-normal by class, given that they stay under the mix's cap; a longer
    one is drawn again, and the arrival rate counts with the mean that this leaves. The
    estimate is the run time times a log-normal factor; where the factor falls below 1 the
    user knew the run time, because a job is not asked for with less than it takes.

    Parameters
    ----------
    spec
        Classes of jobs, cap, and the law of the estimates.

    Raises
    ------
    CatalogError
        If the shares do not sum to 1, or a class, the cap or a median is impossible.
    """

    def __init__(self, spec: JobMixSpec) -> None:
        for job_class in spec.classes:
            if job_class.gpus < 1:
                raise CatalogError(f"mix {spec.name}: a class of {job_class.gpus} GPUs; expected 1 or more")
            if not job_class.run_sigma >= 0:
                raise CatalogError(f"mix {spec.name}: run_sigma {job_class.run_sigma:g}; expected 0 or more")
            if not 0 < job_class.run_median_s <= spec.run_cap_s:
                raise CatalogError(
                    f"mix {spec.name}: run_median {job_class.run_median_s:g} s; "
                    f"expected more than 0 and at most run_cap, {spec.run_cap_s:g} s"
                )
        if not spec.requested_over_run_median >= 1:
            raise CatalogError(
                f"mix {spec.name}: requested_over_run_median {spec.requested_over_run_median:g}; "
                "expected 1 or more"
            )
        self._spec = spec
        self._shares = Shares([job_class.share_fraction for job_class in spec.classes], f"mix {spec.name}")

    @property
    def largest_gpus(self) -> int:
        """GPUs of the largest class."""
        return max(job_class.gpus for job_class in self._spec.classes)

    @property
    def mean_gpu_s(self) -> float:
        """Expected GPU-seconds of a job."""
        total = sum(job_class.share_fraction for job_class in self._spec.classes)
        return (
            sum(
                job_class.share_fraction * job_class.gpus * self.mean_run_s(job_class)
                for job_class in self._spec.classes
            )
            / total
        )

    def mean_run_s(self, job_class: JobClass) -> float:
        """Return the mean of a class's run time, given that it stays under the cap. [s]"""
        median_s, sigma = job_class.run_median_s, job_class.run_sigma
        if sigma == 0.0:
            return median_s
        reach = math.log(self._spec.run_cap_s / median_s) / sigma
        return median_s * math.exp(0.5 * sigma * sigma) * _below(reach - sigma) / _below(reach)

    def jobs(
        self,
        name: str,
        load_gpus: float,
        calendar: Calendar,
        end_s: float,
        streams: Streams,
        *,
        tenants: Mapping[str, float] | None = None,
        shape: ShapeSpec | None = None,
        queue: str = "",
        gpu_type: str = "",
    ) -> JobTable:
        """Return the jobs submitted until `end_s`.

        Job k is the same for every load and every duration; only its submission moves.

        Parameters
        ----------
        name
            Of the stream: jobs are NAME-0, NAME-1, ...
        load_gpus
            GPUs that the jobs would keep busy on average over whole weeks if none waited.
        calendar, end_s
            The run's calendar and end. [s since the run's start]
        streams
            The run's random streams.
        tenants
            Share of jobs, and so of the expected load, by tenant; NAME alone if not given.
        shape
            Weekly rhythm of submissions; flat if not given.
        queue, gpu_type
            Put into every job.
        """
        rate_per_s = Demand(load_gpus / self.mean_gpu_s, shape).rate_per_s(calendar, end_s)
        prefix = f"workload/{name}"
        arrivals = PoissonArrivals(rate_per_s, streams.stream(f"{prefix}/arrivals"))
        blocks: list[Floats] = []
        while True:
            block = arrivals.next_block(_BLOCK)
            blocks.append(block)
            if len(block) < _BLOCK:
                break
        submitted_s = np.concatenate(blocks)
        count = len(submitted_s)
        kind = self._shares.draw(streams.stream(f"{prefix}/classes"), count)
        run_s = self._run_s(kind, streams, prefix)
        names = tuple(tenants) if tenants else (name,)
        owner = Shares(tuple(tenants.values()) if tenants else (1.0,), f"tenants of {name}")
        # A kept k is the same number whatever the count: one draw a job from each stream.
        noise = streams.stream(f"{prefix}/estimates").standard_normal(count)
        factor = self._spec.requested_over_run_median * np.exp(self._spec.requested_over_run_sigma * noise)
        gpus = np.asarray([job_class.gpus for job_class in self._spec.classes], dtype=np.int64)
        return JobTable.from_columns(
            job_id=[f"{name}-{index}" for index in range(count)],
            kind="research",
            queue=queue,
            tenant=Labels(owner.draw(streams.stream(f"{prefix}/tenants"), count), names),
            gpus=gpus[kind],
            submitted_s=submitted_s,
            work=run_s,
            requested_run_s=run_s * np.maximum(factor, 1.0),
            order_id=np.arange(count, dtype=np.float64),
            gpu_type=gpu_type,
        )

    def _run_s(self, kind: IntColumn, streams: Streams, prefix: str) -> Floats:
        """Return run times under the cap; the n-th try of all jobs comes from the n-th stream."""
        classes = self._spec.classes
        median_s = np.asarray([job_class.run_median_s for job_class in classes])[kind]
        sigma = np.asarray([job_class.run_sigma for job_class in classes])[kind]
        run_s = np.full(len(kind), np.inf)
        attempt = 0
        while (over := run_s > self._spec.run_cap_s).any():
            # No class has its median above the cap, so each try settles at least half.
            noise = streams.stream(f"{prefix}/runs/{attempt}").standard_normal(len(kind))
            run_s[over] = median_s[over] * np.exp(sigma[over] * noise[over])
            attempt += 1
        return run_s


def up_to(spec: JobMixSpec, largest_gpus: int) -> JobMixSpec:
    """Return a mix without its classes of more than `largest_gpus`; the others share all jobs.

    Raises
    ------
    CatalogError
        If nothing is left.
    """
    kept = [job_class for job_class in spec.classes if job_class.gpus <= largest_gpus]
    if not kept:
        smallest = min(job_class.gpus for job_class in spec.classes)
        raise CatalogError(f"mix {spec.name}: no jobs of at most {largest_gpus} GPUs; smallest: {smallest}")
    total = sum(job_class.share_fraction for job_class in kept)
    classes = tuple(replace(c, share_fraction=c.share_fraction / total) for c in kept)
    return replace(spec, classes=classes)


def _below(sigmas: float) -> float:
    """Return the chance that a standard normal number lies below `sigmas`."""
    return 0.5 * math.erfc(-sigmas / math.sqrt(2.0))
