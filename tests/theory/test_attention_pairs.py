"""Query-key pairs under a causal mask, counted one by one."""

from __future__ import annotations

import pytest

from simulator.performance.serving import prefill_pairs


@pytest.mark.parametrize(("new", "earlier"), [(1, 0), (5, 0), (1, 9), (7, 13), (64, 100)])
def test_a_chunk_meets_itself_and_everything_before(new, earlier):
    counted = sum(1 for query in range(earlier, earlier + new) for key in range(query + 1))
    assert prefill_pairs(new, earlier) == counted
