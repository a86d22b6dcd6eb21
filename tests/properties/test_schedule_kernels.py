"""What scans long queues quickly equals its readable twin on every input."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.decisions.line import Line
from simulator.scheduling import easy
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


class Claims:
    """A queue's view with what a backfill scan reads; finds no place for some."""

    def __init__(self, free, gpus, requested_s, refused):
        self.waiting = list(range(len(gpus)))
        self.jobs = SimpleNamespace(gpus=gpus, requested_run_s=requested_s)
        self.line = Line(self.jobs)
        self.now_s = 5.0
        self.free_gpus = free
        self.refused = refused

    def claim(self, job):
        assert self.jobs.gpus[job] <= self.free_gpus
        if job in self.refused:
            return None
        self.free_gpus -= self.jobs.gpus[job]
        return f"place of {job}"


@settings(max_examples=300, deadline=None)
@given(
    free=st.integers(0, 30),
    waiting=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 30)), min_size=1, max_size=40),
    first=st.integers(0, 5),
    shadow_s=st.integers(5, 30),
    extra=st.integers(0, 12),
    refused=st.frozensets(st.integers(0, 39), max_size=6),
    block=st.integers(1, 9),
)
def test_a_scan_in_blocks_starts_the_same_jobs(free, waiting, first, shadow_s, extra, refused, block):
    gpus = [gpus for gpus, _ in waiting]
    requested_s = [float(run) for _, run in waiting]
    one, other = (Claims(free, gpus, requested_s, refused) for _ in range(2))
    plain, blocked = (easy.Reservation(float(shadow_s), extra) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(easy, "BLOCK", block)
        expected = list(easy._backfill(one, one.waiting[first:], plain))
        assert list(easy._backfill_line(other, first, blocked)) == expected
    assert (other.free_gpus, blocked.extra) == (one.free_gpus, plain.extra)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["insert", "delete", "forget"]), st.integers(0, 10**6)), max_size=60)
)
def test_the_line_follows_its_list(changes):
    jobs = SimpleNamespace(gpus=list(range(60)), requested_run_s=[j / 3 for j in range(60)])
    line, waiting = Line(jobs), []
    line.read(waiting)
    for job, (what, draw) in enumerate(changes):
        if what == "insert":
            where = draw % (len(waiting) + 1)
            waiting.insert(where, job)
            line.insert(where, job)
        elif what == "delete" and waiting:
            where = draw % len(waiting)
            del waiting[where]
            line.delete(where)
        elif what == "forget":
            waiting.reverse()
            line.forget()
        asked = line.read(waiting)
        assert asked.gpus.tolist() == [jobs.gpus[job] for job in waiting]
        assert asked.requested_s.tolist() == [jobs.requested_run_s[job] for job in waiting]
