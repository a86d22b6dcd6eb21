"""The compiled twin of `conservative.starts_now`; equal to it on every input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped,unused-ignore]


def starts_now_compiled(
    now_s: float,
    free: int,
    release_s: list[float],
    release_gpus: list[int],
    need: list[int],
    requested_s: list[float],
) -> list[int]:
    """Return what `conservative.starts_now` returns."""
    chosen: list[int] = _starts_now(
        now_s,
        free,
        np.array(release_s, dtype=np.float64),
        np.array(release_gpus, dtype=np.int64),
        np.array(need, dtype=np.int64),
        np.array(requested_s, dtype=np.float64),
    ).tolist()
    return chosen


@njit(cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _starts_now(
    now_s: float, free: int, release_s: Any, release_gpus: Any, need: Any, requested_s: Any
) -> Any:
    jobs = need.size
    room = release_s.size + jobs + 2
    times = np.empty(room, dtype=np.float64)
    frees = np.empty(room, dtype=np.int64)
    times[0] = now_s
    frees[0] = free
    size = 1
    for i in range(release_s.size):
        if release_s[i] == times[size - 1]:
            frees[size - 1] += release_gpus[i]
        else:
            times[size] = release_s[i]
            frees[size] = frees[size - 1] + release_gpus[i]
            size += 1
    smallest_after = need.copy()
    for i in range(jobs - 2, -1, -1):
        smallest_after[i] = min(smallest_after[i], smallest_after[i + 1])
    chosen = np.empty(jobs, dtype=np.int64)
    found = 0
    for position in range(jobs):
        gpus = need[position]
        if frees[0] < smallest_after[position]:
            break
        if gpus > frees[size - 1]:
            continue
        first = 0
        while True:
            while frees[first] < gpus:
                first += 1
            end_s = times[first] + requested_s[position]
            last = first
            fits = True
            while last + 1 < size and times[last + 1] < end_s:
                last += 1
                if frees[last] < gpus:
                    fits = False
                    break
            if fits:
                break
            first = last
        if first == 0:
            chosen[found] = position
            found += 1
        if end_s > times[last]:
            if (last + 1 == size or times[last + 1] > end_s) and end_s != np.inf:
                for slot in range(size, last + 1, -1):
                    times[slot] = times[slot - 1]
                    frees[slot] = frees[slot - 1]
                times[last + 1] = end_s
                frees[last + 1] = frees[last]
                size += 1
            for slot in range(first, last + 1):
                frees[slot] -= gpus
    return chosen[:found]
