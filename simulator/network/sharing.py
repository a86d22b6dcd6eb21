"""How jobs share links: what one leaves to the others, settled to a fixed point.

A job's traffic comes in bursts between stretches of arithmetic. While it talks it may use
what the others leave on average, and never less than its max-min fair part of a moment at
which all talk. What a job offers on average is its bytes over its step time, which falls
when its share falls; so shares and step times are settled together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

#: Links and shares closer to full than this are full.
TOLERANCE: Final = 1e-9

#: Shares that move less than this in a round are settled; a step time moves no more.
SETTLED: Final = 1e-7

#: Rounds after which the running mean is taken as it is.
MOST_ROUNDS: Final = 100

#: No job is starved beyond this, so that no step time is infinite.
LEAST_SHARE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Flow:
    """What one job or service puts on the fabric.

    Parameters
    ----------
    key
        Whose flow it is.
    links
        Indices of the links it crosses; empty if it never leaves its leaf.
    bytes_per_step
        Bytes on each of these links in one step, one direction. [B]
    peak_bytes_per_s
        Rate on each of these links while it talks at the full rate of its ports. [B/s]
    port_share
        Fraction of its nodes' ports that work; 0 if one of them is cut off.
    """

    key: str
    links: tuple[int, ...]
    bytes_per_step: tuple[float, ...]
    peak_bytes_per_s: tuple[float, ...]
    port_share: float = 1.0

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


def max_min_shares(flows: Sequence[Flow], capacities_bytes_per_s: Sequence[float]) -> list[float]:
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
    room = list(capacities_bytes_per_s)
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
    flows: Sequence[Flow],
    capacities_bytes_per_s: Sequence[float],
    step_s: Sequence[Callable[[float], float]],
) -> list[float]:
    """Return the link share of each flow, settled with the step times it causes.

    Parameters
    ----------
    capacities_bytes_per_s
        Of every link of the fabric, one direction. [B/s]
    step_s
        For each flow, its step time at a link share; for a steady flow ``lambda share: 1.0``.

    Returns
    -------
    list of float
        Shares in (0, 1]: the ``link_share`` that a profile's ``at`` takes. A flow with a cut
        node gets the least share there is; whether its job may run at all is the engine's
        to decide.
    """
    shares = [max(LEAST_SHARE, flow.port_share) for flow in flows]
    crossing = [index for index, flow in enumerate(flows) if flow.links]
    if not crossing:
        return shares
    floors = max_min_shares(flows, capacities_bytes_per_s)
    tightest = 1.0 - TOLERANCE
    if all(floors[index] >= flows[index].port_share * tightest for index in crossing):
        return shares
    offered: dict[int, float] = {}
    rates: list[list[float]] = [[] for _ in flows]
    for index in crossing:
        rates[index] = _rates(flows[index], step_s[index](shares[index]))
        _add(offered, flows[index], rates[index], 1.0)
    for turn in range(MOST_ROUNDS):
        # Averaging: halfway at first, ever less later, so that jobs that answer each other
        # strongly cannot swing for ever.
        weight = 0.5 if turn < 24 else 12.0 / turn
        moved = 0.0
        for index in crossing:
            flow = flows[index]
            _add(offered, flow, rates[index], -1.0)
            target = flow.port_share
            for link, peak in zip(flow.links, flow.peak_bytes_per_s, strict=True):
                left = capacities_bytes_per_s[link] - offered.get(link, 0.0)
                if left < target * peak:
                    target = left / peak
            target = max(target, floors[index], LEAST_SHARE)
            share = shares[index] + weight * (target - shares[index])
            moved = max(moved, abs(share - shares[index]))
            shares[index] = share
            rates[index] = _rates(flow, step_s[index](share))
            _add(offered, flow, rates[index], 1.0)
        if moved < SETTLED:
            break
    return shares


def _rates(flow: Flow, step_s: float) -> list[float]:
    return [size / step_s for size in flow.bytes_per_step]


def _add(offered: dict[int, float], flow: Flow, rates: Sequence[float], sign: float) -> None:
    for link, rate in zip(flow.links, rates, strict=True):
        offered[link] = offered.get(link, 0.0) + sign * rate
