"""The compiled conservative kernel equals its readable twin on every input."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.scheduling.conservative import starts_now
from simulator.scheduling.conservative_kernel import starts_now_compiled


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(5, 40), st.integers(1, 8)), max_size=12),
    st.lists(st.tuples(st.integers(1, 24), st.integers(0, 30)), min_size=1, max_size=20),
    st.booleans(),
)
def test_twin_and_kernel_agree(free, releases, waiting, endless):
    releases = sorted((float(end), gpus) for end, gpus in releases)
    need = [gpus for gpus, _ in waiting]
    requested = [float(run) for _, run in waiting]
    if endless:
        requested[-1] = float("inf")
    # Nobody asks for more than all of it: such a job would wait for ever.
    total = free + sum(gpus for _, gpus in releases)
    need = [min(gpus, max(total, 1)) for gpus in need]
    if total == 0:
        return
    arguments = (5.0, free, [e for e, _ in releases], [g for _, g in releases], need, requested)
    assert starts_now_compiled(*arguments) == starts_now(*arguments)
