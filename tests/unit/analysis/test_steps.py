"""Cutting step series for a picture keeps integrals and peaks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.steps import cut, extremes, series_by, span_text
from simulator.foundation import StepSeries


@st.composite
def series(draw):
    starts = draw(st.lists(st.integers(1, 999), max_size=30, unique=True))
    values = draw(st.lists(st.floats(-1e3, 1e3), min_size=len(starts) + 1, max_size=len(starts) + 1))
    return StepSeries([0.0, *sorted(map(float, starts))], values, 1000.0)


@given(series(), st.integers(1, 12))
def test_cutting_keeps_the_integral(whole, most):
    steps = cut({"x": whole}, 1000.0, most)
    kept = float(steps.means["x"] @ np.diff(steps.edges_s))
    assert kept == pytest.approx(whole.integral(), rel=1e-9, abs=1e-6)
    assert len(steps.means["x"]) <= max(most, 1)
    assert steps.exact == (len(whole) <= most)


@given(series(), st.integers(1, 12))
def test_extremes_are_those_of_every_moment(whole, spans):
    edges = np.linspace(0.0, 1000.0, spans + 1)
    low, high = extremes(whole, edges)
    for place in range(spans):
        moments = [edges[place], *(t for t in whole.start_s if edges[place] <= t < edges[place + 1])]
        values = [whole.at(float(t)) for t in moments]
        assert (low[place], high[place]) == (min(values), max(values))


def test_series_of_a_table_are_summed_by_group():
    table = pa.table(
        {
            "site": ["a", "a", "b", "a", "b"],
            "component": ["gpu", "gpu", "gpu", "host", "host"],
            "time_s": [0.0, 10.0, 5.0, 0.0, 2.0],
            "power_w": [1.0, 3.0, 10.0, 7.0, 1.0],
        }
    )
    found = series_by(table, lambda key: key[0], ["component", "site"], "power_w", 20.0)
    assert found["gpu"] == StepSeries([0.0, 5.0, 10.0], [1.0, 11.0, 13.0], 20.0)
    assert found["host"] == StepSeries([0.0, 2.0], [7.0, 8.0], 20.0)


@pytest.mark.parametrize(
    ("span_s", "said"), [(30.0, "30 s"), (1440.0, "24 min"), (90 * 60.0, "90 min"), (10.5 * 3600, "10.5 h"),
                         (3 * 86400.0, "3 d")]
)  # fmt: skip
def test_spans_for_people(span_s, said):
    assert span_text(span_s) == said
