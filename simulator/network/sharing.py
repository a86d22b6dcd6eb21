"""How jobs share links: what one leaves to the others, settled to a fixed point.

A job's traffic comes in bursts between stretches of arithmetic. While it talks it may use
what the others leave on average, and never less than its max-min fair part of a moment at
which all talk. What a job offers on average is its bytes over its step time, which falls
when its share falls; so shares and step times are settled together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.network.settling import LEAST_SHARE, TOLERANCE, settle

Capacities = Sequence[float] | NDArray[np.float64]

#: Shares that move less than this are the same.
SETTLED: Final = 1e-7

#: Flows from which on the compiled twin of `settling.settle` is worth its start.
COMPILED_FROM: Final = 48

#: Slownesses (1 / share) at which a step time is asked for: close together where shares usually
#: are, up to the least share there is.
SLOWNESSES: Final = tuple(
    [10.0 ** (k / 64.0) for k in range(64)] + [10.0 ** (1.0 + k / 8.0) for k in range(41)]
)


@dataclass(frozen=True, slots=True)
class Flow:
    """What one kind of exchange of one job or service puts on the fabric.

    Parameters
    ----------
    key
        Whose flow it is.
    links
        Indices of the links it crosses; empty if it never leaves its leaf.
    bytes_per_step
        Bytes on each of these links in one step, in the busier direction. [B]
    peak_bytes_per_s
        Rate on each of these links while it talks at the full rate of its ports. [B/s]
    port_share
        Fraction of its nodes' ports that work; 0 if one of them is cut off.
    kind
        Which exchange: ``data-parallel``, ``pipeline``, ``experts``, ``kv`` ...
    talk_s
        How long it talks in a step at the full rate of its ports; its weight among the
        exchanges of the same job. [s]
    """

    key: str
    links: tuple[int, ...]
    bytes_per_step: tuple[float, ...]
    peak_bytes_per_s: tuple[float, ...]
    port_share: float = 1.0
    kind: str = ""
    talk_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse columns of unlike length."""
        if not len(self.links) == len(self.bytes_per_step) == len(self.peak_bytes_per_s):
            raise ValueError(
                f"flow {self.key}: {len(self.links)} links, {len(self.bytes_per_step)} loads, "
                f"{len(self.peak_bytes_per_s)} peaks; expected as many of each"
            )

    @classmethod
    def steady(cls, key: str, links: Sequence[int], bytes_per_s: float) -> Flow:
        """Return a flow of constant rate on some links, as a service declares it."""
        many = (float(bytes_per_s),) * len(links)
        return cls(key, tuple(links), many, many)


class StepCurve:
    """Step time against the share of the links, as the settling reads it.

    Between the slownesses at which it was asked, the step time is taken as linear in
    1 / share. That is exact wherever nothing begins or ceases to hide in between.

    Parameters
    ----------
    at
        Step time at a link share, from 1 down to `LEAST_SHARE`. [s]
    """

    __slots__ = ("steps_s",)

    def __init__(self, at: Callable[[float], float]) -> None:
        self.steps_s = tuple(float(at(1.0 / slowness)) for slowness in SLOWNESSES)

    def __call__(self, share: float) -> float:
        """Return the step time at a share. [s]"""
        slowness = 1.0 / share
        cell = min(max(bisect_right(SLOWNESSES, slowness) - 1, 0), len(SLOWNESSES) - 2)
        low, high = SLOWNESSES[cell], SLOWNESSES[cell + 1]
        first, last = self.steps_s[cell], self.steps_s[cell + 1]
        step_s: float = first + (last - first) * (slowness - low) / (high - low)
        return step_s


class Columns(NamedTuple):
    """Flows laid out flat, as `settling.settle` takes them."""

    capacity: list[float]
    ports: list[float]
    flows_of: list[int]
    entries_of: list[int]
    links: list[int]
    loads: list[float]
    tops: list[float]
    talks: list[float]
    heavy_of: list[int]
    heavy_links: list[int]
    heavy_peaks: list[float]


#: What a service offers follows its requests, whatever share it gets.
STEADY: Final = StepCurve(lambda share: 1.0)


def max_min_shares(flows: Sequence[Flow], capacities_bytes_per_s: Capacities) -> list[float]:
    """Return each flow's fair share of its own peak rate when all talk at once.

    Progressive filling: all shares rise together; where a link fills, its flows stop, and
    the rest go on. A share is at most 1 (or the flow's working ports).

    Examples
    --------
    >>> one = Flow("a", (0,), (1.0,), (10.0,))
    >>> two = Flow("b", (0, 1), (1.0, 1.0), (10.0, 10.0))
    >>> max_min_shares([one, two], [15.0, 5.0])
    [1.0, 0.5]
    """
    shares = [0.0] * len(flows)
    rising = [index for index, flow in enumerate(flows) if flow.links]
    for index, flow in enumerate(flows):
        if not flow.links:
            shares[index] = flow.port_share
    room = [float(capacity) for capacity in capacities_bytes_per_s]
    while rising:
        load: dict[int, float] = {}
        for index in rising:
            flow = flows[index]
            for link, peak in zip(flow.links, flow.peak_bytes_per_s, strict=True):
                load[link] = load.get(link, 0.0) + peak
        step = min(flows[index].port_share - shares[index] for index in rising)
        for link, peak in load.items():
            if peak > 0.0:
                step = min(step, max(0.0, room[link]) / peak)
        for link, peak in load.items():
            room[link] -= step * peak
        still: list[int] = []
        for index in rising:
            shares[index] += step
            flow = flows[index]
            full = shares[index] >= flow.port_share - TOLERANCE
            stuck = any(room[link] <= TOLERANCE * capacities_bytes_per_s[link] for link in flow.links)
            if not (full or stuck):
                still.append(index)
        if len(still) == len(rising):
            break
        rising = still
    return shares


def settle_shares(
    jobs: Sequence[Sequence[Flow]],
    capacities_bytes_per_s: Capacities,
    curves: Sequence[StepCurve],
) -> list[list[float]]:
    """Return the link share of every flow, settled with the step times it causes.

    Parameters
    ----------
    jobs
        The flows of each job: its exchanges, which talk one after the other.
    capacities_bytes_per_s
        Of every link of the fabric, one direction. [B/s]
    curves
        Of each job; `STEADY` for a service.

    Returns
    -------
    list of list of float
        Shares in (0, 1], a list for each job; `whole_share` makes of them the ``link_share``
        that a profile's ``at`` takes. A flow with a cut node gets the least share there is;
        whether its job may run at all is the engine's to decide.
    """
    packed = _packed(jobs, capacities_bytes_per_s)
    alone = [[max(LEAST_SHARE, flow.port_share) for flow in flows] for flows in jobs]
    if packed is None:
        return alone
    crowd, columns = packed
    steps_s = [step for job in crowd for step in curves[job].steps_s]
    found = _settled(columns, steps_s)
    at = 0
    for job in crowd:
        for place in range(len(jobs[job])):
            alone[job][place] = found[at]
            at += 1
    return alone


def whole_share(flows: Sequence[Flow], shares: Sequence[float]) -> float:
    """Return the one share at which all of a job's talk takes as long as at those of its flows.

    Examples
    --------
    >>> near = Flow("a", (), (), (), talk_s=3.0)
    >>> far = Flow("a", (0,), (1.0,), (1.0,), talk_s=1.0)
    >>> whole_share([near, far], [1.0, 0.2])
    0.5
    """
    talk_s = sum(flow.talk_s for flow in flows)
    if not talk_s > 0.0:
        return 1.0
    return talk_s / sum(flow.talk_s / share for flow, share in zip(flows, shares, strict=True))


def _packed(jobs: Sequence[Sequence[Flow]], capacities: Capacities) -> tuple[list[int], Columns] | None:
    """Return (jobs that cross a link which could fill, their columns for `settle`), or None.

    A link that carries everybody's peak at once holds nobody up, so it is left out, and so
    are the jobs that cross no other.
    """
    peaks: dict[int, float] = {}
    for flows in jobs:
        for link, peak in _heaviest(flows).items():
            peaks[link] = peaks.get(link, 0.0) + peak
    tight = sorted(link for link, peak in peaks.items() if peak > capacities[link] * (1.0 + TOLERANCE))
    if not tight:
        return None
    place = {link: number for number, link in enumerate(tight)}
    crowd = [
        job for job, flows in enumerate(jobs) if any(link in place for flow in flows for link in flow.links)
    ]
    flows_of, entries_of, links = [0], [0], []
    loads: list[float] = []
    tops: list[float] = []
    ports: list[float] = []
    heavy_of, heavy_links = [0], []
    heavy_peaks: list[float] = []
    for job in crowd:
        for flow in jobs[job]:
            for link, load, peak in zip(flow.links, flow.bytes_per_step, flow.peak_bytes_per_s, strict=True):
                if link in place:
                    links.append(place[link])
                    loads.append(load)
                    tops.append(peak)
            entries_of.append(len(links))
        flows_of.append(len(entries_of) - 1)
        ports.append(jobs[job][0].port_share)
        for link, peak in sorted(_heaviest(jobs[job]).items()):
            if link in place:
                heavy_links.append(place[link])
                heavy_peaks.append(peak)
        heavy_of.append(len(heavy_links))
    columns = Columns(
        capacity=[float(capacities[link]) for link in tight],
        ports=ports,
        flows_of=flows_of,
        entries_of=entries_of,
        links=links,
        loads=loads,
        tops=tops,
        talks=[flow.talk_s for job in crowd for flow in jobs[job]],
        heavy_of=heavy_of,
        heavy_links=heavy_links,
        heavy_peaks=heavy_peaks,
    )
    return crowd, columns


def _heaviest(flows: Sequence[Flow]) -> dict[int, float]:
    """Return a job's highest peak on each link; its exchanges do not talk at once."""
    found: dict[int, float] = {}
    for flow in flows:
        for link, peak in zip(flow.links, flow.peak_bytes_per_s, strict=True):
            if peak > found.get(link, 0.0):
                found[link] = peak
    return found


def _settled(columns: Columns, steps_s: list[float]) -> list[float]:
    """Return the shares from the compiled twin if there are many flows, else from the plain one."""
    if len(columns.talks) < COMPILED_FROM:
        return settle(*columns, steps_s, list(SLOWNESSES))
    from simulator.network.sharing_kernel import settle_compiled

    return settle_compiled(*columns, steps_s, list(SLOWNESSES))
