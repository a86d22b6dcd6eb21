"""Laws of the workload room that hold for any input."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog.entries import LengthsSpec, ShapeSpec
from simulator.foundation.errors import CatalogError, TraceError
from simulator.foundation.step_series import StepSeries
from simulator.foundation.streams import Streams
from simulator.foundation.time_grid import snap
from simulator.workload.arrivals import CountInverse, PoissonArrivals
from simulator.workload.demand import Demand
from simulator.workload.helios import read_helios
from simulator.workload.jobs import JobSpec, JobTable
from simulator.workload.lengths import LognormalLengths
from simulator.workload.moments import snap_all
from simulator.workload.request_log import read_requests
from simulator.workload.requests import DrawnRequests
from simulator.workload.swf import read_swf

rates = st.lists(st.floats(0.0, 50.0), min_size=1, max_size=6).map(
    lambda values: StepSeries(10.0 * np.arange(len(values)), values, 10.0 * len(values))
)
sizes = st.lists(st.integers(1, 60), min_size=1, max_size=8)
seeds = st.integers(0, 2**32)
LENGTHS = LognormalLengths(LengthsSpec("chat", "Chat", 70.0, 0.9, 30.0, 0.8, 0.3, 300, 100))


@given(rates, sizes, seeds)
def test_blocks_of_any_size_give_the_same_requests(rate, blocks, seed):
    def drain(counts):
        source = DrawnRequests(rate, LENGTHS, Streams(seed), "chat", tier_shares=(0.3, 0.7))
        rows = []
        while True:
            for count in counts:
                block = source.next_block(count)
                if not len(block):
                    return rows
                rows += zip(
                    block.arrived_s, block.prompt_tokens, block.output_tokens, block.tier, strict=True
                )

    assert drain(blocks) == drain([10_000])


@given(rates, seeds)
def test_arrivals_ascend_within_their_span(rate, seed):
    found = PoissonArrivals(rate, np.random.default_rng(seed)).next_block(5000)
    assert (np.diff(found) >= 0).all()
    if len(found):
        assert found[0] >= 0.0
        assert found[-1] <= rate.end_s


@given(rates.filter(lambda rate: rate.maximum() > 0.01), st.lists(st.floats(0.001, 1.0), min_size=1))
def test_the_inverse_undoes_the_integral(rate, fractions):
    inverse = CountInverse(rate)
    counts = np.sort(np.array(fractions)) * inverse.total
    back = rate.antiderivative_at(inverse.moments_s(counts))
    # The moments are rounded to the grid, so the count is off by at most a tick's worth.
    assert np.allclose(back, counts, rtol=1e-9, atol=50.0 * 2**-20)


@given(st.lists(st.floats(-1e9, 1e9), max_size=20))
def test_many_moments_snap_as_each_does(moments_s):
    assert snap_all(np.array(moments_s, dtype=float)).tolist() == [snap(moment_s) for moment_s in moments_s]


@given(
    st.lists(st.floats(0.0, 10.0), min_size=168, max_size=168).filter(lambda w: sum(w) > 1e-3),
    st.floats(1.0, 20.0),
)
def test_a_stretched_week_keeps_its_mean_or_is_refused(week, peak_to_mean):
    shape = ShapeSpec("any", "Any", np.array(week) / np.mean(week))
    try:
        multipliers = Demand(1.0, shape, peak_to_mean).multipliers()
    except CatalogError:
        return
    assert multipliers.mean() == pytest.approx(1.0, rel=1e-9)
    assert multipliers.max() == pytest.approx(peak_to_mean, rel=1e-9)
    assert multipliers.min() >= 0.0


jobs = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 64), st.sampled_from("abc")), min_size=1, max_size=30
).map(
    lambda rows: [
        JobSpec(str(number), "trace", tenant, "q", gpus, float(submitted_s), 1.0, order_id=float(number))
        for number, (submitted_s, gpus, tenant) in enumerate(rows)
    ]
)


@given(jobs, st.randoms(use_true_random=False))
def test_the_order_in_which_jobs_are_given_does_not_matter(specs, random):
    shuffled = list(specs)
    random.shuffle(shuffled)
    assert list(JobTable.from_specs(shuffled)) == list(JobTable.from_specs(specs))


@given(jobs, st.integers(0, 30))
def test_cutting_a_table_and_joining_it_again_changes_nothing(specs, cut):
    whole = JobTable.from_specs(specs)
    parts = [JobTable.from_specs(specs[:cut]), JobTable.from_specs(specs[cut:])]
    assert list(JobTable.concatenate(parts)) == list(whole)


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """Return good text with a few bytes replaced, cut out or put in."""
    edit = st.tuples(st.integers(0, len(good)), st.integers(0, 4), st.binary(max_size=4))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        text = good
        for place, drop, put in edits:
            text = text[:place] + put + text[place + drop :]
        return text

    return st.lists(edit, min_size=1, max_size=4).map(apply)


GOOD = {
    read_swf: b"; MaxProcs: 8\n1 0 -1 100 4 -1 -1 4 200 -1 1 1 1 -1 1 -1 -1 -1\n"
    b"2 10 -1 100 4 -1 -1 4 200 -1 1 1 1 -1 1 -1 -1 -1\n",
    read_helios: b"job_id,vc,gpu_num,submit_time,duration\n"
    b"1,a,8,2020-09-01 00:00:00,60\n2,a,8,2020-09-02 00:00:00,6\n",
    read_requests: b"arrived_s,prompt_tokens,output_tokens\n0.5,10,20\n1.5,11,21\n",
}


@pytest.mark.parametrize("reader", GOOD, ids=lambda reader: reader.__name__)
@given(st.data())
def test_a_damaged_trace_is_read_or_refused_in_one_line_and_never_breaks(reader, data):
    content = data.draw(mutated(GOOD[reader]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_bytes(content)
        try:
            table = reader(path)
        except TraceError as error:
            message = str(error)
            assert message.startswith(str(path))
            assert "\n" not in message
        else:
            assert len(table) > 0
