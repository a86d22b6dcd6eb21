"""The settling of link shares on flat columns: one self-contained function, also run compiled.

`sharing` says what is computed and why; `sharing_kernel` compiles this very function.
"""

from __future__ import annotations

from typing import Final

#: Links and shares closer to full than this are full.
TOLERANCE: Final = 1e-9

#: No job is starved beyond this, so that no step time is infinite.
LEAST_SHARE: Final = 1e-6

#: Shares that move less than this in a round are settled; a step time moves no more.
_STILL: Final = 1e-7

#: Rounds after which the running mean is taken as it is.
_MOST_ROUNDS: Final = 100


def settle(
    capacity: list[float],
    ports: list[float],
    flows_of: list[int],
    entries_of: list[int],
    links: list[int],
    loads: list[float],
    tops: list[float],
    talks: list[float],
    heavy_of: list[int],
    heavy_links: list[int],
    heavy_peaks: list[float],
    steps_s: list[float],
    slowness: list[float],
) -> list[float]:
    """Return the settled share of every flow.

    Parameters
    ----------
    capacity
        Of every link that could fill. [B/s]
    ports
        Working ports of every job.
    flows_of, entries_of
        Where each job's flows and each flow's links begin; one more than there are.
    links, loads, tops
        Link, bytes in a step and rate at the ports' full speed, for every flow and link. [-, B, B/s]
    talks
        Seconds that each flow talks in a step at that speed. [s]
    heavy_of, heavy_links, heavy_peaks
        The highest rate of each job on each of its links, whichever flow it is. [-, -, B/s]
    steps_s, slowness
        Step times of each job at the slownesses, one job after the other. [s]
    """
    jobs = len(ports)
    cells = len(slowness)
    # Max-min of a moment at which all talk: shares rise together until a link is full.
    floor = [0.0] * jobs
    rising = [True] * jobs
    many = jobs
    room = [0.0] * len(capacity)
    wanted = [0.0] * len(capacity)
    for link in range(len(capacity)):
        room[link] = capacity[link]
    while many > 0:
        for link in range(len(capacity)):
            wanted[link] = 0.0
        rise = 1.0
        for job in range(jobs):
            if rising[job]:
                rise = min(rise, ports[job] - floor[job])
                for entry in range(heavy_of[job], heavy_of[job + 1]):
                    wanted[heavy_links[entry]] += heavy_peaks[entry]
        for link in range(len(capacity)):
            if wanted[link] > 0.0:
                rise = min(rise, max(0.0, room[link]) / wanted[link])
        for link in range(len(capacity)):
            room[link] -= rise * wanted[link]
        stopped = 0
        for job in range(jobs):
            if rising[job]:
                floor[job] += rise
                stuck = floor[job] >= ports[job] - TOLERANCE
                for entry in range(heavy_of[job], heavy_of[job + 1]):
                    link = heavy_links[entry]
                    if room[link] <= TOLERANCE * capacity[link]:
                        stuck = True
                if stuck:
                    rising[job] = False
                    stopped += 1
        many -= stopped
        if stopped == 0:
            break
    # What each leaves to the others, round after round.
    share = [0.0] * len(talks)
    per_s = [0.0] * jobs
    offered = [0.0] * len(capacity)
    for job in range(jobs):
        for flow in range(flows_of[job], flows_of[job + 1]):
            share[flow] = max(LEAST_SHARE, ports[job])
    for turn in range(-1, _MOST_ROUNDS):
        # Averaging: halfway at first, ever less later, so that jobs that answer each other
        # strongly cannot swing for ever. The first turn only says what all offer.
        weight = 0.0 if turn < 0 else 0.5 if turn < 24 else 12.0 / turn
        moved = 0.0
        for job in range(jobs):
            talk_s = 0.0
            slow_s = 0.0
            for flow in range(flows_of[job], flows_of[job + 1]):
                for entry in range(entries_of[flow], entries_of[flow + 1]):
                    offered[links[entry]] -= loads[entry] * per_s[job]
            for flow in range(flows_of[job], flows_of[job + 1]):
                target = ports[job]
                for entry in range(entries_of[flow], entries_of[flow + 1]):
                    left = capacity[links[entry]] - offered[links[entry]]
                    if left < target * tops[entry]:
                        target = left / tops[entry]
                target = max(target, floor[job], LEAST_SHARE)
                step = weight * (target - share[flow])
                share[flow] += step
                moved = max(moved, abs(step))
                talk_s += talks[flow]
                slow_s += talks[flow] / share[flow]
            slow = slow_s / talk_s if talk_s > 0.0 else 1.0
            low = 0
            high = cells - 1
            while high - low > 1:
                middle = (low + high) // 2
                if slowness[middle] <= slow:
                    low = middle
                else:
                    high = middle
            first = steps_s[job * cells + low]
            last = steps_s[job * cells + high]
            width = slowness[high] - slowness[low]
            per_s[job] = 1.0 / (first + (last - first) * (slow - slowness[low]) / width)
            for flow in range(flows_of[job], flows_of[job + 1]):
                for entry in range(entries_of[flow], entries_of[flow + 1]):
                    offered[links[entry]] += loads[entry] * per_s[job]
        if turn >= 0 and moved < _STILL:
            break
    return share
