"""What a service used, on boundaries that are named: chip, server, with idle, facility.

Published figures of one query differ by 2.4 for the boundary alone (Google, "Measuring the
environmental impact of delivering AI at Google Scale", arXiv:2508.15734: 0.10 Wh on the
accelerators, 0.24 Wh with hosts, idle machines and overhead). Each boundary holds the one before:

- chip: the GPUs of its replicas, loading and draining included;
- server: and their share of the hosts;
- idle: and, of the machines that nobody held in its pools, a share by GPU-hours held there;
- facility: and the network, losses and cooling of both.

The last one over all jobs is the meter, wherever somebody used a pool at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.accounting.books import Books
from simulator.telemetry.record import Record

FloatArray = NDArray[np.float64]

BOUNDARIES: Final = ("chip", "server", "idle", "facility")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service's use over a run; NaN where the books do not know.

    Parameters
    ----------
    energy_j
        By boundary. [J]
    gco2e, site_litres, usd
        On the facility boundary: location-based carbon [g], water at the site [L], cost. [USD]
    """

    energy_j: dict[str, float]
    gco2e: float
    site_litres: float
    usd: float


def service_accounts(record: Record, books: Books) -> list[ServiceAccount]:
    """Return the account of every service of a record, in its order."""
    groups = [service.replica_jobs for service in record.services]
    return accounts_of(record, books, groups)


def accounts_of(record: Record, books: Books, groups: Sequence[Sequence[int]]) -> list[ServiceAccount]:
    """Return the account of each group of jobs (positions in the record; no job in two groups)."""
    if not groups:
        return []
    group_of = np.full(len(record.jobs), len(groups), dtype=np.intp)
    for number, jobs in enumerate(groups):
        group_of[np.asarray(jobs, dtype=np.intp)] = number
    columns = record.segments
    group = group_of[np.asarray(columns["job"], dtype=np.intp)]
    pool = np.asarray(columns["pool"], dtype=np.intp)
    width_s = np.asarray(columns["end_s"], dtype=np.float64) - np.asarray(columns["start_s"])
    chip_j = np.bincount(group, np.asarray(columns["gpu_power_w"]) * width_s, len(groups) + 1)
    pools = len(record.pools)
    held = np.bincount(group * pools + pool, np.asarray(columns["gpus"]) * width_s, (len(groups) + 1) * pools)
    held = held.reshape(len(groups) + 1, pools)
    everybody = held.sum(axis=0)
    share = np.divide(held, everybody, out=np.zeros_like(held), where=everybody > 0.0)

    def own(name: str, jobs: Sequence[int]) -> float:
        return float(np.sum(books.jobs[name][np.asarray(jobs, dtype=np.intp)]))

    def idle(name: str, number: int) -> float:
        used = share[number] > 0.0
        return float(np.sum(share[number][used] * books.idle[name][used]))

    found = []
    for number, jobs in enumerate(groups):
        server_j = own("it_energy_j", jobs)
        found.append(
            ServiceAccount(
                energy_j={
                    "chip": float(chip_j[number]),
                    "server": server_j,
                    "idle": server_j + idle("it_energy_j", number),
                    "facility": own("facility_energy_j", jobs) + idle("facility_energy_j", number),
                },
                gco2e=own("location_gco2e", jobs) + idle("location_gco2e", number),
                site_litres=own("water_litres", jobs) + idle("water_litres", number),
                usd=own("cost_usd", jobs) + idle("cost_usd", number),
            )
        )
    return found
