"""Max-min shares against a search over all candidate answers.

The reference below knows only the definition: nobody can get more without somebody with no
more than them getting less. Exact; no chance.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from simulator.network.sharing import Flow, max_min_shares


def by_definition(routes, peaks, capacity):
    """Return the max-min shares among all multiples of a twelfth, by comparing sorted lists."""
    grid = [Fraction(i, 12) for i in range(13)]
    best, answer = None, None
    for shares in product(grid, repeat=len(routes)):
        load = {}
        for links, peak, share in zip(routes, peaks, shares, strict=True):
            for link in links:
                load[link] = load.get(link, 0) + peak * share
        if all(used <= capacity[link] for link, used in load.items()):
            ranked = sorted(shares)
            if best is None or ranked > best:
                best, answer = ranked, shares
    return answer


@pytest.mark.parametrize(
    ("routes", "peaks", "capacity"),
    [
        ([(0,), (0,), (0,)], [1, 1, 1], [1]),
        ([(0,), (0, 1), (1,)], [2, 2, 2], [2, 3]),
        ([(0,), (0,), (0, 1)], [1, 3, 2], [3, 1]),
        ([(0, 1), (1, 2), (2, 0)], [2, 2, 2], [2, 2, 2]),
        ([(0,), (0,), (1,)], [5, 1, 1], [3, 2]),
    ],
)
def test_progressive_filling_finds_the_max_min_shares(routes, peaks, capacity):
    flows = [
        Flow(str(i), links, (1.0,) * len(links), (float(peak),) * len(links))
        for i, (links, peak) in enumerate(zip(routes, peaks, strict=True))
    ]
    found = max_min_shares(flows, [float(c) for c in capacity])
    wanted = by_definition(routes, peaks, capacity)
    assert found == pytest.approx([float(share) for share in wanted], abs=1e-9)
