"""Arrivals follow the rate's steps, lie on the time grid and do not hang on block sizes."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.foundation.errors import TraceError
from simulator.foundation.step_series import StepSeries
from simulator.workload.arrivals import CountInverse, EvenArrivals, PoissonArrivals


def drain(stream, block=1000):
    blocks = []
    while len(found := stream.next_block(block)):
        blocks.append(found)
    return np.concatenate(blocks) if blocks else np.empty(0)


def test_the_inverse_of_a_step_rate_worked_by_hand():
    # 2/s for 10 s, nothing for 10 s, 1/s for 10 s: counts 20, 20, 30.
    inverse = CountInverse(StepSeries([0.0, 10.0, 20.0], [2.0, 0.0, 1.0], 30.0))
    assert inverse.total == 30.0
    assert inverse.moments_s(np.array([1.0, 20.0, 20.5, 30.0])).tolist() == [0.5, 10.0, 20.5, 30.0]


def test_even_arrivals_stand_in_the_middle_of_their_count():
    assert drain(EvenArrivals(StepSeries([0.0, 2.0], [1.0, 2.0], 4.0)), 2).tolist() == [
        0.5,
        1.5,
        2.25,
        2.75,
        3.25,
        3.75,
    ]


def test_no_rate_means_no_arrivals():
    nothing = StepSeries.constant(0.0, 100.0)
    assert len(drain(PoissonArrivals(nothing, np.random.default_rng(1)))) == 0
    assert len(drain(EvenArrivals(nothing))) == 0


def test_nothing_arrives_while_the_rate_is_zero():
    rate = StepSeries([0.0, 100.0, 200.0], [5.0, 0.0, 5.0], 300.0)
    found = drain(PoissonArrivals(rate, np.random.default_rng(2)))
    assert not ((found > 100.0) & (found < 200.0)).any()
    assert (found > 200.0).any()


def test_a_negative_rate_is_refused_with_its_index():
    with pytest.raises(TraceError, match="arrival rate -1 per second at index 1; expected 0 or more"):
        PoissonArrivals(StepSeries([0.0, 1.0], [1.0, -1.0], 2.0), np.random.default_rng(1))


def test_arrivals_lie_on_the_grid_within_the_span():
    rate = StepSeries([5.0], [1000.0], 7.3)
    found = drain(PoissonArrivals(rate, np.random.default_rng(3)))
    assert found.min() >= 5.0
    assert found.max() <= 7.3
    ticks = found[found < 7.3] * 2**20
    assert (ticks == np.rint(ticks)).all()


def test_a_finished_stream_stays_finished():
    stream = PoissonArrivals(StepSeries.constant(1.0, 10.0), np.random.default_rng(4))
    drain(stream)
    assert len(stream.next_block(10)) == 0


def test_asking_for_none_draws_nothing():
    rate = StepSeries.constant(1.0, 1000.0)
    one, other = (PoissonArrivals(rate, np.random.default_rng(5)) for _ in range(2))
    assert len(one.next_block(0)) == 0
    assert drain(one).tolist() == drain(other).tolist()
